//! A participant that dies after its commit and before its answer, with and without a probe: no saga is rolled back with
//! an effect that stands, and none completes without its effects.

use crate::restarts::keep_alive;
use futures::StreamExt;
use goconductor_harness::check::{Clocks, Coverage, EffectKind, Fault, Run, Start, UtcTime, check, digest};
use goconductor_harness::{Api, Dev, DevOptions, EffectLog, collect, doctor, free_port};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// The number of sagas, unless `GOCONDUCTOR_TEST_SAGAS` overrides it.
const SAGAS: u64 = 150;
const AT_ONCE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(300);

fn definition(name: &str, policy: &str) -> String {
    let step = |step: &str| {
        format!("  - {{ name: {step}, run: mortal/{step}, compensate: mortal/undo_{step}{policy} }}\n")
    };
    let defaults = "{ timeout: 2s, retry: { max_attempts: 2, initial: 20ms, max: 200ms } }";
    format!("workflow: {name}\ndefaults: {defaults}\nsteps:\n{}{}{}", step("a"), step("b"), step("c"))
}

async fn start(api: &Api, definition: &str, number: u64) -> Start {
    let input = match number % 4 {
        0 => json!({"refuse": "c"}),
        _ => json!({}),
    };
    let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
    let key = format!("{definition}-{number}");
    let id = api.start(definition, input.clone(), Some(&key)).await.unwrap();
    api.ended(&id, PATIENCE).await.unwrap();
    let (definition, input) = (definition.to_owned(), digest(&input));
    Start { key: Some(key), definition, input, acknowledged: Some(id), at }
}

/// Whether every step of a workflow has its effect, and whether none has.
fn effects_agree(run: &Run) {
    let mut stands: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    for effect in run.effects.iter().filter(|effect| effect.effect == Some(EffectKind::Applied)) {
        let change = if effect.operation == "execute" { 1 } else { -1 };
        *stands.entry((&effect.workflow, &effect.step)).or_default() += change;
    }
    for workflow in &run.workflows {
        let expected = match workflow.view.status.as_str() {
            "COMPLETED" => 1,
            "ROLLED_BACK" => 0,
            other => panic!("{} ended as {other}", workflow.id),
        };
        for step in ["a", "b", "c"] {
            let found = stands.get(&(workflow.id.as_str(), step)).copied().unwrap_or_default();
            assert_eq!(found, expected, "{}/{step}: {}", workflow.id, workflow.view.status);
        }
    }
}

async fn sagas_agree_with_effects(policy: &str, name: &str) {
    let count = std::env::var("GOCONDUCTOR_TEST_SAGAS").ok().and_then(|text| text.parse().ok());
    let count: u64 = count.unwrap_or(SAGAS);
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let (port, log) = (free_port().unwrap(), folder.path().join("effects"));
    let deaths = Arc::new(AtomicU64::new(0));
    let arguments = vec![port.to_string().into(), log.clone().into_os_string()];
    let alive = tokio::spawn(keep_alive("mortal", arguments, Arc::clone(&deaths)));
    dev.api.serve("mortal", &format!("http://127.0.0.1:{port}")).await.unwrap();
    dev.api.apply(name, &definition(name, policy)).await.unwrap();
    let sagas = (0..count).map(|number| start(&dev.api, name, number));
    let starts: Vec<Start> = futures::stream::iter(sagas).buffer_unordered(AT_ONCE).collect().await;
    alive.abort();
    let store = folder.path().join("data");
    let run = Run {
        starts,
        workflows: collect(&dev.api).await.unwrap(),
        effects: EffectLog::read_all(&log).unwrap(),
        doctor: Some(doctor([OsStr::new("--data-dir"), store.as_os_str()]).await.unwrap()),
        ..Run::default()
    };
    effects_agree(&run);
    let findings = check(&run, Clocks::default());
    assert!(findings.is_empty(), "{findings:#?}");
    let coverage = Coverage::of(&run, Clocks::default());
    let deficiencies = coverage.deficiencies(&[Fault::Rollback, Fault::Unknown, Fault::Refused]);
    assert!(deficiencies.is_empty(), "{deficiencies:#?} {coverage:#?}");
    let deaths = deaths.load(Ordering::Relaxed);
    assert!(deaths > count / 12, "it died {deaths} times: the run proves nothing");
    eprintln!("{count} sagas, {deaths} deaths: {coverage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_that_dies_before_its_answer_leaves_no_effect_without_a_probe() {
    sagas_agree_with_effects("", "plain").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participant_that_dies_before_its_answer_is_asked_by_a_probe() {
    sagas_agree_with_effects(", probe: mortal/find", "probed").await;
}
