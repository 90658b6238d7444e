//! Keeps credentials of a process from servers that the API names.
//!
//! A caller of the API that could change the address of a broker alone would get the password of the configuration file:
//! each process would send it to the new address. So if the API sets where a backend is, or how its server is verified,
//! it must set the credentials as well.

use super::reader::SettingReader;
use super::source::Origin;

/// The settings of a backend.
struct Backend {
    /// Settings that decide which server gets the credentials.
    locations: &'static [&'static str],
    /// Settings with a secret that the server gets.
    credentials: &'static [&'static str],
}

const BACKENDS: &[Backend] = &[
    Backend {
        locations: &["queue.brokers", "queue.security", "queue.sasl.mechanism", "queue.tls.ca_file"],
        credentials: &["queue.sasl.password"],
    },
    Backend {
        locations: &["queue.kinesis.endpoint", "queue.kinesis.tls.ca_file"],
        credentials: &[
            "queue.kinesis.credentials.secret_access_key",
            "queue.kinesis.credentials.session_token",
        ],
    },
    Backend {
        locations: &["queue.nats.servers", "queue.nats.security", "queue.nats.tls.ca_file"],
        credentials: &["queue.nats.password", "queue.nats.token", "queue.nats.credentials"],
    },
    Backend {
        locations: &["queue.rabbitmq.hosts", "queue.rabbitmq.security", "queue.rabbitmq.tls.ca_file"],
        credentials: &["queue.rabbitmq.password"],
    },
    Backend {
        locations: &["election.endpoints", "election.security", "election.tls.ca_file"],
        credentials: &["election.password"],
    },
    // The URL contains the location and the credentials, but not whether the server is verified.
    Backend { locations: &["election.security", "election.tls.ca_file"], credentials: &["election.url"] },
];

/// Reports each location of the API whose credentials come from the configuration of the process.
pub(super) fn check(reader: &mut SettingReader<'_>) {
    for Backend { locations, credentials } in BACKENDS {
        let of_api = |path: &&&str| matches!(reader.origin(path), Origin::Api { .. });
        let Some(location) = locations.iter().find(of_api) else { continue };
        let of_process = |path: &&&str| reader.is_set(path) && !of_api(path);
        let Some(credential) = credentials.iter().find(of_process) else { continue };
        let message = format!(
            "cannot be set by the API while {credential} comes from the configuration of the process ({}): a caller of the \
             API could otherwise send the secret to another server; set {credential} by the API as well, in the form \
             secret://NAME",
            reader.origin(credential)
        );
        reader.problem(location, reader.origin(location), message);
    }
}
