//! Comparison and formatting of definitions, and the keys of the schema.

use crate::yaml;
use goconductor_definition::{Format, Limits, compare, format, parse, schema};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn differences(old: &str, new: &str) -> Vec<String> {
    let definition = |text: &str| yaml(text).unwrap().definition;
    compare(&definition(old), &definition(new)).iter().map(ToString::to_string).collect()
}

const TWO: &str = "
workflow: w
steps:
  - { name: a, run: s/a, compensate: s/undo_a }
  - { name: b, run: s/b, compensate: none, retry: 3 }
";

#[test]
fn definitions_are_compared_by_meaning() {
    let same = "
steps:
  - name: a # the first
    compensate: { run: s/undo_a }
    run: s/a
  - { run: s/b, retry: { max_attempts: 3 }, name: b, compensate: none }
workflow: w
";
    assert_eq!(differences(TWO, same), Vec::<String>::new());
    for (new, expected) in [
        (TWO.replace("retry: 3", "retry: 5"), vec!["~ step b: retry.max_attempts: 3 → 5"]),
        (TWO.replace("retry: 3", "retry: forever"), vec!["- step b: retry.max_attempts: 3"]),
        (
            TWO.replace("s/undo_a", "s/reverse_a"),
            vec!["~ step a: compensate.action.run.action: \"undo_a\" → \"reverse_a\""],
        ),
        (TWO.replace("retry: 3", "retry: 3, depends_on: []"), vec!["- step b: depends_on: \"a\""]),
        (TWO.replace("workflow: w", "workflow: w\ntimeout: 5s"), vec!["+ timeout: 5000"]),
        (format!("{TWO}  - {{ name: c, run: s/c, compensate: none }}"), vec!["+ step c"]),
        (TWO.replace("name: b", "name: c"), vec!["- step b", "+ step c"]),
    ] {
        // The keys of stored durations have a unit.
        let found: Vec<String> =
            differences(TWO, &new).into_iter().map(|text| text.replace("timeout_ms", "timeout")).collect();
        assert_eq!(found, expected, "{new}");
    }
}

fn formatted(text: &str) -> String {
    let once = format(text, &Limits::default()).unwrap();
    assert_eq!(format(&once, &Limits::default()).unwrap(), once, "formatting twice differs");
    let digest = |text: &str| parse(text.as_bytes(), Format::Yaml, &Limits::default()).unwrap().digest;
    assert_eq!(digest(&once), digest(text));
    once
}

