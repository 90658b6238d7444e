//! The configuration of the services. It is typed, checked as a whole, and knows the origin of each value.
//!
//! The layers are, from the weakest to the strongest: defaults, the YAML file, the environment
//! (`GOCONDUCTOR_STATE_STORE__BACKEND`) and flags. In each of them, a value may be a reference `env://NAME` or
//! `file://path`, or `secret://name`, which the caller resolves. The settings of the API are stronger than all of them. The
//! name of a variable cannot contain a hyphen, so `_` stands for it in the name of a service. Between the defaults and the
//! file are the standard variables of OpenTelemetry, for the section `telemetry`.
//!
//! A key of the file or a flag that is not a setting is a problem. A variable that is not a setting is ignored and
//! reported, because the environment is shared: Kubernetes sets variables with our prefix in each pod.
//!
//! The adapters of `goconductor-queue` and `goconductor-election` define their own settings, and the sections are read
//! straight into these types.

mod access;
mod apply;
mod audit;
mod config_file;
mod credential_origin;
mod database_tls;
mod descriptions;
mod dynamic;
mod election;
mod encryption;
mod http_url;
mod ignored;
mod listen_address;
mod listeners;
mod master_key_source;
mod peer_tls;
mod process;
mod queue;
mod rate;
mod reader;
mod reference;
mod schema;
mod secret_reference;
mod secret_url;
mod secrets;
mod services;
mod source;
mod standard;
mod state_store;
mod telemetry;
mod tls;
mod unknown;
mod value;
mod variable;

use crate::outbound::{AddressRule, OutboundPolicy};
use goconductor_saga::NameKind;
use reader::SettingReader;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use access::{
    ALL_NAMESPACES, AccessConfig, AccessSubject, BindingConfig, OidcConfig, OidcSignIn, SessionConfig,
    is_namespace_pattern, is_role_name,
};
pub use apply::{Apply, apply_of};
pub use audit::AuditConfig;
pub use descriptions::{SETTINGS, SettingRow};
pub use dynamic::{changed_settings, merge, setting_of};
pub use election::{ElectionBackend, ElectionConfig};
pub use encryption::EncryptionConfig;
pub use http_url::{HttpUrl, InvalidUrl, MAX_URL_BYTES};
pub use ignored::{IgnoreReason, IgnoredVariable};
pub use listen_address::{InvalidListenAddress, ListenAddress};
pub use master_key_source::MasterKeySource;
pub use peer_tls::TlsConfig;
pub use process::ProcessConfig;
pub use queue::{QueueBackend, QueueConfig};
pub use rate::{RateConfig, RatePolicy};
pub use schema::schema;
pub use secret_reference::{InvalidSecretReference, ResolvedSecrets, SecretReference};
pub use secret_url::SecretUrl;
pub use secrets::SecretsConfig;
pub use services::{HttpService, ServiceConfig, check_header_name};
pub use source::{DynamicSettings, ENV_PREFIX, Flag, INVALID, Invalid, Origin, Problem, Setting, Sources};
pub use state_store::{RetentionConfig, SchemaMigration, StateStoreBackend, StateStoreConfig};
pub use telemetry::{LogFormat, OtlpConfig, OtlpProtocol, TelemetryConfig};

/// The part of a shutdown besides the attempts in flight. Each of its steps has a limit, and together they are shorter.
const SHUTDOWN_RESERVE: Duration = Duration::from_secs(15);

