//! Services: address, limits and backlog.

use super::{Api, CallContext};
use crate::error::{ApiResult, NO_SERVICE, Problem, WRONG_SHAPE, token};
use crate::time::Time;
use goconductor_saga::{NameKind, ServiceName, Side};
use goconductor_service_kit::config::HttpUrl;
use goconductor_store::{ActionLimits, HttpEndpoint, ServiceRecord, ServiceSettings};
use goconductor_transition::{clock, topic_of};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The highest limit of commands in flight.
const MAX_IN_FLIGHT: u32 = 100_000;
/// The most actions with limits of their own.
const MAX_ACTIONS: usize = 256;

/// A request to set how a service is reached and limited.
#[derive(Debug)]
pub(crate) struct PutService {
    pub(crate) name: String,
    /// The URL of a service without workers. `/{action}` is appended to it.
    pub(crate) http_url: Option<String>,
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
    /// Number of due commands.
    pub(crate) backlog: u64,
    #[schema(value_type = String)]
    pub(crate) updated_at: Time,
}

/// The limits of an action.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActionView {
    pub(crate) max_in_flight: u64,
}

/// The HTTP address of a service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HttpView {
    /// URL. A password in it is masked.
    pub(crate) url: String,
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
        let record = ServiceRecord {
            namespace: context.namespace.to_string(),
            name: put.name.clone(),
            settings: check_settings(put)?,
            updated_at: clock::now(),
        };
        self.store().put_service(record.clone()).await?;
        self.engine.services_changed().notify_one();
        Ok(self.service_view(record, &self.ledger_backlog().await?).await)
    }

    /// Lists the services of the namespace.
    pub(crate) async fn list_services(&self, context: &CallContext) -> ApiResult<ServiceList> {
        let backlog = self.ledger_backlog().await?;
        let mut services = Vec::new();
        for record in self.store().services().await? {
            if record.namespace == context.namespace.as_str() {
                services.push(self.service_view(record, &backlog).await);
            }
        }
        Ok(ServiceList { services })
    }

    /// Returns a service.
    pub(crate) async fn service(&self, context: &CallContext, name: &str) -> ApiResult<ServiceView> {
        let services = self.store().services().await?;
        let record = services
            .into_iter()
            .find(|record| record.namespace == context.namespace.as_str() && record.name == name);
        let record = record.ok_or_else(|| {
            let detail = format!("service {name} not found in this namespace; PUT registers its address");
            Problem::new(NO_SERVICE, detail)
        })?;
        Ok(self.service_view(record, &self.ledger_backlog().await?).await)
    }

    /// Returns the due commands of the ledger, by `namespace/service/side`.
    async fn ledger_backlog(&self) -> ApiResult<BTreeMap<String, u64>> {
        Ok(self.store().backlog(clock::now()).await?.into_iter().collect())
    }

    async fn service_view(&self, record: ServiceRecord, backlog: &BTreeMap<String, u64>) -> ServiceView {
        let ServiceRecord { namespace, name, settings, updated_at } = record;
        let limits = |(name, limits): (&String, &ActionLimits)| {
            (name.clone(), ActionView { max_in_flight: limits.max_in_flight })
        };
        let topic = topic_of(&namespace, &name, Side::Execute);
        ServiceView {
            http: settings.url().map(|url| HttpView {
                url: goconductor_service_kit::config::SecretUrl::new(url).to_string(),
            }),
            actions: settings.actions.iter().map(limits).collect(),
            max_in_flight: settings.max_in_flight,
            served: self.engine.queue().has_consumer(&topic).await.unwrap_or(false),
            backlog: [Side::Execute, Side::Compensate]
                .iter()
                .filter_map(|side| backlog.get(&format!("{namespace}/{name}/{}", side.as_str())))
                .sum(),
            updated_at: updated_at.into(),
            name,
        }
    }
}

fn check_settings(put: PutService) -> ApiResult<ServiceSettings> {
    let PutService { http_url, max_in_flight, max_in_flight_by_action, .. } = put;
    if http_url.is_none() && max_in_flight.is_none() && max_in_flight_by_action.is_none() {
        let detail = "empty settings: set http, max_in_flight or actions";
        return Err(Problem::new(WRONG_SHAPE, detail).at("/http", detail));
    }
    let http = http_url.map(|url| check_url(&url)).transpose()?.map(|url| HttpEndpoint { url });
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

/// Validates a URL and removes the slashes at its end.
fn check_url(text: &str) -> ApiResult<String> {
    let url = HttpUrl::parse(text)
        .map_err(|error| Problem::new(WRONG_SHAPE, error.to_string()).at("/http/url", error.to_string()))?;
    Ok(url.with_credentials().expose().to_owned())
}
