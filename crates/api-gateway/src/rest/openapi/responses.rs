//! The responses that the layers in front of a handler send, and the form of all refusals.

use crate::error::MEDIA_TYPE_OF_PROBLEMS;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// The reference to the body of a refusal.
const PROBLEM: &str = "#/components/schemas/ProblemBody";

/// The fields of a response if the rate of requests is limited.
const RATE_FIELDS: [(&str, &str); 2] = [
    ("RateLimit-Policy", "The limits of the rate of requests, if there are any"),
    ("RateLimit", "The requests that remain of these limits"),
];

/// Adds the responses of the layers in front of the handler, and completes the responses that it has.
pub(super) fn complete(path: &str, method: &str, operation: &mut Value) {
    let has_body = operation.get("requestBody").is_some();
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    if path.starts_with("/api/") {
        for (status, description) in refusals(method, has_body) {
            let refusal = || {
                json!({
                    "description": description,
                    "content": {MEDIA_TYPE_OF_PROBLEMS: {"schema": {"$ref": PROBLEM}}},
                })
            };
            responses.entry(status.as_str()).or_insert_with(refusal);
        }
    }
    for (status, response) in responses.iter_mut() {
        if let Some(response) = response.as_object_mut() {
            complete_response(status, response);
        }
    }
}

/// Returns the refusals that an operation of the API can send besides those of its handler.
fn refusals(method: &str, has_body: bool) -> Vec<(StatusCode, &'static str)> {
    let mut refusals = vec![
        (StatusCode::BAD_REQUEST, "A parameter, a header or the syntax of the body is invalid"),
        (StatusCode::TOO_MANY_REQUESTS, "The server is at a limit: retry after Retry-After"),
        (StatusCode::INTERNAL_SERVER_ERROR, "The server has a bug: report it with the trace id"),
        (StatusCode::SERVICE_UNAVAILABLE, "The database does not respond: retry after Retry-After"),
    ];
    refusals.push((StatusCode::UNAUTHORIZED, "The request has no valid credential"));
    refusals.push((
        StatusCode::FORBIDDEN,
        if method == "get" {
            "The caller does not have the permission"
        } else {
            "The caller does not have the permission, or the request comes from a page of another site"
        },
    ));
    if has_body {
        refusals.extend([
            (StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time"),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is over the limit"),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The content type is not supported"),
            (StatusCode::UNPROCESSABLE_ENTITY, "A field of the body is missing or invalid"),
        ]);
    }
    refusals
}

/// Describes a response that has no description by the reason phrase of its status, and states its content type and
/// its headers.
fn complete_response(status: &str, response: &mut Map<String, Value>) {
    let code = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
    let reason = code.and_then(|code| code.canonical_reason()).unwrap_or_default();
    let description = response.entry("description").or_insert_with(|| reason.into());
    if description.as_str().is_some_and(str::is_empty) {
        *description = reason.into();
    }
    let schema =
        response.get("content").and_then(|content| content.pointer("/application~1json/schema/$ref"));
    if schema.is_some_and(|schema| schema == PROBLEM) {
        response.insert("content".to_owned(), json!({MEDIA_TYPE_OF_PROBLEMS: {"schema": {"$ref": PROBLEM}}}));
    }
    let is_problem =
        response.get("content").is_some_and(|content| content.get(MEDIA_TYPE_OF_PROBLEMS).is_some());
    let is_temporary = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    if is_problem && code.is_some_and(|code| is_temporary.contains(&code)) {
        let header = json!({"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 1}});
        let mut headers = Map::from_iter([("Retry-After".to_owned(), header)]);
        if code == Some(StatusCode::TOO_MANY_REQUESTS) {
            headers.extend(RATE_FIELDS.map(|(name, description)| {
                (name.to_owned(), json!({"description": description, "schema": {"type": "string"}}))
            }));
        }
        response.insert("headers".to_owned(), Value::Object(headers));
    }
}
