//! Schemas that multiply work are refused, and schemas in use are not.

use super::*;
use serde_json::json;

/// A name, and a schema that refers to the next one in several ways.
type MultiplyingStep = (&'static str, fn(&Json) -> Json);

fn refusal(schema: &Json) -> Option<SchemaRefusal> {
    InputSchema::check_new(schema).err()
}

fn is_costly(schema: &Json) -> bool {
    matches!(refusal(schema), Some(SchemaRefusal::Costly(_)))
}

/// Returns a schema in which each level refers twice to the next one.
fn nested(levels: usize, step: impl Fn(&Json) -> Json) -> Json {
    let mut defs = serde_json::Map::new();
    for level in 0..levels {
        let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
        defs.insert(format!("d{level}"), step(&next));
    }
    defs.insert(format!("d{levels}"), json!({"type": "object", "required": ["b"]}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn schema_that_multiplies_checks_is_refused() {
    let steps: [MultiplyingStep; 10] = [
        ("anyOf", |next| json!({"anyOf": [next, next]})),
        ("oneOf", |next| json!({"oneOf": [next, next]})),
        ("allOf", |next| json!({"allOf": [next, next]})),
        ("not", |next| json!({"not": next, "allOf": [next]})),
        ("if", |next| json!({"if": next, "then": next, "else": next})),
        ("dependentSchemas", |next| json!({"dependentSchemas": {"a": next, "b": next}})),
        ("properties", |next| json!({"anyOf": [{"properties": {"a": next}}, {"properties": {"a": next}}]})),
        ("items", |next| json!({"allOf": [{"items": next}, {"contains": next}]})),
        ("patternProperties", |next| json!({"patternProperties": {"a": next, "^a": next}})),
        ("unevaluatedProperties", |next| json!({"anyOf": [next], "unevaluatedProperties": false})),
    ];
    for (name, step) in steps {
        assert!(is_costly(&nested(20, step)), "{name}");
        assert_eq!(refusal(&nested(2, step)), None, "{name}");
    }
}

#[test]
fn recursive_schema_is_refused_only_if_each_level_multiplies() {
    let tree =
        json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
    assert_eq!(refusal(&tree), None);
    let rules = json!({"oneOf": [
        {"type": "object", "required": ["and"], "properties": {"and": {"items": {"$ref": "#"}}}},
        {"type": "object", "required": ["or"], "properties": {"or": {"items": {"$ref": "#"}}}},
        {"type": "string"}]});
    assert_eq!(refusal(&rules), None);
    let twice =
        json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
    assert!(is_costly(&twice));
    let dynamic = json!({"$dynamicAnchor": "n", "allOf": [{"items": {"$dynamicRef": "#n"}},
        {"items": {"$dynamicRef": "#n"}}]});
    assert!(is_costly(&dynamic));
    let once = json!({"$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}});
    assert_eq!(refusal(&once), None);
}

#[test]
fn schema_of_the_same_value_is_invalid() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}}),
    ] {
        assert!(matches!(refusal(&schema), Some(SchemaRefusal::Invalid(_))), "{schema}");
    }
}

#[test]
fn long_enum_and_repeated_unique_items_are_refused() {
    let countries: Vec<String> = (0..250).map(|n| format!("C{n}")).collect();
    assert_eq!(refusal(&json!({"enum": countries})), None);
    let many: Vec<usize> = (0..50_000).collect();
    assert!(is_costly(&json!({"items": {"enum": many}})));
    assert_eq!(refusal(&json!({"uniqueItems": true, "items": {"uniqueItems": true}})), None);
    assert!(is_costly(&json!({"items": {"allOf": vec![json!({"uniqueItems": true}); 100]}})));
}

#[test]
fn long_chain_of_references_is_compiled_or_refused_without_an_overflow() {
    let chain = |levels: usize| {
        let mut defs = serde_json::Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(format!("d{level}"), json!({"properties": {"a": next}}));
        }
        defs.insert(format!("d{levels}"), json!({"type": "string"}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    assert_eq!(refusal(&chain(300)), None);
    assert!(is_costly(&chain(5000)));
}

#[test]
fn reference_out_of_the_schema_is_refused_with_its_name() {
    for (reference, expected) in [
        ("https://example.com/a.json", "`https://example.com/a.json` leads outside"),
        ("#/$defs/b", "`#/$defs/b` has no target"),
        ("https://json-schema.org/draft/2020-12/schema", "leads outside"),
    ] {
        let Some(SchemaRefusal::Invalid(reason)) = refusal(&json!({"$ref": reference})) else {
            panic!("{reference} was accepted")
        };
        assert!(reason.contains(expected), "{reason}");
    }
    let embedded = json!({"$ref": "item", "$defs": {"i": {"$id": "item", "type": "string"}}});
    assert_eq!(refusal(&embedded), None);
}

#[test]
fn stored_schema_that_multiplies_checks_is_refused_without_work() {
    let bomb = nested(20, |next| json!({"anyOf": [next, next]}));
    assert!(InputSchema::new(&bomb).unwrap_err().contains("times"));
    // A schema that only multiplies in a deep input validates a flat one.
    let twice =
        json!({"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}}]});
    let compiled = InputSchema::new(&twice).unwrap();
    assert_eq!(compiled.check(&json!({"a": {"a": {}}})), Ok(()));
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"a": deep});
    }
    assert!(compiled.check(&deep).unwrap_err()[0].detail.contains("checks"));
}

#[test]
fn input_that_is_too_large_for_its_schema_is_refused_without_work() {
    let pattern = InputSchema::new(&json!({"items": {"pattern": "([ab]?[ac]?){2000}$"}})).unwrap();
    let list = json!(["ab".repeat(100_000)]);
    assert!(pattern.check(&list).unwrap_err()[0].detail.contains("checks"));
    let alternatives: Vec<Json> = (0..1000).map(|n| json!({"const": format!("c{n}")})).collect();
    let schema = InputSchema::new(&json!({"items": {"anyOf": alternatives}})).unwrap();
    assert_eq!(schema.check(&json!(["c7"])), Ok(()));
    // Few values with many alternatives are valid, and their problems are described.
    assert_eq!(schema.check(&json!(["c7", "x", 1])).unwrap_err().len(), 2);
    // With more values, there are too many failures to collect, and no list of them.
    let problems = schema.check(&json!(vec!["x"; 5000])).unwrap_err();
    assert!(problems[0].detail.contains("too many to list"), "{problems:?}");
    assert!(schema.check(&json!(vec![1; 100_000])).unwrap_err()[0].detail.contains("limit"));
}

#[test]
fn deep_validation_does_not_overflow_a_small_stack() {
    let schema = json!({"anyOf": [{"allOf": [{"allOf": [{"properties": {"a": {"$ref": "#"}}}]}]}]});
    let mut deep = json!({"a": 1});
    for _ in 0..100 {
        deep = json!({"a": deep});
    }
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let thread = small.spawn(move || InputSchema::new(&schema).unwrap().check(&deep));
    assert_eq!(thread.unwrap().join().unwrap(), Ok(()));
}

#[test]
fn violation_states_what_is_expected_and_what_was_found() {
    for (schema, input, pointer, detail) in [
        (json!({"type": "string"}), json!(1), "", "expected a string, found 1"),
        (json!({"type": ["string", "null"]}), json!([1]), "", "expected null or a string"),
        (json!({"required": ["a"]}), json!({}), "", "missing property \"a\""),
        (json!({"additionalProperties": false}), json!({"x": 1}), "", "an unknown property has the value 1"),
        (
            json!({"properties": {"a": {}}, "additionalProperties": false}),
            json!({"x": 1}),
            "",
            "unknown property `x`",
        ),
        (
            json!({"properties": {"a": {"enum": [1, "b"]}}}),
            json!({"a": 2}),
            "/a",
            "expected one of 1, \"b\", found 2",
        ),
        (json!({"items": {"maximum": 3}}), json!([4]), "/0", "expected at most 3, found 4"),
        (json!({"minLength": 2}), json!("a"), "", "expected at least 2 characters"),
        (json!({"pattern": "^a$"}), json!("b"), "", "the pattern `^a$`, found \"b\""),
        (json!({"anyOf": [{"type": "null"}, {"required": ["k"]}]}), json!({}), "", "missing property \"k\""),
        (json!({"not": {"type": "object"}}), json!({}), "", "`not`"),
        (json!({"uniqueItems": true}), json!([1, 1]), "", "are equal"),
        (json!({"format": "date"}), json!("x"), "", "the format `date`"),
        (json!({"multipleOf": 5}), json!(3), "", "a multiple of 5"),
        (json!(false), json!(3), "", "no value is allowed"),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"ab": 1}), "", "invalid property name"),
        (json!({"contains": {"const": 1}}), json!([2]), "", "`contains`"),
    ] {
        let problems = InputSchema::new(&schema).unwrap().check(&input).unwrap_err();
        assert_eq!(problems[0].pointer, pointer, "{schema}");
        assert!(problems[0].detail.contains(detail), "{schema}: {}", problems[0].detail);
    }
}

#[test]
fn invalid_schema_is_refused_with_its_location() {
    for (schema, detail) in [
        (json!({"type": "text"}), "`/type`"),
        (json!({"properties": {"a": {"minimum": "1"}}}), "`/properties/a/minimum`"),
        (json!({"pattern": "(?=a)"}), "pattern"),
        (json!({"pattern": "("}), "pattern"),
    ] {
        let Some(SchemaRefusal::Invalid(reason)) = refusal(&schema) else { panic!("{schema} was accepted") };
        assert!(reason.contains(detail), "{schema}: {reason}");
        assert!(!reason.contains("not valid under any of the schemas"), "{reason}");
    }
}
