//! The limits of fields and parameters, as keywords of JSON Schema. The numbers are the constants of the checks.

use super::patterns;
use crate::api::schedules::MAX_NEXT;
use crate::api::workflows::CountField;
use crate::api::{
    MAX_HEADER_BYTES, MAX_PAGE_SIZE, MAX_REASON_CHARS, access_keys, audit, batches, locks, secrets, services,
};
use crate::filter;
use goconductor_saga::{MAX_KEY_CHARS, NameKind};
use goconductor_schedule::{MAX_CATCH_UP, MIN_INTERVAL};
use goconductor_service_kit::config::MAX_URL_BYTES;
use goconductor_store::{BatchItemStatus, BatchOperation};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The keywords of a schema.
pub(super) type Keywords = Map<String, Value>;

/// Returns the keywords of each field of a request's body: the component, the field and its keywords.
pub(super) fn of_bodies() -> Vec<(&'static str, &'static str, Keywords)> {
    let limit = || keywords(json!({"minimum": 1, "maximum": services::MAX_IN_FLIGHT, "examples": [16]}));
    let reason = || keywords(json!({"maxLength": MAX_REASON_CHARS, "examples": ["duplicate order"]}));
    let required_reason = || {
        let mut keywords = reason();
        keywords.extend(self::keywords(json!({"type": "string", "pattern": patterns::SOME_TEXT})));
        keywords
    };
    let ttl = || {
        let pattern = patterns::duration_between(locks::MIN_TTL, locks::MAX_TTL);
        keywords(json!({"pattern": pattern, "examples": ["30s"]}))
    };
    let owner = || name(NameKind::LockOwner, "worker-7");
    let mut fields = of_batches(reason(), required_reason());
    fields.extend(of_repairs(reason(), required_reason()));
    fields.extend([
        ("AccessKeyBody", "name", access_key_name()),
        ("AccessKeyBody", "roles", scope_items("viewer", patterns::ROLE, 1)),
        ("AccessKeyBody", "namespaces", scope_items("*", patterns::ALL_NAMESPACES, 0)),
        (
            "AccessKeyBody",
            "services",
            scope_of("payments", Value::Object(name(NameKind::Service, "payments")), 0),
        ),
        ("AccessKeyBody", "expires_in", key_time("90d")),
        ("RotationBody", "overlap", key_time("1h")),
        ("AcquireBody", "owner", owner()),
        ("AcquireBody", "ttl", ttl()),
        ("RenewBody", "owner", owner()),
        ("RenewBody", "ttl", ttl()),
        ("ReleaseBody", "owner", owner()),
        ("StartBody", "definition", name(NameKind::Definition, "order-processing")),
        ("StartBody", "version", keywords(json!({"minimum": 1}))),
        ("StartBody", "input", keywords(json!({"$ref": "#/components/schemas/Json"}))),
        ("StartBody", "idempotency_key", idempotency_key()),
        ("StartBody", "labels", labels()),
        ("SimulateBody", "version", keywords(json!({"minimum": 1}))),
        ("SimulateBody", "input", keywords(json!({"$ref": "#/components/schemas/Json"}))),
        (
            "SimulateBody",
            "fail",
            keywords(json!({"pattern": patterns::STEP_FAULT, "examples": ["charge=unknown"]})),
        ),
        ("ServiceBody", "max_in_flight", limit()),
        ("ServiceBody", "actions", actions()),
        ("ActionBody", "max_in_flight", limit()),
        ("HttpBody", "url", url()),
        ("HttpBody", "headers", headers()),
        ("ReasonBody", "reason", reason()),
        ("RequiredReasonBody", "reason", required_reason()),
        ("RollbackBody", "reason", reason()),
        ("Completion", "reason", required_reason()),
        ("Completion", "output", keywords(json!({"$ref": "#/components/schemas/Json"}))),
        ("SwitchBody", "to", keywords(json!({"enum": ["kafka", "kinesis", "nats", "rabbitmq"]}))),
    ]);
    fields.extend(of_secrets());
    fields.extend(of_schedules());
    fields
}

