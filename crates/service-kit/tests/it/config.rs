//! Tables of configurations, with the values and problems that result.

use std::path::PathBuf;
use std::time::Duration;

use goconductor_queue::settings::{nats, rabbitmq};
use goconductor_service_kit::config::{
    Config, ElectionBackend, Flag, IgnoreReason, IgnoredVariable, Invalid, LogFormat, MasterKeySource,
    Origin, QueueBackend, ResolvedSecrets, Sources, StateStoreBackend,
};
use secrecy::{ExposeSecret, SecretString};

/// The layers of a configuration, with a file in a temporary directory.
pub(crate) struct Written {
    sources: Sources,
    directory: tempfile::TempDir,
}

impl Written {
    pub(crate) fn yaml(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        let file = directory.path().join("goconductor.yaml");
        std::fs::write(&file, text).expect("the file can be written");
        Self { sources: Sources { file: Some(file), ..Sources::default() }, directory }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, path: &str, value: &str, name: &str) -> Self {
        let flag = Flag { path: path.to_owned(), value: value.to_owned(), name: name.to_owned() };
        self.sources.flags.push(flag);
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.directory.path().join(name), text).expect("the file can be written");
        self
    }

    pub(crate) fn load(&self) -> Result<Config, Invalid> {
        Config::load(&self.sources)
    }

    /// Returns the problems, without the name of the directory.
    pub(crate) fn problems(&self) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        let invalid = self.load().expect_err("the configuration is invalid");
        assert_eq!(invalid.code(), "GC0001");
        invalid.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }

    fn explained(&self) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        let config = self.load().expect("the configuration is valid");
        config.explain().iter().map(|setting| setting.to_string().replace(&prefix, "")).collect()
    }
}

