//! The courses of definitions.

use goconductor_definition::{Format, Limits, parse};
use goconductor_saga::Definition;
use goconductor_simulator::{Error, SimulationReport, SimulationRequest, StepFault, simulate};

const ORDER: &str = "
workflow: order
input:
  type: object
  required: [amount]
  properties: { amount: { type: number, exclusiveMinimum: 0 } }
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release }
  - { name: charge, run: bank/charge, compensate: bank/refund, input: { id: '${ steps.reserve.output.id }' } }
  - { name: ship, run: post/ship, kind: pivot }
  - { name: mail, run: post/mail, kind: retriable, retry: forever }
";

fn definition(text: &str) -> Definition {
    parse(text.as_bytes(), Format::Yaml, &Limits::default()).unwrap().definition
}

fn report(text: &str) -> SimulationReport {
    simulate(&definition(text), &SimulationRequest::default()).unwrap()
}

/// Returns the courses as text: fault, forward, undo, end, remaining effects.
fn rows(report: &SimulationReport) -> Vec<String> {
    let names = |sides: &[goconductor_simulator::SideReport]| {
        sides.iter().map(|side| side.step.as_str()).collect::<Vec<_>>().join(" ")
    };
    let row = |course: &goconductor_simulator::CourseReport| {
        let step = course.step.as_deref().unwrap_or("-");
        let fault = course.fault.map_or("-", StepFault::as_str);
        format!(
            "{step} {fault}: {} | {} | {} | {}",
            names(&course.forward),
            names(&course.undo),
            course.end,
            course.standing.join(" ")
        )
    };
    report.courses.iter().map(row).collect()
}

#[test]
fn no_fault_of_an_example_leaves_an_effect() {
    for text in [
        include_str!("../../../../examples/order-saga/order.yaml"),
        include_str!("../../../../examples/subscription-billing/payment.yaml"),
        include_str!("../../../../examples/money-transfer/money-transfer.yaml"),
    ] {
        let report = report(text);
        assert_eq!(report.courses[0].end, "COMPLETED", "{:#?}", rows(&report));
        assert!(report.holds, "{:#?}", rows(&report));
    }
}

#[test]
fn every_step_with_every_fault_has_its_course() {
    let report = report(ORDER);
    let expected = [
        "- -: reserve charge ship mail |  | COMPLETED | ",
        "reserve refused: reserve |  | ROLLED_BACK | ",
        "reserve unknown: reserve | reserve | ROLLED_BACK | ",
        "reserve timeout: reserve | reserve | ROLLED_BACK | ",
        "reserve compensation: reserve charge ship | charge reserve | ROLLED_BACK | ",
        "charge refused: reserve charge | reserve | ROLLED_BACK | ",
        "charge unknown: reserve charge | charge reserve | ROLLED_BACK | ",
        "charge timeout: reserve charge | charge reserve | ROLLED_BACK | ",
        "charge compensation: reserve charge ship | charge reserve | ROLLED_BACK | ",
        "ship refused: reserve charge ship | charge reserve | ROLLED_BACK | ",
        "ship unknown: reserve charge ship mail |  | COMPLETED | ",
        "ship timeout: reserve charge ship mail |  | COMPLETED | ",
        "mail refused: reserve charge ship mail |  | ERROR | reserve charge ship",
        "mail unknown: reserve charge ship mail |  | COMPLETED | ",
        "mail timeout: reserve charge ship mail |  | COMPLETED | ",
    ];
    assert_eq!(rows(&report), expected);
    assert!(report.holds);
    assert_eq!(report.input, serde_json::json!({"amount": 1}));
    assert_eq!(report.outputs, [("reserve".to_owned(), serde_json::json!({"id": 1}))].into());
}

