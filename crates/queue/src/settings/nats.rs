//! Settings of the NATS adapter.

use super::Tls;
use secrecy::SecretString;

/// Settings of the NATS adapter.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bootstrap servers, as `host:port`.
    pub servers: Vec<String>,
    /// Prefix of stream and subject names.
    pub prefix: String,
    /// Replicas of a stream that the adapter creates. `None` means three in a cluster and one otherwise.
    pub replication: Option<u32>,
    /// Maximum number of messages in a topic.
    pub max_messages: u64,
    /// TLS files. `None` means that connections are not encrypted.
    pub tls: Option<Tls>,
    /// NatsCredentials. `None` means that clients do not authenticate.
    pub credentials: Option<NatsCredentials>,
}

/// NatsCredentials of a NATS client.
#[derive(Debug, Clone)]
pub enum NatsCredentials {
    /// A user name and a password.
    Password {
        /// The user name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token.
    Token(SecretString),
    /// The text of a credentials file: the JWT of a user and the seed of the user's key.
    Jwt(SecretString),
}

impl Settings {
    /// Creates settings for these bootstrap servers, with defaults for everything else.
    #[must_use]
    pub fn new(servers: Vec<String>) -> Self {
        let prefix = "goconductor".to_owned();
        Self { servers, prefix, replication: None, max_messages: 100_000, tls: None, credentials: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        for credentials in [
            NatsCredentials::Password { user: "me".to_owned(), password: "hunter2".into() },
            NatsCredentials::Token("hunter2".into()),
            NatsCredentials::Jwt("hunter2".into()),
        ] {
            assert!(!format!("{credentials:?}").contains("hunter2"));
        }
    }
}