#[test]
fn empty_sources_give_the_defaults() {
    let config = Config::load(&Sources::default()).expect("the defaults are valid");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8470");
    assert!(!config.allow_insecure_bind);
    assert_eq!(config.data_dir, PathBuf::from("goconductor-data"));
    assert_eq!(config.state_store.backend, StateStoreBackend::Sqlite);
    assert!(config.state_store.url.is_none());
    assert_eq!(config.queue.backend, QueueBackend::Memory);
    assert_eq!(config.election.backend, ElectionBackend::Local);
    assert!(config.services.is_empty());
    assert_eq!((config.limits.body_bytes, config.limits.json_depth), (1_048_576, 64));
    assert_eq!((config.limits.input_bytes, config.limits.output_bytes), (64 << 20, 64 << 20));
    assert_eq!((config.limits.inline_bytes, config.limits.state_bytes), (16 << 10, 16 << 20));
    assert_eq!((config.executor.max_in_flight, config.executor.compensations_in_flight), (256, 64));
    assert_eq!((config.executor.all_in_flight, config.limits.backlog), (1024, 1000));
    assert_eq!((config.limits.calls_in_flight, config.limits.waiting_callers), (4096, 4096));
    assert_eq!((config.limits.starts_in_flight, config.limits.starts_waiting), (128, 2048));
    assert_eq!((config.limits.start_wait, config.limits.bodies_bytes), (Duration::from_secs(2), 64 << 20));
    assert_eq!(config.executor.start_grace, Duration::from_millis(200));
    assert_eq!(config.executor.redelivery, Duration::from_secs(5));
    assert_eq!(config.executor.drain, Duration::from_secs(10));
    assert_eq!(config.telemetry.log_format, LogFormat::Text);
    assert!(config.explain().iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn documented_file_is_valid() {
    let written = Written::yaml(
        "listen: 127.0.0.1:9000\n\
         state_store: { backend: postgres, url: \"postgres://me@127.0.0.1/orders\" }\n\
         queue: { backend: memory }\n\
         election: { backend: local }\n\
         services:\n  \
           payments: { http: { url: http://127.0.0.1:9101/ } }\n  \
           order-book: { http: { url: https://books.example/saga }, max_in_flight: 8 }\n\
         limits: { body_bytes: 2MiB, input_bytes: 1000 }\n\
         executor: { drain: 1m30s }\n\
         telemetry:\n",
    );
    let config = written.load().expect("valid");
    assert_eq!(config.listen.port(), 9000);
    assert_eq!(config.state_store.url.expect("the URL is set").expose(), "postgres://me@127.0.0.1/orders");
    let urls: Vec<_> = config
        .services
        .iter()
        .map(|(name, service)| (name.as_str(), service.http.url.expose(), service.max_in_flight))
        .collect();
    assert_eq!(
        urls,
        [("order-book", "https://books.example/saga", 8), ("payments", "http://127.0.0.1:9101", 64)]
    );
    assert_eq!((config.limits.body_bytes, config.limits.input_bytes), (2 << 20, 1000));
    assert_eq!(config.executor.drain, Duration::from_secs(90));
}

#[test]
fn election_section_is_read_into_adapter_settings() {
    let written = Written::yaml(
        "election:\n  backend: etcd\n  endpoints: [10.0.0.1:2379, 10.0.0.2:2379]\n  prefix: shop\n  \
           lease: 10s\n  connect_timeout: 2s\n  request_timeout: 500ms\n  security: tls\n  \
           tls: { ca_file: ca.pem, certificate_file: me.pem, key_file: me.key }\n  \
           user: elector\n  password: env://ELECTOR\n  era: 2\n",
    )
    .env("ELECTOR", "hunter2");
    let election = written.load().expect("valid").election;
    assert_eq!(election.backend, ElectionBackend::Etcd);
    let settings = election.settings;
    assert_eq!(settings.endpoints, ["10.0.0.1:2379", "10.0.0.2:2379"]);
    assert_eq!((settings.prefix.as_str(), election.era), ("shop", 2));
    let times = (settings.lease, settings.connect_timeout, settings.request_timeout);
    assert_eq!(times, (Duration::from_secs(10), Duration::from_secs(2), Duration::from_millis(500)));
    assert_eq!(settings.tls.expect("TLS is enabled").ca_file, Some(PathBuf::from("ca.pem")));
    let credentials = settings.credentials.expect("a user is set");
    assert_eq!((credentials.user.as_str(), credentials.password.expose_secret()), ("elector", "hunter2"));
    assert!(!written.explained().concat().contains("hunter2"));
    // A process that connects to leader-electors does not need to know their backend.
    let asking = Written::yaml("election: { backend: zookeeper, electors: ['http://127.0.0.1:8473'] }");
    let election = asking.load().expect("valid").election;
    assert_eq!((election.backend, election.electors.len()), (ElectionBackend::ZooKeeper, 1));
}

#[test]
fn actions_have_their_own_limits() {
    let service = "services:\n  payments:\n    http: { url: http://127.0.0.1:9101 }\n    actions: ";
    let written = Written::yaml(&format!(
        "{service}{{ charge: {{ max_in_flight: 4 }}, refund: {{ max_in_flight: 9 }} }}\n"
    ));
    let config = written.load().expect("valid");
    let limits: Vec<_> =
        config.services["payments"].actions.iter().map(|(name, limit)| (name.as_str(), *limit)).collect();
    assert_eq!(limits, [("charge", 4), ("refund", 9)]);
    for (actions, expected) in [
        ("{ charge: { max_in_flight: 0 } }", "expected a whole number from 1 to 100000"),
        ("{ charge: {} }", "is missing"),
        ("{ charge: 4 }", "expected keys (max_in_flight)"),
        ("{ charge: { most: 4 } }", "unknown key"),
    ] {
        let problems = Written::yaml(&format!("{service}{actions}\n")).problems();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{actions}: {problems:?}");
    }
}

#[test]
fn queue_sections_are_read_into_adapter_settings() {
    let written = Written::yaml(
        "queue:\n  backend: rabbitmq\n  prefix: shop\n  nats: { servers: [n:4222], credentials: file://user.creds }\n  \
           rabbitmq:\n    hosts: [a:5671, b:5671]\n    user: me\n    password: env://SECRET\n    prefetch: 8\n    \
           security: tls\n    tls: { ca_file: /ca.pem }\n",
    )
    .file("user.creds", "hunter2")
    .env("SECRET", "hunter2");
    let config = written.load().expect("valid");
    assert_eq!(config.queue.backend, QueueBackend::RabbitMq);
    let rabbitmq::Settings { hosts, user, password, prefetch, tls, vhost, prefix, .. } =
        config.queue.rabbitmq.as_ref().expect("hosts are set");
    let password = password.expose_secret();
    assert_eq!((hosts.join(" "), &**user, password), ("a:5671 b:5671".to_owned(), "me", "hunter2"));
    assert_eq!((*prefetch, &**vhost, &**prefix), (8, "/", "shop"));
    assert_eq!(tls.as_ref().and_then(|tls| tls.ca_file.clone()), Some(PathBuf::from("/ca.pem")));
    let nats = config.queue.nats.as_ref().expect("servers are set");
    let Some(nats::NatsCredentials::Jwt(text)) = &nats.credentials else { panic!("{nats:?}") };
    assert_eq!((text.expose_secret(), &nats.tls, &*nats.prefix), ("hunter2", &None, "shop"));
    let configured: Vec<_> = config.queue.configured().map(QueueBackend::name).collect();
    assert_eq!(configured, ["nats", "rabbitmq"]);
    assert!(!format!("{config:?} {:?}", written.explained()).contains("hunter2"));
}

#[test]
fn empty_file_and_json_are_valid() {
    for text in ["", "# nothing yet\n", "{}", "null\n", "state_store:\nservices: {}\n"] {
        assert!(Written::yaml(text).load().is_ok(), "{text:?}");
    }
    let json = Written::yaml(r#"{"executor": {"max_in_flight": 3}}"#);
    assert_eq!(json.load().expect("valid").executor.max_in_flight, 3);
}

#[test]
fn stronger_layer_overrides_weaker_layer() {
    let yaml = "executor: { max_in_flight: 2 }\n";
    let value = |written: &Written| written.load().expect("valid").executor.max_in_flight;
    let file = Written::yaml(yaml);
    assert_eq!(value(&file), 2);
    let env = file.env("GOCONDUCTOR_EXECUTOR__MAX_IN_FLIGHT", "3");
    assert_eq!(value(&env), 3);
    let flag = env.flag("executor.max_in_flight", "4", "--max-in-flight");
    assert_eq!(value(&flag), 4);
}

#[test]
fn environment_sets_values_at_every_level() {
    let config = Written::yaml("")
        .env("GOCONDUCTOR_LISTEN", "[::1]:80")
        .env("GOCONDUCTOR_STATE_STORE__BACKEND", "sqlite")
        .env("GOCONDUCTOR_SERVICES__ORDER_BOOK__HTTP__URL", "http://127.0.0.1:9103")
        .env("GOCONDUCTOR_ALLOW_INSECURE_BIND", "true")
        .env("GOCONDUCTOR_CONFIG", "is no setting")
        .env("PATH", "is not ours")
        .load()
        .expect("valid");
    assert_eq!(config.listen.to_string(), "[::1]:80");
    assert!(config.allow_insecure_bind);
    assert_eq!(config.services["order-book"].http.url.expose(), "http://127.0.0.1:9103");
}

#[test]
fn variables_of_the_command_line_are_not_reported() {
    let mut written = Written::yaml("");
    for name in ["CONFIG", "SERVER", "NAMESPACE", "CA", "CERT", "KEY", "COMPLETE"] {
        written = written.env(&format!("GOCONDUCTOR_{name}"), "is no setting");
    }
    assert!(written.load().expect("valid").ignored_variables().is_empty());
}

#[test]
fn unknown_variables_are_ignored_and_reported_with_the_nearest_name() {
    let unknown = [
        ("GOCONDUCTOR_", None),
        ("GOCONDUCTOR_BIN", None),
        ("GOCONDUCTOR_LISEN", Some("GOCONDUCTOR_LISTEN")),
        ("GOCONDUCTOR_LISTEN__PORT", None),
        ("GOCONDUCTOR_QUEUE__BAKEND", Some("GOCONDUCTOR_QUEUE__BACKEND")),
        ("GOCONDUCTOR_SERVERS", Some("GOCONDUCTOR_SERVER")),
        // A section, the names of an open section, and a key below a name that nothing else sets.
        ("GOCONDUCTOR_SERVICES", None),
        ("GOCONDUCTOR_SERVICES__PAYMENTS", None),
        ("GOCONDUCTOR_SERVICES__PAYMENTS__HTP__URL", Some("GOCONDUCTOR_SERVICES__PAYMENTS__HTTP__URL")),
        ("GOCONDUCTOR_SERVICES___X__HTTP__URL", None),
        ("GOCONDUCTOR_STATE_STORE_BACKEND", Some("GOCONDUCTOR_STATE_STORE__BACKEND")),
    ];
    let mut written = Written::yaml("executor: { drain: 3s }\n");
    for (name, _) in unknown {
        written = written.env(name, "x");
    }
    let config = written.load().expect("unknown variables do not make a configuration invalid");
    assert_eq!(config.executor.drain, Duration::from_secs(3));
    assert!(config.services.is_empty());
    let reported: Vec<_> = config
        .ignored_variables()
        .iter()
        .map(|IgnoredVariable { name, reason }| match reason {
            IgnoreReason::Unknown { nearest } => (name.as_str(), nearest.as_deref()),
            IgnoreReason::ServiceLink | IgnoreReason::Invalid { .. } => panic!("{name}: {reason:?}"),
        })
        .collect();
    let names =
        |list: &[(&str, Option<&str>)]| list.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&reported), names(&unknown));
    for (name, nearest) in unknown.iter().filter(|(_, nearest)| nearest.is_some()) {
        assert!(reported.contains(&(*name, *nearest)), "{name}: {reported:?}");
    }
    let invalid = written.env("GOCONDUCTOR_EXECUTOR__DRAIN", "soon").problems();
    assert_eq!(invalid.len(), 1, "{invalid:?}");
    assert!(invalid[0].starts_with("env GOCONDUCTOR_EXECUTOR__DRAIN: executor.drain: expected a duration"));
}

#[test]
fn service_links_are_ignored() {
    let mut written = Written::yaml("").env("GOCONDUCTOR_EXECUTOR__MAX_IN_FLIGHT", "3");
    let links = [
        ("_SERVICE_HOST", "10.96.0.7"),
        ("_SERVICE_PORT", "8470"),
        ("_SERVICE_PORT_HTTP", "8470"),
        ("_PORT", "tcp://10.96.0.7:8470"),
        ("_PORT_8470_TCP", "tcp://10.96.0.7:8470"),
        ("_PORT_8470_TCP_PROTO", "tcp"),
        ("_PORT_8470_TCP_PORT", "8470"),
        ("_PORT_8470_TCP_ADDR", "10.96.0.7"),
    ];
    let services = ["", "_SERVER", "_CONFIG", "_EXECUTOR", "_STATE_STORE", "_QUEUE", "_SERVICES", "_LISTEN"];
    for service in services {
        for (suffix, value) in links {
            written = written.env(&format!("GOCONDUCTOR{service}{suffix}"), value);
        }
    }
    let config = written.load().expect("service links are ignored");
    assert_eq!(config.executor.max_in_flight, 3);
    let ignored = config.ignored_variables();
    assert_eq!(ignored.len(), services.len() * links.len());
    assert!(ignored.iter().all(|variable| variable.reason == IgnoreReason::ServiceLink), "{ignored:?}");
}

#[cfg(feature = "otlp")]
#[test]
fn telemetry_settings_override_standard_variables() {
    use goconductor_service_kit::config::OtlpProtocol;

    let standard = |written: Written| {
        written
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=s%20ecret, other=1")
            .env("OTEL_TRACES_SAMPLER_ARG", "0.25")
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=weaker,deployment.environment.name=test")
            .env("OTEL_SERVICE_NAME", "orders")
    };
    let config = standard(Written::yaml("")).load().expect("the standard variables are valid");
    assert!(config.ignored_variables().is_empty(), "{:?}", config.ignored_variables());
    let telemetry = &config.telemetry;
    let otlp = telemetry.otlp.as_ref().expect("the endpoint is set");
    assert_eq!(otlp.endpoint.expose(), "http://collector:4318");
    assert_eq!((otlp.protocol, otlp.timeout), (OtlpProtocol::HttpProtobuf, Duration::from_secs(10)));
    assert_eq!(otlp.headers["x-api-key"].expose_secret(), "s ecret");
    assert_eq!(telemetry.sampling, 0.25);
    assert_eq!(telemetry.resource["service.name"], "orders");
    assert_eq!(telemetry.resource["deployment.environment.name"], "test");

    let written = standard(Written::yaml(
        "telemetry:\n  \
           otlp: { endpoint: \"https://collector.example\", protocol: grpc, headers: { x-api-key: env://KEY } }\n  \
           traces: { sampling: 1 }\n  \
           logs: { otlp: true }\n  \
           resource: { service: { name: own }, deployment: { environment: { name: live } } }\n",
    ))
    .env("KEY", "own secret")
    .env("GOCONDUCTOR_TELEMETRY__OTLP__HEADERS__X_TENANT", "a")
    .env("GOCONDUCTOR_TELEMETRY__RESOURCE__K8S__POD__NAME", "pod-1");
    let config = written.load().expect("the configuration is valid");
    let telemetry = &config.telemetry;
    let otlp = telemetry.otlp.as_ref().expect("the endpoint is set");
    assert_eq!((otlp.endpoint.expose(), otlp.protocol), ("https://collector.example", OtlpProtocol::Grpc));
    assert_eq!(otlp.headers["x-api-key"].expose_secret(), "own secret");
    assert_eq!(otlp.headers["x-tenant"].expose_secret(), "a");
    assert!(telemetry.otlp_logs && telemetry.sampling == 1.0);
    let resource: Vec<_> = telemetry.resource.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected =
        [("deployment.environment.name", "live"), ("k8s.pod.name", "pod-1"), ("service.name", "own")];
    assert_eq!(resource, expected);
    let explained = written.explained().join("\n");
    for part in ["env OTEL_EXPORTER_OTLP_HEADERS", "telemetry.otlp.headers.x-api-key = ***", "env://KEY"] {
        assert!(explained.contains(part), "{part} is not in\n{explained}");
    }
    assert!(!explained.contains("own secret"), "{explained}");
}

#[cfg(feature = "otlp")]
#[test]
fn telemetry_is_off_without_an_endpoint_or_if_it_is_disabled() {
    assert!(Written::yaml("").load().expect("valid").telemetry.otlp.is_none());
    let empty = Written::yaml("telemetry: { otlp: { endpoint: \"\" } }");
    assert!(
        empty
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1")
            .load()
            .expect("valid")
            .telemetry
            .otlp
            .is_none()
    );
    let on = "telemetry: { otlp: { endpoint: \"http://a:4317\" } }";
    let disabled = Written::yaml(on).env("OTEL_SDK_DISABLED", "TRUE");
    assert!(disabled.load().expect("valid").telemetry.otlp.is_none());
    let enabled = disabled.env("GOCONDUCTOR_TELEMETRY__OTLP__ENABLED", "true");
    assert!(enabled.load().expect("valid").telemetry.otlp.is_some());
    assert!(Written::yaml(on).env("OTEL_SDK_DISABLED", "no").load().expect("valid").telemetry.otlp.is_some());
}

#[cfg(feature = "otlp")]
#[test]
fn invalid_telemetry_settings_are_problems_and_invalid_standard_variables_are_ignored() {
    let written = Written::yaml(
        "telemetry:\n  \
           otlp: { endpoint: \"http://me:pw@a:4317\", protocol: http/json, headers: { \"a b\": c, x-bin: d } }\n  \
           traces: { sampling: 1.5 }\n",
    );
    let problems = written.problems();
    let expected = [
        "telemetry.otlp.endpoint: expected a URL",
        "telemetry.otlp.protocol: expected grpc or http/protobuf, found http/json",
        "telemetry.otlp.headers.a b: a b is not the name of a header",
        "telemetry.otlp.headers.x-bin: x-bin is not the name of a header",
        "telemetry.traces.sampling: expected a number from 0 to 1, found 1.5",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for part in expected {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
    }
    let written = Written::yaml("")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "a b=c")
        .env("OTEL_TRACES_SAMPLER_ARG", "often")
        .env("OTEL_RESOURCE_ATTRIBUTES", "=x");
    let config = written.load().expect("standard variables do not make a configuration invalid");
    assert!(config.telemetry.otlp.is_none() && config.telemetry.sampling == 1.0);
    let ignored: Vec<_> = config.ignored_variables().iter().map(|each| each.name.as_str()).collect();
    assert_eq!(
        ignored,
        [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_RESOURCE_ATTRIBUTES",
            "OTEL_TRACES_SAMPLER_ARG"
        ]
    );
}

/// The name of a service is free, so that a setting can have the form of a service link.
#[test]
fn setting_with_the_form_of_a_service_link_is_read() {
    let config = Written::yaml("")
        .env("GOCONDUCTOR_SERVICES__MY_SERVICE_PORT_API__HTTP__URL", "http://127.0.0.1:9101")
        .env("GOCONDUCTOR_SERVICES__MY_SERVICE_PORT_API__ACTIONS__SET_PORT_80_TCP__MAX_IN_FLIGHT", "4")
        .load()
        .expect("valid");
    assert!(config.ignored_variables().is_empty());
    let service = &config.services["my-service-port-api"];
    assert_eq!((service.http.url.expose(), service.actions["set_port_80_tcp"]), ("http://127.0.0.1:9101", 4));
}

#[test]
fn unknown_keys_of_files_and_flags_are_problems() {
    let written = Written::yaml("services:\n  _x: { http: { url: http://a } }\n")
        .env("GOCONDUCTOR_SERVICES___X__HTTP__URL", "http://b")
        .flag("service_port", "1", "--set");
    let problems = written.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("goconductor.yaml:2:3: services._x: "), "{problems:?}");
    assert_eq!(problems[1], "flag --set: service_port: unknown key");
}

