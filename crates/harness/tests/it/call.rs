//! Calls that definitions spell out, and the addresses that requests may go to.

use crate::cluster::{ONE, possible};
use crate::world::World;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use goconductor_harness::{Broker, Cluster, ClusterOptions, Dev, DevOptions, Participants, goconductor};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Two calls with central compensations, and a step of a service.
fn chain(participants: &Participants) -> String {
    let (a, b) = (participants.url("a"), participants.url("b"));
    format!(
        "workflow: chain
steps:
  - name: one
    call: {{ http: {{ url: '{a}/one', body: '${{ input }}' }} }}
    timeout: 1s
    compensate:
      call:
        http:
          url: '{a}/undo_one'
          body: {{ input: '${{ input }}', output: '${{ steps.one.output }}' }}
  - name: two
    call: {{ http: {{ url: '{b}/two', body: '${{ input }}' }} }}
    timeout: 1s
    retry: {{ max_attempts: 2, initial: 10ms }}
    compensate:
      call:
        http:
          url: '{b}/undo_two?step=two'
          body: {{ input: '${{ input }}', output: '${{ steps.two.output }}' }}
      retry: {{ initial: 10ms }}
  - {{ name: three, run: c/three, compensate: c/undo_three, retry: none }}
"
    )
}

#[tokio::test]
async fn calls_run_forward_with_every_header() {
    let world = World::new().await;
    let ended = world.run(&chain(&world.participants), json!({})).await;
    assert_eq!(ended.status(), "COMPLETED", "{:#}", ended.view);
    assert_eq!(ended.actions(), ["a/one", "b/two", "c/three"]);
    let call = &ended.calls[0];
    assert_eq!(call.key, format!("{}/one/execute", ended.id));
    assert_eq!((call.step.as_str(), call.operation.as_str(), call.attempt), ("one", "execute", 1));
    assert!(call.deadline.ends_with('Z') && call.traceparent.starts_with("00-"), "{call:?}");
    assert_eq!(ended.step("one")["output"]["action"], "one");
    let url = world.participants.url("a");
    assert_eq!(ended.step("one")["action"], format!("POST {url}/one"));
    assert_eq!(ended.step("one")["compensate"], format!("POST {url}/undo_one"));
}

#[tokio::test]
async fn calls_are_undone_in_reverse_order_by_central_compensation() {
    let world = World::new().await;
    let yaml = chain(&world.participants);
    // A compensation that fails is repeated with the same key.
    let ended = world.run(&yaml, json!({"three": "refuse", "undo_two": ["fail", "busy", "ok"]})).await;
    assert_eq!((ended.status(), ended.cause()), ("ROLLED_BACK", "STEP_FAILED"), "{:#}", ended.view);
    let expected = ["a/one", "b/two", "c/three", "b/undo_two", "b/undo_two", "b/undo_two", "a/undo_one"];
    assert_eq!(ended.actions(), expected);
    assert_eq!(ended.steps(), ["one=COMPENSATED", "two=COMPENSATED", "three=FAILED"]);
    let undo = ended.calls.last().unwrap();
    assert_eq!(
        (undo.key.as_str(), undo.operation.as_str()),
        (&*format!("{}/one/compensate", ended.id), "compensate")
    );
    assert_eq!(undo.body["output"]["action"], "one");
}

#[tokio::test]
async fn call_in_doubt_is_compensated_and_refused_call_is_not() {
    let world = World::new().await;
    let yaml = chain(&world.participants);
    let ended = world.run(&yaml, json!({"two": "reset"})).await;
    assert_eq!(ended.status(), "ROLLED_BACK");
    assert_eq!(ended.actions(), ["a/one", "b/two", "b/two", "b/undo_two", "a/undo_one"]);
    assert!(ended.calls[3].body["output"].is_null(), "{:?}", ended.calls[3].body);
    let ended = world.run(&yaml, json!({"two": "refuse"})).await;
    assert_eq!(ended.actions(), ["a/one", "b/two", "a/undo_one"]);
    assert_eq!(ended.view["error"]["code"], "REFUSED");
}