/// Configuration of a service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listening address of the gateway.
    pub listen: ListenAddress,
    /// Whether the listening addresses may be reachable from other machines without access control or without TLS.
    pub allow_insecure_bind: bool,
    /// Authentication and authorisation of callers and workers.
    pub access: AccessConfig,
    /// Address under which other processes reach this one, if it is not its listening address.
    pub advertise: Option<ListenAddress>,
    /// Directory of local files.
    pub data_dir: PathBuf,
    /// The database of durable state.
    pub state_store: StateStoreConfig,
    /// The queue that carries commands.
    pub queue: QueueConfig,
    /// Leader election.
    pub election: ElectionConfig,
    /// Services that are called by HTTP, by name.
    pub services: BTreeMap<String, ServiceConfig>,
    /// Limits of the gateway.
    pub limits: Limits,
    /// The audit log of the gateway.
    pub audit: AuditConfig,
    /// The process itself.
    pub process: ProcessConfig,
    /// The execution of commands.
    pub executor: ExecutorConfig,
    /// The source of the master key of secrets.
    pub secrets: SecretsConfig,
    /// Encrypted payloads, and masked fields.
    pub encryption: EncryptionConfig,
    /// Logs, and the export of telemetry.
    pub telemetry: TelemetryConfig,
    /// TLS between the processes, and of the API. `None` means that connections are not encrypted.
    pub tls: Option<TlsConfig>,
    settings: Vec<Setting>,
    ignored: Vec<IgnoredVariable>,
    secret_references: Vec<SecretReference>,
    sources: LoadedSources,
}

/// The layers that a configuration was read from. `Debug` does not print them, because they contain secrets.
#[derive(Clone, Default)]
struct LoadedSources(Arc<Sources>);

impl std::fmt::Debug for LoadedSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoadedSources")
    }
}

/// Limits of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a request body.
    pub body_bytes: usize,
    /// Maximum nesting depth of JSON.
    pub json_depth: u32,
    /// Maximum size of the input of a workflow, and of the payload of a signal.
    pub input_bytes: usize,
    /// Maximum size of the output of a step.
    pub output_bytes: usize,
    /// The size from which on a payload is stored apart from the state of its workflow, and carried by reference.
    pub inline_bytes: usize,
    /// Maximum size of the state of a workflow: its input, the outputs of its steps and their errors.
    pub state_bytes: usize,
    /// Default number of items in a page of a list.
    pub page_size: u32,
    /// Maximum number of open connections.
    pub connections: u32,
    /// Maximum number of open connections from one address. `None` is three quarters of `connections`.
    pub connections_per_address: Option<u32>,
    /// Maximum number of concurrent streams of one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Limits of the rate of requests.
    pub rate: RateConfig,
    /// Maximum number of requests in flight.
    pub calls_in_flight: u32,
    /// Maximum total size of the bodies of requests in flight.
    pub bodies_bytes: usize,
    /// Maximum number of open long polls and streams.
    pub waiting_callers: u32,
    /// Maximum number of starts in flight.
    pub starts_in_flight: u32,
    /// Maximum number of starts of one namespace that wait for a permit.
    pub starts_waiting: u32,
    /// Timeout of a start that waits for a permit.
    pub start_wait: Duration,
    /// Maximum backlog of a service in a namespace, or of one of its actions. Starts that need a service with a larger
    /// backlog are refused.
    pub backlog: u32,
}

/// Execution of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorConfig {
    /// Listening address of a saga-executor process, for workers and for health checks.
    pub listen: ListenAddress,
    /// The services to serve. If it is empty, all services that have a URL or a connected worker are served.
    pub services: Vec<String>,
    /// Whether the process is a candidate for the duties: redelivery and timers.
    pub duties: bool,
    /// Number of shards of the duties. Each shard has a leader, so that the duties spread over the executors.
    pub duty_shards: u32,
    /// Time after which a worker without a heartbeat is considered lost.
    pub worker_lease: Duration,
    /// Maximum number of commands of one service in flight, unless the service sets its own limit.
    pub max_in_flight: u32,
    /// Maximum number of executions in flight over all services, and of compensations in flight. Namespaces share them
    /// fairly.
    pub all_in_flight: u32,
    /// Maximum number of compensations in flight of one service, in addition to its executions.
    pub compensations_in_flight: u32,
    /// Time after which the start of a running attempt is written in a separate transaction.
    pub start_grace: Duration,
    /// Time after which an unacknowledged command is published again.
    pub redelivery: Duration,
    /// Time that a shutdown waits for attempts in flight.
    pub drain: Duration,
    /// Addresses to which requests of the executor may go. The gateway refuses services at other addresses.
    pub outbound: OutboundPolicy,
}