/// Invalid files with all their problems.
const INVALID: &[(&str, &[&str])] = &[
    ("lisen: 127.0.0.1:1", &["goconductor.yaml:1:1: lisen: unknown key; did you mean listen?"]),
    ("zebra: 1", &["goconductor.yaml:1:1: zebra: unknown key"]),
    (
        "state_store:\n  backend: sqlite\n  max_conections: 3\n",
        &["goconductor.yaml:3:3: state_store.max_conections: unknown key; did you mean max_connections?"],
    ),
    (
        "max_connections: 3",
        &["goconductor.yaml:1:1: max_connections: unknown key; did you mean state_store.max_connections?"],
    ),
    (
        "sate_store:\n  backend: sqlite\n  url: x\n",
        &["goconductor.yaml:1:1: sate_store: unknown key; did you mean state_store?"],
    ),
    (
        "services:\n  payments: { htp: { url: http://a } }\n",
        &[
            "goconductor.yaml:2:3: services.payments.http.url: is missing: expected a URL such as \
             http://127.0.0.1:9101, without query or fragment",
            "goconductor.yaml:2:15: services.payments.htp: unknown key; did you mean http?",
        ],
    ),
    (
        "services:\n  Pay_ments: { http: { url: http://a } }\n",
        &[
            "goconductor.yaml:2:3: services.Pay_ments: `Pay_ments` is not a valid service name: use 1 to 63 lower-case \
             letters (a-z), digits and hyphens, with no hyphen at the start or the end",
        ],
    ),
    (
        "listen: 8470",
        &[
            "goconductor.yaml:1:9: listen: expected an address and port such as 127.0.0.1:8470, [::1]:8470 or localhost:8470, found 8470",
        ],
    ),
    (
        "listen: { port: 1 }",
        &[
            "goconductor.yaml:1:11: listen: expected an address and port such as 127.0.0.1:8470, [::1]:8470 or localhost:8470, found keys",
        ],
    ),
    (
        "queue: memory",
        &[
            "goconductor.yaml:1:1: queue: expected keys (backend, brokers, kinesis, nats, partitions, prefix, rabbitmq, replication, sasl, security, tls), found a value",
        ],
    ),
    (
        "queue: [memory]",
        &[
            "goconductor.yaml:1:1: queue: expected keys (backend, brokers, kinesis, nats, partitions, prefix, rabbitmq, replication, sasl, security, tls), found a list",
        ],
    ),
    ("services: payments", &["goconductor.yaml:1:1: services: expected keys, found a value"]),
    ("data_dir: [a]", &["goconductor.yaml:1:11: data_dir: expected a path, found a list"]),
    (
        "executor: { max_in_flight: many }",
        &[
            "goconductor.yaml:1:28: executor.max_in_flight: expected a whole number from 1 to 100000, found many",
        ],
    ),
    (
        "executor: { max_in_flight: \"3\" }",
        &[
            "goconductor.yaml:1:28: executor.max_in_flight: expected a whole number from 1 to 100000, found the string \
           \"3\"",
        ],
    ),
    (
        "executor:\n  max_in_flight: 0\n",
        &["goconductor.yaml:2:18: executor.max_in_flight: expected a whole number from 1 to 100000, found 0"],
    ),
    (
        "allow_insecure_bind: yes",
        &["goconductor.yaml:1:22: allow_insecure_bind: expected true or false, found yes"],
    ),
    (
        "executor: { drain: 5 }",
        &[
            "goconductor.yaml:1:20: executor.drain: expected a duration such as 250ms or 1h30m, from 0s to 1d, found 5: a \
         duration needs a unit: ms, s, m, h or d",
        ],
    ),
    (
        "executor: { start_grace: 5s }",
        &[
            "goconductor.yaml:1:26: executor.start_grace: must be shorter than executor.redelivery, or every command \
         would be sent twice",
        ],
    ),
    (
        "limits: { body_bytes: 1MB }",
        &[
            "goconductor.yaml:1:23: limits.body_bytes: expected a size such as 65536 or 512KiB, from 1 to 64MiB, found \
         1MB",
        ],
    ),
    (
        "telemetry: { log_level: inof, log_format: xml }",
        &[
            "goconductor.yaml:1:25: telemetry.log_level: expected a level (error, warn, info, debug, trace), or a filter \
         such as info,goconductor=debug, found inof",
            "goconductor.yaml:1:43: telemetry.log_format: expected text or json, found xml",
        ],
    ),
    (
        "queue: { backend: kinesis }",
        &["goconductor.yaml:1:19: queue.kinesis.region: is missing: expected a region such as eu-central-1"],
    ),
    (
        "queue: { kinesis: { shards: 0, capacity: large, region: 'eu central' } }",
        &[
            "goconductor.yaml:1:29: queue.kinesis.shards: expected a whole number from 1 to 10000, found 0",
            "goconductor.yaml:1:42: queue.kinesis.capacity: expected provisioned or on_demand, found large",
            "goconductor.yaml:1:57: queue.kinesis.region: expected a region such as eu-central-1, found eu central",
        ],
    ),
    (
        "queue:\n  kinesis:\n    credentials: { access_key_id: AKIA1 }\n",
        &[
            "goconductor.yaml:3:5: queue.kinesis.credentials.secret_access_key: is missing: expected a string that is not empty",
        ],
    ),
    (
        "queue: { backend: nats }",
        &[
            "goconductor.yaml:1:19: queue.nats.servers: is missing: expected a list of hosts with ports such as \
             [127.0.0.1:4222]",
        ],
    ),
    (
        "queue: { backend: rabbitmq, rabbitmq: { hosts: [here], user: me } }",
        &[
            "goconductor.yaml:1:19: queue.rabbitmq.password: is missing: expected a string that is not empty",
            "goconductor.yaml:1:48: queue.rabbitmq.hosts: expected a list of hosts with ports such as \
             [127.0.0.1:5672], found here: \"here\" is not valid",
        ],
    ),
    // A section must be complete even if its queue is not used yet, because processes can migrate to it.
    (
        "queue: { rabbitmq: { hosts: [here:1], user: me } }",
        &["goconductor.yaml:1:29: queue.rabbitmq.password: is missing: expected a string that is not empty"],
    ),
    (
        "queue: { nats: { user: me, token: t, tls: { key_file: k } } }",
        &[
            "goconductor.yaml:1:10: queue.nats: has more than one of user and password, token, and credentials: set only \
             one of them",
            "goconductor.yaml:1:24: queue.nats.password: is missing: queue.nats.user requires it",
            "goconductor.yaml:1:38: queue.nats.security: must be tls, because TLS files are set",
            "goconductor.yaml:1:55: queue.nats.tls.certificate_file: is missing: key_file requires it",
        ],
    ),
    (
        "election: { backend: raft }",
        &[
            "goconductor.yaml:1:22: election.backend: expected local or postgres or etcd or zookeeper, found raft",
        ],
    ),
    (
        "election: { backend: etcd }",
        &[
            "goconductor.yaml:1:22: election.endpoints: is missing: expected a list of hosts with ports such as \
         [127.0.0.1:2379]",
        ],
    ),
    (
        "election: { backend: zookeeper, endpoints: ['http://127.0.0.1:2181'] }",
        &[
            "goconductor.yaml:1:44: election.endpoints: expected a list of hosts with ports such as [127.0.0.1:2181], \
         found http://127.0.0.1:2181: \"http://127.0.0.1:2181\" is not valid",
        ],
    ),
    (
        "election: { backend: postgres, url: 'postgres://db/x', endpoints: ['127.0.0.1:8473'] }",
        &[
            "goconductor.yaml:1:67: election.endpoints: applies only to the backends etcd and zookeeper; name \
         leader-electors in election.electors",
        ],
    ),
    (
        "election: { lease: 2s, request_timeout: 1500ms, password: hunter2, tls: { ca_file: ca.pem }, era: 128 }",
        &[
            "goconductor.yaml:1:41: election.request_timeout: must be at most half of election.lease, or one \
             unresponsive server could cost the lease",
            "goconductor.yaml:1:59: election.password: has no effect without election.user",
            "goconductor.yaml:1:68: election.tls: has no effect unless election.security is tls",
            "goconductor.yaml:1:99: election.era: expected a whole number from 0 to 127, found 128",
        ],
    ),
    (
        "election: { backend: etcd, endpoints: ['127.0.0.1:2379'], user: elector }",
        &["goconductor.yaml:1:65: election.password: is missing: expected a string that is not empty"],
    ),
    (
        "state_store: { backend: mysql }",
        &["goconductor.yaml:1:25: state_store.backend: expected sqlite or postgres, found mysql"],
    ),
    (
        "state_store: { backend: postgres }",
        &["goconductor.yaml:1:25: state_store.url: is missing: expected a URL such as \
         postgres://user@127.0.0.1/goconductor"],
    ),
    (
        "state_store: { backend: postgres, url: 'mysql://me:hunter2@db' }",
        &[
            "goconductor.yaml:1:40: state_store.url: expected a URL such as postgres://user@127.0.0.1/goconductor",
        ],
    ),
    (
        "queue: { backend: nats, nats: { servers: ['nats://hunter2@db:4222'] } }",
        &["goconductor.yaml:1:42: queue.nats.servers: expected a list of hosts with ports such as \
            [127.0.0.1:4222], found nats://***@db:4222"],
    ),
    (
        "listen: me:hunter2@db:1",
        &[
            "goconductor.yaml:1:9: listen: expected an address and port such as 127.0.0.1:8470, [::1]:8470 or \
           localhost:8470, found ***@db:1",
        ],
    ),
    (
        "data_dir: env://NOWHERE",
        &["goconductor.yaml:1:11: data_dir: env://NOWHERE refers to an environment variable that is not set"],
    ),
    (
        "data_dir: secret://database",
        &[
            "goconductor.yaml:1:11: data_dir: secret://database cannot be used here, because the process needs this setting to \
            read secrets: use env://NAME or file://path",
        ],
    ),
    (
        "listen: &here 127.0.0.1:1\ndata_dir: *here",
        &["goconductor.yaml:2:11: data_dir: aliases are not supported here"],
    ),
    ("data_dir: !!str a", &["goconductor.yaml:1:11: data_dir: tags are not supported here"]),
    (
        "data_dir: a\ndata_dir: b",
        &["goconductor.yaml:2:1: data_dir: is set twice, first at goconductor.yaml:1:1"],
    ),
    (
        "queue.backend: memory",
        &["goconductor.yaml:1:1: the key queue.backend contains a dot: nest the keys instead"],
    ),
    ("- a", &["goconductor.yaml:1:1: expected keys with values"]),
    ("{}\n---\n{}", &["goconductor.yaml:2:1: contains more than one document"]),
];

