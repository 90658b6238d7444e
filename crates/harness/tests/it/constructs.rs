//! Each construct of the definition language, forward and back, over `dev` and over processes. A key of the language
//! without an entry here fails.

use crate::cluster::{ONE, possible};
use crate::world::{SERVICES, World};
use goconductor_harness::{Api, Broker, Cluster, ClusterOptions, Participants};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

/// Where a key of the language is tested.
#[derive(Debug, Clone, Copy)]
enum Tested {
    /// By the case of this name.
    Case(&'static str),
    /// By this module of tests, over `dev` and over processes.
    Module(&'static str),
    /// It names or describes, and has no influence on the course.
    Describes,
}
use Tested::{Case as By, Describes, Module};

/// The keys of a definition.
const KEYS: [(&str, Tested); 14] = [
    ("$schema", Describes),
    ("workflow", Describes),
    ("namespace", Describes),
    ("title", Describes),
    ("description", Describes),
    ("labels", Describes),
    ("input", By("data")),
    ("output", By("data")),
    ("timeout", By("timeout-of-workflow")),
    ("schedule", Module("schedule")),
    ("defaults", By("data")),
    ("compensation", By("compensation")),
    ("steps", By("run")),
    ("lock", By("lock-of-workflow")),
];

/// The keys of a step.
const STEP_KEYS: [(&str, Tested); 24] = [
    ("name", Describes),
    ("title", Describes),
    ("description", Describes),
    ("labels", Describes),
    ("depends_on", By("join")),
    ("join", By("join")),
    ("when", By("when")),
    ("run", By("run")),
    ("parallel", By("parallel")),
    ("switch", By("switch")),
    ("child", By("child")),
    ("wait_for_signal", By("wait-for-signal")),
    ("sleep", By("sleep")),
    ("for_each", By("for-each")),
    ("call", By("call")),
    ("kind", By("pivot")),
    ("input", By("data")),
    ("compensate", By("compensate")),
    ("retry", By("retry")),
    ("timeout", By("timeout")),
    ("lock", By("lock")),
    ("on_error", By("on-error")),
    ("probe", By("probe")),
    ("on_unknown", By("on-unknown")),
];

const LAST: &str = "{ name: last, run: b/last, compensate: b/undo_last, retry: none }";

/// A definition that shows a construct between its first and its last step.
struct Case {
    name: &'static str,
    /// The keys of the definition besides `steps`.
    top: &'static str,
    /// The steps between the first and the last.
    steps: &'static str,
    last: &'static str,
    /// The script of the way forward.
    forward: Value,
    /// The actions that take effect on the way forward between the first and the last step, with their number.
    done: &'static [(&'static str, usize)],
    /// The addition to the script that makes the workflow roll back.
    back: Value,
    /// The number of effects that are undone.
    undone: usize,
}

impl Case {
    fn new(name: &'static str, steps: &'static str, done: &'static [(&'static str, usize)]) -> Self {
        let (forward, back) = (json!({}), json!({"last": "refuse"}));
        let undone = 1 + done.iter().map(|(_, count)| count).sum::<usize>();
        Self { name, top: "", steps, last: LAST, forward, done, back, undone }
    }

    fn yaml(&self, participants: &Participants) -> String {
        let Self { name, top, steps, last, .. } = self;
        let first = "{ name: first, run: a/first, compensate: a/undo_first }";
        format!("workflow: case-{name}\n{top}steps:\n  - {first}\n{steps}  - {last}\n")
            .replace("$A", &participants.url("a"))
    }

    fn input(&self, back: bool) -> Value {
        let mut script = self.forward.clone();
        if back {
            let changes = self.back.as_object().cloned().unwrap_or_default();
            script.as_object_mut().unwrap().extend(changes);
        }
        json!({"script": script, "go": true, "key": self.name, "items": [{"n": 1}, {"n": 2}, {"n": 3}]})
    }
}

fn cases() -> Vec<Case> {
    let mid = "  - { name: mid, run: a/mid, compensate: a/undo_mid }\n";
    let run = vec![Case::new("run", mid, &[("a/mid", 1)])];
    [run, cases_of_flow(), cases_of_actions(), cases_of_compensations(mid), cases_of_policies(mid)]
        .into_iter()
        .flatten()
        .collect()
}

fn cases_of_flow() -> Vec<Case> {
    vec![
        Case::new(
            "parallel",
            "  - name: both
    parallel:
      x: [{ name: x, run: a/x, compensate: a/undo_x }]
      y: [{ name: y, run: b/y, compensate: b/undo_y }]
",
            &[("a/x", 1), ("b/y", 1)],
        ),
        Case::new(
            "switch",
            "  - name: choice
    switch:
      - { when: input.go, steps: [{ name: x, run: a/x, compensate: a/undo_x }] }
      - { steps: [{ name: y, run: b/y, compensate: b/undo_y }] }
",
            &[("a/x", 1)],
        ),
        Case::new(
            "when",
            "  - { name: x, run: a/x, compensate: a/undo_x, when: input.go }
  - { name: y, run: b/y, compensate: b/undo_y, when: '!input.go' }
",
            &[("a/x", 1)],
        ),
        Case {
            forward: json!({"y": "refuse"}),
            ..Case::new(
                "join",
                "  - { name: x, depends_on: [first], run: a/x, compensate: a/undo_x }
  - { name: y, depends_on: [first], run: b/y, compensate: b/undo_y, retry: none, on_error: continue }
  - { name: both, depends_on: [x, y], join: settled, run: a/both, compensate: a/undo_both }
",
                &[("a/x", 1), ("a/both", 1)],
            )
        },
        Case::new(
            "for-each",
            "  - name: each
    for_each: { in: '${ input.items }', as: item, max_parallel: 2 }
    run: a/each
    input: { number: '${ item.n }', index: '${ index }' }
    compensate: a/undo_each
",
            &[("a/each", 3)],
        ),
    ]
}