/// Returns the keywords of the fields of batches.
fn of_batches(reason: Keywords, required_reason: Keywords) -> Vec<(&'static str, &'static str, Keywords)> {
    vec![
        (
            "BatchBody",
            "operation",
            keywords(json!({"enum": names(BatchOperation::ALL, BatchOperation::as_str)})),
        ),
        ("BatchBody", "filter", keywords(filter())),
        ("BatchBody", "step", step()),
        ("BatchBody", "reason", required_reason),
        (
            "BatchBody",
            "expected_count",
            keywords(json!({"maximum": batches::MAX_WORKFLOWS, "examples": [12]})),
        ),
        (
            "BatchBody",
            "rate",
            keywords(json!({"minimum": 1, "maximum": batches::MAX_RATE, "examples": [50]})),
        ),
        ("BatchBody", "dry_run", keywords(json!({"enum": [true, false, null]}))),
        ("BatchReasonBody", "reason", reason),
    ]
}

/// Returns the keywords of the fields whose values are secrets.
fn of_secrets() -> Vec<(&'static str, &'static str, Keywords)> {
    // The limit counts bytes, and a character in ASCII has one. Other characters are accepted as well.
    let secret = json!({
        "minLength": 1,
        "maxLength": secrets::MAX_VALUE_BYTES,
        "pattern": "^[ -~]+$",
        "examples": ["s3cret"],
    });
    let key = json!({"minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$", "examples": ["gck_…"]});
    vec![("SecretValueBody", "value", keywords(secret)), ("SessionBody", "value", keywords(key))]
}

/// Returns the keywords of the fields of schedules.
fn of_schedules() -> Vec<(&'static str, &'static str, Keywords)> {
    vec![
        ("ScheduleBody", "definition", name(NameKind::Definition, "order-processing")),
        ("ScheduleBody", "version", keywords(json!({"minimum": 1}))),
        ("ScheduleBody", "cron", keywords(json!({"pattern": patterns::CRON, "examples": ["30 2 * * *"]}))),
        ("ScheduleBody", "timezone", keywords(json!({"enum": ["Europe/Berlin", "America/New_York", null]}))),
        ("ScheduleBody", "every", schedule_time(MIN_INTERVAL, MAX_CATCH_UP, "15m")),
        ("ScheduleBody", "anchor", time()),
        (
            "ScheduleBody",
            "overlap",
            keywords(json!({"enum": ["skip", "buffer_one", "allow", "cancel_other", null]})),
        ),
        ("ScheduleBody", "catch_up", schedule_time(Duration::from_millis(1), MAX_CATCH_UP, "1h")),
        ("ScheduleBody", "input", keywords(json!({"$ref": "#/components/schemas/Json"}))),
        ("ScheduleBody", "labels", labels()),
        (
            "ScheduleReasonBody",
            "reason",
            keywords(json!({"maxLength": MAX_REASON_CHARS, "examples": ["maintenance"]})),
        ),
        ("BackfillBody", "from", time()),
        ("BackfillBody", "until", time()),
    ]
}

/// Returns the keywords of the bodies of re-runs and migrations.
fn of_repairs(reason: Keywords, required_reason: Keywords) -> [(&'static str, &'static str, Keywords); 6] {
    [
        ("RerunBody", "step", step()),
        ("RerunBody", "effects", keywords(json!({"enum": ["undo", "keep", null]}))),
        ("RerunBody", "reason", required_reason),
        (
            "MigrationBody",
            "to_version",
            keywords(json!({"minimum": 1, "maximum": i32::MAX, "examples": [2]})),
        ),
        ("MigrationBody", "reason", reason),
        ("MigrationBody", "dry_run", keywords(json!({"enum": [true, false, null]}))),
    ]
}

/// Returns the keywords of whole bodies.
pub(super) fn of_components() -> Vec<(&'static str, Keywords)> {
    let set = |field: &str, kind: &str| json!({"required": [field], "properties": {field: {"type": kind}}});
    let one_of_them = json!({
        "description": "The address and the limits of a service: at least one of them.",
        "anyOf": [set("http", "object"), set("max_in_flight", "integer"), set("actions", "object")],
    });
    vec![
        (
            "ScheduleBody",
            keywords(json!({
                "description": "A schedule: either a cron pattern, with a time zone, or an interval, with an anchor.",
                "oneOf": [
                    {
                        "required": ["cron"],
                        "properties": {"cron": {"type": "string"}, "every": {"type": "null"}, "anchor": {"type": "null"}},
                    },
                    {
                        "required": ["every"],
                        "properties": {"every": {"type": "string"}, "cron": {"type": "null"}, "timezone": {"type": "null"}},
                    },
                ],
            })),
        ),
        ("ServiceBody", keywords(one_of_them)),
        ("RequiredReasonBody", keywords(json!({"required": ["reason"]}))),
        ("RerunBody", keywords(json!({"required": ["reason"]}))),
        ("Completion", keywords(json!({"required": ["reason"]}))),
        ("BatchBody", keywords(json!({"required": ["operation", "reason"]}))),
    ]
}

