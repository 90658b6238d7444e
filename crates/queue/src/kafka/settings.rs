//! How Kafka is used.

use crate::{Error, Tls, Topic};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use std::fmt;

/// A message's key and payload together: what a broker takes by default, less what it adds.
const MESSAGE_BYTES: usize = 1_000_000 - 1024;

/// How Kafka is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Brokers that are asked first, as `host:port`.
    pub brokers: Vec<String>,
    /// What the names of topics begin with.
    pub prefix: String,
    /// Partitions of a topic that is made because it is missing: more consumers than these have no work.
    pub partitions: u32,
    /// Replicas of such a topic; none: as the brokers have it.
    pub replication: Option<u32>,
    /// Connections are encrypted.
    pub tls: Option<Tls>,
    /// Who connects.
    pub sasl: Option<Sasl>,
}

/// Who connects. The password is not printed.
#[derive(Clone)]
pub struct Sasl {
    /// How the password is shown.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// As it is.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Settings {
    /// These brokers, with everything else as it is by default.
    #[must_use]
    pub fn of(brokers: Vec<String>) -> Self {
        let prefix = "goconductor".to_owned();
        Self { brokers, prefix, partitions: 8, replication: None, tls: None, sasl: None }
    }

    /// Whether this build can do what is asked for.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.brokers.is_empty() {
            return Err(Error::Configuration { reason: "no brokers are named: queue.brokers".to_owned() });
        }
        let scram = self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != Mechanism::Plain);
        if (self.tls.is_some() || scram) && !cfg!(feature = "kafka-tls") {
            let reason = "this build speaks to Kafka without TLS and without SCRAM: build it with \
                          `--features kafka-tls`, or set queue.security to plaintext (or sasl_plaintext with \
                          queue.sasl.mechanism plain)";
            return Err(Error::Configuration { reason: reason.to_owned() });
        }
        Ok(())
    }

    /// The name of a topic, and of its consumers' group. A namespace is told from a service by what neither
    /// has in its name.
    pub(super) fn name_of(&self, topic: &Topic) -> String {
        format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"))
    }

    pub(super) fn message_bytes(&self) -> usize {
        MESSAGE_BYTES
    }

    /// What every client has.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "goconductor")
            .set("socket.nagle.disable", "true")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "5000")
            .set("log_level", "3");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    config.set(name, file.display().to_string());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.name())
                .set("sasl.username", &sasl.user)
                .set("sasl.password", &sasl.password);
        }
        config
    }

    /// A producer whose retries neither double nor reorder.
    pub(super) fn producer(&self) -> Result<FutureProducer, Error> {
        self.client()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A batch forms while the one before it is on its way, and a little longer: a request costs the broker
            // more than a message does.
            .set("linger.ms", "1")
            .set("message.timeout.ms", "10000")
            .set("request.timeout.ms", "5000")
            .create()
            .map_err(|error| configuration(&error))
    }

    /// A consumer's settings, of a group.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // All is shared out anew in one round. Where only what has to move is moved, that takes two, and
            // the library waits a second between them.
            .set("partition.assignment.strategy", "roundrobin")
            .set("session.timeout.ms", "6000")
            // Who leaves is replaced at the others' next heartbeat.
            .set("heartbeat.interval.ms", "300")
            .set("max.poll.interval.ms", "60000")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.min.messages", "500")
            .set("queued.max.messages.kbytes", "4096");
        config
    }
}

pub(super) fn configuration(error: &KafkaError) -> Error {
    Error::Configuration { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_build_can_t_do_is_refused() {
        let plain = Settings::of(vec!["127.0.0.1:9092".to_owned()]);
        assert!(plain.check().is_ok());
        let secured = Settings { tls: Some(Tls::default()), ..plain.clone() };
        assert_eq!(secured.check().is_ok(), cfg!(feature = "kafka-tls"));
        assert!(Settings { brokers: Vec::new(), ..plain }.check().is_err());
    }

    #[test]
    fn a_password_is_not_printed() {
        let (user, password) = ("me".to_owned(), "hunter2".to_owned());
        let sasl = Sasl { mechanism: Mechanism::Plain, user, password };
        assert!(!format!("{sasl:?}").contains("hunter2"));
    }

    #[test]
    fn topics_have_names_that_brokers_take() {
        let settings = Settings::of(vec!["b:1".to_owned()]);
        assert_eq!(settings.name_of(&Topic::execute("payments")), "goconductor.payments");
        assert_eq!(
            settings.name_of(&Topic::compensate("shop/payments")),
            "goconductor.shop_payments.compensate"
        );
    }
}