#[test]
fn problems_in_a_file_have_positions() {
    for (yaml, expected) in INVALID {
        let written = Written::yaml(yaml);
        assert!(written.load().is_err(), "{yaml}");
        assert_eq!(written.problems(), *expected, "{yaml}");
    }
}

#[test]
fn problems_in_variables_and_flags_have_names() {
    let written = Written::yaml("lisen: 1\n").env("GOCONDUCTOR_EXECUTOR__DRAIN", "soon").flag(
        "limits.page_size",
        "0",
        "--page-size",
    );
    assert_eq!(
        written.problems(),
        [
            "goconductor.yaml:1:1: lisen: unknown key; did you mean listen?",
            "env GOCONDUCTOR_EXECUTOR__DRAIN: executor.drain: expected a duration such as 250ms or 1h30m, from 0s to \
             1d, found soon: a duration is a number and a unit, such as 250ms or 1h30m",
            "flag --page-size: limits.page_size: expected a whole number from 1 to 1000, found 0",
        ]
    );
}

#[test]
fn unreadable_file_is_a_single_problem() {
    let broken = Written::yaml("listen: [\nservices: {a: b\n").problems();
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].contains("this is not YAML"), "{broken:?}");

    let mut missing = Written::yaml("");
    missing.sources.file = Some(missing.directory.path().join("other.yaml"));
    let problems = missing.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("other.yaml:1:1: failed to read the file: "), "{problems:?}");
}