/// Checks that the only course with a standing effect is that of a failed compensation of `a`, whose note contains `note`.
fn assert_failed_compensation_leaves_a(text: &str, note: &str) {
    let report = report(text);
    assert!(!report.holds);
    let failed: Vec<_> = report.courses.iter().filter(|course| !course.standing.is_empty()).collect();
    let [course] = failed.as_slice() else { panic!("{:?}", rows(&report)) };
    assert_eq!(
        (course.step.as_deref(), course.fault, course.end, course.standing.as_slice()),
        (Some("a"), Some(StepFault::Compensation), "ERROR", &["a".to_owned()][..])
    );
    assert!(course.note.as_deref().unwrap().contains(note), "{course:?}");
}

#[test]
fn limited_compensation_leaves_its_effect() {
    let text = "
workflow: limited
steps:
  - { name: a, run: s/a, compensate: { run: s/undo_a, retry: 3 } }
  - { name: b, run: s/b, compensate: none }
";
    assert_failed_compensation_leaves_a(text, "3 attempts");
}

#[test]
fn compensation_with_a_time_limit_leaves_its_effect() {
    let text = "
workflow: limited
steps:
  - { name: a, run: s/a, compensate: { run: s/undo_a, timeout: { attempt: 5s, total: 30d } } }
  - { name: b, run: s/b, compensate: none }
";
    assert_failed_compensation_leaves_a(text, "`compensate.timeout.total`");
}

#[test]
fn retriable_step_with_a_limit_leaves_the_effects_before_it() {
    let text = "
workflow: limited
steps:
  - { name: a, run: s/a, kind: pivot }
  - { name: b, run: s/b, kind: retriable, retry: 2 }
";
    let report = report(text);
    assert!(!report.holds);
    let counted: Vec<_> =
        report.courses.iter().filter(|each| !each.standing.is_empty() && !each.contradicts).collect();
    assert_eq!(
        counted.iter().map(|each| each.fault).collect::<Vec<_>>(),
        [Some(StepFault::Unknown), Some(StepFault::Timeout)]
    );
}

#[test]
fn parallel_branches_and_skipped_steps() {
    let text = "
workflow: trip
input: { type: object, required: [car], properties: { car: { type: boolean, default: false } } }
steps:
  - name: book
    parallel:
      flight: [{ name: flight, run: s/flight, compensate: s/no_flight }]
      hotel: [{ name: hotel, run: s/hotel, compensate: s/no_hotel }]
  - { name: car, run: s/car, when: input.car, compensate: s/no_car }
  - { name: pay, run: s/pay, compensate: s/repay }
";
    let trip = definition(text);
    let report = simulate(&trip, &SimulationRequest::default()).unwrap();
    assert!(report.holds);
    assert_eq!(rows(&report)[0], "- -: flight hotel pay |  | COMPLETED | ");
    assert!(report.courses.iter().all(|course| course.step.as_deref() != Some("car")));
    let only = |step: &str, fault| {
        simulate(
            &trip,
            &SimulationRequest { only: Some((step.to_owned(), fault)), ..SimulationRequest::default() },
        )
    };
    assert!(matches!(only("car", StepFault::Refused), Err(Error::NotApplicable { .. })));
    assert!(matches!(only("bus", StepFault::Refused), Err(Error::UnknownStep(..))));
    let detailed = only("flight", StepFault::Timeout).unwrap();
    let timeline = &detailed.courses[0].timeline;
    assert_eq!(timeline.first().map(|line| line.kind.as_str()), Some("WORKFLOW_STARTED"));
    assert_eq!(timeline.last().map(|line| line.kind.as_str()), Some("WORKFLOW_ROLLED_BACK"));
    // Ten attempts of 30 seconds each, and no compensation before the last deadline.
    assert!(detailed.courses[0].duration_ms > 300_000, "{}", detailed.courses[0].duration_ms);
}

#[test]
fn wrong_input_and_exceeded_limits_are_refused() {
    let order = definition(ORDER);
    let given = |input| SimulationRequest { input: Some(input), ..SimulationRequest::default() };
    let error = simulate(&order, &given(serde_json::json!({}))).unwrap_err();
    assert!(matches!(&error, Error::Input(text) if text.contains("amount")), "{error}");
    let error =
        simulate(&order, &SimulationRequest { total_events: Some(30), ..SimulationRequest::default() })
            .unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 30, .. }), "{error}");
}

