//! The configuration of every service: typed, checked as a whole, and able to say where each value came
//! from.
//!
//! The order is: defaults, the YAML file, the environment (`GOCONDUCTOR_STATE_STORE__BACKEND`), flags.
//! `env://NAME` and `file://path` stand for values in all of them. A variable can't hold a hyphen: in a
//! service's name `_` stands for it.

mod document;
mod reader;
mod reference;
mod source;
mod unknown;
mod value;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use source::{ENV_PREFIX, Flag, INVALID, Invalid, Origin, Problem, Setting, Sources};
pub use value::SecretUrl;

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

/// Where durable state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateStore {
    /// In which database.
    pub backend: StateStoreBackend,
    /// How it is reached; for SQLite none: a file in the data directory.
    pub url: Option<SecretUrl>,
    /// How many connections are open at most.
    pub max_connections: u32,
}

/// A database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateStoreBackend {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

/// What carries commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Which queue.
    pub backend: QueueBackend,
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBackend {
    /// In this process.
    Memory,
}

/// What chooses leaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Which election.
    pub backend: ElectionBackend,
}

/// An election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionBackend {
    /// In this process.
    Local,
}

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// By HTTP.
    pub http: HttpService,
    /// How many of its commands run at once.
    pub max_in_flight: u32,
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
}

/// How commands are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executor {
    /// How many execute at once.
    pub max_in_flight: u32,
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
            state_store: state_store(&mut reader),
            queue: queue(&mut reader),
            election: election(&mut reader),
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
        if !self.allow_insecure_bind && !self.listen.ip().to_canonical().is_loopback() {
            let message = format!(
                "{} can be reached from other machines, and nobody is authenticated yet: listen on 127.0.0.1 or \
                 [::1]; or, if something in front of it keeps strangers out, say `allow_insecure_bind: true` \
                 (GOCONDUCTOR_ALLOW_INSECURE_BIND=true)",
                self.listen
            );
            reader.problem("listen", reader.origin("listen"), message);
        }
        if self.executor.start_grace >= self.executor.redelivery {
            let message = "has to be shorter than executor.redelivery, or every command would be sent twice";
            reader.problem("executor.start_grace", reader.origin("executor.start_grace"), message);
        }
    }
}

fn state_store(reader: &mut Reader<'_>) -> StateStore {
    const BACKENDS: &[(&str, StateStoreBackend)] =
        &[("sqlite", StateStoreBackend::Sqlite), ("postgres", StateStoreBackend::Postgres)];
    let kind = value::choice(BACKENDS, |backend| {
        match backend {
            StateStoreBackend::Sqlite => "sqlite",
            StateStoreBackend::Postgres => "postgres",
        }
        .to_owned()
    });
    let backend = reader.get("state_store.backend", &kind, StateStoreBackend::Sqlite);
    let url = match backend {
        StateStoreBackend::Sqlite => reader
            .optional("state_store.url", &value::url(&["sqlite"], "sqlite:///var/lib/goconductor/state.db")),
        StateStoreBackend::Postgres => {
            let kind = value::url(&["postgres", "postgresql"], "postgres://user@127.0.0.1/goconductor");
            reader.required("state_store.url", &kind, "state_store.backend")
        }
    };
    let max_connections = reader.get("state_store.max_connections", &value::integer(1, 1_000), 10);
    StateStore { backend, url, max_connections }
}

fn queue(reader: &mut Reader<'_>) -> Queue {
    let kind = value::backend(
        &[("memory", QueueBackend::Memory)],
        &["kafka", "kinesis", "nats", "rabbitmq"],
        |backend| match backend {
            QueueBackend::Memory => "memory".to_owned(),
        },
    );
    Queue { backend: reader.get("queue.backend", &kind, QueueBackend::Memory) }
}

fn election(reader: &mut Reader<'_>) -> Election {
    let kind =
        value::backend(&[("local", ElectionBackend::Local)], &["postgres", "etcd", "zookeeper"], |backend| {
            match backend {
                ElectionBackend::Local => "local".to_owned(),
            }
        });
    Election { backend: reader.get("election.backend", &kind, ElectionBackend::Local) }
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
        let url = reader.required(&format!("{path}.http.url"), &value::http_url(), &path);
        if let Some(url) = url {
            services.insert(name, Service { http: HttpService { url }, max_in_flight });
        }
    }
    services
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
    Limits {
        body_bytes: reader.get("limits.body_bytes", &size, 1024 * 1024),
        // The JSON parser has a limit of its own at 128.
        json_depth: reader.get("limits.json_depth", &value::integer(1, 120), 64),
        input_bytes: reader.get("limits.input_bytes", &size, 512 * 1024),
        output_bytes: reader.get("limits.output_bytes", &size, 512 * 1024),
        page_size: reader.get("limits.page_size", &value::integer(1, 1_000), 100),
    }
}

fn executor(reader: &mut Reader<'_>) -> Executor {
    let day = Duration::from_secs(24 * 3600);
    Executor {
        max_in_flight: reader.get("executor.max_in_flight", &value::integer(1, 100_000), 256),
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