#[test]
fn deeply_nested_file_is_refused() {
    let yaml: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let problems = Written::yaml(&yaml).problems();
    assert!(problems.iter().any(|problem| problem.contains("nested too deeply")), "{problems:?}");
}

#[test]
fn non_loopback_address_requires_allow_insecure_bind() {
    for (listen, allowed) in [
        ("127.0.0.1:1", true),
        ("127.8.0.1:1", true),
        ("\"[::1]:1\"", true),
        ("\"[::ffff:127.0.0.1]:1\"", true),
        ("0.0.0.0:1", false),
        ("\"[::]:1\"", false),
        ("192.168.0.1:1", false),
        // A name is checked when it is resolved.
        ("localhost:1", true),
    ] {
        let plain = Written::yaml(&format!("listen: {listen}\n"));
        assert_eq!(plain.load().is_ok(), allowed, "{listen}");
        if !allowed {
            let problems = plain.problems();
            assert!(problems[0].contains("`allow_insecure_bind: true`"), "{problems:?}");
            assert!(problems[0].contains("GOCONDUCTOR_ALLOW_INSECURE_BIND=true"), "{problems:?}");
        }
        let with_setting = Written::yaml(&format!("listen: {listen}\nallow_insecure_bind: true\n"));
        assert!(with_setting.load().is_ok(), "{listen}");
    }
}