#[tokio::test]
async fn call_goes_on_after_the_server_was_killed() {
    let mut world = World::new().await;
    let yaml = chain(&world.participants);
    let id = world.start(&yaml, json!({"two": ["busy", "ok"], "three": "refuse"})).await;
    world.dev.kill().await.unwrap();
    world.dev.restart().await.unwrap();
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "ROLLED_BACK", "{:#}", ended.view);
    let undone: Vec<_> = ended.calls.iter().filter(|call| call.operation == "compensate").collect();
    assert!(undone.iter().all(|call| call.key.ends_with("/compensate")), "{undone:?}");
}

/// Requests to a server that answers each with `{}`.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(String, HeaderMap, String)>>>);

async fn record(
    State(recorder): State<Recorder>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> axum::Json<Value> {
    recorder.0.lock().push((format!("{method} {uri}"), headers, body));
    axum::Json(json!({}))
}

impl Recorder {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(record).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn last(&self) -> (String, HeaderMap, String) {
        self.0.lock().last().cloned().unwrap()
    }
}

async fn cli(server: Option<&str>, arguments: &[&str], stdin: &str) {
    let mut command = goconductor().unwrap();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    if let Some(server) = server {
        command.env("GOCONDUCTOR_SERVER", server);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
    assert!(child.wait().await.unwrap().success(), "{arguments:?}");
}

async fn run(dev: &Dev, name: &str, yaml: &str, input: Value) -> Value {
    dev.api.apply(name, yaml).await.unwrap();
    let id = dev.api.start(name, input, None).await.unwrap();
    dev.api.ended(&id, Duration::from_secs(20)).await.unwrap();
    dev.api.get(&format!("/workflows/{id}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secret_of_the_definition_is_resolved_and_one_of_the_input_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("master.key").display().to_string();
    cli(None, &["secret", "generate-key", "--to-file", &key], "").await;
    let args = vec!["--set".to_owned(), format!("secrets.master_key=file://{key}")];
    let dev = Dev::start(&folder.path().join("dev"), DevOptions { args }).await.unwrap();
    cli(Some(dev.api.base()), &["secret", "set", "token"], "Bearer abc").await;
    let recorder = Recorder::default();
    let url = recorder.start().await;
    let yaml = format!(
        "workflow: ask
steps:
  - name: ask
    kind: pivot
    call:
      http:
        url: '{url}/items/${{ input.id }}?full=true'
        method: GET
        headers: {{ Authorization: 'secret://token', X-Other: '${{ input.other }}', X-None: '${{ input.none }}' }}
"
    );
    let input = json!({"id": 7, "other": "secret://token", "none": null});
    let view = run(&dev, "ask", &yaml, input).await;
    assert_eq!(view["status"], "COMPLETED", "{view:#}");
    assert!(!view.to_string().contains("abc"), "{view:#}");
    let (line, headers, body) = recorder.last();
    assert_eq!((line.as_str(), body.as_str()), ("GET /items/7?full=true", ""));
    assert_eq!(headers["authorization"], "Bearer abc");
    assert_eq!(headers["x-other"], "secret://token");
    assert!(!headers.contains_key("x-none"));
    // The queue of calls is not a service.
    let listed = dev.api.get("/services").await.unwrap();
    assert_eq!(listed["services"], json!([]), "{listed:#}");
    assert_eq!(dev.api.send("GET", "/services/calls-", None).await.unwrap().0, 404);
}

/// A server whose executor must not connect to the canary.
async fn with_canary(deny: &str) -> (Dev, tempfile::TempDir, TcpListener) {
    let folder = tempfile::tempdir().unwrap();
    let canary = TcpListener::bind((deny, 0)).await.unwrap();
    let args = vec!["--set".to_owned(), format!("executor.outbound.deny={deny}/32")];
    let dev = Dev::start(folder.path(), DevOptions { args }).await.unwrap();
    (dev, folder, canary)
}

async fn is_reached(canary: &TcpListener) -> bool {
    tokio::time::timeout(Duration::from_millis(200), canary.accept()).await.is_ok()
}

#[tokio::test]
async fn service_with_an_address_that_is_not_allowed_is_refused() {
    let (dev, _folder, canary) = with_canary("127.0.0.3").await;
    for host in [
        "127.0.0.3",
        "127.3",
        "0x7f000003",
        "2130706435",
        "[::ffff:127.0.0.3]",
        "[64:ff9b::7f00:3]",
        "127.0.0.3.",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "100.64.0.1",
    ] {
        let body = json!({"http": {"url": format!("http://{host}:9101")}});
        let (status, body) = dev.api.send("PUT", "/services/shop", Some(body)).await.unwrap();
        assert_eq!((status, &body["code"]), (422, &json!("GC2120")), "{host}: {body}");
        assert_eq!(body["errors"][0]["pointer"], "/http/url", "{body}");
    }
    dev.api.serve("shop", "http://127.0.0.1:9101").await.unwrap();
    dev.api.serve("shop", "https://payments.example").await.unwrap();
    assert!(!is_reached(&canary).await);
}

#[tokio::test]
async fn call_to_an_address_that_is_not_allowed_fails_without_a_connection() {
    let (dev, _folder, canary) = with_canary("127.0.0.3").await;
    let port = canary.local_addr().unwrap().port();
    for (number, host) in [
        "127.0.0.3",
        "127.3",
        "0x7f000003",
        "2130706435",
        "[::ffff:127.0.0.3]",
        "169.254.169.254",
        "10.0.0.1",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("ask-{number}");
        let yaml = format!(
            "workflow: {name}\nsteps:\n  - name: ask\n    call: {{ http: {{ url: 'http://{host}:{port}/' }} }}\n    \
             compensate: none\n"
        );
        let view = run(&dev, &name, &yaml, json!({})).await;
        assert_eq!(view["status"], "ROLLED_BACK", "{host}: {view:#}");
        assert_eq!(view["error"]["code"], "ADDRESS_DENIED", "{host}: {view:#}");
        assert_eq!(view["steps"][0]["attempts"], 1, "{host}: {view:#}");
    }
    assert!(!is_reached(&canary).await);
}

#[tokio::test]
async fn redirect_of_a_call_is_not_followed() {
    let (dev, _folder, canary) = with_canary("127.0.0.3").await;
    let location = format!("http://{}/", canary.local_addr().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router =
        Router::new().fallback(move || async move { axum::response::Redirect::temporary(&location) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let yaml = format!(
        "workflow: ask\nsteps:\n  - name: ask\n    call: {{ http: {{ url: '{url}' }} }}\n    retry: none\n    compensate: \
         none\n"
    );
    let view = run(&dev, "ask", &yaml, json!({})).await;
    assert_eq!(
        (&view["status"], &view["error"]["code"]),
        (&json!("ROLLED_BACK"), &json!("HTTP_307")),
        "{view:#}"
    );
    assert!(!is_reached(&canary).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_made_and_undone_over_processes_of_which_one_is_killed() {
    const SAGAS: usize = 40;
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    // Executors that serve all services make the calls.
    let options = ClusterOptions::new(Broker::Kafka(1), 2);
    let mut cluster = Cluster::start(options).await.unwrap();
    let participants = Participants::start().await.unwrap();
    let (first, second) = (cluster.gateways[0].clone(), cluster.gateways[1].clone());
    first.serve("c", &participants.url("c")).await.unwrap();
    first.apply("chain", &chain(&participants)).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..SAGAS {
        let script = match number % 4 {
            0 => json!({"three": "refuse"}),
            1 => json!({"two": ["busy", "ok"], "three": "refuse", "undo_one": ["fail", "ok"]}),
            2 => json!({"one": "slow:300"}),
            _ => json!({}),
        };
        ids.push(second.start("chain", json!({"script": script}), None).await.unwrap());
        if number == SAGAS / 2 {
            cluster.kill("executor-1").await.unwrap();
        }
    }
    for (number, id) in ids.iter().enumerate() {
        let result = first.ended(id, Duration::from_secs(60)).await.unwrap();
        let calls = participants.calls_of(id);
        let applied = |key: &str| {
            let key = format!("{id}/{key}");
            calls.iter().filter(|call| call.key == key && call.effect == "applied").count()
        };
        let status = result["status"].as_str().unwrap();
        // The attempts that the killed executor had may be in doubt, and are then repeated with the same key.
        assert!(number % 4 > 1 || status == "ROLLED_BACK", "{number}: {result:#}");
        for step in ["one", "two", "three"] {
            let (done, undone) =
                (applied(&format!("{step}/execute")), applied(&format!("{step}/compensate")));
            match status {
                "COMPLETED" => assert_eq!((done, undone), (1, 0), "{number} {step}: {calls:#?}"),
                "ROLLED_BACK" => assert_eq!(done, undone, "{number} {step}: {calls:#?}"),
                other => panic!("{number}: {other}"),
            }
        }
    }
    cluster.down().await.unwrap();
}
