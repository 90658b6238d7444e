//! The engine: crash, loss, repetition and time.

use goconductor_definition::{Cel, Format, Limits as Text, parse};
use goconductor_saga::{Failure, Input, Json, Outcome, Plan, Side, Status};
use goconductor_simulator::{
    Limits, NextActivity, SimulatedCall, SimulatedResponse, SimulatedStart, Simulation,
};
use std::sync::Arc;
use std::time::Duration;

const DEFINITION: &str = "
workflow: pay
timeout: 60d
steps:
  - name: both
    parallel:
      left: [{ name: left, run: s/left, compensate: s/no_left }]
      right: [{ name: right, run: s/right, compensate: s/no_right, timeout: { attempt: 5s, total: 1m } }]
  - { name: last, run: s/last, compensate: s/no_last, retry: { max_attempts: 40, initial: 1d, max: 1d, jitter: 0 } }
";

fn simulation() -> Simulation {
    let definition = parse(DEFINITION.as_bytes(), Format::Yaml, &Text::default()).unwrap().definition;
    let plan = Arc::new(Plan::new(definition, 1).unwrap());
    Simulation::start(plan, Arc::new(Cel::new()), SimulatedStart::default(), Limits::default())
}

fn done() -> SimulatedResponse {
    SimulatedResponse::Outcome(Outcome::Done { output: Json::Null })
}

fn failure() -> Failure {
    Failure::of("TEST", "as the test asks")
}

/// Runs to the end. Returns the keys of the calls in order.
fn run(
    simulation: &mut Simulation,
    mut respond: impl FnMut(&mut Simulation, &SimulatedCall) -> SimulatedResponse,
) -> Vec<String> {
    let mut calls = Vec::new();
    while let NextActivity::Call(call) = simulation.advance().unwrap() {
        calls.push(format!("{} {}", call.name, call.side.as_str()));
        let response = respond(simulation, &call);
        simulation.respond(&call, response, Duration::from_millis(500));
    }
    simulation.verify().unwrap();
    calls
}

#[test]
fn crash_after_any_transition_ends_like_no_crash() {
    let mut plain = simulation();
    run(&mut plain, |_, _| done());
    for crash_at in 1..=plain.transitions() {
        let mut crashed = simulation();
        let mut pending = true;
        let calls = run(&mut crashed, |simulation, _| {
            if pending && simulation.transitions() >= crash_at {
                pending = false;
                simulation.crash().unwrap();
            }
            done()
        });
        assert_eq!(crashed.state().status(), Status::Completed, "{crash_at}: {calls:?}");
    }
}

#[test]
fn crash_during_a_rollback_compensates_every_step_once() {
    for crash_at in 1..40 {
        let mut crashed = simulation();
        let mut pending = true;
        run(&mut crashed, |simulation, call| {
            if pending && simulation.transitions() >= crash_at {
                pending = false;
                simulation.crash().unwrap();
            }
            match (call.name.as_str(), call.side) {
                ("last", Side::Execute) => {
                    SimulatedResponse::Outcome(Outcome::Refused { failure: failure() })
                }
                (_, Side::Execute | Side::Compensate) => done(),
            }
        });
        assert_eq!(crashed.state().status(), Status::RolledBack, "{crash_at}");
        let compensated = crashed.state().steps.iter().filter(|step| step.is_compensated()).count();
        assert!(compensated >= 2, "{crash_at}: {compensated}");
    }
}

#[test]
fn lost_and_repeated_commands_change_nothing() {
    let mut simulation = simulation();
    let calls = run(&mut simulation, |simulation, call| {
        if call.attempt == 1 && call.name != "last" {
            return SimulatedResponse::Lost;
        }
        simulation.report_twice(call);
        done()
    });
    assert_eq!(calls, ["left execute", "right execute", "left execute", "right execute", "last execute"]);
    assert_eq!(simulation.state().status(), Status::Completed);
}

#[test]
fn thirty_days_pass_in_virtual_time() {
    let mut simulation = simulation();
    run(&mut simulation, |_, call| match (call.name.as_str(), call.attempt) {
        ("last", ..31) => {
            SimulatedResponse::Outcome(Outcome::Retryable { failure: failure(), not_before: None })
        }
        (_, _) => done(),
    });
    assert_eq!(simulation.state().status(), Status::Completed);
    assert!(simulation.elapsed() > Duration::from_secs(30 * 86_400), "{:?}", simulation.elapsed());
}

#[test]
fn total_limit_ends_the_step_between_attempts() {
    let mut simulation = simulation();
    run(&mut simulation, |_, call| match call.name.as_str() {
        "right" if call.side == Side::Execute => SimulatedResponse::TimedOut,
        _ => done(),
    });
    assert_eq!(simulation.state().status(), Status::RolledBack);
    assert!(simulation.elapsed() < Duration::from_secs(120), "{:?}", simulation.elapsed());
}

#[test]
fn pause_holds_the_workflow_and_cancel_rolls_it_back() {
    let mut simulation = simulation();
    let NextActivity::Call(call) = simulation.advance().unwrap() else { panic!("no call") };
    assert!(simulation.submit(&Input::Pause { actor: None, reason: None }).unwrap());
    simulation.respond(&call, done(), Duration::from_millis(1));
    assert!(matches!(simulation.advance().unwrap(), NextActivity::Idle));
    simulation.crash().unwrap();
    assert!(simulation.submit(&Input::Cancel { actor: None, reason: None }).unwrap());
    let calls = run(&mut simulation, |_, _| done());
    assert_eq!(calls, ["left compensate"]);
    assert_eq!(simulation.state().status(), Status::RolledBack);
}
