//! The reference page of the configuration.

use goconductor_service_kit::config::{Config, Invalid, Sources};
use std::collections::BTreeMap;

const HEAD: &str = "\
# Configuration

<!-- Generated from `crates/cli/src/reference/configuration.rs`; see the test `configuration_reference_is_current`. -->

All processes accept the same settings. [Configure a process](../how-to/configuration.md) describes the sources of the
configuration and their order. The environment variable of a setting is `GOCONDUCTOR_`, followed by its path in upper case
with `__` between the levels. A duration is a number with a unit, such as `250ms` or `1h30m`. A size is a number of bytes.

";

/// A setting: its path, its type and its description.
type SettingRow = (&'static str, &'static str, &'static str);

/// All settings. `NAME` and `ACTION` stand for any service and any action.
const SETTINGS: &[SettingRow] = &[
    ("listen", "address", "Address on which the gateway listens"),
    ("allow_insecure_bind", "boolean", "Allow an address other than loopback, without authentication"),
    (
        "advertise",
        "address",
        "Address under which other processes reach this one (default: the listening address, and the address of the \
         network interface in place of `0.0.0.0` or `[::]`)",
    ),
    ("data_dir", "path", "Directory of local files"),
    ("access.enabled", "boolean", "Whether callers of the API and workers are authenticated and authorised"),
    (
        "access.allow_plaintext",
        "boolean",
        "Allow an address other than loopback with access control and without TLS, which a proxy terminates",
    ),
    (
        "access.bootstrap_key",
        "secret",
        "Key with the role `admin` in all namespaces, which is not stored; usually `file://path` or `env://NAME`",
    ),
    ("access.roles.NAME.permissions", "list of text", "Permissions of a custom role"),
    (
        "access.bindings.NAME.subjects",
        "list of text",
        "Subjects that get the roles: `key:ID`, `user:SUBJECT`, `group:NAME` or `cert:URI`",
    ),
    ("access.bindings.NAME.roles", "list of text", "Roles of the subjects"),
    (
        "access.bindings.NAME.namespaces",
        "list of text",
        "Namespaces in which the roles apply, or `*` for all",
    ),
    (
        "access.bindings.NAME.services",
        "list of text",
        "Services that the subjects may serve as workers (default: all)",
    ),
    (
        "state_store.backend",
        "`sqlite`, `postgres`",
        "Database of the state store (default: that of `state_store.url`)",
    ),
    (
        "state_store.url",
        "URL",
        "`sqlite:///path` or `postgres://user@host/database` (default: a file in `data_dir`)",
    ),
    ("state_store.max_connections", "integer", "Maximum number of connections to PostgreSQL"),
    (
        "state_store.migrate",
        "`auto`, `verify`",
        "Whether a process migrates an older schema, or waits until `goconductor db migrate` was run",
    ),
    (
        "state_store.retention",
        "duration",
        "Time for which an ended workflow is kept; `0s` keeps it without limit",
    ),
    ("state_store.endpoints", "list of URLs", "State stores that gateways and executors use"),
    ("state_store.listen", "address", "Address on which the state store listens"),
    (
        "queue.backend",
        "`memory`, `kafka`, `kinesis`, `nats`, `rabbitmq`",
        "Queue; `memory` only in `goconductor dev`",
    ),
    ("queue.prefix", "text", "Prefix of all topics, streams and queues"),
    ("queue.brokers", "list of `host:port`", "Brokers of Kafka"),
    ("queue.partitions", "integer", "Partitions of a topic that is created because it is missing"),
    (
        "queue.replication",
        "integer",
        "Replication factor of a topic that is created (default: that of the brokers)",
    ),
    (
        "queue.security",
        "`plaintext`, `tls`, `sasl_plaintext`, `sasl_tls`",
        "Security of the connections to Kafka",
    ),
    ("queue.tls.ca_file", "path", "Certificates of the trusted authorities, in PEM format"),
    ("queue.tls.certificate_file", "path", "Client certificate, in PEM format"),
    ("queue.tls.key_file", "path", "Key of the client certificate, in PEM format"),
    ("queue.sasl.mechanism", "`plain`, `scram_sha_256`, `scram_sha_512`", "Mechanism of SASL"),
    ("queue.sasl.user", "text", "User of SASL"),
    ("queue.sasl.password", "secret", "Password of SASL"),
    ("queue.kinesis.region", "text", "Region of Kinesis"),
    (
        "queue.kinesis.endpoint",
        "URL",
        "Another endpoint, such as an emulator (default: the endpoint of the region)",
    ),
    ("queue.kinesis.tls.ca_file", "path", "Certificates of the trusted authorities, in PEM format"),
    ("queue.kinesis.capacity", "`provisioned`, `on_demand`", "Capacity mode of a stream that is created"),
    ("queue.kinesis.shards", "integer", "Shards of a provisioned stream that is created"),
    ("queue.kinesis.credentials.access_key_id", "text", "Access key (default: the standard sources of AWS)"),
    ("queue.kinesis.credentials.secret_access_key", "secret", "Secret of the access key"),
    ("queue.kinesis.credentials.session_token", "secret", "Token of temporary credentials"),
    ("queue.nats.servers", "list of `host:port`", "Servers of NATS"),
    ("queue.nats.user", "text", "User of NATS"),
    ("queue.nats.password", "secret", "Password of the user"),
    ("queue.nats.token", "secret", "Token, instead of a user"),
    (
        "queue.nats.credentials",
        "secret",
        "Text of a credentials file, instead of a user; usually `file://path`",
    ),
    ("queue.nats.security", "`plaintext`, `tls`", "Security of the connections to NATS"),
    ("queue.nats.tls.ca_file", "path", "Certificates of the trusted authorities, in PEM format"),
    ("queue.nats.tls.certificate_file", "path", "Client certificate, in PEM format"),
    ("queue.nats.tls.key_file", "path", "Key of the client certificate, in PEM format"),
    ("queue.nats.replication", "integer", "Replicas of a stream that is created (default: 3 in a cluster)"),
    (
        "queue.nats.max_messages",
        "integer",
        "Maximum number of messages of one lane of a service; further commands wait in the ledger",
    ),
    ("queue.rabbitmq.hosts", "list of `host:port`", "Brokers of RabbitMQ"),
    ("queue.rabbitmq.vhost", "text", "Virtual host"),
    ("queue.rabbitmq.user", "text", "User of RabbitMQ"),
    ("queue.rabbitmq.password", "secret", "Password of the user"),
    ("queue.rabbitmq.security", "`plaintext`, `tls`", "Security of the connections to RabbitMQ"),
    ("queue.rabbitmq.tls.ca_file", "path", "Certificates of the trusted authorities, in PEM format"),
    ("queue.rabbitmq.tls.certificate_file", "path", "Client certificate, in PEM format"),
    ("queue.rabbitmq.tls.key_file", "path", "Key of the client certificate, in PEM format"),
    ("queue.rabbitmq.prefetch", "integer", "Messages that an executor prefetches for each lane"),
    (
        "queue.rabbitmq.replication",
        "integer",
        "Replicas of a queue that is created (default: that of the broker)",
    ),
    (
        "queue.rabbitmq.max_messages",
        "integer",
        "Maximum number of messages of one lane of a service; further commands wait in the ledger",
    ),
    (
        "election.backend",
        "`local`, `postgres`, `etcd`, `zookeeper`",
        "Backend of elections; `local` only in `goconductor dev`",
    ),
    ("election.url", "URL", "Direct address of PostgreSQL (default: that of the state store)"),
    ("election.endpoints", "list of `host:port`", "Members of etcd, or servers of ZooKeeper"),
    ("election.prefix", "text", "Prefix of all keys of etcd, or nodes of ZooKeeper"),
    ("election.lease", "duration", "A leader that does not renew its lease for this time is replaced"),
    (
        "election.connect_timeout",
        "duration",
        "Timeout of a connection to one server; at most half of the lease",
    ),
    ("election.request_timeout", "duration", "Timeout of a request to one server; at most half of the lease"),
    ("election.security", "`plaintext`, `tls`", "Security of the connections to etcd"),
    ("election.tls.ca_file", "path", "Certificates of the trusted authorities, in PEM format"),
    ("election.tls.certificate_file", "path", "Client certificate, in PEM format"),
    ("election.tls.key_file", "path", "Key of the client certificate, in PEM format"),
    ("election.user", "text", "User of etcd or ZooKeeper"),
    ("election.password", "secret", "Password of the user"),
    (
        "election.era",
        "integer",
        "Number to increase when the backend changes, so that fencing tokens still increase",
    ),
    ("election.listen", "address", "Address on which the leader-elector listens"),
    ("election.electors", "list of URLs", "Leader-electors that executors and gateways use"),
    ("limits.body_bytes", "size", "Maximum body of a request"),
    ("limits.json_depth", "integer", "Maximum nesting of JSON"),
    ("limits.input_bytes", "size", "Maximum input of a workflow"),
    ("limits.output_bytes", "size", "Maximum output of a step"),
    ("limits.state_bytes", "size", "Maximum state of a workflow: its input and the outputs of its steps"),
    ("limits.page_size", "integer", "Entries of a list, if the request does not set a number"),
    (
        "limits.connections",
        "integer",
        "Maximum number of connections of a process, and at most half of its open files; a further connection receives 503",
    ),
    (
        "limits.calls_in_flight",
        "integer",
        "Requests in flight in a gateway; one namespace can use three quarters of them",
    ),
    (
        "limits.bodies_bytes",
        "size",
        "Total size of the bodies of the requests in flight, and of the responses that were not sent completely",
    ),
    (
        "limits.waiting_callers",
        "integer",
        "Long polls and streams; one namespace can use three quarters of them",
    ),
    ("limits.starts_in_flight", "integer", "Starts in flight in a gateway; namespaces take turns"),
    ("limits.starts_waiting", "integer", "Starts of one namespace that wait for their turn"),
    ("limits.start_wait", "duration", "Maximum time for which a start waits for its turn"),
    (
        "limits.backlog",
        "integer",
        "Waiting commands of one service, or of a limited action, in one namespace",
    ),
    (
        "audit.starts",
        "boolean",
        "Record requests of applications in the audit log too: starts, locks, campaigns and connections of workers",
    ),
    ("executor.listen", "address", "Address on which the executor listens"),
    ("executor.services", "list of text", "Services that the executor serves (default: all)"),
    ("executor.duties", "boolean", "Whether the executor is a candidate for the duties"),
    ("executor.duty_shards", "integer", "Number of shards of the duties; must be the same for all executors"),
    ("executor.worker_lease", "duration", "A worker that sends no message for this time is lost"),
    ("executor.max_in_flight", "integer", "Executes of one service in flight, if the service sets no limit"),
    (
        "executor.all_in_flight",
        "integer",
        "Executes of all services in flight, and the same number of compensations",
    ),
    (
        "executor.compensations_in_flight",
        "integer",
        "Compensations of one service in flight, in addition to its executes",
    ),
    ("executor.start_grace", "duration", "An attempt that takes longer is recorded as started"),
    (
        "executor.redelivery",
        "duration",
        "Time after which a command without any sign of progress is sent again",
    ),
    ("executor.drain", "duration", "Time for which a shutdown waits for attempts in flight"),
    ("services.NAME.http.url", "URL", "Base URL of a service; also set by `goconductor service set`"),
    ("services.NAME.max_in_flight", "integer", "Executes of the service in flight (default: 64)"),
    (
        "services.NAME.actions.ACTION.max_in_flight",
        "integer",
        "Commands of the action in flight (default: unlimited)",
    ),
    ("telemetry.log_level", "text", "Log level, or a filter by target"),
    ("telemetry.log_format", "`text`, `json`", "Format of log lines"),
    ("telemetry.otlp.enabled", "boolean", "Whether telemetry is exported, if there is an endpoint"),
    (
        "telemetry.otlp.endpoint",
        "URL",
        "Receiver of OTLP, without the paths of the signals; nothing is exported without one",
    ),
    ("telemetry.otlp.protocol", "`grpc`, `http/protobuf`", "Protocol of OTLP"),
    ("telemetry.otlp.headers.NAME", "secret", "Header of each request to the receiver, such as an API key"),
    ("telemetry.otlp.timeout", "duration", "Timeout of one request to the receiver"),
    (
        "telemetry.traces.sampling",
        "number",
        "Share of the traces that begin here and are recorded, from 0 to 1; a caller decides for its own traces",
    ),
    ("telemetry.logs.otlp", "boolean", "Whether log records are exported as well"),
    ("telemetry.metrics.otlp", "boolean", "Whether metrics are exported as well"),
    ("telemetry.metrics.interval", "duration", "Interval at which metrics are exported"),
    (
        "telemetry.resource.NAME",
        "text",
        "Attribute of the resource; the parts of a name such as `deployment.environment.name` are nested keys",
    ),
];

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
                "\n## {title}\n\n| setting | type | default | description |\n| --- | --- | --- | --- |\n"
            ));
        }
        let default = match defaults.get(path) {
            Some(value) if !value.is_empty() => format!("`{value}`"),
            Some(_) | None => String::new(),
        };
        text.push_str(&format!("| `{path}` | {kind} | {default} | {description} |\n"));
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
        ("access.roles.NAME.permissions", "workflows.read"),
        ("access.bindings.NAME.subjects", "key:0123456789abcdef"),
        ("access.bindings.NAME.roles", "viewer"),
        ("access.bindings.NAME.namespaces", "shop"),
        ("advertise", "127.0.0.1:8472"),
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
        ("election.url", "postgres://user@127.0.0.1/goconductor"),
        ("election.backend", "etcd"),
        ("election.endpoints", "127.0.0.1:2379"),
        ("election.user", "user"),
        ("election.password", "password"),
        ("election.security", "tls"),
        ("election.tls.ca_file", "ca.pem"),
        ("election.tls.certificate_file", "certificate.pem"),
        ("election.tls.key_file", "key.pem"),
        ("services.NAME.http.url", "http://127.0.0.1:9101"),
        ("services.NAME.max_in_flight", "8"),
        ("services.NAME.actions.ACTION.max_in_flight", "4"),
        ("telemetry.otlp.headers.NAME", "secret"),
        ("telemetry.resource.NAME", "attribute"),
    ];

    /// Returns the paths of a configuration with the given settings. Service names are lower case.
    fn paths(settings: &[(&str, &str)]) -> BTreeSet<String> {
        let flag = |(path, value): &(&str, &str)| Flag {
            path: path.replace("NAME", "name").replace("ACTION", "action"),
            value: (*value).to_owned(),
            name: "--set".to_owned(),
        };
        let sources = Sources { flags: settings.iter().map(flag).collect(), ..Sources::default() };
        let config = Config::load(&sources).unwrap_or_else(|invalid| panic!("{:?}", invalid.problems));
        let path = |path: &str| path.replace(".name", ".NAME").replace(".action.", ".ACTION.");
        config.explain().iter().map(|each| path(&each.path)).collect()
    }

    #[test]
    fn reference_lists_every_setting() {
        let mut expected = paths(OPTIONAL);
        expected.extend(paths(&[("queue.nats.token", "token")]));
        expected.extend(paths(&[("queue.nats.credentials", "credentials")]));
        let listed: BTreeSet<String> = SETTINGS.iter().map(|(path, ..)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), SETTINGS.len(), "a setting is listed twice");
        assert_eq!(listed, expected);
    }
}
