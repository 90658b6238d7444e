//! One store for each violation that has an error page.

use super::report::DoctorReport;
use super::scan;
use goconductor_saga::{
    Action, DEFINITION_FORMAT, Definition, EventKind, ExpressionError, Expressions, Input, Join, Json, Kind,
    LedgerChange, Outcome, Plan, Retry, Scope, Side, StartWorkflow, State, Step, StepIndex, Timeouts,
    Timestamp, Transition, WorkflowId, decide, start, transition,
};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    DefinitionStore, EncodedTransition, NewDefinition, NewWorkflow, TransitionWrite, WorkflowStore, Write,
    WriteOutcome,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rejects every expression: the definition of these tests has none.
#[derive(Debug)]
struct NoExpressions;

impl Expressions for NoExpressions {
    fn evaluate(&self, expression: &str, _: &Scope<'_>) -> Result<Json, ExpressionError> {
        panic!("{expression}")
    }
}

const NOW: Timestamp = Timestamp(1_767_225_600_000_000);

fn definition() -> Definition {
    let step = Step {
        name: "pay".to_owned(),
        title: None,
        labels: BTreeMap::new(),
        depends_on: Vec::new(),
        join: Join::All,
        skipped_with: None,
        when: Vec::new(),
        blocks: Vec::new(),
        lock: None,
        for_each: None,
        action: Action::Run { service: "payments".to_owned(), action: "charge".to_owned() },
        kind: Kind::Compensatable,
        failure: goconductor_saga::FailurePolicy::default(),
        input: None,
        compensate: None,
        retry: Retry::default(),
        timeout: Timeouts::default(),
    };
    Definition {
        format: DEFINITION_FORMAT,
        name: "d".to_owned(),
        title: None,
        description: None,
        labels: BTreeMap::new(),
        input: None,
        output: None,
        timeout: None,
        rollback: goconductor_saga::RollbackPolicy::default(),
        locks: Vec::new(),
        steps: vec![step],
    }
}

async fn apply(store: &SqliteStore) -> Plan {
    let definition = definition();
    let new = NewDefinition {
        namespace: "default".to_owned(),
        definition: definition.clone(),
        digest: "d".to_owned(),
        source: String::new(),
        source_format: "yaml".to_owned(),
        actor: None,
    };
    let version = store.put_definition(new).await.unwrap().record.version;
    Plan::new(definition, version).unwrap()
}

fn started(plan: &Plan, nth: u128) -> Transition {
    let request = StartWorkflow {
        id: WorkflowId(uuid::Uuid::from_u128(nth)),
        namespace: "default".to_owned(),
        input: Json::Null,
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    };
    let (events, state) = start(plan, &NoExpressions, &request, NOW);
    transition(plan, None, events, state)
}

/// Returns the transition of a completed step.
fn done(plan: &Plan, state: &State) -> Transition {
    let input = Input::ReportOutcome {
        step: StepIndex(0),
        side: Side::Execute,
        attempt: 1,
        started_at: NOW,
        deadline: NOW,
        outcome: Outcome::Done { output: Json::Null },
    };
    let (events, after) = decide(plan, &NoExpressions, state, &input, NOW).unwrap();
    transition(plan, Some(state), events, after)
}

async fn write(store: &SqliteStore, transition: Transition) {
    let is_start = transition.from_seq == 0;
    let write = TransitionWrite {
        record: Arc::new(EncodedTransition::of(&transition).unwrap()),
        publishes: Vec::new(),
        now: NOW,
        redeliver_at: NOW,
        trace: None,
    };
    let write = if is_start {
        Write::Start(NewWorkflow { write, idempotency_key: None, request_digest: String::new() })
    } else {
        Write::Transition(write)
    };
    let outcome = store.write(vec![write]).await.unwrap();
    assert!(matches!(outcome[..], [WriteOutcome::Written]), "{outcome:?}");
}

async fn report(store: &SqliteStore) -> DoctorReport {
    scan::run(store, &|_| {}).await.unwrap()
}

fn codes(report: &DoctorReport) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn consistent_store_has_no_findings() {
    let store = SqliteStore::ephemeral().unwrap();
    let plan = apply(&store).await;
    for nth in 1..=450 {
        let first = started(&plan, nth);
        let state = first.state.clone();
        write(&store, first).await;
        if nth % 2 == 0 {
            write(&store, done(&plan, &state)).await;
        }
    }
    let report = report(&store).await;
    assert_eq!(report, DoctorReport { checked: 450, ..DoctorReport::default() });
}

#[tokio::test]
async fn each_violation_is_found() {
    type Violation = fn(&Plan, &mut Transition);
    let violations: [(Violation, &str); 5] = [
        (|_, transition| transition.ledger.clear(), "GC3013"),
        (
            |_, transition| {
                for change in &mut transition.ledger {
                    if let LedgerChange::Issue(row) = change {
                        row.attempt = 7;
                    }
                }
            },
            "GC3013",
        ),
        (
            |_, transition| transition.state.labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            "GC3012",
        ),
        (
            |_, transition| {
                transition.events.pop();
            },
            "GC3011",
        ),
        (|_, transition| transition.state.version = 9, "GC3016"),
    ];
    for (nth, (violate, code)) in (1..).zip(violations) {
        let store = SqliteStore::ephemeral().unwrap();
        let plan = apply(&store).await;
        let mut first = started(&plan, nth);
        violate(&plan, &mut first);
        if code == "GC3011" {
            // The state counts one event more than the history holds.
            assert!(!first.events.is_empty());
        }
        write(&store, first).await;
        let report = report(&store).await;
        assert_eq!(codes(&report), [code], "{report:?}");
    }
}

#[tokio::test]
async fn ended_workflow_with_ledger_row_is_reported() {
    let store = SqliteStore::ephemeral().unwrap();
    let plan = apply(&store).await;
    let first = started(&plan, 1);
    let mut last = done(&plan, &first.state);
    last.ledger.clear();
    assert!(last.events.iter().any(|event| matches!(event.kind, EventKind::WorkflowCompleted { .. })));
    write(&store, first).await;
    write(&store, last).await;
    let report = report(&store).await;
    assert_eq!(codes(&report), ["GC3015"]);
    assert_eq!(report.findings[0].detail, "pay/execute is still in the ledger");
}

#[tokio::test]
async fn state_that_lost_its_trace_in_an_earlier_release_is_consistent() {
    let store = SqliteStore::ephemeral().unwrap();
    let plan = apply(&store).await;
    let mut first = started(&plan, 1);
    let EventKind::WorkflowStarted { trace, .. } = &mut first.events[0].kind else { panic!("a start") };
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    *trace = Some(Arc::new(goconductor_saga::TraceContext { traceparent, tracestate: None }));
    write(&store, first).await;
    assert_eq!(codes(&report(&store).await), [""; 0]);
}
