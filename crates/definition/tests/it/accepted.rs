//! Valid definitions and the graphs that they expand to.

use crate::yaml;
use goconductor_definition::{Format, Limits, parse};
use goconductor_saga::{
    Action, Child, Definition, FailurePolicy, Join, OnError, OnParentClose, OnTimeout, OnUnknown,
    RollbackOrder, RollbackPolicy, StepIndex, Timestamp, WaitTime,
};
use std::collections::BTreeMap;
use std::time::Duration;

fn definition(text: &str) -> Definition {
    yaml(text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")).definition
}

/// Returns each step with the names of its dependencies.
fn edges(definition: &Definition) -> Vec<(String, Vec<String>)> {
    let name = |index: &StepIndex| definition.steps[index.at()].name.clone();
    definition
        .steps
        .iter()
        .map(|step| (step.name.clone(), step.depends_on.iter().map(name).collect()))
        .collect()
}

fn expect_edges(text: &str, expected: &[(&str, &[&str])]) {
    let found = edges(&definition(text));
    let expected: Vec<(String, Vec<String>)> = expected
        .iter()
        .map(|(name, on)| ((*name).to_owned(), on.iter().map(|each| (*each).to_owned()).collect()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

fn steps(lines: &str) -> String {
    format!("workflow: a\ndefaults: {{service: a}}\nsteps:\n{lines}")
}

fn plain(name: &str) -> String {
    format!("{{name: {name}, run: do, compensate: undo}}")
}

#[test]
fn plain_list_becomes_a_sequence() {
    let text = steps(&format!("- {}\n- {}\n- {}", plain("x"), plain("y"), plain("z")));
    expect_edges(&text, &[("x", &[]), ("y", &["x"]), ("z", &["y"])]);
}

#[test]
fn depends_on_replaces_the_dependency_on_the_step_above() {
    let text = steps(
        "- {name: x, run: do, compensate: none}\n\
         - {name: y, run: do, compensate: none, depends_on: []}\n\
         - {name: z, run: do, compensate: none, depends_on: [y, x]}\n\
         - {name: w, run: do, compensate: none, depends_on: [x]}",
    );
    expect_edges(&text, &[("x", &[]), ("y", &[]), ("z", &["x", "y"]), ("w", &["x"])]);
}

#[test]
fn parallel_block_forks_and_joins() {
    let text = steps(&format!(
        "- {}\n- name: fork\n  parallel:\n    left: [{}, {}]\n    right: [{}]\n- {}\n- {{name: late, run: do, compensate: none, depends_on: [fork]}}",
        plain("first"),
        plain("l1"),
        plain("l2"),
        plain("r1"),
        plain("after"),
    ));
    expect_edges(
        &text,
        &[
            ("first", &[]),
            ("l1", &["first"]),
            ("l2", &["l1"]),
            ("r1", &["first"]),
            ("after", &["l2", "r1"]),
            ("late", &["l2", "r1"]),
        ],
    );
}

#[test]
fn nested_blocks_and_branches_with_several_last_steps_are_joined() {
    let text = steps(&format!(
        "- name: outer\n  parallel:\n    one:\n    - name: inner\n      parallel:\n        p: [{}]\n        q: [{}, {{name: q2, run: do, compensate: none, depends_on: []}}]\n    two: [{}]\n- {}",
        plain("p1"),
        plain("q1"),
        plain("t1"),
        plain("after"),
    ));
    expect_edges(
        &text,
        &[("p1", &[]), ("q1", &[]), ("q2", &[]), ("t1", &[]), ("after", &["p1", "q1", "q2", "t1"])],
    );
}

#[test]
fn step_is_skipped_with_named_dependencies_and_not_with_the_step_above() {
    let text = steps(&format!(
        "- {}\n- {}\n- {{name: named, run: do, compensate: none, depends_on: [x]}}\n\
         - name: plain\n  parallel: {{a: [{}, {}], b: [{{name: p3, run: do, compensate: none}}]}}\n\
         - name: gated\n  depends_on: [x, y]\n  parallel: {{a: [{}, {{name: g2, run: do, compensate: none}}], \
           b: [{{name: g3, run: do, compensate: none, depends_on: []}}]}}",
        plain("x"),
        plain("y"),
        plain("p1"),
        plain("p2"),
        plain("g1"),
    ));
    let definition = definition(&text);
    let name = |index: &StepIndex| definition.steps[index.at()].name.as_str();
    let skipped_with = |wanted: &str| -> Option<Vec<&str>> {
        let step = definition.steps.iter().find(|step| step.name == wanted).unwrap();
        step.skipped_with.as_ref().map(|steps| steps.iter().map(name).collect())
    };
    // Without the field, a step is skipped with all its dependencies.
    let cases: [(&str, Option<&[&str]>); 8] = [
        ("x", None),
        ("y", Some(&[])),
        ("named", None),
        ("p1", Some(&[])),
        ("p2", Some(&[])),
        ("g1", None),
        ("g2", Some(&["x", "y"])),
        ("g3", None),
    ];
    for (step, expected) in cases {
        assert_eq!(skipped_with(step).as_deref(), expected, "{step}");
    }
}

#[test]
fn switch_branch_requires_the_conditions_above_to_be_false() {
    let text = steps(&format!(
        "- {}\n- name: how\n  when: input.on\n  switch:\n  - {{when: input.a, steps: [{}]}}\n  - {{when: '${{ input.b }}', steps: [{}]}}\n  - {{steps: [{}]}}\n- {}",
        plain("first"),
        plain("x"),
        plain("y"),
        plain("z"),
        plain("after"),
    ));
    let definition = definition(&text);
    let conditions = |name: &str| -> Vec<(String, bool)> {
        let step = definition.steps.iter().find(|step| step.name == name).unwrap();
        step.when.iter().map(|condition| (condition.expression.clone(), condition.holds)).collect()
    };
    let of = |list: &[(&str, bool)]| -> Vec<(String, bool)> {
        list.iter().map(|(text, holds)| ((*text).to_owned(), *holds)).collect()
    };
    assert_eq!(conditions("x"), of(&[("input.on", true), ("input.a", true)]));
    assert_eq!(conditions("y"), of(&[("input.on", true), ("input.a", false), ("input.b", true)]));
    assert_eq!(conditions("z"), of(&[("input.on", true), ("input.a", false), ("input.b", false)]));
    assert_eq!(conditions("after"), of(&[]));
    expect_edges(
        &text,
        &[
            ("first", &[]),
            ("x", &["first"]),
            ("y", &["first"]),
            ("z", &["first"]),
            ("after", &["x", "y", "z"]),
        ],
    );
}

#[test]
fn blocks_that_refer_to_each_others_steps_are_not_a_cycle() {
    let text = steps(
        "- name: one\n  parallel:\n    a: [{name: a1, run: do, compensate: none}]\n    b: [{name: b1, run: do, compensate: none, depends_on: [c1]}]\n\
         - name: two\n  depends_on: []\n  parallel:\n    c: [{name: c1, run: do, compensate: none}]\n    d: [{name: d1, run: do, compensate: none, depends_on: [one]}]",
    );
    expect_edges(&text, &[("a1", &[]), ("b1", &["c1"]), ("c1", &[]), ("d1", &["a1", "b1"])]);
}

#[test]
fn equal_content_has_an_equal_digest_in_any_format() {
    let digest = |text: &str, format| parse(text.as_bytes(), format, &Limits::default()).unwrap().digest;
    let block = "# a comment\nworkflow: a\nsteps:\n  - name: s\n    run: a/b\n    compensate: none\n";
    let flow = "steps: [{compensate: none, run: a/b, name: s}]\nworkflow: 'a'";
    let json = r#"{"workflow": "a", "steps": [{"name": "s", "run": "a/b", "compensate": "none"}]}"#;
    let other = r#"{"workflow": "a", "steps": [{"name": "s", "run": "a/c", "compensate": "none"}]}"#;
    assert_eq!(digest(block, Format::Yaml), digest(flow, Format::Yaml));
    assert_eq!(digest(block, Format::Yaml), digest(json, Format::Json));
    assert_ne!(digest(json, Format::Json), digest(other, Format::Json));
}

#[test]
fn omitted_settings_have_the_defaults_of_semantics_md() {
    let definition = definition("workflow: a\nsteps: [{name: s, run: a/b, compensate: a/c}]");
    let step = &definition.steps[0];
    let compensation = step.compensate.as_ref().unwrap();
    assert_eq!(step.retry.max_attempts, Some(10));
    assert_eq!((step.retry.initial.as_millis(), step.retry.max.as_secs()), (200, 30));
    assert_eq!(step.timeout.attempt.as_secs(), 30);
    assert_eq!((compensation.retry.max_attempts, compensation.retry.max.as_secs()), (None, 60));
    assert_eq!(step.join, Join::All);
}

#[test]
fn compensation_may_refer_to_the_output_of_its_own_step() {
    definition(
        "workflow: a\nsteps:\n- {name: s, run: a/b, compensate: {run: a/c, input: {id: '${ steps.s.output.id }'}, retry: {max_attempts: 3}, timeout: 2s}}",
    );
}

#[test]
fn switch_without_a_default_branch_is_accepted_with_a_warning() {
    let branch = "{when: input.a, steps: [{name: s, run: a/b, compensate: none}]}";
    let text = format!("workflow: a\nsteps:\n- name: choose\n  switch:\n  - {branch}\n");
    let checked = parse(text.as_bytes(), Format::Yaml, &Limits::default()).unwrap();
    let [warning] = &checked.warnings[..] else { panic!("{:?}", checked.warnings) };
    assert_eq!((warning.code, &*warning.pointer, warning.line), ("GC1016", "/steps/0/switch", 5));
    let text = format!("{text}  - steps: [{{name: other, run: a/b, compensate: none}}]\n");
    let checked = parse(text.as_bytes(), Format::Yaml, &Limits::default()).unwrap();
    assert_eq!(checked.warnings, [], "the last branch is the default");
}

#[test]
fn keys_with_the_prefix_x_are_ignored() {
    definition(
        "workflow: a\nx-owner: shop\nsteps: [{name: s, run: a/b, compensate: none, x-note: {a: [1]}}]",
    );
}

#[test]
fn schema_agrees_with_the_parser() {
    let schema = goconductor_definition::schema();
    assert!(schema.is_object());
    let example = include_str!("../../../../examples/order-processing.yaml");
    definition(example);
    let json = serde_json::json!({
        "workflow": "a",
        "steps": [
            {"name": "s", "run": "a/b", "compensate": {"run": "a/c", "retry": {"max_attempts": 3}}},
            {"name": "f", "parallel": {"x": [{"name": "x1", "run": "a/b", "compensate": "none"}], "y": [{"name": "y1", "run": "a/b", "compensate": "none", "when": "input.a"}]}},
            {"name": "p", "run": "a/b", "kind": "pivot", "timeout": {"attempt": "1s", "queue": "2s", "total": "3s"}},
            {"name": "r", "run": "a/b", "kind": "retriable", "retry": "forever", "join": "settled"}
        ]
    });
    parse(json.to_string().as_bytes(), Format::Json, &Limits::default()).unwrap();
    goconductor_definition::check_input(&schema, &json).unwrap();
    let wrong =
        serde_json::json!({"workflow": "a", "steps": [{"name": "s", "run": "a/b", "compensat": "none"}]});
    goconductor_definition::check_input(&schema, &wrong).unwrap_err();
}

#[test]
fn examples_of_the_language_reference_are_accepted() {
    let text = include_str!("../../../../docs/reference/definition-language.md");
    let example = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(definition(example).steps.len(), 2);
    let fragment = text.split("```yaml\n").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(definition(&format!("workflow: a\nsteps:\n{fragment}")).steps.len(), 4);
}

#[test]
fn definitions_of_the_examples_are_accepted() {
    for (text, steps) in [
        (include_str!("../../../../examples/order-saga/order.yaml"), 3),
        (include_str!("../../../../examples/travel-booking/travel-booking.yaml"), 6),
        (include_str!("../../../../examples/subscription-billing/payment.yaml"), 2),
        (include_str!("../../../../examples/subscription-billing/billing.yaml"), 4),
        (include_str!("../../../../examples/money-transfer/money-transfer.yaml"), 2),
    ] {
        assert_eq!(definition(text).steps.len(), steps, "{text}");
    }
}

#[test]
fn example_of_a_call_becomes_an_action_and_a_template() {
    let text = include_str!("../../../../docs/reference/steps/call.md");
    let example = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let definition = definition(example);
    let [authorize, ship] = definition.steps.as_slice() else { panic!("{definition:?}") };
    assert_eq!(authorize.action.to_string(), "POST https://payments.example/authorizations");
    assert_eq!(authorize.action.service(), Some(goconductor_saga::CALLS_SERVICE));
    let Some(goconductor_saga::Call::Http(call)) = authorize.action.call() else { panic!("{authorize:?}") };
    assert_eq!(call.secret_headers["authorization"], "secret://payments-token");
    let Some(goconductor_saga::Template::Map(request)) = &authorize.input else { panic!("{authorize:?}") };
    assert_eq!(request.keys().collect::<Vec<_>>(), ["body", "headers", "url"]);
    let undo = authorize.compensate.as_ref().unwrap();
    assert_eq!(undo.action.to_string(), "DELETE https://payments.example/authorizations/${ workflow.id }");
    assert!(undo.input.is_some() && ship.action.call().is_none());
}

#[test]
fn limits_of_a_compensation_are_kept_and_their_absence_leaves_no_trace() {
    let limits = |timeout: &str, settings: &str| {
        let text = format!(
            "workflow: a\n{settings}steps:\n- {{name: s, run: a/b, compensate: {{run: a/c, timeout: {timeout}}}}}"
        );
        let undo = definition(&text).steps[0].compensate.clone().unwrap();
        let seconds = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_secs());
        let of = &undo.limits;
        let stored = serde_json::to_value(&undo).unwrap();
        assert_eq!(stored.get("limits").is_some(), !of.is_none(), "{stored}");
        (undo.timeout.as_secs(), seconds(of.queue), seconds(of.total), seconds(of.heartbeat))
    };
    let default = "compensation: {timeout: 7s}\n";
    for (timeout, settings, expected) in [
        ("5s", "", (5, None, None, None)),
        ("{attempt: 5s}", default, (5, None, None, None)),
        ("{queue: 1s}", default, (7, Some(1), None, None)),
        ("{total: 1m}", "", (30, None, Some(60), None)),
        ("{heartbeat: 2s}", "", (30, None, None, Some(2))),
        ("{attempt: 5s, queue: 1s, total: 1m, heartbeat: 2s}", "", (5, Some(1), Some(60), Some(2))),
    ] {
        assert_eq!(limits(timeout, settings), expected, "{timeout}");
    }
}

#[test]
fn limits_of_a_compensation_are_those_of_each_element() {
    let definition = definition(
        "workflow: a\nsteps:\n- {name: s, run: a/b, for_each: input.list, compensate: {run: a/c, timeout: {total: 1m}}}",
    );
    let step = &definition.steps[0];
    assert!(step.compensate.as_ref().unwrap().limits.is_none(), "the elements together have no limit");
    let of_element = step.for_each.as_ref().unwrap().compensate.as_ref().unwrap();
    assert_eq!(of_element.limits.total, Some(std::time::Duration::from_secs(60)));
}

#[test]
fn compensation_by_a_call_may_refer_to_the_output_of_its_step() {
    let definition = definition(
        "workflow: a
steps:
  - name: s
    run: a/b
    compensate:
      call: { http: { url: 'http://x/undo', body: { id: '${ steps.s.output.id }' } } }
      retry: { initial: 1s }
      timeout: 5s
",
    );
    let undo = definition.steps[0].compensate.as_ref().unwrap();
    assert_eq!(undo.timeout, std::time::Duration::from_secs(5));
    assert!(undo.action.call().is_some() && undo.input.is_some());
}

#[test]
fn schedule_belongs_to_the_definition_of_its_name() {
    let text = steps(&format!("- {}\n", plain("x")));
    let with = format!(
        "{text}schedule: {{cron: '30 2 * * *', timezone: Europe/Berlin, overlap: allow, input: {{a: 1}}}}\n"
    );
    let (plain, scheduled) = (yaml(&text).unwrap(), yaml(&with).unwrap());
    assert_eq!(plain.schedule, None);
    let spec = scheduled.schedule.unwrap();
    assert_eq!((spec.definition.as_str(), spec.overlap.as_str()), ("a", "allow"));
    assert_eq!(spec.input, serde_json::json!({"a": 1}));
    // The graph is the same, and the text is not.
    assert_eq!(plain.definition, scheduled.definition);
    assert_ne!(plain.digest, scheduled.digest);
}

#[test]
fn waits_are_read() {
    let text = "workflow: a\nsteps:\n\
        - {name: a, sleep: 1h30m}\n\
        - {name: b, sleep: '2030-01-31T12:00:00Z'}\n\
        - {name: c, sleep: '${ input.at }'}\n\
        - {name: d, wait_for_signal: manager-approval, timeout: 24h}\n\
        - {name: e, wait_for_signal: {signal: go, until: input.at, on_timeout: continue, schema: {type: object}}}\n\
        - {name: f, run: a/b, kind: pivot}\n\
        - {name: g, sleep: 1s}\n";
    let actions: Vec<Action> = definition(text).steps.into_iter().map(|step| step.action).collect();
    let sleep = |time: WaitTime| Action::Sleep { time };
    assert_eq!(actions[0], sleep(WaitTime::Duration(Duration::from_secs(5400))));
    assert_eq!(actions[1], sleep(WaitTime::Time(Timestamp(1_896_091_200_000_000))));
    assert_eq!(actions[2], sleep(WaitTime::Expression("input.at".to_owned())));
    let limit = Some(WaitTime::Duration(Duration::from_secs(86_400)));
    let name = "manager-approval".to_owned();
    assert_eq!(actions[3], Action::Signal { name, limit, on_timeout: OnTimeout::Fail, schema: None });
    let limit = Some(WaitTime::Expression("input.at".to_owned()));
    let schema = Some(serde_json::json!({"type": "object"}));
    let name = "go".to_owned();
    assert_eq!(actions[4], Action::Signal { name, limit, on_timeout: OnTimeout::Continue, schema });
}

#[test]
fn policies_of_failures_are_read() {
    let text = "workflow: a\ncompensation: {order: parallel, on_error: continue}\nsteps:\n\
        - {name: a, run: s/a, compensate: {run: s/b, when: steps.a.output.id != null}, probe: s/find}\n\
        - {name: b, run: s/a, compensate: none, on_error: continue, on_unknown: park}\n\
        - {name: c, run: s/a, compensate: none, on_error: pause, on_unknown: retry}\n";
    let definition = definition(text);
    let rollback = RollbackPolicy { order: RollbackOrder::Parallel, continue_on_error: true };
    assert_eq!(definition.rollback, rollback);
    let failures: Vec<FailurePolicy> = definition.steps.iter().map(|step| step.failure.clone()).collect();
    let probe = Some(Action::Run { service: "s".to_owned(), action: "find".to_owned() });
    let policy = |on_error, on_unknown, probe| FailurePolicy { on_error, on_unknown, probe };
    assert_eq!(
        failures,
        [
            policy(OnError::Compensate, OnUnknown::Probe, probe),
            policy(OnError::Continue, OnUnknown::Park, None),
            policy(OnError::Pause, OnUnknown::Retry, None),
        ]
    );
    let when = definition.steps[0].compensate.as_ref().and_then(|compensation| compensation.when.as_deref());
    assert_eq!(when, Some("steps.a.output.id != null"));
}

#[test]
fn children_are_read() {
    let text = "workflow: a\nsteps:\n\
        - {name: a, child: book-trip, input: {city: '${ input.city }'}}\n\
        - {name: b, child: {workflow: notify, version: 3, on_parent_close: abandon}, retry: 4}\n\
        - {name: c, child: settle, kind: pivot}\n\
        - {name: d, child: {workflow: archive, on_parent_close: abandon}, kind: retriable}\n";
    let checked = yaml(text).unwrap();
    let child = |workflow: &str, version, on_parent_close| Child {
        workflow: workflow.to_owned(),
        version,
        id: None,
        on_parent_close,
    };
    let expected = [
        (child("book-trip", None, OnParentClose::Compensate), true, Some(1)),
        (child("notify", Some(3), OnParentClose::Abandon), false, Some(4)),
        (child("settle", None, OnParentClose::Cancel), false, Some(1)),
        (child("archive", None, OnParentClose::Abandon), false, Some(10)),
    ];
    for (step, (child, is_compensated, tries)) in checked.definition.steps.iter().zip(&expected) {
        assert_eq!(step.action.child(), Some(child));
        assert_eq!(step.compensate.is_some(), *is_compensated, "{}", step.name);
        assert_eq!(step.retry.max_attempts, *tries, "{}", step.name);
    }
    let references: Vec<_> = checked
        .children
        .iter()
        .map(|reference| (reference.workflow.as_str(), reference.version, reference.is_undone))
        .collect();
    let expected = [
        ("book-trip", None, true),
        ("notify", Some(3), false),
        ("settle", None, false),
        ("archive", None, false),
    ];
    assert_eq!(references, expected);
    let problem = checked.children[1].problem("no such definition".to_owned(), "apply it first");
    assert_eq!((problem.code, problem.pointer.as_str(), problem.line), ("GC1023", "/steps/1/child", 4));
}

#[test]
fn elements_are_read() {
    let text = "workflow: a\nsteps:\n\
        - {name: a, for_each: input.items, run: s/do, compensate: s/undo, input: '${ item.id + index }', retry: 4}\n\
        - name: b\n  \
          for_each: {in: '${ steps.a.output }', as: line, max_parallel: 3}\n  \
          run: s/do\n  compensate: none\n  on_error: continue\n  input: [1, '${ line }']\n";
    let definition = yaml(text).unwrap().definition;
    let [a, b] = definition.steps.as_slice() else { panic!("{definition:?}") };
    let (of_a, of_b) = (a.for_each.as_deref().unwrap(), b.for_each.as_deref().unwrap());
    assert_eq!((of_a.list.as_str(), of_a.variable.as_str(), of_a.max_parallel), ("input.items", "item", 16));
    assert_eq!(
        (of_b.list.as_str(), of_b.variable.as_str(), of_b.max_parallel),
        ("steps.a.output", "line", 3)
    );
    assert_eq!((of_a.action.service(), of_a.retry.max_attempts), (Some("s"), Some(4)));
    assert_eq!((a.retry.max_attempts, &a.input, b.failure.on_error), (Some(1), &None, OnError::Continue));
    assert_eq!(of_b.failure, FailurePolicy::default());
    let closes = [a, b].map(|step| step.action.child().unwrap().on_parent_close);
    assert_eq!(closes, [OnParentClose::Compensate, OnParentClose::Cancel]);
    assert!(a.compensate.as_ref().unwrap().action.child().is_some() && b.compensate.is_none());
    assert!(yaml(text).unwrap().children.is_empty());
    let stored = serde_json::to_string(&definition).unwrap();
    assert_eq!(serde_json::from_str::<Definition>(&stored).unwrap(), definition);
}

#[test]
fn elements_can_be_calls_and_children_and_have_compensations_with_expressions() {
    let text = "workflow: a\nsteps:\n\
        - name: a\n  for_each: {in: input.items, as: line}\n  \
          call: {http: {url: 'http://x/${ line.id }', body: '${ index }'}}\n  \
          compensate: {call: {http: {url: 'http://x/undo', body: '${ steps.a.output }/${ line.id }'}}, when: 'line.paid'}\n\
        - {name: b, for_each: input.items, child: {workflow: c, id: 'b/${ item.id }'}, on_error: pause}\n";
    let checked = yaml(text).unwrap();
    let [a, b] = checked.definition.steps.as_slice() else { panic!("{checked:?}") };
    let (of_a, of_b) = (a.for_each.as_deref().unwrap(), b.for_each.as_deref().unwrap());
    assert!(of_a.action.call().is_some() && of_a.input.is_some());
    let (own, element) = (a.compensate.as_ref().unwrap(), of_a.compensate.as_ref().unwrap());
    assert!(own.when.is_none() && own.input.is_none() && own.action.child().is_some());
    assert!(element.when.is_some() && element.input.is_some() && element.action.call().is_some());
    assert_eq!(of_b.action.child().unwrap().workflow, "c");
    assert!(of_b.action.child().unwrap().id.is_some());
    assert_eq!(b.action.child().unwrap().workflow, "b[]");
    // An operator acts on the element that failed, and not on the step.
    assert_eq!((of_b.failure.on_error, b.failure.on_error), (OnError::Pause, OnError::Compensate));
    let references: Vec<_> = checked.children.iter().map(|child| child.workflow.as_str()).collect();
    assert_eq!(references, ["c"]);
}

#[test]
fn example_of_a_grpc_call_becomes_an_action_and_a_template() {
    let text = include_str!("../../../../docs/reference/steps/call.md");
    let example = text.split("```yaml\n").nth(2).and_then(|rest| rest.split("```").next()).unwrap();
    let definition = definition(example);
    let [authorize] = definition.steps.as_slice() else { panic!("{definition:?}") };
    let Some(goconductor_saga::Call::Grpc(call)) = authorize.action.call() else { panic!("{authorize:?}") };
    assert_eq!(call.method, "payments.v1.Payments/Authorize");
    assert_eq!(call.secret_metadata["authorization"], "secret://payments-token");
    let undo = authorize.compensate.as_ref().unwrap();
    assert_eq!(undo.action.to_string(), "gRPC payments.v1.Payments/Cancel at https://payments.example");
    assert!(undo.input.is_some());
}

#[test]
fn inputs_of_elements_are_evaluated() {
    let text = "workflow: a\nsteps:\n\
        - {name: a, for_each: {in: input.items, as: line}, run: s/do, compensate: none, input: {id: '${ line.id }', at: '${ index }', all: '${ size(input.items) }'}}\n";
    let plan = goconductor_saga::Plan::new(yaml(text).unwrap().definition, 1).unwrap();
    let begin = goconductor_saga::StartWorkflow {
        id: goconductor_saga::WorkflowId(uuid::Uuid::nil()),
        namespace: "default".to_owned(),
        input: serde_json::json!({"items": [{"id": "x"}, {"id": "y"}]}),
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    };
    let cel = goconductor_definition::Cel::new();
    let (_, state) = goconductor_saga::start(&plan, &cel, &begin, goconductor_saga::Timestamp(0));
    let step = goconductor_saga::StepIndex(0);
    let (elements, input) = plan.start_of_elements(&state, step, None, &cel).unwrap();
    assert_eq!(elements.to_string(), "a/a[0..2]");
    let expected = serde_json::json!([{"id": "x", "at": 0, "all": 2}, {"id": "y", "at": 1, "all": 2}]);
    assert_eq!(input, expected);
}
