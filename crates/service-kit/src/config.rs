//! The configuration of every service: typed, checked as a whole, and able to say where each value came
//! from.
//!
//! The order is: defaults, the YAML file, the environment (`GOCONDUCTOR_STATE_STORE__BACKEND`), flags.
//! `env://NAME` and `file://path` stand for values in all of them. A variable can't hold a hyphen: in a
//! service's name `_` stands for it.

mod backend;
mod brokers;
mod document;
mod election;
mod kinesis;
mod reader;
mod reference;
mod source;
mod unknown;
mod value;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use backend::{
    Kafka, Queue, QueueBackend, Sasl, SaslMechanism, Security, StateStore, StateStoreBackend, Tls,
};
pub use brokers::{Nats, NatsCredentials, RabbitMq};
pub use election::{Election, ElectionBackend, User};
pub use kinesis::{Kinesis, KinesisCapacity, KinesisKeys};
pub use source::{ENV_PREFIX, Flag, INVALID, Invalid, Origin, Problem, Setting, Sources};
pub use value::{SecretText, SecretUrl};

use reader::Reader;

/// What a service has to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the gateway listens.
    pub listen: SocketAddr,
    /// Whether `listen` may be reachable from other machines although nobody is authenticated.
    pub allow_insecure_bind: bool,
    /// Where local files live.
    pub data_dir: PathBuf,
    /// Where durable state lives.
    pub state_store: StateStore,
    /// What carries commands.
    pub queue: Queue,
    /// What chooses leaders.
    pub election: Election,
    /// How services without a worker are reached, by name.
    pub services: BTreeMap<String, Service>,
    /// How much is taken in at once.
    pub limits: Limits,
    /// How commands are run.
    pub executor: Executor,
    /// What is said about it all.
    pub telemetry: Telemetry,
    settings: Vec<Setting>,
}

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// By HTTP.
    pub http: HttpService,
    /// How many of its commands run at once.
    pub max_in_flight: u32,
    /// How many commands of each of these actions run at once.
    pub actions: BTreeMap<String, u32>,
}

/// A service that is called by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpService {
    /// What `/{action}` is appended to; without a slash at its end.
    pub url: SecretUrl,
}

/// How much is taken in at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The body of a request.
    pub body_bytes: usize,
    /// How deeply JSON is nested.
    pub json_depth: u32,
    /// The input of a workflow.
    pub input_bytes: usize,
    /// The output of a step.
    pub output_bytes: usize,
    /// How many of a list a page holds, where the request does not say.
    pub page_size: u32,
    /// Connections that are held at once.
    pub connections: u32,
    /// Calls that are carried out at once.
    pub calls_in_flight: u32,
    /// What the bodies of calls that are carried out hold together.
    pub bodies_bytes: usize,
    /// Long polls and streams at once.
    pub waiting_callers: u32,
    /// Starts that are carried out at once.
    pub starts_in_flight: u32,
    /// Starts of one namespace that wait for their turn.
    pub starts_waiting: u32,
    /// How long a start waits for its turn.
    pub start_wait: Duration,
    /// Commands of one service of one namespace, or of one of its actions, that wait: with more no starts that
    /// need it are taken in.
    pub backlog: u32,
}

/// How commands are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// Where a saga-executor listens, for workers and for whoever asks how it is.
    pub listen: SocketAddr,
    /// The services that it serves; none: all that have an address, or a worker that connects.
    pub services: Vec<String>,
    /// Whether it stands for the duties: redelivery and timers.
    pub duties: bool,
    /// In how many shares the duties are led, so that they spread over executors.
    pub duty_shards: u32,
    /// A worker on whose stream nothing is heard for this long is lost.
    pub worker_lease: Duration,
    /// How many of one service execute at once, unless the service says otherwise.
    pub max_in_flight: u32,
    /// How many of all services execute at once, and as many compensate: namespaces share them fairly.
    pub all_in_flight: u32,
    /// How many compensate at once, beside them.
    pub compensations_in_flight: u32,
    /// How long an attempt runs before its start is written by itself.
    pub start_grace: Duration,
    /// After what time a command that nobody speaks for is published again.
    pub redelivery: Duration,
    /// How long a shutdown waits for what runs.
    pub drain: Duration,
}