#[test]
fn access_control_without_tls_needs_a_statement_that_a_proxy_terminates_it() {
    let listen = "listen: 0.0.0.0:1\nexecutor: { listen: 0.0.0.0:2 }\n";
    let on = Written::yaml(&format!("{listen}access: {{ enabled: true }}\n"));
    let problems = on.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("GC2060") && problems[0].contains("without TLS"), "{problems:?}");
    assert!(problems[0].contains("`access.allow_plaintext: true`"), "{problems:?}");
    let behind_proxy = format!("{listen}access: {{ enabled: true, allow_plaintext: true }}\n");
    assert!(Written::yaml(&behind_proxy).load().is_ok());
    let internal =
        format!("{behind_proxy}state_store: {{ listen: 0.0.0.0:3 }}\nelection: {{ listen: 0.0.0.0:4 }}\n");
    let problems = Written::yaml(&internal).problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("GC2060") && problems[0].contains("without TLS"), "{problems:?}");
    assert!(!problems[0].contains("allow_plaintext"), "{problems:?}");
}

#[test]
fn access_section_is_read_and_checked() {
    let config = Written::yaml(
        "access:\n  enabled: true\n  bootstrap_key: file://key.txt\n  roles:\n    starter: { permissions: \
         [workflows.start, workflows.read] }\n  bindings:\n    night: { subjects: [\"key:0123\", \"group:ops\"], roles: \
         [starter, viewer], namespaces: [\"*\"], services: [payments] }\n",
    )
    .file("key.txt", "0123456789abcdef0123456789abcdef\n");
    assert!(!format!("{:?} {:?}", config.load(), config.explained()).contains("0123456789abcdef"));
    let access = config.load().expect("valid").access;
    assert!(access.enabled && access.bootstrap_key.is_some());
    assert_eq!(access.bindings["night"].subjects.len(), 2);
    assert!(access.permissions_of("starter").is_some() && access.permissions_of("boss").is_none());
    for (yaml, expected) in [
        ("access: { bootstrap_key: \"0123456789abcdef0123456789abcdef\" }\n", "access.enabled: must be true"),
        ("access: { enabled: true, bootstrap_key: short }\n", "access.bootstrap_key: expected 32 to 256"),
        ("access: { enabled: true, roles: { a: { permissions: [workflows.rea] } } }\n", "workflows.rea"),
        (
            "access: { enabled: true, roles: { viewer: { permissions: [workflows.read] } } }\n",
            "a built-in role",
        ),
        (
            "access: { enabled: true, roles: { A b: { permissions: [workflows.read] } } }\n",
            "not a name of a role",
        ),
        (
            "access: { enabled: true, bindings: { a: { subjects: [ada], roles: [viewer], namespaces: [shop] } } }\n",
            "access.bindings.a.subjects: expected a list of key:ID",
        ),
        (
            "access: { enabled: true, bindings: { a: { subjects: [\"user:ada\"], roles: [boss], namespaces: [shop] } } }\n",
            "there is no role boss: the roles are admin, developer, operator, viewer, worker",
        ),
        (
            "access: { enabled: true, bindings: { a: { subjects: [\"user:ada\"], roles: [viewer] } } }\n",
            "access.bindings.a.namespaces: is missing",
        ),
        ("access: { enable: true }\n", "did you mean enabled?"),
    ] {
        let problems = Written::yaml(yaml).problems();
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{yaml}: {problems:?}");
        assert!(!problems.concat().contains("short"), "{problems:?}");
    }
}

