//! The reference page of the configuration.

use goconductor_service_kit::config::{Apply, Config, Invalid, SETTINGS, Sources, apply_of};
use std::collections::BTreeMap;

const HEAD: &str = "\
# Configuration

<!-- Generated from `crates/cli/src/reference/configuration.rs`; see the test `configuration_reference_is_current`. -->

All processes accept the same settings. [Configure a process](../how-to/configuration.md) describes the sources of the
configuration and their order. The environment variable of a setting is `GOCONDUCTOR_`, followed by its path in upper case
with `__` between the levels. A duration is a number with a unit, such as `250ms` or `1h30m`. A size is a number of bytes.

The column *change* says when a change by the [API](../how-to/change-the-configuration.md) takes effect: `live` while the
processes run, `restart` when a process is restarted. The API does not change the settings with `file`.
`goconductor config schema` prints all settings as JSON Schema.

";

/// Renders the reference of all settings as Markdown. `docs/reference/configuration.md` holds this text.
///
/// # Errors
/// Returns `Invalid` if the default configuration is invalid.
pub fn configuration_reference() -> Result<String, Invalid> {
    let config = Config::load(&Sources::default())?;
    let defaults: BTreeMap<&str, &str> =
        config.explain().iter().map(|each| (each.path.as_str(), each.value.as_str())).collect();
    let mut text = String::from(HEAD);
    let mut section = None;
    for (path, kind, description) in SETTINGS {
        let own = path.split_once('.').map_or("", |(section, _)| section);
        if section != Some(own) {
            section = Some(own);
            let title = if own.is_empty() { "General".to_owned() } else { format!("`{own}`") };
            text.push_str(&format!(
                "\n## {title}\n\n| setting | type | default | change | description |\n| --- | --- | --- | --- | --- |\n"
            ));
        }
        let default = match defaults.get(path) {
            Some(value) if !value.is_empty() => format!("`{value}`"),
            Some(_) | None => String::new(),
        };
        let change = match apply_of(path) {
            Apply::Live => "live",
            Apply::Restart => "restart",
            Apply::FileOnly => "file",
        };
        text.push_str(&format!("| `{path}` | {kind} | {default} | {change} | {description} |\n"));
    }
    Ok(text.replace("\n\n\n", "\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::Flag;
    use std::collections::BTreeSet;

    /// Settings without a default, with a valid value.
    const OPTIONAL: &[(&str, &str)] = &[
        ("access.enabled", "true"),
        ("access.bootstrap_key", "0123456789abcdef0123456789abcdef"),
        ("access.oidc.issuer", "https://login.example"),
        ("access.oidc.audience", "goconductor"),
        ("access.oidc.jwks_url", "https://login.example/keys"),
        ("access.oidc.ca_file", "ca.pem"),
        ("access.oidc.client_id", "console"),
        ("access.oidc.client_secret", "secret"),
        ("access.session.public_url", "https://conductor.example"),
        ("access.roles.NAME.permissions", "workflows.read"),
        ("state_store.retention_completed", "30d"),
        ("state_store.retention_rolled_back", "30d"),
        ("state_store.retention_terminated", "30d"),
        ("access.bindings.NAME.subjects", "key:0123456789abcdef"),
        ("access.bindings.NAME.roles", "viewer"),
        ("access.bindings.NAME.namespaces", "shop"),
        ("advertise", "127.0.0.1:8472"),
        ("process.core_dumps", "false"),
        ("tls.ca_file", "ca.pem"),
        ("tls.certificate_file", "certificate.pem"),
        ("tls.key_file", "key.pem"),
        ("state_store.url", "sqlite:///data/goconductor.db"),
        ("queue.brokers", "127.0.0.1:9092"),
        ("queue.replication", "1"),
        ("queue.security", "tls"),
        ("queue.tls.ca_file", "ca.pem"),
        ("queue.tls.certificate_file", "certificate.pem"),
        ("queue.tls.key_file", "key.pem"),
        ("queue.sasl.user", "user"),
        ("queue.sasl.password", "password"),
        ("queue.kinesis.region", "eu-west-1"),
        ("queue.kinesis.endpoint", "https://127.0.0.1:4566"),
        ("queue.kinesis.tls.ca_file", "ca.pem"),
        ("queue.kinesis.credentials.access_key_id", "id"),
        ("queue.kinesis.credentials.secret_access_key", "secret"),
        ("queue.kinesis.credentials.session_token", "token"),
        ("queue.nats.servers", "127.0.0.1:4222"),
        ("queue.nats.user", "user"),
        ("queue.nats.password", "password"),
        ("queue.nats.replication", "1"),
        ("queue.nats.security", "tls"),
        ("queue.nats.tls.ca_file", "ca.pem"),
        ("queue.nats.tls.certificate_file", "certificate.pem"),
        ("queue.nats.tls.key_file", "key.pem"),
        ("queue.rabbitmq.hosts", "127.0.0.1:5672"),
        ("queue.rabbitmq.user", "user"),
        ("queue.rabbitmq.password", "password"),
        ("queue.rabbitmq.replication", "1"),
        ("queue.rabbitmq.security", "tls"),
        ("queue.rabbitmq.tls.ca_file", "ca.pem"),
        ("queue.rabbitmq.tls.certificate_file", "certificate.pem"),
        ("queue.rabbitmq.tls.key_file", "key.pem"),
        ("secrets.master_key", "env://KEY"),
        ("election.url", "postgres://user@127.0.0.1/goconductor"),
        ("election.backend", "etcd"),
        ("election.endpoints", "127.0.0.1:2379"),
        ("election.user", "user"),
        ("election.password", "password"),
        ("election.security", "tls"),
        ("election.tls.ca_file", "ca.pem"),
        ("election.tls.certificate_file", "certificate.pem"),
        ("election.tls.key_file", "key.pem"),
        ("limits.connections_per_address", "100"),
        ("limits.rate.caller.burst", "10"),
        ("limits.rate.namespace.burst", "10"),
        ("services.NAME.http.url", "http://127.0.0.1:9101"),
        ("services.NAME.http.headers.HEADER", "secret://token"),
        ("services.NAME.max_in_flight", "8"),
        ("services.NAME.actions.ACTION.max_in_flight", "4"),
        ("telemetry.otlp.headers.NAME", "secret"),
        ("telemetry.resource.NAME", "attribute"),
    ];

    fn placeholder(part: &str) -> &str {
        match part {
            "name" => "NAME",
            "action" => "ACTION",
            "x-header" => "HEADER",
            other => other,
        }
    }

    /// Returns the paths of a configuration with the given settings. Service names are lower case.
    fn paths(settings: &[(&str, &str)]) -> BTreeSet<String> {
        let flag = |(path, value): &(&str, &str)| Flag {
            path: path.replace("NAME", "name").replace("ACTION", "action").replace("HEADER", "x-header"),
            value: (*value).to_owned(),
            name: "--set".to_owned(),
        };
        let sources = Sources { flags: settings.iter().map(flag).collect(), ..Sources::default() };
        let config = Config::load(&sources).unwrap_or_else(|invalid| panic!("{:?}", invalid.problems));
        let path = |path: &str| path.split('.').map(placeholder).collect::<Vec<_>>().join(".");
        config.explain().iter().map(|each| path(&each.path)).collect()
    }

    #[test]
    fn reference_lists_every_setting() {
        let mut expected = paths(OPTIONAL);
        expected.extend(paths(&[
            ("state_store.url", "postgres://user@127.0.0.1/goconductor"),
            ("state_store.tls.ca_file", "ca.pem"),
            ("state_store.tls.certificate_file", "certificate.pem"),
            ("state_store.tls.key_file", "key.pem"),
        ]));
        expected.extend(paths(&[("queue.nats.token", "token")]));
        expected.extend(paths(&[("queue.nats.credentials", "credentials")]));
        let listed: BTreeSet<String> = SETTINGS.iter().map(|(path, ..)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), SETTINGS.len(), "a setting is listed twice");
        assert_eq!(listed, expected);
    }
}