/// What is said about it all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// A level, or a filter by target.
    pub log_level: String,
    /// How a line looks.
    pub log_format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

impl Config {
    /// Reads all layers and checks the whole.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(sources: &Sources) -> Result<Self, Invalid> {
        let mut reader = Reader::new(sources)?;
        let mut config = Self {
            listen: reader.get("listen", &value::address(), SocketAddr::from((Ipv4Addr::LOCALHOST, 8470))),
            allow_insecure_bind: reader.get("allow_insecure_bind", &value::boolean(), false),
            data_dir: reader.get("data_dir", &value::path(), PathBuf::from("goconductor-data")),
            state_store: backend::state_store(&mut reader),
            queue: backend::queue(&mut reader),
            election: election::election(&mut reader),
            limits: limits(&mut reader),
            executor: executor(&mut reader),
            telemetry: telemetry(&mut reader),
            services: services(&mut reader),
            settings: Vec::new(),
        };
        config.check(&mut reader);
        config.settings = reader.finish()?;
        Ok(config)
    }

    /// Every value by dotted path, with where it came from; secrets are masked.
    #[must_use]
    pub fn explain(&self) -> &[Setting] {
        &self.settings
    }

    /// What each value by itself can't show.
    fn check(&self, reader: &mut Reader<'_>) {
        let listens = [
            ("listen", self.listen),
            ("state_store.listen", self.state_store.listen),
            ("election.listen", self.election.listen),
            ("executor.listen", self.executor.listen),
        ];
        for (path, listen) in listens {
            if self.allow_insecure_bind || listen.ip().to_canonical().is_loopback() {
                continue;
            }
            let message = format!(
                "{listen} can be reached from other machines, and nobody is authenticated yet: listen on 127.0.0.1 or \
                 [::1]; or, if something in front of it keeps strangers out, say `allow_insecure_bind: true` \
                 (GOCONDUCTOR_ALLOW_INSECURE_BIND=true)"
            );
            reader.problem(path, reader.origin(path), message);
        }
        if !self.executor.duty_shards.is_power_of_two() {
            let message = "is one of 1, 2, 4, 8, 16: shares have to be even";
            reader.problem("executor.duty_shards", reader.origin("executor.duty_shards"), message);
        }
        self.check_election(reader);
        election::check(&self.election, reader);
        if self.executor.start_grace >= self.executor.redelivery {
            let message = "has to be shorter than executor.redelivery, or every command would be sent twice";
            reader.problem("executor.start_grace", reader.origin("executor.start_grace"), message);
        }
    }
}

impl Config {
    /// An election on PostgreSQL needs to know where that is.
    fn check_election(&self, reader: &mut Reader<'_>) {
        let url = self.election.url.as_ref().or(match self.state_store.backend {
            StateStoreBackend::Postgres => self.state_store.url.as_ref(),
            StateStoreBackend::Sqlite => None,
        });
        if self.election.backend == ElectionBackend::Postgres
            && url.is_none()
            && self.election.electors.is_empty()
        {
            let message = "is missing: expected a URL such as postgres://user@127.0.0.1/goconductor, the \
                           database's direct address";
            reader.problem("election.url", reader.origin("election.backend"), message);
        }
    }

    /// Where the database of the election is; that of the state store unless it is said otherwise.
    #[must_use]
    pub fn election_url(&self) -> Option<&SecretUrl> {
        self.election.url.as_ref().or(self.state_store.url.as_ref())
    }
}

fn services(reader: &mut Reader<'_>) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    for name in reader.names("services") {
        if !is_service_name(&name) {
            let message = "a service's name is up to 63 lower-case letters, digits and hyphens inside";
            reader.refuse_name("services", &name, message.to_owned());
            continue;
        }
        let path = format!("services.{name}");
        let max_in_flight = reader.get(&format!("{path}.max_in_flight"), &value::integer(1, 100_000), 64);
        let actions = actions(reader, &format!("{path}.actions"));
        let url = reader.required(&format!("{path}.http.url"), &value::http_url(), &path);
        if let Some(url) = url {
            services.insert(name, Service { http: HttpService { url }, max_in_flight, actions });
        }
    }
    services
}

