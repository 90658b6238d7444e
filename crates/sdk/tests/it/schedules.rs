//! Schedules, and lists of workflows.

use crate::server::Server;
use goconductor::{Conductor, ErrorKind, Listing, ScheduleSpec, Start};
use serde_json::json;

/// Applies a definition whose only step has no worker.
async fn apply(conductor: &Conductor) {
    let yaml = "workflow: wait\nsteps: [{ name: work, run: shop/work, compensate: none }]\n";
    let applied = conductor.apply_definition("wait", yaml).await.unwrap();
    assert!(applied.created && applied.version == 1, "{applied:?}");
    let repeated = conductor.apply_definition("wait", yaml).await.unwrap();
    assert!(!repeated.created && repeated.version == 1, "{repeated:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedule_is_put_paused_triggered_and_deleted() {
    let server = Server::start().await;
    let conductor = server.conductor();
    apply(&conductor).await;
    let spec = ScheduleSpec {
        definition: "wait".to_owned(),
        cron: Some("0 3 * * *".to_owned()),
        input: Some(json!({"n": 1})),
        ..ScheduleSpec::default()
    };
    let put = conductor.put_schedule("nightly", &spec).await.unwrap();
    assert_eq!((put.name.as_str(), put.cron, put.paused), ("nightly", spec.cron.clone(), None));
    assert_eq!(conductor.due_times("nightly", 2).await.unwrap().len(), 2);
    conductor.pause_schedule("nightly", "the report is late").await.unwrap();
    let paused = conductor.schedule("nightly").await.unwrap().paused.unwrap();
    assert_eq!(paused.reason.as_deref(), Some("the report is late"));
    conductor.resume_schedule("nightly", "the report is there").await.unwrap();
    let names: Vec<String> = conductor.schedules().await.unwrap().into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["nightly"]);
    let run = conductor.trigger_schedule("nightly").await.unwrap();
    assert_eq!(run.describe().await.unwrap().input, json!({"n": 1}));
    conductor.delete_schedule("nightly").await.unwrap();
    let missing = conductor.schedule("nightly").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    assert!(missing.code().is_some_and(|code| code.starts_with("GC")), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_follows_all_pages() {
    let server = Server::start().await;
    let conductor = server.conductor();
    apply(&conductor).await;
    let mut started = Vec::new();
    for number in 0..5 {
        let start = Start::of("wait").label("team", "shop").idempotency_key(format!("order-{number}"));
        let handle = conductor.start(start.clone()).await.unwrap();
        assert!(!handle.replayed());
        let repeated = conductor.start(start).await.unwrap();
        assert!(repeated.replayed() && repeated.id() == handle.id(), "{repeated:?}");
        started.push(handle.id().to_owned());
    }
    let filter = Some("labels.team = \"shop\"".to_owned());
    let mut workflows = conductor.list(Listing { filter, page_size: Some(2), page_token: None });
    let mut listed = Vec::new();
    while let Some(workflow) = workflows.next().await {
        listed.push(workflow.unwrap().id);
    }
    listed.reverse();
    assert_eq!(listed, started, "newest first");
    let mut invalid = conductor.list(Listing { filter: Some("~".to_owned()), ..Listing::default() });
    let error = invalid.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(invalid.next().await.is_none(), "nothing follows an error");
}
