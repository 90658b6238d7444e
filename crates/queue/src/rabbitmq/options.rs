//! The addresses of RabbitMQ brokers, and the names and arguments of queues.

use crate::settings::rabbitmq::Settings;
use crate::{Error, Topic};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use secrecy::ExposeSecret;

/// Maximum size of the key and payload of a message.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Seconds between heartbeats. A peer that is silent for twice as long is disconnected.
const HEARTBEAT: u16 = 5;
/// Maximum size of a frame. The library keeps buffers for 64 frames per connection.
const FRAME_BYTES: u32 = 32 * 1024;
/// Deliveries after which a broker drops a message. Without this argument, recent brokers drop it after 20.
const DELIVERY_LIMIT: i32 = i32::MAX;

impl Settings {
    /// Returns the name of a topic's queue. The underscore between namespace and service is unambiguous, because
    /// neither name contains one.
    pub(super) fn name_of(&self, topic: &Topic) -> String {
        format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"))
    }

    /// Returns the name of the exchange on which consumers report their progress by queue name.
    pub(super) fn progress(&self) -> ShortString {
        format!("{}.progress", self.prefix).into()
    }

    pub(super) fn message_bytes(&self) -> usize {
        MESSAGE_BYTES
    }

    /// Returns the address of each broker.
    pub(super) fn addresses(&self) -> Result<Vec<AMQPUri>, Error> {
        let invalid = |reason: String| Error::configuration(reason);
        if self.hosts.is_empty() {
            let reason = "queue.rabbitmq.hosts is empty: name at least one broker as host:port";
            return Err(invalid(reason.to_owned()));
        }
        let address = |of: &String| {
            let parts = of.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
            let (host, port) = parts
                .ok_or_else(|| invalid(format!("queue.rabbitmq.hosts: {of} is not a host with a port")))?;
            let username = self.user.clone();
            let password = self.password.expose_secret().to_owned();
            Ok(AMQPUri {
                scheme: if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
                authority: AMQPAuthority {
                    userinfo: AMQPUserInfo { username, password },
                    host: host.to_owned(),
                    port,
                },
                vhost: self.vhost.clone(),
                query: AMQPQueryString {
                    heartbeat: Some(HEARTBEAT),
                    frame_max: Some(FRAME_BYTES),
                    ..AMQPQueryString::default()
                },
            })
        };
        self.hosts.iter().map(address).collect()
    }

    /// Returns the arguments with which a queue is declared.
    pub(super) fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        if let Some(count) = self.replication.and_then(|count| i32::try_from(count).ok()) {
            arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(count));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(hosts: &[&str]) -> Settings {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Settings::new(hosts, "me".to_owned(), "hunter2".into())
    }

    #[test]
    fn error_of_invalid_settings_names_the_setting() {
        assert!(settings(&["127.0.0.1:5672"]).addresses().is_ok());
        for hosts in [&[][..], &["nowhere"], &["b:port"]] {
            let error = settings(hosts).addresses().unwrap_err();
            assert!(error.to_string().contains("queue.rabbitmq.hosts"), "{error}");
        }
    }

    #[test]
    fn queue_name_contains_prefix_namespace_service_and_lane() {
        let settings = settings(&["b:1"]);
        assert_eq!(settings.name_of(&Topic::execute("payments")), "goconductor.payments");
        let compensate = settings.name_of(&Topic::compensate("shop/payments"));
        assert_eq!(compensate, "goconductor.shop_payments.compensate");
    }
}
