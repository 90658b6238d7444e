//! The OpenAPI document: what the derives cannot express.
//!
//! The routes generate the paths, the types and the descriptions. This module adds the limits of fields and
//! parameters, from the constants and patterns of their checks, and the responses of the layers in front of a handler.

mod fields;
mod patterns;
mod responses;

use goconductor_saga::NameKind;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The path of the components of a document.
const COMPONENTS: &str = "/components/schemas";
/// A part of the keys that are free to use. Tools do not find a key that starts with `x-` in reasonable time.
const FREE_KEY: &str = "^x-[a-z0-9-]{1,30}$";

/// Completes the document that the routes generate.
pub(super) fn complete(mut document: Value) -> Value {
    complete_components(&mut document);
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete_operation(path, method, operation);
        }
    }
    document
}

/// Returns the operations of the API, by method and path, whose query has no parameters.
pub(super) fn operations_without_query(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    let operations = paths.filter(|(path, _)| path.starts_with("/api/")).flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (method.to_ascii_uppercase(), path.clone(), operation))
    });
    let has_query = |operation: &Value| {
        let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter.get("in").is_some_and(|place| place == "query"))
    };
    let operations = operations.filter(|(_, _, operation)| !has_query(operation));
    operations.map(|(method, path, _)| (method, path)).collect()
}

/// Adds the limits of all fields, and the components that no Rust type has.
fn complete_components(document: &mut Value) {
    let Some(schemas) = document.pointer_mut(COMPONENTS).and_then(Value::as_object_mut) else { return };
    for schema in schemas.values_mut() {
        state_bounds(schema);
        allow_any_json(schema);
    }
    for (component, field, keywords) in fields::of_bodies() {
        let field =
            schemas.get_mut(component).and_then(|schema| schema.pointer_mut(&format!("/properties/{field}")));
        if let Some(field) = field.and_then(Value::as_object_mut) {
            field.extend(keywords);
        }
    }
    for (component, keywords) in fields::of_components() {
        if let Some(schema) = schemas.get_mut(component).and_then(Value::as_object_mut) {
            schema.extend(keywords);
        }
    }
    schemas.insert("Filter".to_owned(), fields::filter());
    schemas.insert("Json".to_owned(), fields::json());
    let (definition, parts) = definition();
    schemas.insert("Definition".to_owned(), definition);
    schemas.extend(parts);
    let parameters = json!({"Namespace": namespace(), "Actor": actor()});
    if let Some(components) = document.pointer_mut("/components").and_then(Value::as_object_mut) {
        components.insert("parameters".to_owned(), parameters);
    }
}

/// Makes the id of an operation unique, and adds the limits of its parameters and the responses that other layers
/// send.
fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let tag = text(operation.pointer("/tags/0"));
    let id = format!("{tag}_{}", text(operation.get("operationId"))).replace(' ', "_");
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten();
    for parameter in parameters {
        let name = text(parameter.get("name"));
        if let Some(schema) = parameter.get_mut("schema") {
            state_bounds(schema);
            forbid_null(schema);
            if let (Some(schema), Some(keywords)) =
                (schema.as_object_mut(), fields::of_parameter(&tag, &name))
            {
                // A reference replaces the generated type.
                if keywords.contains_key("$ref") {
                    schema.clear();
                }
                schema.extend(keywords);
            }
        }
    }
    if path.ends_with("/definitions/{name}") && method == "put" {
        let content = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
        for media_type in content.into_iter().flat_map(Map::values_mut) {
            *media_type = json!({"schema": {"$ref": format!("#{COMPONENTS}/Definition")}});
        }
    }
    responses::complete(path, method, operation);
    if let Some(operation) = operation.as_object_mut() {
        operation.insert("operationId".to_owned(), id.into());
    }
}

/// States the bounds of unsigned numbers. The generated formats are those of signed numbers.
fn state_bounds(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_unsigned = fields.get("minimum").is_some_and(|minimum| minimum == 0);
            let bounds = match fields.get("format").and_then(Value::as_str) {
                Some("int32") if is_unsigned => Some(("uint32", u64::from(u32::MAX))),
                Some("int64") if is_unsigned => Some(("uint64", u64::MAX)),
                Some(_) | None => None,
            };
            if let Some((format, maximum)) = bounds {
                fields.insert("format".to_owned(), format.into());
                fields.insert("maximum".to_owned(), maximum.into());
            }
            fields.values_mut().for_each(state_bounds);
        }
        Value::Array(items) => items.iter_mut().for_each(state_bounds),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Removes the alternative `null` of fields that hold any JSON. A value that is null would match two alternatives of
/// `oneOf`, which allows exactly one.
fn allow_any_json(schema: &mut Value) {
    let any = format!("{COMPONENTS}/Value");
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, field) in fields {
        let mut alternatives = field.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let is_any = |alternative: &&Value| {
            alternative.get("$ref").and_then(Value::as_str).is_some_and(|reference| reference.ends_with(&any))
        };
        if let Some(found) = alternatives.find(is_any).cloned() {
            *field = found;
        }
    }
}

/// Removes `null` from the types of a parameter: a parameter is a text, and can only be absent.
fn forbid_null(schema: &mut Value) {
    let Some(types) = schema.get_mut("type") else { return };
    let Some(only) = types.as_array().and_then(|types| types.iter().find(|name| **name != "null")).cloned()
    else {
        return;
    };
    *types = only;
}

