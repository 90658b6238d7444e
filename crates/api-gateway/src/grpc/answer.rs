//! Answers of the REST API as messages.

use goconductor_wire::v1 as wire;
use prost_types::Timestamp;
use serde_json::Value;

pub(super) fn text(of: &Value, name: &str) -> String {
    of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn number(of: &Value, name: &str) -> u64 {
    of.get(name).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn small(of: &Value, name: &str) -> u32 {
    u32::try_from(number(of, name)).unwrap_or(u32::MAX)
}

pub(super) fn each<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A value as JSON text; empty: absent or null.
pub(super) fn json(of: &Value, name: &str) -> String {
    of.get(name).filter(|value| !value.is_null()).map(ToString::to_string).unwrap_or_default()
}

pub(super) fn time(of: &Value, name: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = of.get(name)?.as_str()?.parse().ok()?;
    Some(Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

/// An enum's value by the word that the REST API has for it.
fn word(of: &Value, name: &str, prefix: &str) -> String {
    format!("{prefix}{}", text(of, name))
}

fn failure(of: &Value) -> Option<wire::Failure> {
    let error = of.get("error").filter(|error| error.is_object())?;
    Some(wire::Failure {
        code: text(error, "code"),
        message: text(error, "message"),
        detail_json: json(error, "detail"),
    })
}

pub(super) fn workflow(of: &Value) -> wire::Workflow {
    let labels = of.get("labels").and_then(Value::as_object).into_iter().flatten();
    let label = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    let status = wire::WorkflowStatus::from_str_name(&word(of, "status", "WORKFLOW_STATUS_"));
    let cause = wire::RollbackCause::from_str_name(&word(of, "cause", "ROLLBACK_CAUSE_"));
    wire::Workflow {
        id: text(of, "id"),
        namespace: text(of, "namespace"),
        definition: text(of, "definition"),
        version: small(of, "version"),
        status: status.unwrap_or_default().into(),
        cause: cause.unwrap_or_default().into(),
        labels: labels.filter_map(label).collect(),
        idempotency_key: text(of, "idempotency_key"),
        input_json: json(of, "input"),
        output_json: json(of, "output"),
        error: failure(of),
        seq: number(of, "seq"),
        created_at: time(of, "created_at"),
        ended_at: time(of, "ended_at"),
        deadline: time(of, "deadline"),
        steps: each(of, "steps").map(step).collect(),
        waiting_on: each(of, "waiting_on").map(waiting).collect(),
    }
}

fn step(of: &Value) -> wire::Step {
    let status = wire::StepStatus::from_str_name(&word(of, "status", "STEP_STATUS_"));
    wire::Step {
        name: text(of, "name"),
        title: text(of, "title"),
        kind: text(of, "kind"),
        action: text(of, "action"),
        compensate: text(of, "compensate"),
        status: status.unwrap_or_default().into(),
        attempts: small(of, "attempts"),
        compensation_attempts: small(of, "compensation_attempts"),
        queued_at: time(of, "queued_at"),
        started_at: time(of, "started_at"),
        ended_at: time(of, "ended_at"),
        output_json: json(of, "output"),
        error: failure(of),
    }
}

fn waiting(of: &Value) -> wire::Waiting {
    let kind = wire::WaitingKind::from_str_name(&word(of, "kind", "WAITING_KIND_"));
    wire::Waiting {
        kind: kind.unwrap_or_default().into(),
        step: text(of, "step"),
        since: time(of, "since"),
        until: time(of, "until"),
        detail: text(of, "detail"),
    }
}

pub(super) fn event(of: &Value) -> wire::Event {
    wire::Event {
        seq: number(of, "seq"),
        time: time(of, "time"),
        r#type: text(of, "type"),
        step: text(of, "step"),
        attempt: small(of, "attempt"),
        detail_json: json(of, "detail"),
        actor: text(of, "actor"),
    }
}

pub(super) fn definition(of: &Value) -> wire::Definition {
    let format = match text(of, "source_format").as_str() {
        "yaml" => wire::DefinitionFormat::Yaml,
        "json" => wire::DefinitionFormat::Json,
        _ => wire::DefinitionFormat::Unspecified,
    };
    wire::Definition {
        name: text(of, "name"),
        version: small(of, "version"),
        digest: text(of, "digest"),
        title: text(of, "title"),
        description: text(of, "description"),
        created_at: time(of, "created_at"),
        actor: text(of, "actor"),
        source_format: format.into(),
        source: text(of, "source"),
    }
}

pub(super) fn service(of: &Value) -> wire::Service {
    let actions = of.get("actions").and_then(Value::as_object).into_iter().flatten();
    let limits = actions.map(|(name, action)| (name.clone(), small(action, "max_in_flight")));
    wire::Service {
        name: text(of, "name"),
        http_url: of.get("http").map(|http| text(http, "url")).unwrap_or_default(),
        max_in_flight: number(of, "max_in_flight"),
        served: of.get("served").and_then(Value::as_bool).unwrap_or(false),
        backlog: number(of, "backlog"),
        updated_at: time(of, "updated_at"),
        max_in_flight_by_action: limits.collect(),
    }
}

pub(super) fn leader(of: &Value) -> wire::Leader {
    wire::Leader {
        name: text(of, "name"),
        candidate: text(of, "candidate"),
        fencing_token: number(of, "fencing_token"),
        since: time(of, "since"),
    }
}

pub(super) fn lock(of: &Value) -> wire::Lock {
    wire::Lock {
        key: text(of, "key"),
        owner: text(of, "owner"),
        fencing_token: number(of, "fencing_token"),
        acquired_at: time(of, "acquired_at"),
        expires_at: time(of, "expires_at"),
    }
}

pub(super) fn backlog(of: &Value) -> wire::QueueBacklog {
    let lane = |name: &str| {
        let lane = of.get(name)?;
        let waiting = lane.get("waiting").and_then(Value::as_u64);
        Some(wire::QueueLane { waiting, oldest_waiting_at: time(lane, "oldest_waiting_at") })
    };
    wire::QueueBacklog {
        namespace: text(of, "namespace"),
        service: text(of, "service"),
        served: of.get("served").and_then(Value::as_bool).unwrap_or(false),
        execute: lane("execute"),
        compensate: lane("compensate"),
    }
}

pub(super) fn queue_move(of: &Value) -> wire::QueueMove {
    let phase = wire::QueuePhase::from_str_name(&word(of, "phase", "QUEUE_PHASE_"));
    let user = |of: &Value| wire::QueueUser { instance: text(of, "instance"), kind: text(of, "kind") };
    wire::QueueMove {
        queue: text(of, "queue"),
        to: text(of, "to"),
        phase: phase.unwrap_or_default().into(),
        since: time(of, "since"),
        revision: number(of, "revision"),
        actor: text(of, "actor"),
        behind: each(of, "behind").map(user).collect(),
        waiting: of.get("waiting").and_then(Value::as_u64),
    }
}

pub(super) fn process(of: &Value) -> wire::Process {
    wire::Process {
        instance: text(of, "instance"),
        kind: text(of, "kind"),
        address: text(of, "address"),
        since: time(of, "since"),
        seen_at: time(of, "seen_at"),
        about_json: json(of, "about"),
    }
}
