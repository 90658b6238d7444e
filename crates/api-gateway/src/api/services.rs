//! Services: address, limits and backlog.

use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ADDRESS_DENIED, ApiResult, FORBIDDEN, NO_SERVICE, Problem, WRONG_SHAPE, token};
use crate::time::Time;
use goconductor_saga::{CALLS_SERVICE, Definition, NameKind, Namespace, ServiceName, Side};
use goconductor_service_kit::config::{HttpUrl, InvalidSecretReference, SecretReference, check_header_name};
use goconductor_service_kit::permission::Permission;
use goconductor_store::{ActionLimits, HttpEndpoint, ServiceRecord, ServiceSettings};
use goconductor_transition::{clock, topic_of};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The highest limit of commands in flight.
pub(crate) const MAX_IN_FLIGHT: u32 = 100_000;
/// The most actions with limits of their own.
pub(crate) const MAX_ACTIONS: usize = 256;
/// The most headers of a service.
pub(crate) const MAX_HEADERS: usize = 32;

/// A request to set how a service is reached and limited.
#[derive(Debug)]
pub(crate) struct PutService {
    pub(crate) name: String,
    /// The URL of a service without workers. `/{action}` is appended to it.
    pub(crate) http_url: Option<String>,
    /// Headers of each request: the name, and the reference to the secret that contains the value.
    pub(crate) http_headers: BTreeMap<String, String>,
    /// The most commands in flight, for each side.
    pub(crate) max_in_flight: Option<u32>,
    /// The most commands in flight for an action, for each side, by name of the action.
    pub(crate) max_in_flight_by_action: Option<BTreeMap<String, u32>>,
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceView {
    pub(crate) name: String,
    /// HTTP address. Absent if the service is reached through workers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<HttpView>,
    /// Most commands in flight, for each side. Absent for the executor's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_in_flight: Option<u64>,
    /// Limits of individual actions, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) actions: BTreeMap<String, ActionView>,
    /// Whether an executor consumes the service's commands.
    pub(crate) served: bool,
    /// Number of connected workers.
    pub(crate) workers: usize,
    /// Number of due commands.
    pub(crate) backlog: u64,
    /// Time at which the settings were set. Absent for a service that only workers serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) updated_at: Option<Time>,
}

/// A service whose settings were deleted, and what still uses it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeletedServiceView {
    pub(crate) name: String,
    /// Names of the definitions whose newest version runs actions of the service.
    pub(crate) definitions: Vec<String>,
    /// Number of due commands. They wait until the service is set again or a worker serves it.
    pub(crate) backlog: u64,
    /// Number of connected workers.
    pub(crate) workers: usize,
}

/// The limits of an action.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActionView {
    pub(crate) max_in_flight: u64,
}

/// The HTTP address of a service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HttpView {
    /// URL, or reference to the secret that contains it. Credentials in it are masked.
    pub(crate) url: String,
    /// Headers of each request: the references to the secrets that contain the values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
}

/// The services of a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceList {
    pub(crate) services: Vec<ServiceView>,
}

impl Api {
    /// Sets how a service is reached and limited. The previous settings are replaced.
    pub(crate) async fn put_service(&self, context: &CallContext, put: PutService) -> ApiResult<ServiceView> {
        ServiceName::check(&put.name)?;
        let name = put.name.clone();
        let record = ServiceRecord {
            namespace: context.namespace.to_string(),
            name: name.clone(),
            settings: check_settings(put)?,
            updated_at: clock::now(),
        };
        audit_notes::target("service", &name);
        self.check_secrets_of_service(context, &record.settings)?;
        self.check_address_of_service(&record.settings)?;
        audit_notes::before(&self.noted_service(context, &name).await?);
        audit_notes::after(&noted(&record.settings));
        self.store().put_service(record.clone()).await?;
        self.engine.services_changed().notify_one();
        let cluster = self.cluster().await?;
        Ok(self.service_view(Some(record), &context.namespace, &name, &cluster).await)
    }