#[test]
fn references_are_resolved_in_every_layer() {
    let written = Written::yaml(
        "state_store: { backend: postgres, url: file://url.txt, max_connections: env://MAX }\n",
    )
    .file("url.txt", "postgres://me:hunter2@db/orders\n")
    .env("MAX", "7")
    .env("DIRECTORY", "/var/lib/somewhere")
    .flag("data_dir", "env://DIRECTORY", "--data-dir");
    let config = written.load().expect("valid");
    assert_eq!(config.state_store.url.expect("the URL is set").expose(), "postgres://me:hunter2@db/orders");
    assert_eq!(config.state_store.max_connections, 7);
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/somewhere"));
}

#[test]
fn referenced_variable_is_not_a_setting() {
    let yaml = "data_dir: env://GOCONDUCTOR_HOME\n";
    let written = Written::yaml(yaml).env("GOCONDUCTOR_HOME", "/var/lib/somewhere");
    assert_eq!(written.load().expect("valid").data_dir, PathBuf::from("/var/lib/somewhere"));
}

#[test]
fn problems_do_not_contain_referenced_values() {
    let problems = Written::yaml(
        "state_store: { backend: postgres, url: file://url.txt, max_connections: env://MAX }\n",
    )
    .file("url.txt", "hunter2")
    .env("MAX", "hunter2")
    .problems();
    assert_eq!(
        problems,
        [
            "goconductor.yaml:1:40: state_store.url: expected a URL such as postgres://user@127.0.0.1/goconductor, \
             but the value of file://url.txt does not match",
            "goconductor.yaml:1:73: state_store.max_connections: expected a whole number from 1 to 1000, but the \
             value of env://MAX does not match",
        ]
    );
}

#[test]
fn explain_names_origins_and_masks_secrets() {
    let written = Written::yaml(
        "state_store:\n  backend: postgres\n  url: postgres://me:hunter2@db/orders\n\
         services:\n  payments: { http: { url: \"env://PAYMENTS\" } }\n",
    )
    .env("PAYMENTS", "http://user:hunter2@pay.example")
    .env("GOCONDUCTOR_EXECUTOR__DRAIN", "90s")
    .flag("listen", "127.0.0.1:9", "--listen");
    let explained = written.explained();
    for line in [
        "listen = 127.0.0.1:9  (flag --listen)",
        "data_dir = goconductor-data  (default)",
        "state_store.backend = postgres  (goconductor.yaml:2:12)",
        "state_store.url = postgres://me:***@db/orders  (goconductor.yaml:3:8)",
        "services.payments.http.url = ***  (goconductor.yaml:5:28, env://PAYMENTS)",
        "executor.drain = 1m30s  (env GOCONDUCTOR_EXECUTOR__DRAIN)",
        "limits.input_bytes = 64MiB  (default)",
    ] {
        assert!(explained.iter().any(|known| known == line), "{line} is not in {explained:#?}");
    }
    let config = written.load().expect("valid");
    assert!(!format!("{config:?} {explained:?}").contains("hunter2"));
}