/// Returns the keywords of a parameter of an operation with a tag. `None` if any text of its type is accepted.
pub(super) fn of_parameter(tag: &str, parameter: &str) -> Option<Keywords> {
    Some(match (parameter, tag) {
        ("name", "definitions") => name(NameKind::Definition, "order-processing"),
        ("name", "services") => name(NameKind::Service, "payments"),
        ("name", "schedules") => name(NameKind::Definition, "nightly-report"),
        ("count", "schedules") => keywords(json!({"minimum": 1, "maximum": MAX_NEXT, "format": "int32"})),
        ("page_token", "schedules") => {
            keywords(json!({"pattern": "^(?:[a-z0-9](?:[a-z0-9]|-[a-z0-9]){0,30})?$"}))
        }
        ("name", "secrets") => name(NameKind::Secret, "payments-token"),
        ("name", "operate") => name(NameKind::Signal, "manager-approval"),
        ("name", "elections") => name(NameKind::Election, "reports"),
        ("key", _) => name(NameKind::LockKey, "account-7"),
        ("id", "access") => keywords(json!({"pattern": patterns::ACCESS_KEY_ID})),
        ("page_token", "access") => keywords(json!({"pattern": patterns::ACCESS_KEY_TOKEN})),
        ("id", "dead letters") => keywords(json!({"pattern": patterns::SOME_TEXT})),
        ("id", _) => keywords(json!({"format": "uuid"})),
        ("sha256", _) => keywords(json!({"pattern": patterns::DIGEST})),
        ("version", _) => keywords(json!({"minimum": 1})),
        ("step", _) => step(),
        ("page_size", _) => keywords(json!({"minimum": 1, "maximum": MAX_PAGE_SIZE, "format": "int32"})),
        ("page_token", "audit") => keywords(json!({"pattern": patterns::AUDIT_TOKEN})),
        (
            "actor" | "credential" | "source" | "action" | "namespace" | "target_kind" | "target_name",
            "audit",
        ) => keywords(json!({"pattern": patterns::SOME_TEXT})),
        ("outcome", "audit") => keywords(json!({"enum": audit::OUTCOMES})),
        ("since" | "until", "audit") => keywords(json!({"format": "date-time", "pattern": patterns::TIME})),
        ("status", "batches") => {
            keywords(json!({"enum": names(BatchItemStatus::ALL, BatchItemStatus::as_str)}))
        }
        ("page_token", "workflows" | "batches") => keywords(json!({"pattern": patterns::WORKFLOW_TOKEN})),
        ("page_token", "config") => keywords(json!({"pattern": patterns::VERSION_TOKEN})),
        ("page_token", "secrets") => {
            keywords(json!({"pattern": "^(?:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127})?$"}))
        }
        ("page_token", "dead letters") => keywords(json!({"pattern": patterns::DEAD_LETTER_TOKEN})),
        ("filter", _) => keywords(json!({"$ref": "#/components/schemas/Filter"})),
        ("wait", _) => keywords(json!({"pattern": patterns::DURATION})),
        ("reason", _) => keywords(json!({"maxLength": MAX_REASON_CHARS})),
        ("If-Match", _) => {
            keywords(json!({"pattern": patterns::ENTITY_TAG, "minLength": 3, "maxLength": 20}))
        }
        ("GoConductor-Csrf", _) => keywords(json!({"pattern": "^1$"})),
        ("return_to", _) => keywords(json!({"pattern": "^/ui/[a-z/]{0,100}$"})),
        ("by", _) => keywords(json!({"enum": CountField::NAMES})),
        ("Idempotency-Key", _) => {
            let mut keywords = header();
            keywords.insert("maxLength".to_owned(), MAX_KEY_CHARS.into());
            keywords
        }
        _ => return None,
    })
}

/// Returns the names of the values of an enum.
fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|each| name(*each)).collect()
}