    /// Checks an address that the URL of a service states itself. The address of a name is checked by the executor when it
    /// connects, because it can change at any time.
    fn check_address_of_service(&self, settings: &ServiceSettings) -> ApiResult<()> {
        let Some(http) = &settings.http else { return Ok(()) };
        let Ok(url) = HttpUrl::parse(&http.url) else { return Ok(()) };
        self.outbound.check_host(url.host()).map_err(|error| {
            let detail = format!("requests to {} are not allowed: {error}", url.as_str());
            Problem::new(ADDRESS_DENIED, detail.clone()).at("/http/url", detail)
        })
    }

    /// Checks that a service of the namespace of the configuration's secrets refers to secrets only if its caller may write
    /// them. Otherwise the caller could send the passwords of brokers to an address of its own.
    fn check_secrets_of_service(&self, context: &CallContext, settings: &ServiceSettings) -> ApiResult<()> {
        let refers = settings
            .http
            .as_ref()
            .is_some_and(|http| SecretReference::is_reference(&http.url) || !http.headers.is_empty());
        if refers { self.check_use_of_secrets(context, "services") } else { Ok(()) }
    }

    /// Checks that the caller may let an executor use secrets of the namespace. `what` would use them.
    pub(super) fn check_use_of_secrets(&self, context: &CallContext, what: &str) -> ApiResult<()> {
        let namespace = context.namespace.as_str();
        let Some(principal) = &context.principal else { return Ok(()) };
        if namespace != self.config.base().secrets.namespace
            || principal.grants.allows(Permission::SecretsWrite, namespace)
        {
            return Ok(());
        }
        Err(Problem::new(
            FORBIDDEN,
            format!(
                "{what} of the namespace {namespace} refer to secrets only with the permission secrets.write, because \
                 the configuration of the processes has its secrets there: use another namespace"
            ),
        ))
    }

    /// Lets the executors serve the calls of a namespace, before a definition with a call is stored in it. The record has no
    /// settings, and its name is not that of a service.
    pub(super) async fn serve_calls(&self, namespace: &Namespace) -> ApiResult<()> {
        let services = self.store().services().await?;
        let is_ours =
            |record: &ServiceRecord| record.namespace == namespace.as_str() && record.name == CALLS_SERVICE;
        if services.iter().any(is_ours) {
            return Ok(());
        }
        let record = ServiceRecord {
            namespace: namespace.to_string(),
            name: CALLS_SERVICE.to_owned(),
            settings: ServiceSettings::default(),
            updated_at: clock::now(),
        };
        self.store().put_service(record).await?;
        self.engine.services_changed().notify_one();
        Ok(())
    }

    /// Returns the settings of a service for the audit log, with masked credentials.
    async fn noted_service(&self, context: &CallContext, name: &str) -> ApiResult<serde_json::Value> {
        let services = self.store().services().await?;
        let found = services
            .into_iter()
            .find(|record| record.namespace == context.namespace.as_str() && record.name == name);
        Ok(found.map_or(serde_json::Value::Null, |record| noted(&record.settings)))
    }

    /// Lists the services of the namespace: those with settings, and those that only workers serve.
    pub(crate) async fn list_services(&self, context: &CallContext) -> ApiResult<ServiceList> {
        let cluster = self.cluster().await?;
        let records = self.store().services().await?.into_iter();
        let records = records
            .filter(|record| record.namespace == context.namespace.as_str() && record.name != CALLS_SERVICE);
        let mut all: BTreeMap<String, Option<ServiceRecord>> =
            records.map(|record| (record.name.clone(), Some(record))).collect();
        for (namespace, name) in cluster.workers.keys() {
            if *namespace == context.namespace.as_str() && name != CALLS_SERVICE {
                all.entry(name.clone()).or_default();
            }
        }
        let mut services = Vec::with_capacity(all.len());
        for (name, record) in all {
            services.push(self.service_view(record, &context.namespace, &name, &cluster).await);
        }
        Ok(ServiceList { services })
    }

    /// Returns a service that has settings or that workers serve.
    pub(crate) async fn service(&self, context: &CallContext, name: &str) -> ApiResult<ServiceView> {
        if name == CALLS_SERVICE {
            return Err(not_found(name));
        }
        let cluster = self.cluster().await?;
        let services = self.store().services().await?;
        let record = services
            .into_iter()
            .find(|record| record.namespace == context.namespace.as_str() && record.name == name);
        if record.is_none() && cluster.workers_of(&context.namespace, name).is_none() {
            return Err(not_found(name));
        }
        Ok(self.service_view(record, &context.namespace, name, &cluster).await)
    }