impl Config {
    /// Reads all layers and checks the whole configuration.
    ///
    /// # Errors
    /// Returns [`Invalid`] with all problems.
    pub fn load(sources: &Sources) -> Result<Self, Invalid> {
        let mut reader = SettingReader::new(sources, &[])?;
        let mut config = Self::read(&mut reader);
        let ignored = reader.ignored_variables();
        if !ignored.is_empty() {
            // Read again without them: a variable that is not a setting could add a name to an open section.
            reader = SettingReader::new(sources, &ignored)?;
            config = Self::read(&mut reader);
        }
        config.ignored = ignored;
        (config.settings, config.secret_references) = reader.finish()?;
        config.sources = LoadedSources(Arc::new(sources.clone()));
        Ok(config)
    }

    /// Reads the layers of this configuration again, with these settings of the API in place of those that it has. The
    /// settings may refer to further secrets: see [`secret_references`](Self::secret_references).
    ///
    /// # Errors
    /// Returns [`Invalid`] with all problems of the whole configuration.
    pub fn with_dynamic(&self, dynamic: Option<DynamicSettings>) -> Result<Self, Invalid> {
        Self::load(&Sources { dynamic, ..Sources::clone(&self.sources.0) })
    }

    /// Reads the layers of this configuration again, with these values of references to secrets besides those that it has.
    ///
    /// # Errors
    /// Returns [`Invalid`] with all problems of the whole configuration.
    pub fn with_secrets(&self, secrets: ResolvedSecrets) -> Result<Self, Invalid> {
        let mut sources = Sources::clone(&self.sources.0);
        sources.secrets.extend(secrets);
        Self::load(&sources)
    }

    /// Returns the settings of the API that this configuration contains.
    #[must_use]
    pub fn dynamic(&self) -> Option<&DynamicSettings> {
        self.sources.0.dynamic.as_ref()
    }

