//! The values of expressions.

use crate::yaml;
use goconductor_definition::Cel;
use goconductor_saga::{
    Expressions, Json, Plan, Scope, StartWorkflow, State, Template, Timestamp, WorkflowId, start,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
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
    };
    let (_, mut state) = start(&plan, &Cel::new(), &begin, Timestamp(1_700_000_000_000_000));
    state.steps[0].execution = goconductor_saga::StepStatus::Completed;
    state.steps[0].output = Some(Arc::new(json!({"id": "pay-1", "amount": 12.5, "parts": [1, 2, 3]})));
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