fn cases_of_actions() -> Vec<Case> {
    vec![
        Case::new("child", "  - { name: part, child: case-part }\n", &[("c/part", 1)]),
        Case::new("wait-for-signal", "  - { name: approval, wait_for_signal: approval, timeout: 60s }\n", &[]),
        Case::new("sleep", "  - { name: nap, sleep: 100ms }\n", &[]),
        Case::new(
            "call",
            "  - name: ask
    call: { http: { url: '$A/ask', body: '${ input }' } }
    compensate: { call: { http: { url: '$A/undo_ask', body: { input: '${ input }' } } } }
",
            &[("a/ask", 1)],
        ),
        Case {
            // The participant acts, and its answer is lost. The probe has the outcome.
            forward: json!({"mid": "reset"}),
            ..Case::new(
                "probe",
                "  - { name: mid, run: a/mid, probe: a/find, compensate: a/undo_mid, timeout: 2s, retry: { max_attempts: 1 } }
",
                &[("a/mid", 1)],
            )
        },
    ]
}

const ONLY: &[(&str, usize)] = &[("a/mid", 1)];

fn cases_of_compensations(mid: &'static str) -> Vec<Case> {
    let only = ONLY;
    vec![
        Case {
            // The pivot decides. The steps after it are never undone.
            last: "{ name: last, kind: retriable, run: b/last }",
            back: json!({"mid": "refuse"}),
            undone: 1,
            ..Case::new("pivot", "  - { name: mid, kind: pivot, run: a/mid, retry: none }\n", only)
        },
        Case {
            top: "input: { type: object, required: [script] }
output: '${ steps.mid.output.action }'
defaults: { service: a, retry: { initial: 10ms }, timeout: 20s }
",
            ..Case::new(
                "data",
                "  - { name: mid, run: mid, compensate: undo_mid, input: { script: '${ input.script }', of: data } }\n",
                only,
            )
        },
        Case {
            top: "compensation: { order: parallel, retry: { initial: 10ms } }\n",
            ..Case::new("compensation", mid, only)
        },
        Case {
            back: json!({"last": "refuse", "undo_mid": ["busy", "ok"]}),
            ..Case::new(
                "compensate",
                "  - { name: mid, run: a/mid, compensate: { run: a/undo_mid, retry: { initial: 10ms } } }\n",
                only,
            )
        },
    ]
}

fn cases_of_policies(mid: &'static str) -> Vec<Case> {
    let patient = "{ name: last, run: b/last, compensate: b/undo_last, retry: { max_attempts: unlimited, initial: 50ms, max: 200ms } }";
    let only = ONLY;
    vec![
        Case {
            forward: json!({"mid": ["busy", "busy", "ok"]}),
            ..Case::new(
                "retry",
                "  - { name: mid, run: a/mid, compensate: a/undo_mid, retry: { max_attempts: 3, initial: 10ms } }\n",
                only,
            )
        },
        Case {
            back: json!({"mid": "hang"}),
            undone: 1,
            ..Case::new(
                "timeout",
                "  - { name: mid, run: a/mid, compensate: a/undo_mid, timeout: 5s, retry: none }\n",
                only,
            )
        },
        Case {
            top: "timeout: 15s\n",
            last: patient,
            back: json!({"last": "busy"}),
            ..Case::new("timeout-of-workflow", mid, only)
        },
        Case {
            forward: json!({"mid": "refuse"}),
            ..Case::new(
                "on-error",
                "  - { name: mid, run: a/mid, compensate: a/undo_mid, retry: none, on_error: continue }\n",
                &[],
            )
        },
        Case {
            // The repeat has the key of the first attempt, which acted.
            forward: json!({"mid": ["reset", "ok"]}),
            ..Case::new(
                "on-unknown",
                "  - { name: mid, run: a/mid, compensate: a/undo_mid, on_unknown: retry, retry: { initial: 10ms } }\n",
                only,
            )
        },
        Case::new(
            "lock",
            "  - { name: mid, run: a/mid, compensate: a/undo_mid, lock: 'step/${ input.key }' }\n",
            only,
        ),
        Case { top: "lock: 'workflow/${ input.key }'\n", ..Case::new("lock-of-workflow", mid, only) },
    ]
}