    fn read(reader: &mut SettingReader<'_>) -> Self {
        let listen = ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)));
        let config = Self {
            listen: reader.get("listen", &value::address(), listen),
            allow_insecure_bind: reader.get("allow_insecure_bind", &value::boolean(), false),
            access: access::read(reader),
            advertise: reader.optional("advertise", &value::address()),
            data_dir: reader.get("data_dir", &value::path(), PathBuf::from("goconductor-data")),
            state_store: state_store::read(reader),
            queue: queue::read(reader),
            election: election::read(reader),
            limits: limits(reader),
            audit: audit::read(reader),
            process: process::read(reader),
            executor: executor(reader),
            secrets: secrets::read(reader),
            encryption: encryption::read(reader),
            telemetry: telemetry::read(reader),
            tls: peer_tls::read(reader),
            services: services::read(reader),
            settings: Vec::new(),
            ignored: Vec::new(),
            secret_references: Vec::new(),
            sources: LoadedSources::default(),
        };
        config.check(reader);
        config
    }

    /// Returns the references to secrets that [`Sources::secrets`] does not contain. Their settings have their defaults, so
    /// the configuration can be used only to read these secrets, or for what needs none.
    #[must_use]
    pub fn secret_references(&self) -> &[SecretReference] {
        &self.secret_references
    }

    /// Returns all settings with the origins of their values. Secrets are masked.
    #[must_use]
    pub fn explain(&self) -> &[Setting] {
        &self.settings
    }

    /// Returns the environment variables with the prefix of settings that are not settings and have no effect, ordered by
    /// name.
    #[must_use]
    pub fn ignored_variables(&self) -> &[IgnoredVariable] {
        &self.ignored
    }

    /// Logs a warning for each environment variable that could be a misspelt setting. Must be called once, after the log
    /// was initialised. Variables that Kubernetes sets are not logged.
    pub fn warn_about_ignored_variables(&self) {
        for IgnoredVariable { name, reason } in &self.ignored {
            match reason {
                IgnoreReason::ServiceLink => {}
                IgnoreReason::Unknown { nearest: Some(nearest) } => tracing::warn!(
                    variable = name,
                    nearest,
                    "environment variable was ignored, because no setting has its name"
                ),
                IgnoreReason::Unknown { nearest: None } => tracing::warn!(
                    variable = name,
                    "environment variable was ignored, because no setting has its name"
                ),
                IgnoreReason::Invalid { expected } => tracing::warn!(
                    variable = name,
                    expected,
                    "environment variable was ignored, because its value cannot be used"
                ),
            }
        }
    }

    /// Returns the URL of the database for leader election: `election.url`, or else the URL of the state store.
    #[must_use]
    pub fn election_url(&self) -> Option<&SecretUrl> {
        self.election.url.as_ref().or(self.state_store.url.as_ref())
    }

    /// Returns the time after which a process that received a signal ends although its drain is not complete: the time
    /// for attempts in flight, and that for requests in flight and for the store.
    #[must_use]
    pub fn shutdown_limit(&self) -> Duration {
        self.executor.drain.saturating_add(SHUTDOWN_RESERVE)
    }

    /// Checks the settings against each other.
    fn check(&self, reader: &mut SettingReader<'_>) {
        self.check_listeners(reader);
        if let Some(advertise) = self.advertise.as_ref().filter(|address| !address.is_destination()) {
            let message = format!("{advertise} is not an address to which other processes can connect");
            reader.problem("advertise", reader.origin("advertise"), message);
        }
        if !self.executor.duty_shards.is_power_of_two() {
            let message = "must be 1, 2, 4, 8 or 16, so that all shards have the same size";
            reader.problem("executor.duty_shards", reader.origin("executor.duty_shards"), message);
        }
        for (path, urls) in [
            ("state_store.endpoints", &self.state_store.endpoints),
            ("election.electors", &self.election.electors),
        ] {
            peer_tls::check_urls(reader, self.tls.is_some(), path, urls);
        }
        self.check_election(reader);
        credential_origin::check(reader);
        election::check(&self.election, reader);
        encryption::check(&self.encryption, self.secrets.master_key.is_some(), reader);
        if self.executor.start_grace >= self.executor.redelivery {
            let message = "must be shorter than executor.redelivery, or every command would be sent twice";
            reader.problem("executor.start_grace", reader.origin("executor.start_grace"), message);
        }
    }

    /// Checks that an election on PostgreSQL has a URL.
    fn check_election(&self, reader: &mut SettingReader<'_>) {
        let url = self.election.url.as_ref().or(match self.state_store.backend {
            StateStoreBackend::Postgres => self.state_store.url.as_ref(),
            StateStoreBackend::Sqlite => None,
        });
        if self.election.backend == ElectionBackend::Postgres
            && url.is_none()
            && self.election.electors.is_empty()
        {
            let message = "is missing: expected a URL such as postgres://user@127.0.0.1/goconductor, which must \
                           connect to the database without a connection pooler";
            reader.problem("election.url", reader.origin("election.backend"), message);
        }
    }
}

/// The most bytes of `limits.body_bytes`, and of the limits of its parts.
pub const MAX_BODY_BYTES: u32 = 64 << 20;

