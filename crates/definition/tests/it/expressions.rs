//! The values of expressions.

use crate::yaml;
use goconductor_definition::Cel;
use goconductor_saga::{
    Expressions, Json, PayloadDigest, PayloadRef, PayloadSource, Plan, Scope, StartWorkflow, State, Template,
    Timestamp, WorkflowId, start,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Returns a workflow with two steps, the first of which has completed.
fn workflow(input: Json) -> (Plan, State) {
    let definition = yaml(
        "workflow: shop\nsteps:\n- {name: pay, run: a/b, compensate: none}\n- {name: ship, run: a/b, compensate: none}",
    );
    let plan = Plan::new(definition.unwrap().definition, 3).unwrap();
    let begin = StartWorkflow {
        id: WorkflowId(uuid::Uuid::from_u128(7)),
        namespace: "default".to_owned(),
        input,
        labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
        actor: None,
        trace: None,
    };
    let (_, mut state) = start(&plan, &Cel::new(), &begin, Timestamp(1_700_000_000_000_000));
    state.steps[0].execution = goconductor_saga::StepStatus::Completed;
    state.steps[0].output = Some(Arc::new(json!({"id": "pay-1", "amount": 12.5, "parts": [1, 2, 3]})));
    state.signals.last.insert("go".to_owned(), Arc::new(json!({"by": "ada"})));
    state.signals.last.insert("manager-approval".to_owned(), Arc::new(json!(7)));
    (plan, state)
}

fn input() -> Json {
    json!({"amount": 42, "rate": 1.5, "name": "Ada", "big": 9_007_199_254_740_993_i64, "huge": u64::MAX,
           "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}], "none": null, "on": true, "sp ace": 1})
}

fn evaluate(expression: &str, input: Json) -> Result<Json, String> {
    let (plan, state) = workflow(input);
    Cel::new().evaluate(expression, &Scope::new(&plan, &state)).map_err(|error| error.reason)
}

#[test]
fn value_keeps_its_type() {
    for (expression, expected) in [
        ("input.amount + 1", json!(43)),
        ("signals.go", json!({"by": "ada"})),
        ("signals.go.by", json!("ada")),
        ("signals['manager-approval'] + 1", json!(8)),
        ("has(signals.go) && !has(signals.other)", json!(true)),
        ("input.amount", json!(42)),
        ("input.rate * 2.0", json!(3.0)),
        ("input.big", json!(9_007_199_254_740_993_i64)),
        ("input.huge", json!(u64::MAX)),
        ("input.name + '!'", json!("Ada!")),
        ("input.on && input.amount > 5", json!(true)),
        ("input.none", json!(null)),
        ("input.items[1].sku", json!("b")),
        ("input['sp ace']", json!(1)),
        ("input.items.map(i, i.n * 2)", json!([2, 4])),
        ("input.items.filter(i, i.n > 1)", json!([{"sku": "b", "n": 2}])),
        ("input.items.exists(i, i.sku == 'a')", json!(true)),
        ("size(input.items)", json!(2)),
        ("has(input.missing)", json!(false)),
        ("has(input.name)", json!(true)),
        ("'name' in input", json!(true)),
        ("input.amount > 40 ? 'much' : 'little'", json!("much")),
        ("{'id': steps.pay.output.id, 'n': [input.amount]}", json!({"id": "pay-1", "n": [42]})),
        ("steps.pay.output.amount", json!(12.5)),
        ("steps.pay.status", json!("COMPLETED")),
        ("steps.ship.output", json!(null)),
        ("steps.ship.status", json!("PENDING")),
        ("steps.pay.error", json!(null)),
        ("steps['pay'].output.parts", json!([1, 2, 3])),
        ("workflow.definition + '/' + string(workflow.version)", json!("shop/3")),
        ("workflow.labels.team", json!("shop")),
        ("workflow.created_at", json!("2023-11-14T22:13:20Z")),
        ("workflow.id", json!("00000000-0000-0000-0000-000000000007")),
        ("double(input.amount) / 4.0", json!(10.5)),
        ("input.amount % 5 == 2", json!(true)),
        ("input", input()),
    ] {
        assert_eq!(evaluate(expression, input()), Ok(expected), "{expression}");
    }
}

#[test]
fn selected_value_is_that_of_the_interpreter() {
    let input = json!({
        "none": null, "int": 7, "big": u64::MAX, "float": 1.5, "whole": 2.0, "on": true, "text": "a \u{1f600}",
        "list": [1, "b", [null]], "map": {"a": {"b-c": [1]}}, "long": "x".repeat(5000), "many": vec![1; 100],
        "deep": [[[[[[[[1]]]]]]]],
    });
    for path in [
        "input",
        "input.none",
        "input.int",
        "input.big",
        "input.float",
        "input.whole",
        "input.on",
        "input.text",
        "input.list",
        "input.map",
        "input.map.a",
        "input.map.a['b-c']",
        "input['map'].a",
        "input.long",
        "input.many",
        "input.deep",
    ] {
        let interpreted = evaluate(&format!("[{path}][0]"), input.clone()).unwrap();
        assert_eq!(evaluate(path, input.clone()), Ok(interpreted), "{path}");
    }
    for path in ["input.missing", "input.int.x", "input.none.x", "input.map.x.y", "input.list.x", "input['']"]
    {
        let interpreted = evaluate(&format!("[{path}][0]"), input.clone()).unwrap_err();
        assert_eq!(evaluate(path, input.clone()), Err(interpreted), "{path}");
    }
}

#[test]
fn expression_without_a_value_reports_the_reason() {
    for (expression, message) in [
        ("input.missing", "missing"),
        ("input.amount + 'x'", ""),
        ("input.amount / 0", "zero"),
        ("9223372036854775807 + input.amount", "verflow"),
        ("input.name.nope()", "unknown function"),
        ("1.0 / 0.0", "JSON"),
        ("steps.nope.output", ""),
    ] {
        let reason = evaluate(expression, input()).expect_err(expression);
        assert!(reason.contains(message), "{expression}: {reason}");
        assert!(reason.chars().count() <= 300, "{expression}: {reason}");
    }
}

#[test]
fn evaluation_over_large_inputs_is_bounded() {
    let long = json!({"text": "x".repeat(100_000), "list": (0..9_000).collect::<Vec<_>>()});
    for expression in [
        "input.list.map(x, input.text + input.text)",
        "input.list.map(x, input.list + input.list)",
        "input.list.map(x, input.list)",
        "input.list.all(x, x in input.list)",
        "input.list.map(x, input.text)",
    ] {
        let started = Instant::now();
        let value = evaluate(expression, long.clone());
        assert!(started.elapsed() < Duration::from_secs(5), "{expression} took {:?}", started.elapsed());
        if let Ok(value) = value {
            assert!(value.to_string().len() < 5 << 20, "{expression}");
        }
    }
    let many = json!({"list": (0..20_000).collect::<Vec<_>>()});
    assert_eq!(evaluate("input.list.all(x, x >= 0)", many.clone()), Ok(json!(true)));
    assert_eq!(evaluate("size(input.list)", many), Ok(json!(20_000)));
    let square = json!({"list": (0..1_900).collect::<Vec<_>>()});
    let started = Instant::now();
    assert!(evaluate("input.list.map(x, input.list)", square).unwrap_err().contains("too large"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn chained_loops_are_refused_by_the_number_of_values_that_they_make() {
    let list = json!({"list": (0..50_000).collect::<Vec<_>>(), "few": (0..100).collect::<Vec<_>>()});
    let ten = "[x, x, x, x, x, x, x, x, x, x]";
    for expression in [
        format!("input.list.map(x, {ten}).map(x, {ten})"),
        format!("size(input.list.map(x, {ten}).map(x, {ten}).map(x, {ten}))"),
        format!("input.list.map(x, {{'a': {ten}, 'b': {ten}}}).map(x, [x, x, x])"),
        format!("input.list.map(x, {ten}).all(x, size({ten}) > 0)"),
        format!("input.few.map(x, {ten}).map(x, {ten}).map(x, {ten}).map(x, {ten}).map(x, {ten})"),
        format!("[input.list, input.list].map(x, {ten}).map(x, {ten})"),
    ] {
        let started = Instant::now();
        let reason = evaluate(&expression, list.clone()).expect_err(&expression);
        assert!(reason.contains("too large"), "{expression}: {reason}");
        assert!(started.elapsed() < Duration::from_secs(5), "{expression}");
    }
    let values = |expression: &str| evaluate(expression, list.clone());
    assert_eq!(values(&format!("size(input.few.map(x, {ten}).map(x, {ten}))")), Ok(json!(100)));
    assert_eq!(values("size(input.list.map(x, x * 2).filter(x, x > 10))"), Ok(json!(49_994)));
    assert_eq!(values("size(input.list.map(x, {'a': x, 'b': [x]}))"), Ok(json!(50_000)));
}

#[test]
fn evaluation_is_quick_only_if_its_values_are_few() {
    let (plan, state) = workflow(json!({"list": (0..50_000).collect::<Vec<_>>(), "n": 1}));
    let scope = Scope::new(&plan, &state);
    let cel = Cel::new();
    let mut allowance = 5_000;
    assert_eq!(cel.evaluate_within("input.n + 1", &scope, &mut allowance), Some(Ok(json!(2))));
    let left = allowance;
    assert!(left < 3_000, "the first evaluation compiles: {left}");
    assert_eq!(cel.evaluate_within("input.n + 1", &scope, &mut allowance), Some(Ok(json!(2))));
    assert!(left - allowance < 100, "{left} {allowance}");
    assert_eq!(cel.evaluate_within("size(input.list)", &scope, &mut allowance), None);
    assert_eq!(cel.evaluate("size(input.list)", &scope), Ok(json!(50_000)));
}

#[test]
fn failure_states_the_types_and_what_to_write() {
    let input =
        json!({"i": 2, "d": 7.5, "s": "ab", "n": null, "l": [1], "m": {"k": 1}, "u": u64::MAX, "b": true});
    for (expression, expected) in [
        (
            "input.d * input.i",
            "`*` does not take the double 7.5 and the int 2: write double(…) around the int",
        ),
        (
            "input.s + input.i",
            "`+` does not take the string \"ab\" and the int 2: write string(…) around the int",
        ),
        ("input.i - input.u", "write int(…) around the uint"),
        ("input.n + input.i", "test for null first"),
        ("input.m + input.s", "`+` does not take a map of 1 entries and the string"),
        ("input.s < input.i", "`<` does not take a string and an int: write string(…) around the int"),
        ("input.i && input.b", "bool"),
        ("!input.i", "`!` does not take an int"),
        ("-input.s", "`-` does not take a string"),
        ("input.m.x", "field `x` is missing: test for it with has(…)"),
        ("input.l[5]", "the list has no element 5"),
        ("input.i / 0", "the int 2 is divided by zero"),
        ("9223372036854775807 + input.i", "overflow: the result of 9223372036854775807 + 2"),
        ("int(input.s)", "int(…) cannot convert"),
        ("input.i.map(x, x)", "expected a list or map, found an int"),
        ("size(input.i)", "`size` does not take an int"),
        ("input.s.contains(input.i)", ""),
        ("input.s[0]", ""),
        ("{input.d: 1}", ""),
        ("{'a': 1, 'a': 2}", ""),
        ("input.i ? 1 : 2", ""),
        ("input.l.exists(x, x)", ""),
    ] {
        let reason = evaluate(expression, input.clone()).expect_err(expression);
        assert!(reason.contains(expected), "{expression}: {reason}");
        for internal in
            ["Int(", "Float(", "String(", "Unsupported", "overload", "'mul'", "Error", "_+_", "null_type"]
        {
            assert!(!reason.contains(internal), "{expression}: {reason}");
        }
    }
}

#[test]
fn condition_with_a_value_of_another_type_is_described_by_the_type() {
    let text = "workflow: a\nsteps: [{name: s, run: a/b, compensate: none, when: input.l}]";
    let plan = Plan::new(yaml(text).unwrap().definition, 1).unwrap();
    let begin = StartWorkflow {
        id: WorkflowId(uuid::Uuid::from_u128(7)),
        namespace: "default".to_owned(),
        input: json!({"l": vec![1; 1000]}),
        labels: BTreeMap::new(),
        actor: None,
        trace: None,
    };
    let (_, state) = start(&plan, &Cel::new(), &begin, Timestamp(1_700_000_000_000_000));
    let error = state.steps[0].error.clone().unwrap();
    assert_eq!(error.code, "CONDITION_FAILED");
    assert_eq!(error.message, "`input.l`: a condition must be true or false, not a list");
}

#[test]
fn template_with_many_large_values_is_refused() {
    let list = json!({"l": vec!["x".repeat(200); 2000]});
    let (plan, state) = workflow(list);
    let scope = Scope::new(&plan, &state);
    let value = || Template::Expression("input.l".to_owned());
    let render = |count| Template::List((0..count).map(|_| value()).collect()).render(&Cel::new(), &scope);
    assert!(render(10).is_ok());
    assert!(render(60).unwrap_err().reason.contains("too large together"));
}

#[test]
fn template_interpolates_text_and_keeps_the_type_of_a_single_expression() {
    let (plan, state) = workflow(input());
    let scope = Scope::new(&plan, &state);
    let text = "workflow: a\nsteps:\n- {name: pay, run: a/b, compensate: none, input: {whole: '${ input.amount }', text: 'n=${ input.amount } ${ input.name } ${ input.items }', literal: '$${x}', list: ['${ input.on }', 2], map: '${ {\"a\": 1} }', brace: \"${ '}' }\"}}";
    let definition = yaml(text).unwrap().definition;
    let template: &Template = definition.steps[0].input.as_ref().unwrap();
    assert_eq!(
        template.render(&Cel::new(), &scope).unwrap(),
        json!({"whole": 42, "text": "n=42 Ada [{\"n\":1,\"sku\":\"a\"},{\"n\":2,\"sku\":\"b\"}]", "literal": "${x}",
               "list": [true, 2], "map": {"a": 1}, "brace": "}"})
    );
}

/// One payload, and how often it was read.
#[derive(Debug)]
struct OnePayload {
    reference: PayloadRef,
    value: Json,
    reads: AtomicUsize,
}

impl PayloadSource for OnePayload {
    fn payload(&self, reference: PayloadRef) -> Option<&Json> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        (reference == self.reference).then_some(&self.value)
    }
}

#[test]
fn payload_is_read_only_by_expressions_that_name_a_part_of_it() {
    let reference = PayloadRef { digest: PayloadDigest([5; 32]), bytes: 50_000_000 };
    let value = json!({"id": "pay-9", "parts": [1, 2, 3], "amount": 7});
    let (plan, mut state) = workflow(input());
    state.steps[0].output = Some(Arc::new(reference.to_json()));
    state.signals.last.insert("go".to_owned(), Arc::new(reference.to_json()));
    let read = |expression: &str| {
        let payload = OnePayload { reference, value: value.clone(), reads: AtomicUsize::new(0) };
        let scope = Scope::new(&plan, &state).with_payloads(&payload);
        let found = Cel::new().evaluate(expression, &scope).map_err(|error| error.reason);
        let mut allowance = u64::MAX;
        let again = Cel::new().evaluate_within(expression, &scope, &mut allowance).unwrap();
        assert_eq!(found, again.map_err(|error| error.reason), "{expression}");
        (found, payload.reads.load(Ordering::Relaxed) > 0)
    };
    for (expression, expected, reads) in [
        ("steps.pay.output", reference.to_json(), false),
        ("signals.go", reference.to_json(), false),
        ("steps.pay.status", json!("COMPLETED"), false),
        ("input.amount", json!(42), false),
        ("input.amount + 1", json!(43), false),
        ("steps.pay.output.id", json!("pay-9"), true),
        ("signals.go.id", json!("pay-9"), true),
        ("size(steps.pay.output.parts) + input.amount", json!(45), true),
        ("signals.go.amount + 1", json!(8), true),
        ("has(steps.pay.output.parts)", json!(true), true),
    ] {
        assert_eq!(read(expression), (Ok(expected), reads), "{expression}");
    }
}