/// The keys of an object of the schema.
fn keys(schema: &Value, pointer: &str) -> BTreeSet<String> {
    let properties = schema.pointer(pointer).and_then(Value::as_object);
    properties.unwrap_or_else(|| panic!("the schema has no {pointer}")).keys().cloned().collect()
}

#[tokio::test]
async fn each_key_of_the_language_has_a_case() {
    let world = World::new().await;
    let url = format!("{}/schema/v1/workflow.json", world.dev.api.base());
    let schema: Value = world.dev.api.http().get(url).send().await.unwrap().json().await.unwrap();
    for (pointer, tested) in
        [("/properties", KEYS.as_slice()), ("/definitions/step/properties", STEP_KEYS.as_slice())]
    {
        let tested: BTreeSet<String> = tested.iter().map(|(key, _)| (*key).to_owned()).collect();
        assert_eq!(keys(&schema, pointer), tested, "{pointer}: add a case for each new key");
    }
    let names: BTreeSet<&str> = cases().iter().map(|case| case.name).collect();
    for (key, tested) in KEYS.iter().chain(&STEP_KEYS) {
        let exists = match tested {
            By(case) => names.contains(case),
            Module(module) => std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("tests/it/{module}.rs"))
                .is_file(),
            Describes => true,
        };
        assert!(exists, "{key}: {tested:?} does not exist");
    }
}

async fn apply_all(api: &Api, participants: &Participants) {
    for service in SERVICES {
        api.serve(service, &participants.url(service)).await.unwrap();
    }
    let part = "workflow: case-part\nsteps: [{ name: part, run: c/part, compensate: c/undo_part }]\n";
    api.apply("case-part", part).await.unwrap();
    for case in cases() {
        api.apply(&format!("case-{}", case.name), &case.yaml(participants)).await.unwrap();
    }
}

/// Runs a workflow to its end. Returns its view, and the keys that took effect with their actions.
async fn run(
    api: &Api,
    participants: &Participants,
    case: &Case,
    back: bool,
) -> (Value, Vec<(String, String)>) {
    let id = api.start(&format!("case-{}", case.name), case.input(back), None).await.unwrap();
    if case.name == "wait-for-signal" {
        // It arrives before the step waits, and is kept.
        let (status, body) =
            api.send("POST", &format!("/workflows/{id}/signals/approval"), Some(json!({}))).await.unwrap();
        assert!(status < 300, "{body}");
    }
    api.ended(&id, PATIENCE).await.unwrap();
    let view = api.get(&format!("/workflows/{id}")).await.unwrap();
    let mut family = vec![id];
    for child in view["children"].as_array().into_iter().flatten() {
        family.push(child["id"].as_str().unwrap().to_owned());
    }
    let calls = participants.calls().into_iter();
    let applied = calls.filter(|call| family.contains(&call.workflow) && call.effect == "applied");
    (view, applied.map(|call| (call.key, call.action)).collect())
}

async fn goes_forward(api: &Api, participants: &Participants, case: &Case) {
    let (view, applied) = run(api, participants, case, false).await;
    assert_eq!(view["status"], "COMPLETED", "{}: {view:#}", case.name);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, action) in &applied {
        *counts.entry(action).or_default() += 1;
    }
    let mut expected: BTreeMap<&str, usize> = case.done.iter().copied().collect();
    expected.extend([("a/first", 1), ("b/last", 1)]);
    assert_eq!(counts, expected, "{}: {view:#}", case.name);
}

async fn goes_back(api: &Api, participants: &Participants, case: &Case) {
    let (view, applied) = run(api, participants, case, true).await;
    assert_eq!(view["status"], "ROLLED_BACK", "{}: {view:#}", case.name);
    if case.name == "timeout-of-workflow" {
        assert_eq!(view["cause"], "TIMED_OUT", "{view:#}");
    }
    let of = |suffix: &str| -> Vec<String> {
        let mut keys: Vec<String> =
            applied.iter().filter_map(|(key, _)| key.strip_suffix(suffix)).map(str::to_owned).collect();
        keys.sort_unstable();
        keys
    };
    let (done, undone) = (of("/execute"), of("/compensate"));
    assert_eq!(done, undone, "{}: {view:#}", case.name);
    assert_eq!(undone.len(), case.undone, "{}: {applied:?} {view:#}", case.name);
}

async fn all_go_forward_and_back(api: &Api, participants: &Participants) {
    apply_all(api, participants).await;
    let cases = cases();
    let both = cases.iter().map(|case| async move {
        tokio::join!(goes_forward(api, participants, case), goes_back(api, participants, case));
    });
    futures::future::join_all(both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_construct_runs_forward_and_back_over_dev() {
    let world = World::new().await;
    all_go_forward_and_back(&world.dev.api, &world.participants).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_construct_runs_forward_and_back_over_processes() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    // Executors that serve all services make the calls.
    let options = ClusterOptions::new(Broker::Kafka(1), 2);
    let cluster = Cluster::start(options).await.unwrap();
    let participants = Participants::start().await.unwrap();
    all_go_forward_and_back(&cluster.gateways[0], &participants).await;
    cluster.down().await.unwrap();
}