#[test]
fn example_of_the_readme_leaves_no_effect() {
    let report = report(include_str!("../../../../examples/order-processing.yaml"));
    assert!(report.holds, "{:?}", rows(&report));
}

#[test]
fn templates_of_the_command_line_leave_no_effect() {
    for text in [
        include_str!("../../../cli/templates/order.yaml"),
        include_str!("../../../cli/templates/travel.yaml"),
        include_str!("../../../cli/templates/money-transfer.yaml"),
        include_str!("../../../cli/templates/subscription.yaml"),
    ] {
        let report = report(text);
        assert!(report.holds, "{:#?}", rows(&report));
        assert_eq!(report.courses[0].end, "COMPLETED");
        let limits = Limits::default();
        assert_eq!(goconductor_definition::format(text, &limits).unwrap(), text);
    }
}

#[test]
fn waits_and_probes_have_their_courses() {
    let text = "
workflow: waits
steps:
  - { name: reserve, run: s/reserve, compensate: s/release, probe: s/check, on_unknown: probe }
  - { name: pause, sleep: 30d }
  - { name: approval, wait_for_signal: approved, timeout: 2d }
  - { name: pay, run: s/pay, compensate: s/refund }
";
    let report = report(text);
    assert!(report.holds, "{:#?}", rows(&report));
    assert!(report.courses[0].duration_ms > 30 * 86_400_000);
    let rows = rows(&report);
    for expected in [
        "- -: reserve pay |  | COMPLETED | ",
        "reserve unknown: reserve |  | ROLLED_BACK | ",
        "approval timeout: reserve | reserve | ROLLED_BACK | ",
        "pay unknown: reserve pay | pay reserve | ROLLED_BACK | ",
    ] {
        assert!(rows.iter().any(|row| row == expected), "{expected}: {rows:#?}");
    }
}

#[test]
fn locks_are_free_in_a_simulation() {
    let text = "
workflow: locked
lock: 'account/${ input.account }'
input: { type: object, required: [account], properties: { account: { type: string } } }
steps:
  - { name: a, run: s/a, compensate: s/undo_a }
  - { name: b, run: s/b, compensate: s/undo_b, lock: 'stock/${ input.account }' }
";
    let report = report(text);
    assert!(report.holds, "{:#?}", rows(&report));
    assert_eq!(rows(&report)[0], "- -: a b |  | COMPLETED | ");
}

const LINES: &str = "
workflow: lines
input:
  type: object
  required: [lines]
  properties: { lines: { type: array, minItems: 3, items: { type: object, required: [id], properties: { id: { type: string } } } } }
steps:
  - { name: open, run: stock/open, compensate: stock/close }
  - name: pick
    for_each: { in: '${ input.lines }', as: line, max_parallel: 2 }
    run: stock/reserve
    compensate: { run: stock/release, input: { id: '${ line.id }', at: '${ index }', got: '${ steps.pick.output }' }, when: 'index < 2' }
  - { name: ship, run: post/ship, compensate: none, input: '${ size(steps.pick.output) }' }
";

#[test]
fn elements_are_simulated_with_the_faults_of_the_first() {
    let report = report(LINES);
    let expected = [
        "- -: open pick ship |  | COMPLETED | ",
        "open refused: open |  | ROLLED_BACK | ",
        "open unknown: open | open | ROLLED_BACK | ",
        "open timeout: open | open | ROLLED_BACK | ",
        "open compensation: open pick ship | pick open | ROLLED_BACK | ",
        "pick refused: open pick | pick open | ROLLED_BACK | ",
        "pick unknown: open pick | pick open | ROLLED_BACK | ",
        "pick timeout: open pick | pick open | ROLLED_BACK | ",
        "pick compensation: open pick ship | pick open | ROLLED_BACK | ",
        "ship refused: open pick ship | pick open | ROLLED_BACK | ",
        "ship unknown: open pick ship | pick open | ROLLED_BACK | ",
        "ship timeout: open pick ship | pick open | ROLLED_BACK | ",
    ];
    assert_eq!(rows(&report), expected);
    assert!(report.holds);
}

