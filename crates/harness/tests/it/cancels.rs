//! Cancels at random moments, of workflows and of their children: each workflow ends completed or rolled back, and never
//! between.

use futures::StreamExt;
use goconductor_harness::check::{Clocks, Coverage, Fault, Run, Start, UtcTime, check, digest};
use goconductor_harness::{Api, Dev, DevOptions, Participants, collect, doctor};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::time::{Duration, UNIX_EPOCH};

/// The number of cancelled workflows, unless `GOCONDUCTOR_TEST_CANCELS` overrides it.
const CANCELS: u64 = 400;
const AT_ONCE: usize = 24;
/// The time within which most workflows are cancelled, in milliseconds. It is about as long as their course.
const COURSE_MILLIS: u64 = 150;
const PATIENCE: Duration = Duration::from_secs(120);

const PART: &str = "
workflow: part
steps:
  - { name: flight, run: stock/reserve, compensate: stock/release, timeout: 5s }
  - { name: hotel, run: payments/charge, compensate: payments/refund, timeout: 5s }
";
const WHOLE: &str = "
workflow: whole
steps:
  - { name: visa, run: stock/visa, compensate: stock/unvisa, timeout: 5s }
  - { name: part, child: part }
  - { name: ship, run: stock/ship, compensate: stock/unship, timeout: 5s }
";

/// A number from a number, without a pattern (SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def0);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn script(noise: u64) -> Value {
    let slow = |at: u32| format!("slow:{}", (noise >> (8 * at)) % 30);
    json!({"reserve": slow(0), "charge": slow(1), "ship": slow(2), "visa": slow(3), "refund": slow(4)})
}

/// The workflow, or its child if it has one by now.
async fn target(api: &Api, id: &str, is_child: bool) -> String {
    if !is_child {
        return id.to_owned();
    }
    let view = api.get(&format!("/workflows/{id}")).await.unwrap();
    view["children"][0]["id"].as_str().unwrap_or(id).to_owned()
}

/// Starts a workflow, cancels it or its child after a while, and waits for the end. Returns whether the cancel was
/// accepted.
async fn cancel_one(api: &Api, number: u64) -> (Start, bool) {
    let noise = mixed(number);
    let input = json!({"script": script(noise)});
    let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
    let key = format!("whole-{number}");
    let id = api.start("whole", input.clone(), Some(&key)).await.unwrap();
    // Some cancels arrive after the end, however slow the machine is.
    let longest = if number % 8 == 7 { 20 * COURSE_MILLIS } else { COURSE_MILLIS };
    tokio::time::sleep(Duration::from_millis(mixed(noise) % longest)).await;
    let cancelled = target(api, &id, number.is_multiple_of(3)).await;
    let (status, body) = api.send("POST", &format!("/workflows/{cancelled}/cancel"), None).await.unwrap();
    // A workflow that has ended, or that rolls back already, refuses.
    assert!(status == 200 || status == 409, "{status} {body}");
    api.ended(&id, PATIENCE).await.unwrap();
    let (definition, input) = ("whole".to_owned(), digest(&input));
    (Start { key: Some(key), definition, input, acknowledged: Some(id), at }, status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_at_random_moments_leave_nothing_between() {
    let count = std::env::var("GOCONDUCTOR_TEST_CANCELS").ok().and_then(|text| text.parse().ok());
    let count: u64 = count.unwrap_or(CANCELS);
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let participants = Participants::start().await.unwrap();
    for service in ["stock", "payments"] {
        dev.api.serve(service, &participants.url(service)).await.unwrap();
    }
    dev.api.apply("part", PART).await.unwrap();
    dev.api.apply("whole", WHOLE).await.unwrap();
    let all = (0..count).map(|number| cancel_one(&dev.api, number));
    let ended: Vec<(Start, bool)> = futures::stream::iter(all).buffer_unordered(AT_ONCE).collect().await;
    let accepted = ended.iter().filter(|(_, accepted)| *accepted).count();
    let store = folder.path().join("data");
    let run = Run {
        starts: ended.into_iter().map(|(start, _)| start).collect(),
        workflows: collect(&dev.api).await.unwrap(),
        effects: participants.effects(),
        doctor: Some(doctor([OsStr::new("--data-dir"), store.as_os_str()]).await.unwrap()),
        ..Run::default()
    };
    for workflow in &run.workflows {
        let status = workflow.view.status.as_str();
        assert!(["COMPLETED", "ROLLED_BACK"].contains(&status), "{} ended as {status}", workflow.id);
    }
    let findings = check(&run, Clocks::default());
    assert!(findings.is_empty(), "{findings:#?}");
    let coverage = Coverage::of(&run, Clocks::default());
    let deficiencies = coverage.deficiencies(&[Fault::Rollback, Fault::Cancel]);
    assert!(deficiencies.is_empty(), "{deficiencies:#?} {coverage:#?}");
    let of_children = |status: &str| {
        let children = run.workflows.iter().filter(|workflow| workflow.view.parent.is_some());
        children.filter(|child| child.view.status == status).count()
    };
    let ends = (of_children("COMPLETED"), of_children("ROLLED_BACK"));
    eprintln!(
        "{count} workflows, {accepted} cancels, children completed and rolled back: {ends:?}, {coverage:?}"
    );
    assert!(accepted > 0 && ends.0 > 0 && ends.1 > 0 && coverage.completed > 0, "the run proves nothing");
}
