//! How NATS is used.

use super::link::News;
use crate::{Error, Tls, Topic};
use async_nats::{ConnectOptions, ServerAddr};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Between tries to reach a server: doubled from the first to the last.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// A server that does not answer a connection for this long is passed over.
const CONNECT: Duration = Duration::from_secs(3);
/// How often a silent connection is tried.
const PING: Duration = Duration::from_secs(5);

/// How NATS is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Servers that are asked first, as `host:port`.
    pub servers: Vec<String>,
    /// What the names of streams and subjects begin with.
    pub prefix: String,
    /// Replicas of a stream that is made because it is missing; none: three in a cluster, else one.
    pub replication: Option<u32>,
    /// What a topic holds at most.
    pub max_messages: u64,
    /// Connections are encrypted.
    pub tls: Option<Tls>,
    /// Who connects.
    pub credentials: Option<Credentials>,
}

/// Who connects. Secrets are not printed.
#[derive(Clone)]
pub enum Credentials {
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// The text of a credentials file: a user's JWT and the seed of its key.
    Jwt(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => {
                f.debug_struct("Password").field("user", user).finish_non_exhaustive()
            }
            Self::Token(_) => f.debug_struct("Token").finish_non_exhaustive(),
            Self::Jwt(_) => f.debug_struct("Jwt").finish_non_exhaustive(),
        }
    }
}

/// What a topic is called at the servers.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// Its subject, which is also what metrics call it.
    pub(super) subject: String,
    /// Its stream.
    pub(super) stream: String,
}

impl Settings {
    /// These servers, with everything else as it is by default.
    #[must_use]
    pub fn of(servers: Vec<String>) -> Self {
        let prefix = "goconductor".to_owned();
        Self { servers, prefix, replication: None, max_messages: 100_000, tls: None, credentials: None }
    }

    /// A topic's names. A namespace is told from a service by what neither has in its name; a stream's name has no
    /// dot, and gets what no other part has twice.
    pub(super) fn names_of(&self, topic: &Topic) -> Names {
        let subject = format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"));
        let stream = subject.replace('.', "__");
        Names { subject, stream }
    }

    /// Where the servers are.
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, Error> {
        if self.servers.is_empty() {
            return Err(Error::Configuration {
                reason: "no servers are named: queue.nats.servers".to_owned(),
            });
        }
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        let parse = |server: &String| {
            format!("{scheme}://{server}").parse().map_err(|error| Error::Configuration {
                reason: format!("queue.nats.servers: {server} is no host with a port: {error}"),
            })
        };
        self.servers.iter().map(parse).collect()
    }

    /// How to connect; `news` hears of the connection.
    pub(super) fn options(&self, news: Arc<News>) -> Result<ConnectOptions, Error> {
        let mut options = ConnectOptions::new()
            .name("goconductor")
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            .max_reconnects(None)
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                news.hear(&event);
                std::future::ready(())
            });
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config(tls.client("queue.nats")?);
        }
        options = match &self.credentials {
            None => options,
            Some(Credentials::Password { user, password }) => {
                options.user_and_password(user.clone(), password.clone())
            }
            Some(Credentials::Token(token)) => options.token(token.clone()),
            Some(Credentials::Jwt(text)) => {
                options.credentials(text).map_err(|error| Error::Configuration {
                    reason: format!("queue.nats.credentials is not the text of a credentials file: {error}"),
                })?
            }
        };
        Ok(options)
    }
}

fn delay(attempts: usize) -> Duration {
    // The first try waits for nothing.
    let doublings = u32::try_from(attempts.saturating_sub(2)).unwrap_or(u32::MAX).min(10);
    if attempts <= 1 { Duration::ZERO } else { (BACKOFF[0] * 2_u32.pow(doublings)).min(BACKOFF[1]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let password = "hunter2".to_owned();
        for credentials in [
            Credentials::Password { user: "me".to_owned(), password: password.clone() },
            Credentials::Token(password.clone()),
            Credentials::Jwt(password.clone()),
        ] {
            assert!(!format!("{credentials:?}").contains("hunter2"));
        }
    }

    #[test]
    fn topics_have_names_that_servers_take() {
        let settings = Settings::of(vec!["b:1".to_owned()]);
        let names = settings.names_of(&Topic::compensate("shop/payments"));
        assert_eq!(names.subject, "goconductor.shop_payments.compensate");
        assert_eq!(names.stream, "goconductor__shop_payments__compensate");
    }

    #[test]
    fn what_can_t_work_is_refused_with_its_setting() {
        let settings = Settings::of(vec!["127.0.0.1:4222".to_owned()]);
        assert!(settings.addresses().is_ok());
        assert!(Settings { servers: Vec::new(), ..settings.clone() }.addresses().is_err());
        let credentials = Some(Credentials::Jwt("nothing".to_owned()));
        let news = Arc::new(News::default());
        let error = Settings { credentials, ..settings }.options(news).unwrap_err();
        assert!(error.to_string().contains("queue.nats.credentials"), "{error}");
    }

    #[test]
    fn tries_become_rarer() {
        let of = |attempts| delay(attempts).as_millis();
        assert_eq!([of(0), of(1), of(2), of(3), of(7), of(1000)], [0, 0, 50, 100, 1600, 2000]);
    }
}