#[test]
fn fault_of_one_element_is_named() {
    let request = SimulationRequest {
        only: Some(("pick[2]".to_owned(), StepFault::Refused)),
        ..SimulationRequest::default()
    };
    let report = simulate(&definition(LINES), &request).unwrap();
    let [course] = report.courses.as_slice() else { panic!("{report:?}") };
    assert_eq!((course.step.as_deref(), course.end), (Some("pick[2]"), "ROLLED_BACK"));
    let undone: Vec<_> = course.undo.iter().map(|side| side.step.as_str()).collect();
    assert_eq!(undone, ["pick", "open"]);
    for (name, reason) in [("open[0]", "has no elements"), ("pack[1]", "no step pack")] {
        let request = SimulationRequest {
            only: Some((name.to_owned(), StepFault::Refused)),
            ..SimulationRequest::default()
        };
        let error = simulate(&definition(LINES), &request).unwrap_err().to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn limited_compensation_of_an_element_leaves_its_effect() {
    let text = "
workflow: lines
steps:
  - { name: pick, for_each: '[1, 2]', run: s/a, compensate: { run: s/undo, retry: 2 } }
  - { name: ship, run: s/b, compensate: none }
";
    let report = report(text);
    assert!(!report.holds);
    let failed: Vec<_> = report.courses.iter().filter(|course| !course.standing.is_empty()).collect();
    let [course] = failed.as_slice() else { panic!("{:?}", rows(&report)) };
    assert_eq!((course.step.as_deref(), course.fault), (Some("pick"), Some(StepFault::Compensation)));
    assert!(course.note.as_deref().unwrap().contains("pick[0] ends after 2 attempts"), "{course:?}");
}

#[test]
fn child_completes_or_is_rolled_back() {
    let text = "
workflow: parent
steps:
  - { name: before, run: s/a, compensate: s/undo_a }
  - { name: trip, child: { workflow: book, id: 'trip/${ workflow.id }' } }
  - { name: each, for_each: '[1, 2]', child: notify }
  - { name: after, run: s/b, compensate: none, input: '${ steps.trip.output.hotel }' }
";
    let report = report(text);
    let expected = [
        "- -: before trip each after |  | COMPLETED | ",
        "before refused: before |  | ROLLED_BACK | ",
        "before unknown: before | before | ROLLED_BACK | ",
        "before timeout: before | before | ROLLED_BACK | ",
        "before compensation: before trip each after | each trip before | ROLLED_BACK | ",
        "trip refused: before trip | before | ROLLED_BACK | ",
        "each refused: before trip each | trip before | ROLLED_BACK | ",
        "after refused: before trip each after | each trip before | ROLLED_BACK | ",
        "after unknown: before trip each after | each trip before | ROLLED_BACK | ",
        "after timeout: before trip each after | each trip before | ROLLED_BACK | ",
    ];
    assert_eq!(rows(&report), expected);
    assert!(report.holds);
}

#[test]
fn long_lists_are_simulated_in_groups_and_limited() {
    let text = "
workflow: lines
steps:
  - { name: pick, for_each: '${ input.lines }', run: s/a, compensate: s/undo }
  - { name: ship, run: s/b, compensate: none }
";
    let of = |length: usize| {
        let input = Some(serde_json::json!({"lines": vec![1; length]}));
        let only = Some(("ship".to_owned(), StepFault::Refused));
        simulate(&definition(text), &SimulationRequest { input, only, ..SimulationRequest::default() })
    };
    for length in [0, 1, 101, 250] {
        let report = of(length).unwrap();
        assert_eq!((report.courses[0].end, report.holds), ("ROLLED_BACK", true), "{length}");
    }
    assert!(matches!(of(1001), Err(Error::Limit { .. })));
}
