//! NATS and RabbitMQ: each has a section of its own under `queue`.

use super::backend::{QueueBackend, Tls};
use super::reader::Reader;
use super::value::{self, Kind, SecretText};

/// How NATS is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nats {
    /// Servers that are asked first.
    pub servers: Vec<String>,
    /// Replicas of a stream that is made because it is missing; none: three in a cluster, else one.
    pub replication: Option<u32>,
    /// Messages that a topic holds at most.
    pub max_messages: u32,
    /// TLS; none: connections are not encrypted.
    pub tls: Option<Tls>,
    /// Who connects; none: anybody.
    pub credentials: Option<NatsCredentials>,
}

/// Who connects to NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsCredentials {
    /// A user with a password.
    Password(String, SecretText),
    /// A token.
    Token(SecretText),
    /// The text of a credentials file.
    Jwt(SecretText),
}

/// How RabbitMQ is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitMq {
    /// The brokers.
    pub hosts: Vec<String>,
    /// The virtual host.
    pub vhost: String,
    /// Replicas of a queue that is made because it is missing; none: as the brokers have it.
    pub replication: Option<u32>,
    /// Messages that a topic holds at most.
    pub max_messages: u32,
    /// How many messages a consumer fetches ahead.
    pub prefetch: u16,
    /// TLS; none: connections are not encrypted.
    pub tls: Option<Tls>,
    /// Who connects.
    pub user: String,
    /// The password.
    pub password: SecretText,
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Security {
    Plaintext,
    Tls,
}

fn user() -> Kind<String> {
    let is_user = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    value::text("a user's name", is_user)
}

/// TLS, if it is used: files alone do not say that it is.
fn tls(reader: &mut Reader<'_>, section: &str) -> Option<Tls> {
    const SECURITIES: &[(&str, Security)] = &[("plaintext", Security::Plaintext), ("tls", Security::Tls)];
    let security = value::choice(SECURITIES, |security| {
        match security {
            Security::Plaintext => "plaintext",
            Security::Tls => "tls",
        }
        .to_owned()
    });
    let security = reader.get(&format!("{section}.security"), &security, Security::Plaintext);
    let mut file = |name: &str| reader.optional(&format!("{section}.tls.{name}"), &value::path());
    let tls = Tls {
        ca_file: file("ca_file"),
        certificate_file: file("certificate_file"),
        key_file: file("key_file"),
    };
    if tls.certificate_file.is_some() != tls.key_file.is_some() {
        let (there, missing) = if tls.key_file.is_some() {
            ("key_file", "certificate_file")
        } else {
            ("certificate_file", "key_file")
        };
        let origin = reader.origin(&format!("{section}.tls.{there}"));
        reader.problem(&format!("{section}.tls.{missing}"), origin, format!("is missing: {there} needs it"));
    }
    let path = format!("{section}.security");
    let is_said = tls != Tls::default();
    if is_said && security == Security::Plaintext {
        let origin = reader.origin(&format!("{section}.tls"));
        reader.problem(&path, origin, "has to be tls where files for TLS are named");
    }
    (security == Security::Tls).then_some(tls)
}

/// A setting that must not be left out where its queue is used.
fn needed<T>(reader: &mut Reader<'_>, is_used: bool, path: &str, kind: &Kind<T>, because: &str) -> Option<T> {
    if is_used { reader.required(path, kind, because) } else { reader.optional(path, kind) }
}

pub(super) fn nats(reader: &mut Reader<'_>, backend: QueueBackend) -> Nats {
    let is_used = backend == QueueBackend::Nats;
    let servers = value::hosts("127.0.0.1:4222");
    let servers = needed(reader, is_used, "queue.nats.servers", &servers, "queue.backend");
    Nats {
        servers: servers.unwrap_or_default(),
        replication: reader.optional("queue.nats.replication", &value::integer(1, 5)),
        max_messages: reader.get("queue.nats.max_messages", &value::integer(1000, 100_000_000), 100_000),
        tls: tls(reader, "queue.nats"),
        credentials: credentials(reader),
    }
}

fn credentials(reader: &mut Reader<'_>) -> Option<NatsCredentials> {
    let user = reader.optional("queue.nats.user", &user());
    let password = reader.optional("queue.nats.password", &value::secret_text());
    let token = reader.optional("queue.nats.token", &value::secret_text());
    let jwt = reader.optional("queue.nats.credentials", &value::secret_text());
    let said = [user.is_some() || password.is_some(), token.is_some(), jwt.is_some()];
    if said.iter().filter(|said| **said).count() > 1 {
        let message = "has user and password, token, and credentials: say one of them";
        reader.problem("queue.nats", reader.origin("queue.nats"), message);
    }
    match (user, password) {
        (Some(user), Some(password)) => return Some(NatsCredentials::Password(user, password)),
        (Some(_), None) => {
            reader.problem(
                "queue.nats.password",
                reader.origin("queue.nats.user"),
                "is missing: a user has one",
            );
        }
        (None, Some(_)) => {
            reader.problem(
                "queue.nats.user",
                reader.origin("queue.nats.password"),
                "is missing: whose password?",
            );
        }
        (None, None) => {}
    }
    token.map(NatsCredentials::Token).or(jwt.map(NatsCredentials::Jwt))
}

pub(super) fn rabbitmq(reader: &mut Reader<'_>, backend: QueueBackend) -> RabbitMq {
    let is_used = backend == QueueBackend::RabbitMq;
    let hosts = value::hosts("127.0.0.1:5672");
    let hosts = needed(reader, is_used, "queue.rabbitmq.hosts", &hosts, "queue.backend");
    // One that is not used now can be moved to: it has to be whole.
    let because = if is_used { "queue.backend" } else { "queue.rabbitmq.hosts" };
    let is_used = is_used || hosts.is_some();
    let user = needed(reader, is_used, "queue.rabbitmq.user", &user(), because);
    let password = needed(reader, is_used, "queue.rabbitmq.password", &value::secret_text(), because);
    let is_vhost = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let prefetch = reader.get("queue.rabbitmq.prefetch", &value::integer(1, 10_000), 64);
    RabbitMq {
        hosts: hosts.unwrap_or_default(),
        vhost: reader.get("queue.rabbitmq.vhost", &value::text("a virtual host", is_vhost), "/".to_owned()),
        replication: reader.optional("queue.rabbitmq.replication", &value::integer(1, 9)),
        max_messages: reader.get("queue.rabbitmq.max_messages", &value::integer(1000, 100_000_000), 100_000),
        prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
        tls: tls(reader, "queue.rabbitmq"),
        user: user.unwrap_or_default(),
        password: password.unwrap_or_else(|| SecretText::new("")),
    }
}