#[test]
fn error_lists_all_problems() {
    let invalid = Written::yaml("lisen: 1\nzebra: 2\n").load().expect_err("two problems");
    let text = invalid.to_string();
    assert!(text.starts_with("GC0001: configuration is invalid\n  "), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn references_to_secrets_are_listed_and_then_resolved() {
    let written = Written::yaml(
        "election: { backend: etcd, endpoints: [127.0.0.1:2379], user: me, password: secret://etcd }\n\
         services: { payments: { http: { url: secret://payments-url, headers: { X-Key: secret://key?version=2 } } } }\n",
    )
    .env("GOCONDUCTOR_TELEMETRY__OTLP__HEADERS__API_KEY", "secret://otlp?version=3");
    let config = written.load().expect("what the secrets complete is not checked yet");
    let references: Vec<String> = config.secret_references().iter().map(ToString::to_string).collect();
    assert_eq!(
        references,
        ["secret://etcd", "secret://otlp?version=3"],
        "references of services stay references"
    );
    let payments = &config.services["payments"].http;
    assert_eq!(payments.url.expose(), "secret://payments-url");
    assert_eq!(payments.headers["X-Key"], "secret://key?version=2");
    assert!(config.explain().iter().all(|setting| !setting.value.contains("hunter")));
    let masked = config.explain().iter().find(|setting| setting.path == "election.password").unwrap();
    assert_eq!((masked.value.as_str(), masked.reference.as_deref()), ("***", Some("secret://etcd")));

    let mut secrets = ResolvedSecrets::default();
    secrets.insert("secret://etcd".parse().unwrap(), Some(SecretString::from("hunter2")));
    let etcd = config.with_secrets(secrets.clone()).expect("the other secret is not known yet");
    assert_eq!(etcd.secret_references(), &config.secret_references()[1..]);
    secrets.insert("secret://otlp?version=3".parse().unwrap(), None);
    let sources = Sources { secrets: secrets.clone(), ..written.sources.clone() };
    let invalid = Config::load(&sources).expect_err("one secret does not exist");
    let problems: Vec<String> = invalid.problems.iter().map(ToString::to_string).collect();
    assert!(
        problems.len() == 1
            && problems[0].contains("secret://otlp?version=3 refers to a secret that does not exist")
    );
    secrets.insert("secret://otlp?version=3".parse().unwrap(), Some(SecretString::from("hunter3")));
    let sources = Sources { secrets, ..sources };
    let config = Config::load(&sources).expect("all secrets are known");
    assert_eq!(config.secret_references(), []);
    let credentials = config.election.settings.credentials.as_ref().expect("they are set");
    assert_eq!(credentials.password.expose_secret(), "hunter2");
    assert!(!format!("{config:?} {sources:?}").contains("hunter"));
}

#[test]
fn secrets_of_the_store_cannot_open_the_store() {
    for (yaml, path) in [
        ("state_store: { backend: postgres, url: secret://database }", "state_store.url"),
        ("secrets: { namespace: secret://name }", "secrets.namespace"),
    ] {
        let problems = Written::yaml(yaml).problems();
        let found =
            problems.iter().any(|problem| problem.contains(path) && problem.contains("cannot be used here"));
        assert!(found, "{problems:?}");
    }
    let problems = Written::yaml("secrets: { master_key: secret://key }").problems();
    assert!(problems[0].contains("file://PATH, env://NAME or systemd://CREDENTIAL"), "{problems:?}");
}

#[test]
fn master_key_itself_is_refused_without_repeating_it() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let problems = Written::yaml(&format!("secrets: {{ master_key: \"{key}\" }}")).problems();
    assert!(problems.len() == 1 && !problems[0].contains("AAEC"), "{problems:?}");
    let config = Written::yaml("secrets: { master_key: file://master.key }").load().expect("it is a source");
    let Some(MasterKeySource::File(path)) = config.secrets.master_key else { panic!("it is a file") };
    assert!(path.is_absolute(), "it is next to the configuration file");
    let both = Written::yaml("secrets: { master_key: env://KEY, command: [kms] }").problems();
    assert!(both[0].contains("one source of keys"), "{both:?}");
    let without = Written::yaml("encryption: { payloads: true }").problems();
    assert!(without[0].contains("requires secrets.master_key"), "{without:?}");
}

#[test]
fn retention_shorter_than_deduplication_is_refused() {
    for (yaml, expected) in [
        (
            "state_store: { retention: 30m }",
            "state_store.retention: is 30m, but clients repeat starts for 1h",
        ),
        ("state_store: { retention_terminated: 1m }", "state_store.retention_terminated: is 1m"),
        ("state_store: { retention: 2h, deduplication: 3h }", "(state_store.deduplication)"),
    ] {
        let problems = Written::yaml(yaml).problems();
        assert_eq!(problems.len(), 1, "{yaml}: {problems:?}");
        assert!(problems[0].contains(expected) && problems[0].contains("GC3034"), "{problems:?}");
    }
    let written = Written::yaml(
        "state_store: { retention: 0s, retention_completed: 5m, deduplication: 5m, retention_rolled_back: 2d }",
    );
    let retention = written.load().expect("valid").state_store.retention;
    assert_eq!(retention.completed, Some(Duration::from_secs(300)));
    assert_eq!(retention.rolled_back, Some(Duration::from_secs(2 * 86_400)));
    assert_eq!(retention.terminated, None);
}
