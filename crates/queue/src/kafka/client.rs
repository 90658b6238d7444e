//! The configuration of Kafka clients.

use crate::settings::kafka::{Mechanism, Settings};
use crate::{Error, Topic};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use secrecy::ExposeSecret;

/// Maximum size of the key and payload of a message: the default limit of a broker, less its own overhead.
const MESSAGE_BYTES: usize = 1_000_000 - 1024;

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
    /// Checks that this build supports the settings.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.brokers.is_empty() {
            let reason = "queue.brokers is empty: name at least one broker as host:port";
            return Err(Error::configuration(reason));
        }
        let uses_scram = self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism != Mechanism::Plain);
        if (self.tls.is_some() || uses_scram) && !cfg!(feature = "kafka-tls") {
            let reason = "this build supports neither TLS nor SCRAM for Kafka: build with `--features kafka-tls`, or \
                          set queue.security to plaintext (or to sasl_plaintext with queue.sasl.mechanism plain)";
            return Err(Error::configuration(reason));
        }
        Ok(())
    }

    /// Returns the name of a topic at the brokers, which is also the name of its consumer group. The underscore
    /// between namespace and service is unambiguous, because neither name contains one.
    pub(super) fn name_of(&self, topic: &Topic) -> String {
        format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"))
    }

    pub(super) fn message_bytes(&self) -> usize {
        MESSAGE_BYTES
    }

    /// Returns the configuration that all clients share.
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
                .set("sasl.password", sasl.password.expose_secret());
        }
        config
    }

    /// Creates a producer whose retries neither duplicate nor reorder messages.
    pub(super) fn producer(&self) -> Result<FutureProducer, Error> {
        self.client()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A batch fills while the previous one is in flight, and for 1 ms more, because a request costs the
            // broker more than a message does.
            .set("linger.ms", "1")
            .set("message.timeout.ms", "10000")
            .set("request.timeout.ms", "5000")
            .create()
            .map_err(|error| configuration(&error))
    }

    /// Returns the configuration of a consumer in this group.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // An eager assignor rebalances in one round. A cooperative one needs two, and the library waits one
            // second between them.
            .set("partition.assignment.strategy", "roundrobin")
            .set("session.timeout.ms", "6000")
            // The other members take over the partitions of a leaving member at their next heartbeat.
            .set("heartbeat.interval.ms", "300")
            .set("max.poll.interval.ms", "60000")
            // A commit waits this long for a coordinator before it fails. The default is ten minutes.
            .set("coordinator.query.interval.ms", "2000")
            // The same for a coordinator that does not respond.
            .set("socket.timeout.ms", "10000")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.min.messages", "500")
            .set("queued.max.messages.kbytes", "4096");
        config
    }
}

pub(super) fn configuration(error: &KafkaError) -> Error {
    Error::configuration("Kafka driver rejected the settings").with_source(error.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tls;

    #[test]
    fn settings_that_this_build_does_not_support_are_refused() {
        let plain = Settings::new(vec!["127.0.0.1:9092".to_owned()]);
        assert!(plain.check().is_ok());
        let secured = Settings { tls: Some(Tls::default()), ..plain.clone() };
        assert_eq!(secured.check().is_ok(), cfg!(feature = "kafka-tls"));
        assert!(Settings { brokers: Vec::new(), ..plain }.check().is_err());
    }

    #[test]
    fn topic_name_contains_prefix_namespace_service_and_lane() {
        let settings = Settings::new(vec!["b:1".to_owned()]);
        assert_eq!(settings.name_of(&Topic::execute("payments")), "goconductor.payments");
        assert_eq!(
            settings.name_of(&Topic::compensate("shop/payments")),
            "goconductor.shop_payments.compensate"
        );
    }
}
