//! Locks: what is accepted, and which definitions could deadlock.

use goconductor_definition::{Format, Limits, parse};
use goconductor_saga::{Json, LockScope, LockSpec, Template, TextPart};
use std::time::Duration;

fn checked(text: &str) -> Result<goconductor_saga::Definition, Vec<(&'static str, String)>> {
    match parse(text.as_bytes(), Format::Yaml, &Limits::default()) {
        Ok(checked) => Ok(checked.definition),
        Err(problems) => Err(problems.into_iter().map(|each| (each.code, each.pointer)).collect()),
    }
}

#[test]
fn forms_of_a_lock() {
    let definition = checked(
        "workflow: a
lock: [b, {key: 'account/${ input.from }', mode: shared, wait: 5s}]
steps:
- {name: s, run: a/b, compensate: none, lock: c}
- {name: t, run: a/b, compensate: none, lock: {key: 'd/${ steps.s.output.x }', hold: workflow}}",
    )
    .unwrap();
    let value = |text: &str| Template::Value(Json::from(text));
    let text = |literal: &str, expression: &str| {
        Template::Text(vec![
            TextPart::Literal(literal.to_owned()),
            TextPart::Expression(expression.to_owned()),
        ])
    };
    let of_workflow = |key| LockSpec { key, shared: false, wait: None, hold: LockScope::Workflow };
    let account = LockSpec {
        shared: true,
        wait: Some(Duration::from_secs(5)),
        ..of_workflow(text("account/", "input.from"))
    };
    assert_eq!(definition.locks, [of_workflow(value("b")), account]);
    let of_step = |at: usize| definition.steps[at].lock.clone().unwrap();
    assert_eq!(of_step(0), LockSpec { hold: LockScope::Step, ..of_workflow(value("c")) });
    assert_eq!(of_step(1), of_workflow(text("d/", "steps.s.output.x")));
    let one = checked("workflow: a\nlock: k\nsteps: [{name: s, run: a/b, compensate: none}]").unwrap();
    assert_eq!(one.locks, [of_workflow(value("k"))]);
}

/// Returns a step with a lock.
fn step(name: &str, depends_on: &str, lock: &str) -> String {
    format!("- {{name: {name}, run: a/b, compensate: none, depends_on: [{depends_on}], lock: {lock}}}\n")
}

#[test]
fn keys_that_may_be_out_of_order_are_refused() {
    let held = |key: &str| format!("{{key: '{key}', hold: workflow}}");
    let of_step = |key: &str| format!("'{key}'");
    let shared = |key: &str, hold: &str| format!("{{key: '{key}', mode: shared, hold: {hold}}}");
    // The lock of the definition, the steps, and the pointer of the lock that is refused.
    let cases: Vec<(&str, Vec<String>, Option<&str>)> = vec![
        // One after the other, each for its step only.
        ("", vec![step("s", "", &of_step("b")), step("t", "s", &of_step("a"))], None),
        // Parallel, each for its step only.
        ("", vec![step("s", "", &of_step("b")), step("t", "", &of_step("a"))], None),
        ("", vec![step("s", "", &held("a")), step("t", "s", &held("b"))], None),
        ("", vec![step("s", "", &held("b")), step("t", "s", &held("a"))], Some("/steps/1/lock")),
        ("", vec![step("s", "", &held("b")), step("t", "s", &of_step("a"))], Some("/steps/1/lock")),
        ("", vec![step("s", "", &of_step("b")), step("t", "s", &held("a"))], None),
        // Which of the two is requested first is not certain.
        ("", vec![step("s", "", &held("a")), step("t", "", &held("b"))], Some("/steps/0/lock")),
        ("", vec![step("s", "", &held("a")), step("t", "", &of_step("b"))], None),
        ("", vec![step("s", "", &held("b")), step("t", "", &of_step("a"))], Some("/steps/1/lock")),
        // The values of the expressions are not known.
        (
            "",
            vec![step("s", "", &held("a/${ input.x }")), step("t", "s", &held("a/${ input.y }"))],
            Some("/steps/1/lock"),
        ),
        ("", vec![step("s", "", &held("1/${ input.x }")), step("t", "s", &held("2/${ input.y }"))], None),
        // The workflow already holds the lock.
        ("", vec![step("s", "", &held("a/${ input.x }")), step("t", "s", &of_step("a/${ input.x }"))], None),
        ("", vec![step("s", "", &held("a")), step("t", "", &of_step("a"))], Some("/steps/1/lock")),
        ("", vec![step("s", "", &shared("a", "workflow")), step("t", "s", &shared("a", "step"))], None),
        (
            "",
            vec![step("s", "", &shared("a", "workflow")), step("t", "s", &of_step("a"))],
            Some("/steps/1/lock"),
        ),
        // The locks of the definition are held by every step.
        ("lock: [b, a]\n", vec![step("s", "", &of_step("c"))], None),
        ("lock: [b, a]\n", vec![step("s", "", &of_step("a"))], Some("/steps/0/lock")),
        ("lock: '${ input.x }'\n", vec![step("s", "", &of_step("a"))], Some("/steps/0/lock")),
        ("lock: a\n", vec![step("s", "", &of_step("a"))], None),
        // A list of locks of a definition is sorted when it is acquired.
        ("lock: ['a/${ input.x }', 'a/${ input.y }']\n", vec![step("s", "", &of_step("b"))], None),
    ];
    for (lock, steps, expected) in cases {
        let text = format!("workflow: a\n{lock}steps:\n{}", steps.concat());
        let refused = checked(&text).err().unwrap_or_default();
        let expected: Vec<(&str, String)> =
            expected.into_iter().map(|pointer| ("GC1026", pointer.to_owned())).collect();
        assert_eq!(refused, expected, "{text}");
    }
}

#[test]
fn child_does_not_run_while_its_parent_holds_a_lock_to_the_end() {
    let child = "- {name: c, child: other}\n";
    let locked =
        |hold: &str| format!("- {{name: s, run: a/b, compensate: none, lock: {{key: k, hold: {hold}}}}}\n");
    let cases = [
        (String::new(), format!("{}{child}", locked("step")), None),
        (String::new(), format!("{}{child}", locked("workflow")), Some("/steps/1")),
        (String::new(), format!("{child}{}", locked("workflow")), None),
        ("lock: k\n".to_owned(), child.to_owned(), Some("/steps/0")),
    ];
    for (lock, steps, expected) in cases {
        let text = format!("workflow: a\n{lock}steps:\n{steps}");
        let refused = checked(&text).err().unwrap_or_default();
        let expected: Vec<(&str, String)> =
            expected.into_iter().map(|pointer| ("GC1026", pointer.to_owned())).collect();
        assert_eq!(refused, expected, "{text}");
    }
}

#[test]
fn step_that_starts_at_the_first_dependency_does_not_wait_for_the_others() {
    let text = "workflow: a
steps:
- {name: s, run: a/b, compensate: none, lock: {key: a, hold: workflow}}
- {name: x, run: a/b, compensate: none, depends_on: []}
- {name: t, run: a/b, compensate: none, depends_on: [s, x], join: any, lock: {key: b, hold: workflow}}";
    assert_eq!(checked(text).unwrap_err(), [("GC1026", "/steps/0/lock".to_owned())]);
    assert!(checked(&text.replace("join: any", "join: all")).is_ok());
}
