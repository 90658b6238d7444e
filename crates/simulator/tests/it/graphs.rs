//! Every graph of up to four steps, with every fault at every step and a crash after every transition.

use goconductor_definition::Cel;
use goconductor_saga::{
    Action, Compensation, DEFINITION_FORMAT, Definition, Failure, Join, Json, Kind, Outcome, Plan, Retry,
    Side, Status, Step, StepIndex, Timeouts,
};
use goconductor_simulator::{
    Limits, NextActivity, SimulatedCall, SimulatedResponse, SimulatedStart, Simulation,
};
use std::sync::Arc;
use std::time::Duration;

const STEPS: u32 = 4;

/// Returns the graph of `steps` steps whose edges are the bits of `edges`: from each step to each later one.
fn graph(steps: u32, edges: u32) -> Definition {
    let action = |name: String| Action::Run { service: "s".to_owned(), action: name };
    let mut bit = 0;
    let step = |index: u32, bit: &mut u32| {
        let depends_on = (0..index).filter(|_| {
            *bit += 1;
            edges & (1 << (*bit - 1)) != 0
        });
        Step {
            name: format!("s{index}"),
            title: None,
            labels: [].into(),
            depends_on: depends_on.map(StepIndex).collect(),
            skipped_with: None,
            join: Join::All,
            when: Vec::new(),
            blocks: Vec::new(),
            action: action(format!("do{index}")),
            kind: Kind::Compensatable,
            input: None,
            compensate: Some(Compensation {
                action: action(format!("undo{index}")),
                when: None,
                input: None,
                retry: Retry::of_compensation(),
                timeout: Duration::from_secs(30),
                limits: goconductor_saga::CompensationLimits::default(),
            }),
            retry: Retry { max_attempts: Some(2), ..Retry::default() },
            timeout: Timeouts::default(),
            failure: Default::default(),
            lock: None,
            for_each: None,
        }
    };
    Definition {
        format: DEFINITION_FORMAT,
        name: "g".to_owned(),
        title: None,
        description: None,
        labels: [].into(),
        input: None,
        output: None,
        timeout: None,
        rollback: Default::default(),
        locks: Vec::new(),
        steps: (0..steps).map(|index| step(index, &mut bit)).collect(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Refused,
    Unknown,
    Lost,
    TimedOut,
}

fn respond(fault: Fault, attempt: u32) -> SimulatedResponse {
    let failure = Failure { code: "TEST".to_owned(), message: String::new(), detail: None };
    match fault {
        Fault::None => SimulatedResponse::Outcome(Outcome::Done { output: Json::Null }),
        Fault::Refused => SimulatedResponse::Outcome(Outcome::Refused { failure }),
        Fault::Unknown => {
            SimulatedResponse::Outcome(Outcome::Unknown { failure, not_before: None, answered: false })
        }
        Fault::Lost if attempt == 1 => SimulatedResponse::Lost,
        Fault::Lost => SimulatedResponse::Outcome(Outcome::Done { output: Json::Null }),
        Fault::TimedOut => SimulatedResponse::TimedOut,
    }
}

/// Runs a graph with a fault at a step, and a crash at the first call after a transition.
fn run(plan: &Arc<Plan>, cel: &Arc<Cel>, at: StepIndex, fault: Fault, crash: Option<u64>) -> Simulation {
    let mut simulation = Simulation::start(
        Arc::clone(plan),
        Arc::clone(cel) as _,
        SimulatedStart::default(),
        Limits::default(),
    );
    let mut crash = crash;
    while let NextActivity::Call(call) = simulation.advance().unwrap() {
        check_order(&simulation, &call);
        let faulty = call.step == at && call.side == Side::Execute;
        let response = respond(if faulty { fault } else { Fault::None }, call.attempt);
        simulation.respond(&call, response, Duration::from_millis(5));
        if crash.take_if(|crash| *crash <= simulation.transitions()).is_some() {
            simulation.crash().unwrap();
        }
    }
    simulation.verify().unwrap();
    simulation
}

/// Checks that no compensation is sent before those of the steps downstream have ended.
fn check_order(simulation: &Simulation, call: &SimulatedCall) {
    if call.side == Side::Compensate {
        for below in simulation.plan().downstream(call.step) {
            let step = simulation.state().step(*below).unwrap();
            assert!(!step.may_have_happened() || step.is_compensated(), "{}", call.name);
        }
    }
}

#[test]
fn every_small_graph_ends_and_leaves_nothing() {
    let cel = Arc::new(Cel::new());
    let mut runs = 0;
    for steps in 1..=STEPS {
        for edges in 0..1u32 << (steps * (steps - 1) / 2) {
            let plan = Arc::new(Plan::new(graph(steps, edges), 1).unwrap());
            for at in (0..steps).map(StepIndex) {
                for fault in [Fault::None, Fault::Refused, Fault::Unknown, Fault::Lost, Fault::TimedOut] {
                    let plain = run(&plan, &cel, at, fault, None);
                    let expected = match fault {
                        Fault::None | Fault::Lost => Status::Completed,
                        Fault::Refused | Fault::Unknown | Fault::TimedOut => Status::RolledBack,
                    };
                    assert_eq!(plain.state().status(), expected, "{edges:b} {at:?} {fault:?}");
                    for crash in 1..=plain.transitions() {
                        let crashed = run(&plan, &cel, at, fault, Some(crash));
                        assert!(crashed.state().phase.is_final(), "{edges:b} {at:?} {fault:?} {crash}");
                        assert_eq!(crashed.standing(), [], "{edges:b} {at:?} {fault:?} {crash}");
                        runs += 1;
                    }
                }
            }
        }
    }
    assert!(runs > 9000, "{runs}");
}
