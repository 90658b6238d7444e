//! The options of a NATS connection, and the names of streams and subjects.

use crate::settings::nats::{NatsCredentials, Settings};
use crate::{Error, Topic};
use async_nats::{ConnectOptions, Event, ServerAddr};
use secrecy::ExposeSecret;
use std::time::Duration;

/// First and longest delay between connection attempts. The delay doubles in between.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// Time after which a server that does not accept a connection is skipped.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between pings on an idle connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// StreamNames of a topic at the servers.
#[derive(Debug, Clone)]
pub(super) struct StreamNames {
    /// The subject, which is also the label value in metrics.
    pub(super) subject: String,
    /// The stream.
    pub(super) stream: String,
}

impl Settings {
    /// Returns the names of a topic. The underscore between namespace and service is unambiguous, because neither
    /// name contains one. A stream name must not contain a dot, so dots become two underscores, which occur nowhere
    /// else.
    pub(super) fn names_of(&self, topic: &Topic) -> StreamNames {
        let subject = format!("{}.{}", self.prefix, topic.to_string().replace('/', "_"));
        let stream = subject.replace('.', "__");
        StreamNames { subject, stream }
    }

    /// Returns the addresses of the bootstrap servers.
    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, Error> {
        if self.servers.is_empty() {
            let reason = "queue.nats.servers is empty: name at least one server as host:port";
            return Err(Error::configuration(reason));
        }
        let scheme = if self.tls.is_some() { "tls" } else { "nats" };
        let parse = |server: &String| {
            format!("{scheme}://{server}").parse().map_err(|error: std::io::Error| {
                Error::configuration(format!("queue.nats.servers: {server} is not a host with a port"))
                    .with_source(error)
            })
        };
        self.servers.iter().map(parse).collect()
    }

    /// Returns the options of a connection. The client calls `on_event` for every event of the connection.
    pub(super) fn options(
        &self,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<ConnectOptions, Error> {
        let mut options = ConnectOptions::new()
            .name("goconductor")
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(delay)
            .event_callback(move |event| {
                on_event(event);
                std::future::ready(())
            });
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config(tls.client("queue.nats")?);
        }
        options = match &self.credentials {
            None => options,
            Some(NatsCredentials::Password { user, password }) => {
                options.user_and_password(user.clone(), password.expose_secret().to_owned())
            }
            Some(NatsCredentials::Token(token)) => options.token(token.expose_secret().to_owned()),
            Some(NatsCredentials::Jwt(text)) => {
                options.credentials(text.expose_secret()).map_err(|error| {
                    Error::configuration("queue.nats.credentials is not the text of a credentials file")
                        .with_source(error)
                })?
            }
        };
        Ok(options)
    }
}

/// Returns the delay before the connection attempt with this number. The first attempt is not delayed.
fn delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(2)).unwrap_or(u32::MAX).min(10);
    if attempts <= 1 { Duration::ZERO } else { (BACKOFF[0] * 2_u32.pow(doublings)).min(BACKOFF[1]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contain_prefix_namespace_service_and_lane() {
        let settings = Settings::new(vec!["b:1".to_owned()]);
        let names = settings.names_of(&Topic::compensate("shop/payments"));
        assert_eq!(names.subject, "goconductor.shop_payments.compensate");
        assert_eq!(names.stream, "goconductor__shop_payments__compensate");
    }

    #[test]
    fn error_of_invalid_settings_names_the_setting() {
        let settings = Settings::new(vec!["127.0.0.1:4222".to_owned()]);
        assert!(settings.addresses().is_ok());
        assert!(Settings { servers: Vec::new(), ..settings.clone() }.addresses().is_err());
        let credentials = Some(NatsCredentials::Jwt("nothing".into()));
        let error = Settings { credentials, ..settings }.options(drop).unwrap_err();
        assert!(error.to_string().contains("queue.nats.credentials"), "{error}");
    }

    #[test]
    fn reconnect_delay_doubles_up_to_two_seconds() {
        let of = |attempts| delay(attempts).as_millis();
        assert_eq!([of(0), of(1), of(2), of(3), of(7), of(1000)], [0, 0, 50, 100, 1600, 2000]);
    }
}
