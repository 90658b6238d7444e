//! The section `queue.nats`.

use super::super::reader::SettingReader;
use super::super::{tls, value};
use goconductor_queue::settings::Tls;
use goconductor_queue::settings::nats::{NatsCredentials, Settings};

pub(super) fn read(reader: &mut SettingReader<'_>, prefix: &str, is_used: bool) -> Option<Settings> {
    let servers = value::hosts("127.0.0.1:4222");
    let servers = reader.required_if(is_used, "queue.nats.servers", &servers, "queue.backend");
    let replication = reader.optional("queue.nats.replication", &value::integer(1, 5));
    let max_messages =
        reader.get("queue.nats.max_messages", &value::integer(1000, 100_000_000), 100_000).into();
    let tls = tls::optional(reader, "queue.nats");
    let tls = tls.map(|tls::Files { ca_file, certificate_file, key_file }| Tls {
        ca_file,
        certificate_file,
        key_file,
    });
    let (credentials, prefix) = (credentials(reader), prefix.to_owned());
    Some(Settings { servers: servers?, prefix, replication, max_messages, tls, credentials })
}

fn credentials(reader: &mut SettingReader<'_>) -> Option<NatsCredentials> {
    let user = reader.optional("queue.nats.user", &value::user_name());
    let password = reader.optional("queue.nats.password", &value::secret());
    let token = reader.optional("queue.nats.token", &value::secret());
    let jwt = reader.optional("queue.nats.credentials", &value::secret());
    let is_set = [user.is_some() || password.is_some(), token.is_some(), jwt.is_some()];
    if is_set.iter().filter(|is_set| **is_set).count() > 1 {
        let message = "has more than one of user and password, token, and credentials: set only one of them";
        reader.problem("queue.nats", reader.origin("queue.nats"), message);
    }
    match (user, password) {
        (Some(user), Some(password)) => return Some(NatsCredentials::Password { user, password }),
        (Some(_), None) => {
            let message = "is missing: queue.nats.user requires it";
            reader.problem("queue.nats.password", reader.origin("queue.nats.user"), message);
        }
        (None, Some(_)) => {
            let message = "is missing: queue.nats.password requires it";
            reader.problem("queue.nats.user", reader.origin("queue.nats.password"), message);
        }
        (None, None) => {}
    }
    token.map(NatsCredentials::Token).or(jwt.map(NatsCredentials::Jwt))
}
