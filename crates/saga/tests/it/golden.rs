//! The stored form of events and states: data of earlier releases stays readable, and the form does not change by
//! accident.
//!
//! The golden files never change. A new form gets a new file, and the old files are still read.
//! `GOCONDUCTOR_TEST_GOLDEN=write` creates missing files.

use goconductor_saga::{
    Event, EventKind, Failure, KeyLock, LockScope, Parent, RollbackCause, RulesVersion, Side, State,
    StepIndex, Timestamp, TraceContext, WorkflowId, evolve,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

fn golden(name: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var("GOCONDUCTOR_TEST_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(kept, now, "{}: the stored form has changed", path.display());
}

/// Returns an event of each kind, with every field.
fn kinds() -> Vec<EventKind> {
    let (step, attempt, time) = (StepIndex(1), 2, Timestamp(1_700_000_000_000_001));
    let failure = Failure {
        code: "OUT_OF_STOCK".to_owned(),
        message: "no book is left".to_owned(),
        detail: Some(json!({"left": 0})),
    };
    let (side, reason, some) = (Side::Execute, Some("asked for".to_owned()), Some(time));
    let mut kinds = vec![
        EventKind::WorkflowStarted {
            id: WorkflowId("018f0000-0000-7000-8000-000000000001".parse().unwrap()),
            namespace: "default".to_owned(),
            definition: "order-processing".to_owned(),
            version: 3,
            rules: RulesVersion::FIRST,
            steps: 2,
            input: json!({"amount": 42, "big": 9_007_199_254_740_993_i64, "rate": 1.5, "none": null}).into(),
            labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
            deadline: some,
            trace: None,
            parent: None,
        },
        EventKind::StepQueued { step, keeps_signals: false },
        EventKind::StepSkipped {
            step,
            why: "OPERATOR".to_owned(),
            reason: reason.clone(),
            doubt_until: some,
        },
        EventKind::AttemptStarted {
            step,
            side,
            attempt,
            started_at: time,
            deadline: time,
            executor: "e-1".to_owned(),
            trace: None,
        },
        EventKind::AttemptFailed {
            step,
            side,
            attempt,
            started_at: some,
            failure: failure.clone(),
            doubt_until: some,
            retry_at: time,
            not_sent: false,
        },
        EventKind::StepCompleted {
            step,
            attempt,
            started_at: some,
            output: json!({"id": "x"}).into(),
            reason: reason.clone(),
            doubt_until: some,
        },
        EventKind::StepFailed {
            step,
            attempt,
            started_at: some,
            failure: failure.clone(),
            reason: reason.clone(),
        },
    ];
    kinds.extend(remaining_kinds(&failure, time));
    kinds
}

fn remaining_kinds(failure: &Failure, time: Timestamp) -> Vec<EventKind> {
    let (step, attempt, some, reason) = (StepIndex(1), 2, Some(time), Some("asked for".to_owned()));
    vec![
        EventKind::StepUnknown {
            step,
            attempt,
            started_at: some,
            failure: failure.clone(),
            doubt_until: time,
        },
        EventKind::StepWithdrawn { step },
        EventKind::RollbackRequested { cause: RollbackCause::Cancelled, reason: reason.clone() },
        EventKind::RollbackRefused { cause: RollbackCause::TimedOut },
        EventKind::RollbackStarted {
            cause: RollbackCause::StepFailed,
            step: Some(step),
            reason: reason.clone(),
        },
        EventKind::CompensationQueued { step, due_at: time, limited: false },
        EventKind::StepCompensated { step, attempt, started_at: some, reason: reason.clone() },
        EventKind::CompensationFailed { step, attempt, started_at: some, failure: failure.clone() },
        EventKind::CompensationSkipped { step, reason: "by hand".to_owned() },
        EventKind::StepRetried { step, side: Side::Compensate, reason: reason.clone(), limited: false },
        EventKind::WorkflowPaused { reason: reason.clone() },
        EventKind::WorkflowResumed { reason },
        EventKind::WorkflowCompleted { output: json!(null).into(), failure: Some(failure.clone()) },
        EventKind::WorkflowRolledBack {},
        EventKind::WorkflowTerminated { reason: "enough".to_owned() },
    ]
}

/// Returns the index of a kind in [`kinds`]. A new variant does not compile without an index.
fn index_of(kind: &EventKind) -> usize {
    match kind {
        EventKind::WorkflowStarted { .. } => 0,
        EventKind::StepQueued { .. } => 1,
        EventKind::StepSkipped { .. } => 2,
        EventKind::AttemptStarted { .. } => 3,
        EventKind::AttemptFailed { .. } => 4,
        EventKind::StepCompleted { .. } => 5,
        EventKind::StepFailed { .. } => 6,
        EventKind::StepUnknown { .. } => 7,
        EventKind::StepWithdrawn { .. } => 8,
        EventKind::RollbackRequested { .. } => 9,
        EventKind::RollbackRefused { .. } => 10,
        EventKind::RollbackStarted { .. } => 11,
        EventKind::CompensationQueued { .. } => 12,
        EventKind::StepCompensated { .. } => 13,
        EventKind::CompensationFailed { .. } => 14,
        EventKind::CompensationSkipped { .. } => 15,
        EventKind::StepRetried { .. } => 16,
        EventKind::WorkflowPaused { .. } => 17,
        EventKind::WorkflowResumed { .. } => 18,
        EventKind::WorkflowCompleted { .. } => 19,
        EventKind::WorkflowRolledBack {} => 20,
        EventKind::WorkflowTerminated { .. } => 21,
        EventKind::StepWaiting { .. } => 22,
        EventKind::SignalReceived { .. } => 23,
        EventKind::SignalDelivered { .. } => 24,
        EventKind::StepProbing { .. } => 25,
        EventKind::FailureTolerated { .. } => 26,
        EventKind::CompensationUnneeded { .. } => 27,
        // Its form is in a file of its own, because the first files never change.
        EventKind::ChildStarted { .. } => 28,
        EventKind::LocksRequested { .. } => 41,
        EventKind::LocksAcquired { .. } => 42,
        EventKind::LocksFailed { .. } => 43,
        EventKind::RerunStarted { .. } => 44,
        EventKind::StepsReset { .. } => 45,
        EventKind::WorkflowMigrated { .. } => 46,
    }
}

/// Returns the events of waits, each with every field.
fn kinds_of_waits() -> Vec<EventKind> {
    let (step, some) = (StepIndex(1), Some(Timestamp(1_700_000_000_000_001)));
    vec![
        EventKind::StepQueued { step, keeps_signals: true },
        EventKind::StepWaiting { step, until: some, is_time: true },
        EventKind::SignalReceived {
            name: "approval".to_owned(),
            payload: json!({"by": "ada"}).into(),
            key: Some("k-1".to_owned()),
        },
        EventKind::SignalDelivered { step, name: "approval".to_owned() },
    ]
}

#[test]
fn stored_form_of_doubt_does_not_change() {
    let (step, time) = (StepIndex(1), Timestamp(1_700_000_000_000_001));
    let failure = Failure::of("TIMED_OUT", "no response");
    let events = [
        kinds()[0].clone(),
        EventKind::StepQueued { step, keeps_signals: false },
        EventKind::StepProbing {
            step,
            attempt: 3,
            started_at: Some(time),
            failure,
            doubt_until: time,
            due_at: time,
        },
        EventKind::FailureTolerated { step },
        EventKind::CompensationUnneeded { step },
    ];
    let events: Vec<Event> = (1..)
        .zip(events)
        .map(|(seq, kind)| Event {
            seq,
            time: Timestamp(1_700_000_000_000_000),
            actor: None,
            sealed: None,
            kind,
        })
        .collect();
    let state = events.iter().fold(None, evolve).unwrap();
    let mut lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    lines.push(serde_json::to_string(&state).unwrap());
    golden("doubt-1.jsonl", &(lines.join("\n") + "\n"));
    assert_eq!(serde_json::from_str::<State>(&lines[5]).unwrap(), state);
}

#[test]
fn stored_form_of_waits_does_not_change() {
    let started = kinds().into_iter().next();
    let events: Vec<Event> = (1..)
        .zip(started.into_iter().chain(kinds_of_waits()))
        .map(|(seq, kind)| Event {
            seq,
            time: Timestamp(1_700_000_000_000_000),
            actor: None,
            sealed: None,
            kind,
        })
        .collect();
    let state = events.iter().take(4).fold(None, evolve).unwrap();
    let mut lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    lines.push(serde_json::to_string(&state).unwrap());
    golden("waits-1.jsonl", &(lines.join("\n") + "\n"));
    let read: Vec<Event> = lines[..5].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
    assert_eq!(serde_json::from_str::<State>(&lines[5]).unwrap(), state);
}

#[test]
fn stored_form_of_events_does_not_change() {
    let kinds = kinds();
    assert_eq!(kinds.iter().map(index_of).collect::<Vec<_>>(), (0..kinds.len()).collect::<Vec<_>>());
    let actor = Some("ada".to_owned());
    let events: Vec<Event> = (1..)
        .zip(kinds)
        .map(|(seq, kind)| Event {
            seq,
            time: Timestamp(1_700_000_000_000_000),
            actor: actor.clone(),
            sealed: None,
            kind,
        })
        .collect();
    let lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    golden("events-1.jsonl", &(lines.join("\n") + "\n"));
    let read: Vec<Event> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
}

#[test]
fn stored_form_of_locks_does_not_change() {
    let (step, time) = (Some(StepIndex(1)), Timestamp(1_700_000_000_000_000));
    let lock = |key: &str, shared| KeyLock { key: key.to_owned(), shared, token: None };
    let kinds = [
        kinds()[0].clone(),
        EventKind::LocksRequested {
            step: None,
            locks: vec![lock("account/7", true), lock("account/8", false)],
            hold: LockScope::Workflow,
            until: None,
            keeps_signals: false,
        },
        EventKind::LocksAcquired { step: None, tokens: vec![5, 6] },
        EventKind::LocksRequested {
            step,
            locks: vec![lock("desk", false)],
            hold: LockScope::Step,
            until: Some(time),
            keeps_signals: false,
        },
        EventKind::LocksFailed { failure: Failure::of("LOCK_TIMEOUT", "lock a was not free within 1s") },
    ];
    assert_eq!(kinds.iter().map(index_of).collect::<Vec<_>>(), [0, 41, 42, 41, 43]);
    let event = |(seq, kind)| Event { seq, time, actor: None, sealed: None, kind };
    let events: Vec<Event> = (1..).zip(kinds).map(event).collect();
    // The last event ends the wait, and the state before it shows more.
    let state = events[..4].iter().fold(None, evolve).unwrap();
    let mut lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    lines.push(serde_json::to_string(&state).unwrap());
    golden("locks-1.jsonl", &(lines.join("\n") + "\n"));
    let read: Vec<Event> = lines[..5].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(read, events);
    assert_eq!(serde_json::from_str::<State>(&lines[5]).unwrap(), state);
}

#[test]
fn stored_form_of_a_state_does_not_change() {
    let some = [0, 1, 3, 4, 5, 11, 12, 14];
    let events = (1..).zip(some).map(|(seq, at)| Event {
        seq,
        time: Timestamp(1_700_000_000_000_000),
        actor: None,
        sealed: None,
        kind: kinds()[at].clone(),
    });
    let state = events.fold(None, |state, event| evolve(state, &event)).unwrap();
    let text = serde_json::to_string_pretty(&state).unwrap() + "\n";
    golden("state-1.json", &text);
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
}

#[test]
fn stored_form_of_a_trace_does_not_change() {
    let context = |span: u64| {
        let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-{span:016x}-01");
        let tracestate = (span == 1).then(|| "vendor=1".to_owned());
        Some(Arc::new(TraceContext { traceparent, tracestate }))
    };
    let mut kinds: Vec<EventKind> = [0, 1, 3].into_iter().map(|at| kinds()[at].clone()).collect();
    for (number, kind) in (1..).zip(&mut kinds) {
        if let EventKind::WorkflowStarted { trace, .. } | EventKind::AttemptStarted { trace, .. } = kind {
            *trace = context(number);
        }
    }
    let event =
        |(seq, kind)| Event { seq, time: Timestamp(1_700_000_000_000_000), actor: None, sealed: None, kind };
    let events: Vec<Event> = (1..).zip(kinds).map(event).collect();
    let state = events.iter().fold(None, evolve).unwrap();
    assert_eq!(state.trace, context(1));
    assert_eq!(state.steps[1].execute.running.as_ref().unwrap().trace, context(3));
    let mut lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    lines.push(serde_json::to_string(&state).unwrap());
    golden("trace-1.jsonl", &(lines.join("\n") + "\n"));
    assert_eq!(serde_json::from_str::<State>(&lines[3]).unwrap(), state);
}

#[test]
fn stored_form_of_a_child_does_not_change() {
    let mut kinds = [kinds()[0].clone(), kinds()[1].clone()];
    if let EventKind::WorkflowStarted { parent, .. } = &mut kinds[0] {
        let id = WorkflowId("018f0000-0000-7000-8000-000000000009".parse().unwrap());
        *parent =
            Some(Parent { id, step: StepIndex(4), attempt: 1, depth: 2, elements_of: None, generation: 0 });
    }
    let child = WorkflowId("018f0000-0000-7000-8000-000000000010".parse().unwrap());
    let started = EventKind::ChildStarted { step: StepIndex(1), attempt: 1, child };
    let event =
        |(seq, kind)| Event { seq, time: Timestamp(1_700_000_000_000_000), actor: None, sealed: None, kind };
    let events: Vec<Event> = (1..).zip(kinds.into_iter().chain([started])).map(event).collect();
    let state = events.iter().fold(None, evolve).unwrap();
    let mut lines: Vec<String> = events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    lines.push(serde_json::to_string(&state).unwrap());
    golden("child-1.jsonl", &(lines.join("\n") + "\n"));
    assert_eq!(serde_json::from_str::<State>(&lines[3]).unwrap(), state);
}
