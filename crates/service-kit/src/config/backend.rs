//! What is built in: databases and queues.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::brokers::{self, Nats, RabbitMq};
use super::kinesis::{Kinesis, kinesis};
use super::reader::Reader;
use super::value::{self, SecretText, SecretUrl};

/// Where durable state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateStore {
    /// In which database.
    pub backend: StateStoreBackend,
    /// How it is reached; for SQLite none: a file in the data directory.
    pub url: Option<SecretUrl>,
    /// How many connections are open at most.
    pub max_connections: u32,
    /// How long a workflow is kept after its end; zero: for ever.
    pub retention: Duration,
    /// Where a state-store listens.
    pub listen: SocketAddr,
    /// The state-stores that the other services ask; none: each opens the database itself.
    pub endpoints: Vec<String>,
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
    /// Which queue; once all processes have moved to another one, that is used whatever stands here.
    pub backend: QueueBackend,
    /// What the names of topics begin with.
    pub prefix: String,
    /// How Kafka is used.
    pub kafka: Kafka,
    /// How Kinesis is used.
    pub kinesis: Kinesis,
    /// How NATS is used.
    pub nats: Nats,
    /// How RabbitMQ is used.
    pub rabbitmq: RabbitMq,
}

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueBackend {
    /// In this process.
    Memory,
    /// Kafka.
    Kafka,
    /// Amazon Kinesis.
    Kinesis,
    /// NATS JetStream.
    Nats,
    /// RabbitMQ.
    RabbitMq,
}

impl QueueBackend {
    /// All of them, by their names.
    pub const ALL: &[(&str, Self)] = &[
        ("memory", Self::Memory),
        ("kafka", Self::Kafka),
        ("kinesis", Self::Kinesis),
        ("nats", Self::Nats),
        ("rabbitmq", Self::RabbitMq),
    ];

    /// What it is called in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Kafka => "kafka",
            Self::Kinesis => "kinesis",
            Self::Nats => "nats",
            Self::RabbitMq => "rabbitmq",
        }
    }
}

impl Queue {
    /// Whether it says how a queue is reached: such a queue can be moved to while the process runs.
    #[must_use]
    pub fn reaches(&self, backend: QueueBackend) -> bool {
        match backend {
            QueueBackend::Memory => false,
            QueueBackend::Kafka => !self.kafka.brokers.is_empty(),
            QueueBackend::Kinesis => !self.kinesis.region.is_empty(),
            QueueBackend::Nats => !self.nats.servers.is_empty(),
            QueueBackend::RabbitMq => !self.rabbitmq.hosts.is_empty(),
        }
    }
}

/// How Kafka is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// Brokers that are asked first.
    pub brokers: Vec<String>,
    /// Partitions of a topic that is made because it is missing.
    pub partitions: u32,
    /// Replicas of such a topic; none: as the brokers have it.
    pub replication: Option<u32>,
    /// How connections are secured.
    pub security: Security,
    /// TLS, where it is used.
    pub tls: Tls,
    /// SASL, where it is used.
    pub sasl: Option<Sasl>,
}

/// How connections to Kafka are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Plaintext,
    /// TLS.
    Tls,
    /// SASL without TLS.
    SaslPlaintext,
    /// SASL over TLS.
    SaslTls,
}

/// Files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whom to trust; none: whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How it is shown.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretText,
}

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// As it is.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

