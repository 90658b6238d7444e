//! The configuration by API and command line, against a real `goconductor dev`.

use goconductor_harness::{Dev, DevOptions, goconductor};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::config_service_client::ConfigServiceClient;
use reqwest::Client;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tonic::Code;
use tonic::transport::Endpoint;

/// The time after which a live setting has no effect. Where the processors are free, it takes less than two seconds.
const EFFECT: Duration = Duration::from_secs(10);

struct ApiResponse {
    status: u16,
    etag: String,
    body: Value,
}

async fn dev(folder: &std::path::Path) -> Dev {
    Dev::start(folder, DevOptions::default()).await.unwrap()
}

async fn call(dev: &Dev, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> ApiResponse {
    let url = format!("{}/api/v1{path}", dev.api.base());
    let mut request = Client::new().request(method.parse().unwrap(), url);
    if !body.is_null() {
        request = request.json(&body);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().to_owned());
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    ApiResponse { status, etag: etag.unwrap_or_default(), body }
}

async fn put(dev: &Dev, body: Value) -> ApiResponse {
    call(dev, "PUT", "/config", &[], body).await
}

/// Waits until the default size of a page is `size`.
async fn page_size_becomes(dev: &Dev, size: usize) {
    let since = Instant::now();
    loop {
        let listed = dev.api.get("/workflows").await.unwrap();
        if listed["workflows"].as_array().unwrap().len() == size {
            return;
        }
        assert!(since.elapsed() < EFFECT, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn with_workflows(dev: &Dev, count: usize) {
    let yaml = "workflow: waits\nsteps: [{name: s, run: absent/do, compensate: none}]\n";
    dev.api.apply("waits", yaml).await.unwrap();
    for _ in 0..count {
        dev.api.start("waits", json!({}), None).await.unwrap();
    }
}

#[tokio::test]
async fn wrong_settings_are_refused_with_pointer_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    for (body, code, pointer, detail) in [
        (json!({"limits": {"page_sise": 3}}), "GC2085", "/limits/page_sise", "did you mean page_size?"),
        (json!({"limits": {"page_size": 0}}), "GC2085", "/limits/page_size", "from 1 to 1000, found 0"),
        (json!({"limits": {"page_size": "3"}}), "GC2085", "/limits/page_size", "found the string"),
        (json!({"limits": []}), "GC2085", "/limits", "expected keys"),
        (json!({"listen": "0.0.0.0:1"}), "GC2086", "/listen", "cannot be set by the API"),
        (
            json!({"state_store": {"url": "sqlite:///x"}}),
            "GC2086",
            "/state_store/url",
            "cannot be set by the API",
        ),
        (json!({"access": {"x": 1}}), "GC2086", "/access", "cannot be set by the API"),
        (json!({"tls": {"x": 1}}), "GC2086", "/tls", "cannot be set by the API"),
        (json!({"secrets": {"x": 1}}), "GC2086", "/secrets", "cannot be set by the API"),
        (
            json!({"telemetry": {"log_level": "file:///etc/passwd"}}),
            "GC2085",
            "/telemetry/log_level",
            "refused",
        ),
        (
            json!({"services": {"a": {"http": {"url": "http://me:hunter2@127.0.0.1:1"}}}}),
            "GC2085",
            "/services/a/http/url",
            "secret in plain text",
        ),
        (
            json!({"queue": {"backend": "nats", "nats": {"servers": ["127.0.0.1:1"]}}}),
            "GC2085",
            "/queue/backend",
            "all services in one process",
        ),
    ] {
        for path in ["/config", "/config?dry_run=true"] {
            let answer = call(&dev, "PUT", path, &[], body.clone()).await;
            assert_eq!((answer.status, &answer.body["code"]), (422, &json!(code)), "{body}: {}", answer.body);
            let errors = answer.body["errors"].as_array().unwrap();
            let found = errors.iter().find(|error| error["pointer"] == pointer);
            let found = found.unwrap_or_else(|| panic!("{body}: {}", answer.body));
            assert!(found["detail"].as_str().unwrap().contains(detail), "{body}: {found}");
            assert!(!answer.body.to_string().contains("hunter2"), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn conditions_media_types_and_versions_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    for (headers, status, code) in [
        (&[("if-match", "7")][..], 400, "GC2007"),
        (&[("if-match", "\"7\"")][..], 412, "GC2087"),
        (&[("if-match", "*")][..], 200, ""),
    ] {
        let answer = call(&dev, "PUT", "/config", headers, json!({})).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_str().unwrap_or_default()),
            (status, code),
            "{}",
            answer.body
        );
    }
    let text = call(&dev, "PUT", "/config", &[("content-type", "text/plain")], Value::Null).await;
    assert_eq!((text.status, &text.body["code"]), (415, &json!("GC2004")));
    for (method, path) in [("GET", "/config/history/1"), ("GET", "/config/history/0")] {
        assert_eq!(call(&dev, method, path, &[], Value::Null).await.status, 404, "{method} {path}");
    }
    let none = call(&dev, "POST", "/config/rollback", &[], json!({"version": 9})).await;
    assert_eq!((none.status, &none.body["code"]), (404, &json!("GC2089")));
    let untouched = call(&dev, "GET", "/config", &[], Value::Null).await;
    assert_eq!((&untouched.body["version"], &*untouched.etag), (&json!(0), "\"0\""));
    assert_eq!(untouched.body["settings"], json!({}));
}

#[tokio::test]
async fn change_takes_effect_and_rollback_restores() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = dev(folder.path()).await;
    with_workflows(&dev, 5).await;
    let headers = [("goconductor-actor", "ann")];
    let path = "/config?reason=fewer%20rows";
    let first = call(&dev, "PUT", path, &headers, json!({"limits": {"page_size": 3}})).await;
    assert_eq!((first.status, &*first.etag), (200, "\"1\""), "{}", first.body);
    assert_eq!(first.body["changes"], json!([{"setting": "limits.page_size", "apply": "live"}]));
    page_size_becomes(&dev, 3).await;
    let same = put(&dev, json!({"limits": {"page_size": 3}})).await;
    assert_eq!((same.status, &*same.etag), (200, "\"1\""), "equal settings are no change");

    let patch = json!({"limits": {"page_size": 2}, "executor": {"redelivery": "7s"}});
    let second = call(&dev, "PATCH", "/config", &[("if-match", "\"1\"")], patch).await;
    assert_eq!((second.status, &*second.etag), (200, "\"2\""), "{}", second.body);
    page_size_becomes(&dev, 2).await;
    // The restart-only setting is pending until the process was restarted.
    let shown = pending(&dev, 1).await;
    assert_eq!(shown["pending"][0]["setting"], "executor.redelivery", "{shown}");
    assert_eq!(shown["pending"][0]["process"], shown["processes"][0]["process"], "{shown}");
    dev.kill().await.unwrap();
    dev.restart().await.unwrap();
    page_size_becomes(&dev, 2).await;
    assert_eq!(pending(&dev, 0).await["version"], 2);

    let rolled = call(&dev, "POST", "/config/rollback", &[], json!({"version": 1, "reason": "back"})).await;
    assert_eq!((rolled.status, &*rolled.etag), (200, "\"3\""), "{}", rolled.body);
    assert_eq!(rolled.body["settings"], json!({"limits": {"page_size": 3}}));
    page_size_becomes(&dev, 3).await;
    let cleared = call(&dev, "PATCH", "/config", &[], json!({"limits": null})).await;
    assert_eq!(cleared.body["settings"], json!({}));
    page_size_becomes(&dev, 5).await;

    let history = dev.api.get("/config/history?page_size=3").await.unwrap();
    let numbers: Vec<&Value> =
        history["versions"].as_array().unwrap().iter().map(|version| &version["version"]).collect();
    assert_eq!(numbers, [&json!(4), &json!(3), &json!(2)]);
    let token = history["next_page_token"].as_str().unwrap();
    let rest = dev.api.get(&format!("/config/history?page_token={token}")).await.unwrap();
    let oldest = &rest["versions"][0];
    assert_eq!(
        (&oldest["version"], &oldest["actor"], &oldest["reason"]),
        (&json!(1), &json!("ann"), &json!("fewer rows"))
    );
    assert_eq!(
        dev.api.get("/config/history/1").await.unwrap()["settings"],
        json!({"limits": {"page_size": 3}})
    );
}

/// Waits until `count` settings are pending.
async fn pending(dev: &Dev, count: usize) -> Value {
    let since = Instant::now();
    loop {
        let shown = dev.api.get("/config").await.unwrap();
        if shown["pending"].as_array().unwrap().len() == count
            && shown["processes"][0]["version"] == shown["version"]
        {
            return shown;
        }
        // The membership of a killed process ends with its lease.
        assert!(since.elapsed() < Duration::from_secs(20), "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn of_two_writers_with_one_etag_one_gets_412() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    for round in 0..5_u64 {
        let etag = call(&dev, "GET", "/config", &[], Value::Null).await.etag;
        let write = |size: u64| {
            let (dev, etag) = (&dev, etag.clone());
            async move {
                call(dev, "PUT", "/config", &[("if-match", &etag)], json!({"limits": {"page_size": size}}))
                    .await
            }
        };
        let (one, other) = tokio::join!(write(10 + round), write(20 + round));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{} {}", one.body, other.body);
    }
    // Patches of different settings without a condition do not disturb each other.
    let patch = |patch: Value| call(&dev, "PATCH", "/config", &[], patch);
    let (one, other) =
        tokio::join!(patch(json!({"limits": {"backlog": 7}})), patch(json!({"limits": {"json_depth": 9}})));
    assert_eq!((one.status, other.status), (200, 200), "{} {}", one.body, other.body);
    let settings = dev.api.get("/config").await.unwrap()["settings"].clone();
    assert_eq!((&settings["limits"]["backlog"], &settings["limits"]["json_depth"]), (&json!(7), &json!(9)));
}

#[tokio::test]
async fn services_of_the_document_are_set_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    let url = "http://127.0.0.1:9";
    let services = json!({"services": {"payments": {"http": {"url": url}, "max_in_flight": 3}}});
    assert_eq!(put(&dev, services).await.status, 200);
    let since = Instant::now();
    while dev.api.get("/services/payments").await.is_err() {
        assert!(since.elapsed() < EFFECT, "the service was not set");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let service = dev.api.get("/services/payments").await.unwrap();
    assert_eq!((&service["http"]["url"], &service["max_in_flight"]), (&json!(url), &json!(3)), "{service}");
    assert_eq!(put(&dev, json!({})).await.status, 200);
    let since = Instant::now();
    while dev.api.get("/services/payments").await.is_ok() {
        assert!(since.elapsed() < EFFECT, "the service was not removed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn log_level_changes_while_the_process_runs() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    let lines = |level: &str| {
        let text = std::fs::read_to_string(dev.log()).unwrap();
        text.lines().filter(|line| line.contains(level)).count()
    };
    let services = json!({"absent": {"http": {"url": "http://127.0.0.1:9"}}});
    let settings = |level: &str| json!({"telemetry": {"log_level": level}, "services": services});
    assert_eq!(put(&dev, settings("info")).await.status, 200);
    with_workflows(&dev, 1).await;
    assert_eq!(lines("DEBUG"), 0);
    assert_eq!(put(&dev, settings("debug")).await.status, 200);
    let since = Instant::now();
    while lines("DEBUG") == 0 {
        assert!(since.elapsed() < EFFECT, "no line of level debug was logged");
        // The executor logs each attempt at this level.
        dev.api.start("waits", json!({}), None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn grpc_changes_the_same_settings_with_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    let channel = Endpoint::from_shared(dev.api.base().to_owned()).unwrap().connect().await.unwrap();
    let mut config = ConfigServiceClient::new(channel);
    let put = |settings: Value, version: u64| wire::PutConfigRequest {
        settings_json: settings.to_string(),
        if_version: Some(version),
        ..Default::default()
    };
    let changed = config.put_config(put(json!({"limits": {"page_size": 4}}), 0)).await.unwrap().into_inner();
    let newest = changed.config.unwrap().newest.unwrap();
    assert_eq!((newest.version, &*newest.settings_json), (1, r#"{"limits":{"page_size":4}}"#));
    assert_eq!(dev.api.get("/config").await.unwrap()["settings"], json!({"limits": {"page_size": 4}}));
    let late = config.put_config(put(json!({}), 0)).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted, "{late}");
    let wrong = config.put_config(put(json!({"limits": {"page_sise": 4}}), 1)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("did you mean page_size?"), "{wrong}");
    let empty = config.put_config(wire::PutConfigRequest::default()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty}");
    let patch = json!({"limits": {"backlog": 5}}).to_string();
    let patch = wire::PatchConfigRequest { patch_json: patch, ..Default::default() };
    let patched = config.patch_config(patch).await.unwrap().into_inner().config.unwrap();
    assert_eq!(patched.changes[0].setting, "limits.backlog");
    let back = wire::RollbackConfigRequest { version: 1, ..Default::default() };
    let restored = config.rollback_config(back).await.unwrap().into_inner().config.unwrap();
    assert_eq!(restored.newest.unwrap().settings_json, newest.settings_json);
    let versions = config.list_config_versions(wire::ListConfigVersionsRequest::default()).await.unwrap();
    let numbers: Vec<u64> = versions.into_inner().versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let second = config.get_config_version(wire::GetConfigVersionRequest { version: 2 }).await.unwrap();
    let second: Value = serde_json::from_str(&second.into_inner().version.unwrap().settings_json).unwrap();
    assert_eq!(second, json!({"limits": {"page_size": 4, "backlog": 5}}));
    let none = config.get_config_version(wire::GetConfigVersionRequest { version: 9 }).await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    let schema = config.get_config_schema(wire::GetConfigSchemaRequest {}).await.unwrap().into_inner();
    let schema: Value = serde_json::from_str(&schema.schema_json).unwrap();
    assert_eq!(schema, dev.api.get("/config/schema").await.unwrap());
}

struct Printed {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn run(dev: &Dev, arguments: &[&str], input: &str) -> Printed {
    let mut command = goconductor().unwrap();
    command.args(arguments).env("GOCONDUCTOR_SERVER", dev.api.base());
    command.env("EDITOR", "sed -i -e s/page_size:.*/page_size:\\ 8/").env_remove("VISUAL");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may have ended.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed {
        code: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

#[tokio::test]
async fn command_line_reads_changes_compares_and_restores() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    let set =
        run(&dev, &["config", "set", "limits.page_size=5", "limits.backlog=9", "--reason", "load"], "").await;
    assert_eq!(set.code, 0, "{}", set.stderr);
    assert_eq!(set.stdout, "limits.backlog (live)\nlimits.page_size (live)\n");
    let get = run(&dev, &["config", "get"], "").await;
    assert_eq!((get.code, &*get.stdout), (0, "limits:\n  backlog: 9\n  page_size: 5\n"), "{}", get.stderr);
    assert_eq!(run(&dev, &["config", "get", "limits.page_size"], "").await.stdout, "5\n");
    assert_eq!(run(&dev, &["config", "get", "limits.json_depth"], "").await.code, 3);
    let explained = run(&dev, &["config", "explain", "--live"], "").await;
    let row = explained.stdout.lines().find(|line| line.starts_with("limits.page_size")).unwrap();
    assert!(row.contains('5') && row.ends_with("api version 1"), "{row}");

    let file = "limits:\n  page_size: 6\n";
    let diff = run(&dev, &["config", "diff", "-"], file).await;
    assert_eq!(diff.code, 9, "{}", diff.stderr);
    assert!(
        diff.stdout.contains("-  page_size: 5") && diff.stdout.contains("+  page_size: 6"),
        "{}",
        diff.stdout
    );
    let checked = run(&dev, &["config", "apply", "-", "--dry-run"], file).await;
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert_eq!(
        run(&dev, &["config", "get", "-o", "name"], "").await.stdout,
        "limits.backlog\nlimits.page_size\n"
    );
    assert_eq!(run(&dev, &["config", "apply", "-"], file).await.code, 0);
    assert_eq!(run(&dev, &["config", "diff", "-"], file).await.code, 0);

    let edited = run(&dev, &["config", "edit"], "").await;
    assert_eq!((edited.code, &*edited.stdout), (0, "limits.page_size (live)\n"), "{}", edited.stderr);
    assert_eq!(run(&dev, &["config", "get", "limits.page_size"], "").await.stdout, "8\n");
    assert_eq!(run(&dev, &["config", "rollback", "1"], "").await.code, 0);
    assert_eq!(run(&dev, &["config", "get", "limits.page_size"], "").await.stdout, "5\n");
    let history = run(&dev, &["config", "history"], "").await;
    assert_eq!(history.stdout.lines().count(), 5, "{}", history.stdout);
    assert!(history.stdout.contains("load"), "{}", history.stdout);
    assert_eq!(run(&dev, &["config", "history", "2"], "").await.stdout, file);

    let wrong = run(&dev, &["config", "set", "limits.page_sise=5"], "").await;
    assert_eq!(wrong.code, 8);
    assert!(wrong.stderr.contains("did you mean page_size?"), "{}", wrong.stderr);
    let secret = run(&dev, &["config", "set", "listen=0.0.0.0:1"], "").await;
    assert_eq!(secret.code, 8);
    assert_eq!(run(&dev, &["config", "get", "limits.page_size"], "").await.stdout, "5\n");

    let schema = run(&dev, &["config", "schema"], "").await.stdout;
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema, dev.api.get("/config/schema").await.unwrap());
    assert_eq!(schema["properties"]["limits"]["properties"]["page_size"]["x-apply"], "live");
    let path = folder.path().join("wrong.yaml");
    std::fs::write(&path, "limits: { page_sise: 3 }\n").unwrap();
    assert_eq!(run(&dev, &["config", "validate", path.to_str().unwrap()], "").await.code, 8);
    std::fs::write(&path, "limits: { page_size: 3 }\n").unwrap();
    assert_eq!(run(&dev, &["config", "validate", path.to_str().unwrap()], "").await.code, 0);
}

/// Waits until a condition holds, for as long as a live setting may take.
async fn takes_effect(what: &str, holds: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !holds().await {
        assert!(since.elapsed() < EFFECT, "{what} has no effect");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_bodies_connections_and_attempts_change_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let dev = dev(folder.path()).await;
    // Calls about workflows may have the size of a payload, which is another limit.
    let large = json!({"workflow": "large", "title": "x".repeat(200_000), "steps": []});
    let rest = async || call(&dev, "PUT", "/definitions/large", &[], large.clone()).await.status;
    let channel = Endpoint::new(dev.api.base().to_owned()).unwrap().connect().await.unwrap();
    let grpc = async || {
        let request = wire::GetDefinitionRequest { name: "x".repeat(200_000), version: None };
        let mut definitions = wire::definition_service_client::DefinitionServiceClient::new(channel.clone());
        definitions.get_definition(request).await.unwrap_err().code()
    };
    assert_eq!(rest().await, 422, "the body is read");
    assert_ne!(grpc().await, Code::ResourceExhausted, "the body is read");
    let small = json!({"limits": {"body_bytes": "64KiB", "connections": 3, "connections_per_address": 3},
        "executor": {"max_in_flight": 3, "all_in_flight": 9, "compensations_in_flight": 2}});
    let changed = call(&dev, "PATCH", "/config", &[], small).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let changes = changed.body["changes"].as_array().unwrap();
    assert!(changes.iter().all(|change| change["apply"] == "live"), "{}", changed.body);
    let refused = async || {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(
                tokio::net::TcpStream::connect(dev.api.base().trim_start_matches("http://")).await.unwrap(),
            );
        }
        let mut first = [0; 12];
        let last = open.last_mut().unwrap();
        let read = tokio::io::AsyncReadExt::read_exact(last, &mut first);
        tokio::time::timeout(Duration::from_millis(200), read).await.is_ok_and(|read| read.is_ok())
            && first.starts_with(b"HTTP/1.1 503")
    };
    takes_effect("limits.connections", refused).await;
    // Also shows that the connections of the refused attempt were returned.
    takes_effect("limits.body_bytes", async || grpc().await == Code::ResourceExhausted).await;
    let restored =
        json!({"limits": {"body_bytes": null, "connections": null, "connections_per_address": null}});
    takes_effect("a free connection", async || {
        let patched = dev.api.send("PATCH", "/config", Some(restored.clone())).await;
        patched.is_ok_and(|(status, _)| status == 200)
    })
    .await;
    takes_effect("the limit of the file", async || rest().await == 422).await;
    assert_eq!(pending(&dev, 0).await["settings"]["executor"]["max_in_flight"], 3);
}
