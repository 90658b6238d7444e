//! The command line against a real `goconductor dev --demo`, as a person uses it.

use goconductor_harness::{Dev, DevOptions, goconductor};
use serde_json::{Value, json};
use std::time::Duration;

/// The exit code and the output of a command.
struct Printed {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Printed {
    /// Returns the cells of the row whose first cell is `name`. Two spaces separate cells.
    fn row(&self, name: &str) -> Vec<&str> {
        self.stdout.lines().map(cells_of).find(|cells| cells.first() == Some(&name)).unwrap_or_default()
    }

    fn heads(&self) -> Vec<&str> {
        self.stdout.lines().next().map(cells_of).unwrap_or_default()
    }
}

fn cells_of(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

async fn demo(folder: &std::path::Path) -> Dev {
    let options = DevOptions { args: vec!["--demo".to_owned()] };
    Dev::start(folder, options).await.unwrap()
}

async fn run(dev: &Dev, arguments: &[&str]) -> Printed {
    run_with(dev, &[], arguments).await
}

async fn run_with(dev: &Dev, variables: &[(&str, &str)], arguments: &[&str]) -> Printed {
    let mut command = goconductor().unwrap();
    command.env("GOCONDUCTOR_SERVER", dev.api.base()).envs(variables.iter().copied()).args(arguments);
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Printed {
        code: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Asks as the script of bash does: the last word is completed.
async fn complete(dev: &Dev, words: &[&str]) -> Vec<String> {
    let index = words.len().to_string();
    let variables =
        [("GOCONDUCTOR_COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", index.as_str()), ("_CLAP_IFS", "\n")];
    let arguments: Vec<&str> = ["--", "goconductor"].into_iter().chain(words.iter().copied()).collect();
    let printed = run_with(dev, &variables, &arguments).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (0, ""), "{words:?}");
    // An empty word can also become an option.
    printed.stdout.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect()
}

/// Waits until the only election of a `dev` has a leader.
async fn elected(dev: &Dev) {
    // Those of the shard and of the schedules.
    while dev.api.get("/elections").await.unwrap()["elections"].as_array().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn order(id: &str, sku: &str) -> Value {
    json!({"order_id": id, "amount": 42, "items": [{"sku": sku, "quantity": 1}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_show_ages_and_exact_times_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let dev = demo(folder.path()).await;
    let empty = run(&dev, &["workflow", "list"]).await;
    assert_eq!((empty.code, empty.stdout.as_str()), (0, ""));
    assert!(empty.stderr.contains("goconductor workflow start DEFINITION --input JSON"), "{}", empty.stderr);
    let filtered = run(&dev, &["wf", "ls", "--filter", "status = ERROR"]).await;
    assert_eq!(filtered.stderr, "no workflow matches the filter\n");

    let id = dev.api.start("order-processing", order("o-1", "book"), None).await.unwrap();
    dev.api.ended(&id, Duration::from_secs(30)).await.unwrap();
    let workflow = dev.api.get(&format!("/workflows/{id}")).await.unwrap();
    let exact = |field: &str| workflow[field].as_str().unwrap();
    let is_age = |cell: &str| cell == "now" || cell.ends_with("s ago") || cell.ends_with("m ago");
    let list = run(&dev, &["wf", "ls"]).await;
    let row = list.row(&id);
    assert!(row.len() == 5 && is_age(row[3]) && is_age(row[4]), "{}", list.stdout);
    for arguments in [&["workflow", "list", "--utc"][..], &["workflow", "list", "-o", "wide"]] {
        let list = run(&dev, arguments).await;
        let row = list.row(&id);
        assert!(row.contains(&exact("created_at")) && row.contains(&exact("ended_at")), "{}", list.stdout);
    }
    assert!(is_age(run(&dev, &["def", "ls"]).await.row("order-processing")[2]));
    elected(&dev).await;
    assert!(is_age(run(&dev, &["election", "ls"]).await.row("duties/0-of-1")[3]));

    let history = run(&dev, &["workflow", "history", &id]).await;
    assert!(history.row("1")[1] == "+0ms" && history.stdout.lines().skip(1).all(|line| line.contains(" +")));
    let history = run(&dev, &["workflow", "history", &id, "--utc"]).await;
    assert_eq!(history.row("1")[1], exact("created_at"), "{}", history.stdout);
    assert_eq!(
        run(&dev, &["wf", "get", &id]).await.stdout,
        run(&dev, &["workflow", "describe", &id]).await.stdout
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_field_of_a_service_has_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let dev = demo(folder.path()).await;
    let set =
        ["svc", "set", "parcels", "--url", "http://127.0.0.1:9", "--max-in-flight", "7", "--limit", "pack=2"];
    let set = run(&dev, &set).await;
    assert_eq!(set.code, 0, "{}", set.stderr);
    let list = run(&dev, &["svc", "ls"]).await;
    assert_eq!(list.heads(), ["SERVICE", "URL", "SERVED", "BACKLOG", "UPDATED"]);
    let payments = list.row("payments");
    assert!(
        payments[1].starts_with("http://127.0.0.1:") && payments[2..4] == ["yes", "0"],
        "{}",
        list.stdout
    );
    let wide = run(&dev, &["service", "list", "-o", "wide"]).await;
    let parcels = wide.row("parcels");
    assert_eq!(parcels.last_chunk::<2>(), Some(&["7", "pack=2"]), "{}", wide.stdout);
    assert_eq!(run(&dev, &["service", "get", "parcels", "-o", "wide"]).await.heads(), wide.heads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_without_a_field_of_the_schema_runs_nothing_and_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let dev = demo(folder.path()).await;
    let partial = r#"{"order_id": "o-1", "items": []}"#;
    let refused = run(&dev, &["workflow", "start", "order-processing", "--input", partial]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (8, ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("missing property \"amount\""), "{}", refused.stderr);
    assert!(refused.stderr.contains("where: /input\n"), "{}", refused.stderr);
    assert!(refused.stderr.contains("goconductor definition get order-processing"), "{}", refused.stderr);
    let refused = run(&dev, &["workflow", "start", "order-processing"]).await;
    for field in ["order_id", "amount", "items"] {
        assert!(refused.code == 8 && refused.stderr.contains(&format!("{field:?}")), "{}", refused.stderr);
    }
    assert_eq!(dev.api.get("/workflows").await.unwrap()["workflows"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_ids_of_the_server_are_completed() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = demo(folder.path()).await;
    let ended = dev.api.start("order-processing", order("o-1", "book"), None).await.unwrap();
    dev.api.ended(&ended, Duration::from_secs(30)).await.unwrap();
    let refused = dev.api.start("order-processing", order("o-2", "sold-out"), None).await.unwrap();
    dev.api.ended(&refused, Duration::from_secs(30)).await.unwrap();

    assert_eq!(complete(&dev, &["workflow", "start", ""]).await, ["order-processing"]);
    assert_eq!(complete(&dev, &["def", "get", "order"]).await, ["order-processing"]);
    assert_eq!(complete(&dev, &["service", "get", ""]).await, ["inventory", "payments"]);
    assert_eq!(complete(&dev, &["svc", "set", "pay"]).await, ["payments"]);
    elected(&dev).await;
    assert_eq!(complete(&dev, &["election", "describe", "duties/0"]).await, ["duties/0-of-1"]);
    // The newest comes first. Nothing is active, so nothing can be cancelled.
    let ids = complete(&dev, &["workflow", "describe", "0"]).await;
    assert_eq!(ids, [refused.as_str(), ended.as_str()]);
    assert_eq!(complete(&dev, &["workflow", "cancel", "0"]).await, [""; 0]);
    let steps = complete(&dev, &["workflow", "retry", &ended, ""]).await;
    assert_eq!(steps, ["process_payment", "update_inventory"]);
    assert_eq!(complete(&dev, &["explain", "GC000"]).await, ["GC0001"]);
    assert!(complete(&dev, &["work"]).await.contains(&"workflow".to_owned()));

    // Without a server there are no candidates and no message.
    dev.kill().await.unwrap();
    assert_eq!(complete(&dev, &["workflow", "describe", "0"]).await, [""; 0]);
}

#[tokio::test]
async fn completion_gives_up_on_a_server_that_does_not_answer() {
    // Accepts no connection. The system completes the handshakes, so requests have no response.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = goconductor().unwrap();
    command.env("GOCONDUCTOR_SERVER", format!("http://{}", silent.local_addr().unwrap()));
    command.envs([("GOCONDUCTOR_COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "3")]);
    command.args(["--", "goconductor", "workflow", "describe", "0"]);
    let output = command.output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout.len(), output.stderr.len()), (Some(0), 0, 0));
}