pub(super) fn state_store(reader: &mut Reader<'_>) -> StateStore {
    const BACKENDS: &[(&str, StateStoreBackend)] =
        &[("sqlite", StateStoreBackend::Sqlite), ("postgres", StateStoreBackend::Postgres)];
    let kind = value::choice(BACKENDS, |backend| {
        match backend {
            StateStoreBackend::Sqlite => "sqlite",
            StateStoreBackend::Postgres => "postgres",
        }
        .to_owned()
    });
    let endpoints = reader.get(
        "state_store.endpoints",
        &value::endpoints("http://127.0.0.1:8471, http://127.0.0.1:8481"),
        Vec::new(),
    );
    let backend = reader.get("state_store.backend", &kind, StateStoreBackend::Sqlite);
    let postgres = value::url(&["postgres", "postgresql"], "postgres://user@127.0.0.1/goconductor");
    let url = match backend {
        StateStoreBackend::Sqlite => reader
            .optional("state_store.url", &value::url(&["sqlite"], "sqlite:///var/lib/goconductor/state.db")),
        // Who asks others does not need to know where their database is.
        StateStoreBackend::Postgres if !endpoints.is_empty() => reader.optional("state_store.url", &postgres),
        StateStoreBackend::Postgres => reader.required("state_store.url", &postgres, "state_store.backend"),
    };
    let max_connections = reader.get("state_store.max_connections", &value::integer(1, 1_000), 10);
    let day = Duration::from_secs(24 * 3600);
    let retention = reader.get("state_store.retention", &value::span(Duration::ZERO, 36_500 * day), 30 * day);
    let listen = reader.get("state_store.listen", &value::address(), local(8471));
    StateStore { backend, url, max_connections, retention, listen, endpoints }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(super) fn queue(reader: &mut Reader<'_>) -> Queue {
    let kind = value::choice(QueueBackend::ALL, |backend| backend.name().to_owned());
    let backend = reader.get("queue.backend", &kind, QueueBackend::Memory);
    let is_prefix = |text: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        (1..=100).contains(&text.len()) && text.chars().all(inside)
    };
    let prefix = value::text("up to 100 letters, digits, hyphens and dots", is_prefix);
    Queue {
        backend,
        prefix: reader.get("queue.prefix", &prefix, "goconductor".to_owned()),
        kafka: kafka(reader, backend),
        kinesis: kinesis(reader, backend),
        nats: brokers::nats(reader, backend),
        rabbitmq: brokers::rabbitmq(reader, backend),
    }
}

fn kafka(reader: &mut Reader<'_>, backend: QueueBackend) -> Kafka {
    const SECURITIES: &[(&str, Security)] = &[
        ("plaintext", Security::Plaintext),
        ("tls", Security::Tls),
        ("sasl_plaintext", Security::SaslPlaintext),
        ("sasl_tls", Security::SaslTls),
    ];
    let hosts = value::hosts("127.0.0.1:9092");
    let brokers = if backend == QueueBackend::Kafka {
        reader.required("queue.brokers", &hosts, "queue.backend")
    } else {
        reader.optional("queue.brokers", &hosts)
    };
    let security = value::choice(SECURITIES, |security| {
        let name = SECURITIES.iter().find(|(_, known)| known == security).map(|(name, _)| *name);
        name.unwrap_or_default().to_owned()
    });
    let security = reader.get("queue.security", &security, Security::Plaintext);
    Kafka {
        brokers: brokers.unwrap_or_default(),
        partitions: reader.get("queue.partitions", &value::integer(1, 10_000), 8),
        replication: reader.optional("queue.replication", &value::integer(1, 100)),
        security,
        tls: Tls {
            ca_file: reader.optional("queue.tls.ca_file", &value::path()),
            certificate_file: reader.optional("queue.tls.certificate_file", &value::path()),
            key_file: reader.optional("queue.tls.key_file", &value::path()),
        },
        sasl: sasl(reader, security),
    }
}

fn sasl(reader: &mut Reader<'_>, security: Security) -> Option<Sasl> {
    const MECHANISMS: &[(&str, SaslMechanism)] = &[
        ("plain", SaslMechanism::Plain),
        ("scram_sha_256", SaslMechanism::ScramSha256),
        ("scram_sha_512", SaslMechanism::ScramSha512),
    ];
    let mechanism = value::choice(MECHANISMS, |mechanism| {
        let name = MECHANISMS.iter().find(|(_, known)| known == mechanism).map(|(name, _)| *name);
        name.unwrap_or_default().to_owned()
    });
    let mechanism = reader.get("queue.sasl.mechanism", &mechanism, SaslMechanism::ScramSha512);
    let is_user = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let (user, password) = (value::text("a user's name", is_user), value::secret_text());
    if matches!(security, Security::SaslPlaintext | Security::SaslTls) {
        let user = reader.required("queue.sasl.user", &user, "queue.security");
        let password = reader.required("queue.sasl.password", &password, "queue.security");
        return Some(Sasl { mechanism, user: user?, password: password? });
    }
    drop(reader.optional("queue.sasl.user", &user));
    drop(reader.optional("queue.sasl.password", &password));
    None
}