    /// Deletes the settings of a service, and returns what still uses it.
    pub(crate) async fn delete_service(
        &self,
        context: &CallContext,
        name: &str,
    ) -> ApiResult<DeletedServiceView> {
        audit_notes::target("service", name);
        if name == CALLS_SERVICE {
            return Err(not_found(name));
        }
        audit_notes::before(&self.noted_service(context, name).await?);
        if !self.store().delete_service(context.namespace.as_str(), name).await? {
            return Err(not_found(name));
        }
        self.engine.services_changed().notify_one();
        let cluster = self.cluster().await?;
        let definitions = self.store().definitions(context.namespace.as_str(), None).await?.into_iter();
        let definitions = definitions.filter(|record| uses(&record.definition, name));
        Ok(DeletedServiceView {
            name: name.to_owned(),
            definitions: definitions.map(|record| record.name).collect(),
            backlog: cluster.backlog_of(&context.namespace, name),
            workers: cluster.workers_of(&context.namespace, name).unwrap_or_default(),
        })
    }

    /// Reads what the services of all namespaces have in common.
    async fn cluster(&self) -> ApiResult<ClusterState> {
        let members = self.store().members().await?;
        let mut workers = BTreeMap::new();
        for served in members.iter().flat_map(|member| member.announcement.info.served()) {
            // An executor that calls an address knows it from the settings.
            if served.workers > 0 || !matches!(served.by.as_str(), "" | "http") {
                let key = (served.namespace.clone(), served.service.clone());
                *workers.entry(key).or_default() += served.workers;
            }
        }
        let backlog = self.store().backlog(clock::now()).await?.into_iter().collect();
        Ok(ClusterState { workers, backlog })
    }

    async fn service_view(
        &self,
        record: Option<ServiceRecord>,
        namespace: &Namespace,
        name: &str,
        cluster: &ClusterState,
    ) -> ServiceView {
        let updated_at = record.as_ref().map(|record| record.updated_at.into());
        let settings = record.map(|record| record.settings).unwrap_or_default();
        let limits = |(name, limits): (&String, &ActionLimits)| {
            (name.clone(), ActionView { max_in_flight: limits.max_in_flight })
        };
        let topic = topic_of(namespace.as_str(), name, Side::Execute);
        ServiceView {
            name: name.to_owned(),
            http: settings.http.as_ref().map(|http| HttpView {
                url: goconductor_service_kit::config::SecretUrl::new(&http.url).to_string(),
                headers: http.headers.clone(),
            }),
            actions: settings.actions.iter().map(limits).collect(),
            max_in_flight: settings.max_in_flight,
            served: self.engine.queue().has_consumer(&topic).await.unwrap_or(false),
            workers: cluster.workers_of(namespace, name).unwrap_or_default(),
            backlog: cluster.backlog_of(namespace, name),
            updated_at,
        }
    }
}

fn noted(settings: &ServiceSettings) -> serde_json::Value {
    let actions: BTreeMap<_, _> =
        settings.actions.iter().map(|(name, limits)| (name, limits.max_in_flight)).collect();
    serde_json::json!({
        "url": settings.url().map(|url| goconductor_service_kit::config::SecretUrl::new(url).to_string()),
        "headers": settings.http.as_ref().map(|http| &http.headers),
        "max_in_flight": settings.max_in_flight,
        "actions": actions,
    })
}

/// The state of all services that their settings do not contain.
struct ClusterState {
    /// The number of connected workers of each service that is served without an address, by namespace and name.
    workers: BTreeMap<(String, String), usize>,
    /// The number of due commands, by `namespace/service/side`.
    backlog: BTreeMap<String, u64>,
}

impl ClusterState {
    fn workers_of(&self, namespace: &Namespace, name: &str) -> Option<usize> {
        self.workers.get(&(namespace.to_string(), name.to_owned())).copied()
    }

    fn backlog_of(&self, namespace: &Namespace, name: &str) -> u64 {
        let of_side = |side: &Side| self.backlog.get(&format!("{namespace}/{name}/{}", side.as_str()));
        [Side::Execute, Side::Compensate].iter().filter_map(of_side).sum()
    }
}

