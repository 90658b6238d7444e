//! Settings of the Kafka adapter.

use super::Tls;
use secrecy::SecretString;

/// Settings of the Kafka adapter.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bootstrap brokers, as `host:port`.
    pub brokers: Vec<String>,
    /// Prefix of topic names.
    pub prefix: String,
    /// Partitions of a topic that the adapter creates. A topic cannot keep more consumers busy than it has
    /// partitions.
    pub partitions: u32,
    /// Replication factor of a topic that the adapter creates. `None` means the default of the brokers.
    pub replication: Option<u32>,
    /// TLS files. `None` means that connections are not encrypted.
    pub tls: Option<Tls>,
    /// SASL credentials. `None` means that clients do not authenticate.
    pub sasl: Option<Sasl>,
}

/// SASL credentials.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// The SASL mechanism.
    pub mechanism: Mechanism,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

/// SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN: the password is sent in clear text.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

impl Settings {
    /// Creates settings for these bootstrap brokers, with defaults for everything else.
    #[must_use]
    pub fn new(brokers: Vec<String>) -> Self {
        let prefix = "goconductor".to_owned();
        Self { brokers, prefix, partitions: 8, replication: None, tls: None, sasl: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_not_printed() {
        let (user, password) = ("me".to_owned(), "hunter2".into());
        let sasl = Sasl { mechanism: Mechanism::Plain, user, password };
        assert!(!format!("{sasl:?}").contains("hunter2"));
    }
}