#[test]
fn formatting_orders_keys_and_keeps_comments() {
    let text = "# Header.

steps:
  # The first step.
  - run: s/a   
    # Why it is undone.
    compensate:
      retry: 3
      run: s/undo_a
    name: a # its name

  - name: both
    parallel:
      left:
        - compensate: none
          name: l
          run: s/l
      right: [{ run: s/r, name: r, compensate: none }]

# The name.
workflow: w
x-owner: me
";
    let expected = "# Header.

# The name.
workflow: w
x-owner: me
steps:
  # The first step.
  - name: a # its name
    run: s/a
    # Why it is undone.
    compensate:
      run: s/undo_a
      retry: 3

  - name: both
    parallel:
      left:
        - name: l
          run: s/l
          compensate: none
      right: [{ run: s/r, name: r, compensate: none }]
";
    let result = formatted(text);
    let without_blank = |text: &str| {
        text.lines().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(without_blank(&result), without_blank(expected), "{result}");
}

#[test]
fn formatting_keeps_texts_and_aliases() {
    for text in [
        "workflow: w\ndescription: |\n  a  \n  # no comment\n  b\nsteps:\n  - { name: a, run: s/a, compensate: none }\n",
        "steps:\n  - run: s/a\n    compensate: none\n    name: a\n    title: \"one\n      # two\n      three\"\nworkflow: w\n",
        "x-r: &r { max_attempts: 3 }\nsteps:\n  - retry: *r\n    name: a\n    run: s/a\n    compensate: none\nworkflow: w\n",
        "{workflow: w, steps: [{run: s/a, name: a, compensate: none}]}\n",
        "workflow: w\r\nsteps:\r\n  - run: s/a\r\n    name: a\r\n    compensate: none\r\n",
    ] {
        formatted(text);
    }
    assert!(format("a: [", &Limits::default()).is_err());
}

/// Objects of the language: a pointer into the schema, and a document with the unknown key `zzzqqq` in the object.
fn objects() -> Vec<(&'static str, &'static str, Value)> {
    let with = |part: Value| json!({"workflow": "w", "steps": [part]});
    let mut step = json!({"name": "a", "run": "s/a", "compensate": "none"});
    let mut of_step = |key: &str, value: Value| {
        step = json!({"name": "a", "run": "s/a", "compensate": "none"});
        step[key] = value;
        with(step.clone())
    };
    let unknown = json!({"zzzqqq": 1});
    let definition = |key: &str, value: Value| {
        let mut document = with(json!({"name": "a", "run": "s/a", "compensate": "none"}));
        document[key] = value;
        document
    };
    vec![
        ("the definition", "", definition("zzzqqq", json!(1))),
        ("defaults", "/properties/defaults", definition("defaults", unknown.clone())),
        ("compensation", "/properties/compensation", definition("compensation", unknown.clone())),
        ("a step", "/definitions/step", of_step("zzzqqq", json!(1))),
        ("retry", "/definitions/retry", of_step("retry", unknown.clone())),
        ("timeout", "/definitions/timeout", of_step("timeout", unknown.clone())),
        ("compensate", "/definitions/compensate", of_step("compensate", json!({"run": "s/b", "zzzqqq": 1}))),
        (
            "a branch",
            "/definitions/step/properties/switch/items",
            with(
                json!({"name": "a", "switch": [{"steps": [{"name": "b", "run": "s/b", "compensate": "none"}],
                "zzzqqq": 1}]}),
            ),
        ),
    ]
}

/// Returns the keys that the parser names when it finds an unknown one.
fn parsed_keys(document: &Value) -> BTreeSet<String> {
    let problems = parse(document.to_string().as_bytes(), Format::Json, &Limits::default()).unwrap_err();
    let hint = problems
        .iter()
        .filter(|problem| problem.detail.contains("zzzqqq"))
        .find_map(|problem| problem.hint.as_deref()?.strip_prefix("known keys are "));
    let hint = hint.unwrap_or_else(|| panic!("no list of keys in {problems:?}"));
    let list = hint.split(';').next().unwrap();
    list.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

/// Returns the keys of the objects of a schema or of its alternatives.
fn schema_keys(schema: &Value) -> BTreeSet<String> {
    let own = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned());
    let alternatives =
        ["oneOf", "anyOf"].into_iter().flat_map(|key| schema[key].as_array().into_iter().flatten());
    own.chain(alternatives.flat_map(schema_keys)).collect()
}

#[test]
fn schema_has_the_keys_of_the_parser() {
    let schema = schema();
    for (name, pointer, document) in objects() {
        let expected = parsed_keys(&document);
        let part = if pointer.is_empty() { &schema } else { schema.pointer(pointer).unwrap() };
        assert_eq!(schema_keys(part), expected, "{name}");
    }
}

#[test]
fn every_key_of_the_schema_is_described() {
    fn visit(pointer: &str, value: &Value, missing: &mut Vec<String>) {
        if let Some(properties) = value["properties"].as_object().filter(|_| !is_condition(pointer)) {
            for (key, property) in properties {
                if property["description"].as_str().is_none_or(|text| text.len() < 10) {
                    missing.push(format!("{pointer}/properties/{key}"));
                }
            }
        }
        match value {
            Value::Object(object) => {
                object.iter().for_each(|(key, value)| visit(&format!("{pointer}/{key}"), value, missing));
            }
            Value::Array(items) => items
                .iter()
                .enumerate()
                .for_each(|(at, value)| visit(&format!("{pointer}/{at}"), value, missing)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    fn is_condition(pointer: &str) -> bool {
        pointer.contains("/if") || pointer.contains("/then") || pointer.contains("/not")
    }
    let mut missing = Vec::new();
    visit("", &schema(), &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}