/// Whether a step of a definition runs an action of a service.
fn uses(definition: &Definition, service: &str) -> bool {
    let mut actions = definition.steps.iter().flat_map(|step| {
        [Side::Execute, Side::Compensate].into_iter().filter_map(|side| step.performed_action(side))
    });
    actions.any(|action| action.service() == Some(service))
}

fn not_found(name: &str) -> Problem {
    let detail = format!("service {name} not found in this namespace; PUT registers its address");
    Problem::new(NO_SERVICE, detail)
}

fn check_settings(put: PutService) -> ApiResult<ServiceSettings> {
    let PutService { http_url, http_headers, max_in_flight, max_in_flight_by_action, .. } = put;
    if http_url.is_none() && max_in_flight.is_none() && max_in_flight_by_action.is_none() {
        let detail = "empty settings: set http, max_in_flight or actions";
        return Err(Problem::new(WRONG_SHAPE, detail).at("/http", detail));
    }
    let headers = check_headers(http_headers)?;
    if http_url.is_none() && !headers.is_empty() {
        let detail = "headers without a URL: set http.url, because only requests by HTTP have headers";
        return Err(Problem::new(WRONG_SHAPE, detail).at("/http/url", detail));
    }
    let http = http_url.map(|url| check_url(&url)).transpose()?.map(|url| HttpEndpoint { url, headers });
    let max_in_flight = max_in_flight.map(|limit| check_limit(limit, "/max_in_flight")).transpose()?;
    let by_action = max_in_flight_by_action.unwrap_or_default();
    if by_action.len() > MAX_ACTIONS {
        let detail = format!("invalid actions: use at most {MAX_ACTIONS} actions");
        return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/actions", detail));
    }
    let mut actions = BTreeMap::new();
    for (name, limit) in by_action {
        let pointer = format!("/actions/{}", token(&name));
        if let Err(error) = NameKind::Action.check(&name) {
            return Err(Problem::new(WRONG_SHAPE, error.to_string()).at(pointer, error.to_string()));
        }
        let pointer = format!("{pointer}/max_in_flight");
        actions.insert(name, ActionLimits { max_in_flight: check_limit(limit, &pointer)? });
    }
    Ok(ServiceSettings { http, max_in_flight, actions, ..ServiceSettings::default() })
}

fn check_limit(limit: u32, pointer: &str) -> ApiResult<u64> {
    if (1..=MAX_IN_FLIGHT).contains(&limit) {
        return Ok(limit.into());
    }
    let detail = format!("invalid max_in_flight {limit}: it must be between 1 and {MAX_IN_FLIGHT}");
    Err(Problem::new(WRONG_SHAPE, detail.clone()).at(pointer, detail))
}

/// Validates the headers of a service. Their values are references, because values would be readable.
fn check_headers(headers: BTreeMap<String, String>) -> ApiResult<BTreeMap<String, String>> {
    let refused = |name: &str, detail: String| {
        Problem::new(WRONG_SHAPE, detail.clone()).at(format!("/http/headers/{}", token(name)), detail)
    };
    if headers.len() > MAX_HEADERS {
        let detail = format!("invalid headers: use at most {MAX_HEADERS} headers");
        return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/http/headers", detail));
    }
    for (name, value) in &headers {
        check_header_name(name).map_err(|reason| refused(name, format!("invalid header: {reason}")))?;
        if value.parse::<SecretReference>().is_err() {
            let detail = format!(
                "invalid value of the header {name}: it must be a reference to a secret such as secret://payments-token"
            );
            return Err(refused(name, detail));
        }
    }
    Ok(headers)
}

/// Validates a URL and removes the slashes at its end.
fn check_url(text: &str) -> ApiResult<String> {
    if SecretReference::is_reference(text) {
        let reference: Result<SecretReference, _> = text.parse();
        let refused = |error: InvalidSecretReference| {
            Problem::new(WRONG_SHAPE, error.to_string()).at("/http/url", error.to_string())
        };
        return Ok(reference.map_err(refused)?.to_string());
    }
    let url = HttpUrl::parse(text)
        .map_err(|error| Problem::new(WRONG_SHAPE, error.to_string()).at("/http/url", error.to_string()))?;
    Ok(url.with_credentials().expose().to_owned())
}