fn limits(reader: &mut SettingReader<'_>) -> Limits {
    let size = value::bytes(1, MAX_BODY_BYTES);
    let count = value::integer(1, 1_000_000);
    Limits {
        body_bytes: reader.get("limits.body_bytes", &size, 1024 * 1024),
        // The JSON parser itself refuses a depth of more than 128.
        json_depth: reader.get("limits.json_depth", &value::integer(1, 120), 64),
        input_bytes: reader.get("limits.input_bytes", &size, 64 * 1024 * 1024),
        output_bytes: reader.get("limits.output_bytes", &size, 64 * 1024 * 1024),
        // Messages of the queue contain a state up to the same size.
        inline_bytes: reader.get("limits.inline_bytes", &value::bytes(1024, 64 * 1024 * 1024), 16 * 1024),
        state_bytes: reader.get("limits.state_bytes", &size, 16 * 1024 * 1024),
        page_size: reader.get("limits.page_size", &value::integer(1, 1_000), 100),
        connections: reader.get("limits.connections", &count, 6000),
        connections_per_address: reader.optional("limits.connections_per_address", &count),
        streams_per_connection: reader.get("limits.streams_per_connection", &count, 1024),
        rate: rate::read(reader),
        calls_in_flight: reader.get("limits.calls_in_flight", &count, 4096),
        bodies_bytes: reader.get("limits.bodies_bytes", &value::bytes(1, 1 << 30), 64 * 1024 * 1024),
        waiting_callers: reader.get("limits.waiting_callers", &count, 4096),
        starts_in_flight: reader.get("limits.starts_in_flight", &count, 128),
        starts_waiting: reader.get("limits.starts_waiting", &count, 2048),
        start_wait: reader.get(
            "limits.start_wait",
            &value::duration(Duration::ZERO, Duration::from_secs(60)),
            Duration::from_secs(2),
        ),
        backlog: reader.get("limits.backlog", &count, 1000),
    }
}

fn executor(reader: &mut SettingReader<'_>) -> ExecutorConfig {
    let day = Duration::from_secs(24 * 3600);
    let seconds = Duration::from_secs;
    let listen = ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 8472)));
    ExecutorConfig {
        listen: reader.get("executor.listen", &value::address(), listen),
        services: reader.get(
            "executor.services",
            &value::list("a list of services such as [payments, inventory]", |name| {
                NameKind::Service.check(name).is_ok()
            }),
            Vec::new(),
        ),
        duties: reader.get("executor.duties", &value::boolean(), true),
        duty_shards: reader.get("executor.duty_shards", &value::integer(1, 16), 4),
        worker_lease: reader.get(
            "executor.worker_lease",
            &value::duration(seconds(1), seconds(300)),
            seconds(5),
        ),
        max_in_flight: reader.get("executor.max_in_flight", &value::integer(1, 100_000), 256),
        all_in_flight: reader.get("executor.all_in_flight", &value::integer(1, 1_000_000), 1024),
        compensations_in_flight: reader.get(
            "executor.compensations_in_flight",
            &value::integer(1, 100_000),
            64,
        ),
        start_grace: reader.get(
            "executor.start_grace",
            &value::duration(Duration::ZERO, Duration::from_secs(60)),
            Duration::from_millis(200),
        ),
        redelivery: reader.get(
            "executor.redelivery",
            &value::duration(Duration::from_millis(100), day),
            Duration::from_secs(5),
        ),
        drain: reader.get("executor.drain", &value::duration(Duration::ZERO, day), Duration::from_secs(10)),
        outbound: outbound(reader),
    }
}

fn outbound(reader: &mut SettingReader<'_>) -> OutboundPolicy {
    let allow = reader.get(
        "executor.outbound.allow",
        &value::list(
            "a list of loopback, private, link-local and networks such as [private, 198.18.0.0/15]",
            |item| item.parse::<AddressRule>().is_ok(),
        ),
        Vec::new(),
    );
    let deny = reader.get(
        "executor.outbound.deny",
        &value::list("a list of networks such as [10.1.0.0/16, 192.0.2.7]", |item| {
            item.parse::<AddressRule>().is_ok_and(|rule| matches!(rule, AddressRule::Network(_)))
        }),
        Vec::new(),
    );
    // Every item has been parsed before.
    let rules = |items: &[String]| items.iter().filter_map(|item| item.parse().ok()).collect();
    OutboundPolicy::new(rules(&allow), rules(&deny))
}
