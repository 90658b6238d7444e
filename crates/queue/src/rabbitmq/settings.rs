//! How RabbitMQ is used.

use crate::{Error, Tls, Topic};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use std::fmt;

/// A message's key and payload together.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Seconds between signs of life; who gives none for twice as long is gone.
const HEARTBEAT: u16 = 5;
/// What is sent at once. The library has room for 64 of them in each connection.
const FRAME_BYTES: u32 = 32 * 1024;
/// How often a message may come back before the broker drops it: newer ones do so after 20 times unless it is said.
const DELIVERIES: i32 = i32::MAX;

/// How RabbitMQ is used.
#[derive(Clone)]
pub struct Settings {
    /// The brokers, as `host:port`; one that does not answer is passed over.
    pub hosts: Vec<String>,
    /// The virtual host.
    pub vhost: String,
    /// What the names of queues begin with.
    pub prefix: String,
    /// Replicas of a queue that is made because it is missing; none: as the brokers have it.
    pub replication: Option<u32>,
    /// What a topic holds at most.
    pub max_messages: u64,
    /// How many messages a consumer fetches ahead.
    pub prefetch: u16,
    /// Connections are encrypted.
    pub tls: Option<Tls>,
    /// Who connects.
    pub user: String,
    /// The password. It is not printed.
    pub password: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("hosts", &self.hosts)
            .field("vhost", &self.vhost)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// These brokers, with everything else as it is by default.
    #[must_use]
    pub fn of(hosts: Vec<String>, user: String, password: String) -> Self {
        Self {
            hosts,
            vhost: "/".to_owned(),
            prefix: "goconductor".to_owned(),
            replication: None,
            max_messages: 100_000,
            prefetch: 64,
            tls: None,
            user,
            password,
        }
    }

    /// The name of a topic's queue. A namespace is told from a service by what neither has in its name.
    pub(super) fn name_of(&self, topic: &Topic) -> String {
        format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"))
    }

    /// Where consumers say how far they are, by the queue's name.
    pub(super) fn progress(&self) -> ShortString {
        format!("{}.progress", self.prefix).into()
    }

    pub(super) fn message_bytes(&self) -> usize {
        MESSAGE_BYTES
    }

    /// How each broker is reached.
    pub(super) fn addresses(&self) -> Result<Vec<AMQPUri>, Error> {
        let wrong = |reason: String| Error::Configuration { reason };
        if self.hosts.is_empty() {
            return Err(wrong("no brokers are named: queue.rabbitmq.hosts".to_owned()));
        }
        let address = |of: &String| {
            let parts = of.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
            let (host, port) =
                parts.ok_or_else(|| wrong(format!("queue.rabbitmq.hosts: {of} is no host with a port")))?;
            Ok(AMQPUri {
                scheme: if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
                authority: AMQPAuthority {
                    userinfo: AMQPUserInfo { username: self.user.clone(), password: self.password.clone() },
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

    /// What a queue is made with.
    pub(super) fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERIES));
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
        Settings::of(hosts, "me".to_owned(), "hunter2".to_owned())
    }

    #[test]
    fn a_password_is_not_printed() {
        assert!(!format!("{:?}", settings(&["b:1"])).contains("hunter2"));
    }

    #[test]
    fn what_can_t_work_is_refused_with_its_setting() {
        assert!(settings(&["127.0.0.1:5672"]).addresses().is_ok());
        for hosts in [&[][..], &["nowhere"], &["b:port"]] {
            let error = settings(hosts).addresses().unwrap_err();
            assert!(error.to_string().contains("queue.rabbitmq.hosts"), "{error}");
        }
    }

    #[test]
    fn queues_have_names_that_tell_lanes_and_namespaces_apart() {
        let settings = settings(&["b:1"]);
        assert_eq!(settings.name_of(&Topic::execute("payments")), "goconductor.payments");
        let undo = settings.name_of(&Topic::compensate("shop/payments"));
        assert_eq!(undo, "goconductor.shop_payments.compensate");
    }
}