/// Returns the schema of a definition, and its parts as components. It is that of `/schema/v1/workflow.json` without the
/// rules that make it recursive or conditional, for which tools cannot generate requests.
fn definition() -> (Value, Map<String, Value>) {
    let mut schema = goconductor_definition::schema();
    if let Some(step) = schema.pointer_mut("/definitions/step") {
        end_recursion(step);
    }
    if let Some(step) = schema.pointer_mut("/definitions/step").and_then(Value::as_object_mut) {
        step.remove("allOf");
        let description = "A step. /schema/v1/workflow.json also describes the steps of blocks and which keys exclude one another.";
        step.insert("description".to_owned(), description.into());
    }
    for part in ["", "/definitions/step"] {
        if let Some(keys) = schema.pointer_mut(&format!("{part}/patternProperties")) {
            *keys = json!({FREE_KEY: {}});
        }
    }
    lead_to_components(&mut schema);
    let mut parts = Map::new();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
        fields.remove("$id");
        if let Some(Value::Object(definitions)) = fields.remove("definitions") {
            parts.extend(definitions.into_iter().map(|(name, part)| (format!("Definition.{name}"), part)));
        }
    }
    (schema, parts)
}

/// Describes the steps of a block only as objects.
fn end_recursion(schema: &mut Value) {
    match schema {
        Value::Object(fields)
            if fields.get("$ref").is_some_and(|reference| reference == "#/definitions/steps") =>
        {
            *schema = json!({"type": "array", "items": {"type": "object"}, "minItems": 1});
        }
        Value::Object(fields) => fields.values_mut().for_each(end_recursion),
        Value::Array(items) => items.iter_mut().for_each(end_recursion),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Lets the references of the definition's schema lead to the components.
fn lead_to_components(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = reference.replace("#/definitions/", &format!("#{COMPONENTS}/Definition."));
            }
            fields.values_mut().for_each(lead_to_components);
        }
        Value::Array(items) => items.iter_mut().for_each(lead_to_components),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn namespace() -> Value {
    json!({
        "name": "GoConductor-Namespace",
        "in": "header",
        "description": "Namespace of the request (default: `default`)",
        "schema": Value::Object(fields::name(NameKind::Namespace, "default")),
    })
}

fn actor() -> Value {
    json!({
        "name": "GoConductor-Actor",
        "in": "header",
        "description": "Name of the caller, which the history records",
        "schema": Value::Object(fields::header()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
        document.pointer(COMPONENTS).and_then(Value::as_object).into_iter().flatten()
    }

    #[test]
    fn every_limited_field_exists() {
        let document = crate::rest::document();
        for (component, field, _) in fields::of_bodies() {
            let pointer = format!("{COMPONENTS}/{component}/properties/{field}");
            assert!(document.pointer(&pointer).is_some(), "{pointer}");
        }
        for (component, _) in fields::of_components() {
            assert!(document.pointer(&format!("{COMPONENTS}/{component}")).is_some(), "{component}");
        }
    }

    #[test]
    fn every_parameter_is_in_its_place_and_limited() {
        let document = complete(crate::rest::document());
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
                    let is_in_path = path.contains(&format!("{{{name}}}"));
                    assert_eq!(parameter["in"] == "path", is_in_path, "{method} {path}: {name}");
                    // The header proves that the request comes from a page of this server.
                    let is_required = is_in_path || name == "GoConductor-Csrf";
                    assert_eq!(parameter["required"] == true, is_required, "{method} {path}: {name}");
                    let limits = ["pattern", "enum", "maximum", "maxLength", "format", "$ref"];
                    let is_limited = limits.iter().any(|keyword| schema.get(keyword).is_some());
                    // The token of a page of locks is any key. The identity provider chooses those of its response.
                    let is_free = schema["type"] == "boolean"
                        || (name == "page_token" && path.ends_with("/locks"))
                        || path.ends_with("/oidc/callback");
                    assert!(is_limited || is_free, "{method} {path}: {name} {schema}");
                }
            }
        }
    }

    #[test]
    fn every_field_of_a_request_is_limited() {
        let document = complete(crate::rest::document());
        // Values of any size and form, which only the limit of the body bounds.
        let free = [
            ("StartBody", "input"),
            ("ScheduleBody", "input"),
            ("Completion", "output"),
            ("ServiceBody", "http"),
            ("SimulateBody", "definition"),
            ("SimulateBody", "input"),
            ("SimulateBody", "outputs"),
        ];
        let bodies = schemas(&document).filter(|(name, _)| name.ends_with("Body") && *name != "ProblemBody");
        for (component, schema) in bodies.chain(schemas(&document).filter(|(name, _)| *name == "Completion"))
        {
            assert_eq!(schema["additionalProperties"], false, "{component}");
            for (field, schema) in schema["properties"].as_object().unwrap() {
                let limits = ["pattern", "enum", "maximum", "maxItems", "maxLength", "maxProperties"];
                let is_limited = limits.iter().any(|keyword| schema.get(keyword).is_some());
                let is_free = free.contains(&(component.as_str(), field.as_str()));
                assert!(is_limited || is_free, "{component}.{field}: {schema}");
            }
        }
    }

    #[test]
    fn definition_has_no_recursion_and_no_conditions() {
        let document = complete(crate::rest::document());
        let step = &document["components"]["schemas"]["Definition.step"];
        assert!(step["properties"]["run"].is_object());
        assert!(step["properties"]["parallel"].is_object());
        let text = step.to_string();
        assert!(!text.contains("Definition.steps") && !text.contains("allOf"), "{text}");
    }

    #[test]
    fn every_refusal_is_a_problem_document() {
        let document = complete(crate::rest::document());
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let content = response["content"].as_object();
                    let is_refusal = status.starts_with(['4', '5']) && path.starts_with("/api/");
                    let is_problem =
                        content.is_some_and(|content| content.contains_key("application/problem+json"));
                    assert_eq!(is_problem, is_refusal, "{method} {path} {status}");
                    assert!(
                        !response["description"].as_str().unwrap().is_empty(),
                        "{method} {path} {status}"
                    );
                }
            }
        }
    }
}
