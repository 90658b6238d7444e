//! The settings of the API, over the layers of a process.

use goconductor_service_kit::config::{Config, DynamicSettings, Flag, Invalid, Origin, Sources};
use serde_json::{Value, json};

fn base(flags: &[(&str, &str)]) -> Config {
    let flag = |(path, value): &(&str, &str)| Flag {
        path: (*path).to_owned(),
        value: (*value).to_owned(),
        name: "--set".to_owned(),
    };
    let sources = Sources {
        env: vec![("SECRET".to_owned(), "hunter2".to_owned())],
        flags: flags.iter().map(flag).collect(),
        ..Sources::default()
    };
    Config::load(&sources).expect("the layers of the process are valid")
}

fn with(base: &Config, settings: Value) -> Result<Config, Invalid> {
    base.with_dynamic(Some(DynamicSettings { version: 7, settings }))
}

#[test]
fn settings_of_the_api_override_every_other_layer() {
    let base = base(&[("limits.page_size", "10"), ("services.payments.http.url", "http://127.0.0.1:9101")]);
    let settings = json!({"limits": {"page_size": 20}, "services": {"payments": {"max_in_flight": 3}}});
    let config = with(&base, settings.clone()).expect("valid");
    assert_eq!(config.limits.page_size, 20);
    let payments = &config.services["payments"];
    assert_eq!((payments.http.url.expose(), payments.max_in_flight), ("http://127.0.0.1:9101", 3));
    let origin = |config: &Config, path: &str| {
        let setting = config.explain().iter().find(|setting| setting.path == path);
        setting.map(|setting| setting.origin.clone())
    };
    assert_eq!(origin(&config, "limits.page_size"), Some(Origin::Api { version: 7 }));
    assert_eq!(Origin::Api { version: 7 }.to_string(), "api version 7");
    assert_eq!(config.dynamic().map(|dynamic| &dynamic.settings), Some(&settings));
    let without = config.with_dynamic(None).expect("valid");
    assert_eq!(without.limits.page_size, 10);
    assert_eq!(origin(&without, "limits.page_size"), Some(Origin::Flag { name: "--set".to_owned() }));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn null_and_empty_sections_change_nothing() {
    let base = base(&[]);
    for settings in [json!({}), json!(null), json!({"limits": {}}), json!({"limits": {"page_size": null}})] {
        let config = with(&base, settings.clone()).unwrap_or_else(|invalid| panic!("{settings}: {invalid}"));
        assert_eq!(config.limits.page_size, 100);
    }
}

#[test]
fn wrong_documents_are_refused_with_the_setting_and_the_reason() {
    let base = base(&[("election.electors", "http://127.0.0.1:8473")]);
    for (settings, path, message) in [
        (json!({"limits": {"page_sise": 20}}), "limits.page_sise", "did you mean page_size?"),
        (json!({"limit": {"page_size": 20}}), "limit", "did you mean limits?"),
        (json!({"limits": {"page_size": "20"}}), "limits.page_size", "found the string \"20\""),
        (json!({"limits": {"page_size": 0}}), "limits.page_size", "a whole number from 1 to 1000, found 0"),
        (json!({"limits": {"page_size": [1]}}), "limits.page_size", "items other than strings"),
        (json!({"limits": {"page_size": ["1"]}}), "limits.page_size", "found a list"),
        (json!({"limits": 3}), "limits", "expected keys"),
        (json!({"limits.page_size": 3}), "", "contains a dot"),
        (json!([1]), "", "expected an object"),
        (json!({"queue": {"backend": "kafka"}}), "queue.brokers", "is missing"),
        (json!({"queue": {"nats": {"servers": ["127.0.0.1"]}}}), "queue.nats.servers", "is not valid"),
        (json!({"executor": {"start_grace": "6s"}}), "executor.start_grace", "executor.redelivery"),
        (json!({"listen": "0.0.0.0:1"}), "listen", "cannot be set by the API"),
        (json!({"executor": {"listen": "127.0.0.1:1"}}), "executor.listen", "cannot be set by the API"),
        (json!({"state_store": {"url": "sqlite:///x"}}), "state_store.url", "cannot be set by the API"),
        (json!({"access": {"keys": {}}}), "access", "cannot be set by the API"),
        (json!({"tls": {}}), "tls", "cannot be set by the API"),
        (json!({"secrets": null}), "secrets", "cannot be set by the API"),
        (json!({"telemetry": {"log_level": "inof"}}), "telemetry.log_level", "found inof"),
        (json!({"telemetry": {"log_level": "env://SECRET"}}), "telemetry.log_level", "is refused"),
        (json!({"election": {"prefix": "file:///etc/passwd"}}), "election.prefix", "is refused"),
        (
            json!({"queue": {"nats": {"servers": ["h:1"], "token": "hunter2"}}}),
            "queue.nats.token",
            "is a secret in plain text",
        ),
        (
            json!({"services": {"a": {"http": {"url": "http://me:hunter2@h"}}}}),
            "services.a.http.url",
            "is a secret in plain text",
        ),
        (json!({"services": {"A b": {"http": {"url": "http://h"}}}}), "services.A b", ""),
    ] {
        let invalid = with(&base, settings.clone()).expect_err(&settings.to_string());
        let found = invalid.problems.iter().find(|problem| problem.path == path);
        let found = found.unwrap_or_else(|| panic!("{settings}: {invalid}"));
        assert!(found.message.contains(message), "{settings}: {found}");
        assert!(!invalid.to_string().contains("hunter2"), "{invalid}");
    }
}

#[test]
fn credentials_of_the_process_are_not_sent_to_a_server_of_the_api() {
    let nats: &[(&str, &str)] = &[
        ("queue.nats.servers", "broker:4222"),
        ("queue.nats.user", "me"),
        ("queue.nats.password", "env://SECRET"),
    ];
    let kafka: &[(&str, &str)] = &[
        ("queue.brokers", "broker:9092"),
        ("queue.security", "sasl_tls"),
        ("queue.sasl.user", "me"),
        ("queue.sasl.password", "hunter2"),
    ];
    let rabbitmq: &[(&str, &str)] = &[
        ("queue.rabbitmq.hosts", "broker:5672"),
        ("queue.rabbitmq.user", "me"),
        ("queue.rabbitmq.password", "hunter2"),
    ];
    let etcd: &[(&str, &str)] = &[
        ("election.backend", "etcd"),
        ("election.endpoints", "etcd:2379"),
        ("election.user", "me"),
        ("election.password", "hunter2"),
    ];
    let postgres: &[(&str, &str)] =
        &[("election.backend", "postgres"), ("election.url", "postgres://me:hunter2@db/goconductor")];
    for (flags, settings, path, credential) in [
        (
            nats,
            json!({"queue": {"nats": {"servers": ["evil:4222"]}}}),
            "queue.nats.servers",
            "queue.nats.password",
        ),
        (kafka, json!({"queue": {"brokers": ["evil:9092"]}}), "queue.brokers", "queue.sasl.password"),
        (kafka, json!({"queue": {"security": "sasl_plaintext"}}), "queue.security", "queue.sasl.password"),
        (
            rabbitmq,
            json!({"queue": {"rabbitmq": {"hosts": ["evil:5672"]}}}),
            "queue.rabbitmq.hosts",
            "queue.rabbitmq.password",
        ),
        (etcd, json!({"election": {"endpoints": ["evil:2379"]}}), "election.endpoints", "election.password"),
        (postgres, json!({"election": {"security": "plaintext"}}), "election.security", "election.url"),
    ] {
        let base = base(flags);
        let invalid = with(&base, settings.clone()).expect_err(&settings.to_string());
        let found = invalid.problems.iter().find(|problem| problem.path == path);
        let found = found.unwrap_or_else(|| panic!("{settings}: {invalid}"));
        assert!(found.message.contains(&format!("while {credential} comes from")), "{found}");
        assert!(!invalid.to_string().contains("hunter2"), "{invalid}");
        assert!(with(&base, json!({"queue": {"prefix": "other"}})).is_ok(), "other settings can change");
    }
    let settings = json!({"queue": {"nats": {
        "servers": ["other:4222"], "user": "me", "password": "secret://nats-password"
    }}});
    let config = with(&base(nats), settings).expect("the credentials come from the API as well");
    assert_eq!(config.secret_references().len(), 1);
    let location_only = base(&[("queue.nats.servers", "broker:4222")]);
    assert!(with(&location_only, json!({"queue": {"nats": {"servers": ["other:4222"]}}})).is_ok());
}