/// Returns the component of a filter.
pub(super) fn filter() -> Value {
    json!({
        "type": "string",
        "description": "AIP-160 filter: comparisons of fields with values, AND, OR, NOT and parentheses. The server \
                        accepts more forms than this pattern: nested parentheses, and fields and values in quotes.",
        "maxLength": filter::MAX_CHARS,
        "pattern": patterns::filter(),
        "examples": ["status = ERROR AND created_at > \"-24h\""],
    })
}

/// Returns the component of a JSON value in a request. Numbers are kept exactly, so an integer must fit 64 bits.
pub(super) fn json() -> Value {
    let reference = json!({"$ref": "#/components/schemas/Json"});
    json!({
        "description": "Any JSON value. An integer must fit 64 bits; send longer numbers as strings.",
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX},
            {"type": "number", "not": {"type": "integer"}},
            {"type": "array", "items": reference.clone()},
            {"type": "object", "additionalProperties": reference},
        ],
    })
}

/// Returns the keywords of a name.
pub(super) fn name(kind: NameKind, example: &str) -> Keywords {
    keywords(json!({
        "type": "string",
        "minLength": 1,
        "maxLength": kind.max_chars(),
        "pattern": kind.pattern(),
        "examples": [example],
    }))
}

/// Returns the keywords of the value of a header.
pub(super) fn header() -> Keywords {
    keywords(json!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_HEADER_BYTES,
        "pattern": patterns::HEADER,
    }))
}

fn keywords(value: Value) -> Keywords {
    match value {
        Value::Object(keywords) => keywords,
        // Unreachable: each caller passes an object.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn access_key_name() -> Keywords {
    keywords(json!({
        "minLength": 1,
        "maxLength": access_keys::MAX_NAME_CHARS,
        "pattern": patterns::NOT_BLANK,
        "examples": ["deployment of the shop"],
    }))
}

fn scope_items(example: &str, pattern: &str, min: usize) -> Keywords {
    scope_of(example, json!({"type": "string", "pattern": pattern}), min)
}

fn scope_of(example: &str, item: Value, min: usize) -> Keywords {
    keywords(json!({
        "minItems": min,
        "maxItems": access_keys::MAX_SCOPE_ITEMS,
        "items": item,
        "examples": [[example]],
    }))
}

fn key_time(example: &str) -> Keywords {
    let pattern = patterns::duration_between(access_keys::MIN_LIFETIME, access_keys::MAX_LIFETIME);
    keywords(json!({"pattern": pattern, "examples": [example]}))
}

fn schedule_time(min: Duration, max: Duration, example: &str) -> Keywords {
    keywords(json!({"pattern": patterns::duration_between(min, max), "examples": [example]}))
}

fn time() -> Keywords {
    keywords(json!({"format": "date-time", "pattern": patterns::TIME, "examples": ["2026-11-30T09:00:00Z"]}))
}

fn idempotency_key() -> Keywords {
    keywords(json!({
        "minLength": 1,
        "maxLength": MAX_KEY_CHARS,
        "pattern": patterns::NOT_BLANK,
        "examples": ["order-o-1"],
    }))
}

fn labels() -> Keywords {
    let mut labels = keywords(goconductor_definition::label_rule());
    labels.extend(keywords(json!({"examples": [{"team": "shop"}]})));
    labels
}

fn actions() -> Keywords {
    let names = Value::Object(name(NameKind::Action, "charge"));
    keywords(json!({"maxProperties": services::MAX_ACTIONS, "propertyNames": names}))
}

fn headers() -> Keywords {
    keywords(json!({
        "maxProperties": services::MAX_HEADERS,
        // A part of the names that are accepted.
        "propertyNames": {"pattern": "^x-[a-z0-9]{1,40}$"},
        "additionalProperties": {"type": "string", "pattern": "^secret://[A-Za-z0-9_-]{1,60}$"},
        "examples": [{"Authorization": "secret://payments-token"}],
    }))
}

fn url() -> Keywords {
    keywords(json!({
        "format": "uri",
        "maxLength": MAX_URL_BYTES,
        "pattern": patterns::SERVICE_URL,
        "examples": ["http://127.0.0.1:9101"],
    }))
}

/// Returns the rule of the definition language for the name of a step.
fn step() -> Keywords {
    let schema = goconductor_definition::schema();
    schema.pointer("/definitions/ident").cloned().map(keywords).unwrap_or_default()
}
