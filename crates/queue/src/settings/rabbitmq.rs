//! Settings of the RabbitMQ adapter.

use super::Tls;
use secrecy::SecretString;

/// Settings of the RabbitMQ adapter.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Brokers, as `host:port`. A broker that does not respond is skipped.
    pub hosts: Vec<String>,
    /// The virtual host.
    pub vhost: String,
    /// Prefix of queue names.
    pub prefix: String,
    /// Replicas of a queue that the adapter creates. `None` means the default of the brokers.
    pub replication: Option<u32>,
    /// Maximum number of messages in a topic.
    pub max_messages: u64,
    /// Number of messages that a consumer prefetches.
    pub prefetch: u16,
    /// TLS files. `None` means that connections are not encrypted.
    pub tls: Option<Tls>,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

impl Settings {
    /// Creates settings for these brokers and this user, with defaults for everything else.
    #[must_use]
    pub fn new(hosts: Vec<String>, user: String, password: SecretString) -> Self {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_not_printed() {
        let settings = Settings::new(vec!["b:1".to_owned()], "me".to_owned(), "hunter2".into());
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