/// How many commands of each action run at once.
fn actions(reader: &mut Reader<'_>, section: &str) -> BTreeMap<String, u32> {
    let mut actions = BTreeMap::new();
    for name in reader.names(section) {
        let path = format!("{section}.{name}.max_in_flight");
        if let Some(limit) = reader.required(&path, &value::integer(1, 100_000), section) {
            actions.insert(name, limit);
        }
    }
    actions
}

fn is_service_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&name.len())
        && name.chars().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    let size = value::bytes(1, 64 * 1024 * 1024);
    let count = value::integer(1, 1_000_000);
    Limits {
        body_bytes: reader.get("limits.body_bytes", &size, 1024 * 1024),
        // The JSON parser has a limit of its own at 128.
        json_depth: reader.get("limits.json_depth", &value::integer(1, 120), 64),
        input_bytes: reader.get("limits.input_bytes", &size, 512 * 1024),
        output_bytes: reader.get("limits.output_bytes", &size, 512 * 1024),
        page_size: reader.get("limits.page_size", &value::integer(1, 1_000), 100),
        connections: reader.get("limits.connections", &count, 6000),
        calls_in_flight: reader.get("limits.calls_in_flight", &count, 4096),
        bodies_bytes: reader.get("limits.bodies_bytes", &value::bytes(1, 1 << 30), 64 * 1024 * 1024),
        waiting_callers: reader.get("limits.waiting_callers", &count, 4096),
        starts_in_flight: reader.get("limits.starts_in_flight", &count, 128),
        starts_waiting: reader.get("limits.starts_waiting", &count, 2048),
        start_wait: reader.get(
            "limits.start_wait",
            &value::span(Duration::ZERO, Duration::from_secs(60)),
            Duration::from_secs(2),
        ),
        backlog: reader.get("limits.backlog", &count, 1000),
    }
}

fn executor(reader: &mut Reader<'_>) -> Executor {
    let day = Duration::from_secs(24 * 3600);
    let seconds = Duration::from_secs;
    Executor {
        listen: reader.get(
            "executor.listen",
            &value::address(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 8472)),
        ),
        services: reader.get(
            "executor.services",
            &value::list("a list of services such as [payments, inventory]", is_service_name),
            Vec::new(),
        ),
        duties: reader.get("executor.duties", &value::boolean(), true),
        duty_shards: reader.get("executor.duty_shards", &value::integer(1, 16), 4),
        worker_lease: reader.get("executor.worker_lease", &value::span(seconds(1), seconds(300)), seconds(5)),
        max_in_flight: reader.get("executor.max_in_flight", &value::integer(1, 100_000), 256),
        all_in_flight: reader.get("executor.all_in_flight", &value::integer(1, 1_000_000), 1024),
        compensations_in_flight: reader.get(
            "executor.compensations_in_flight",
            &value::integer(1, 100_000),
            64,
        ),
        start_grace: reader.get(
            "executor.start_grace",
            &value::span(Duration::ZERO, Duration::from_secs(60)),
            Duration::from_millis(200),
        ),
        redelivery: reader.get(
            "executor.redelivery",
            &value::span(Duration::from_millis(100), day),
            Duration::from_secs(5),
        ),
        drain: reader.get("executor.drain", &value::span(Duration::ZERO, day), Duration::from_secs(10)),
    }
}

fn telemetry(reader: &mut Reader<'_>) -> Telemetry {
    const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = value::choice(FORMATS, |format| {
        match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
        .to_owned()
    });
    Telemetry {
        log_level: reader.get("telemetry.log_level", &value::log_level(), "info".to_owned()),
        log_format: reader.get("telemetry.log_format", &format, LogFormat::Text),
    }
}
