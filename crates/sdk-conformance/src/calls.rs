//! Calls of the client that a scenario asks for. Results have the names of the REST API.

use crate::protocol::{ClientCall, ClientRequest, StartCall};
use goconductor::client::{Failure, Workflow};
use goconductor::{Conductor, Error, ErrorKind, Handle, Listing, Schedule, ScheduleSpec, Start};
use serde_json::{Map, Value, json};

/// Calls the client.
pub(crate) async fn call(request: ClientRequest) -> anyhow::Result<Value> {
    let conductor = Conductor::connect_in(&request.gateway, &request.namespace)?;
    Ok(match request.call {
        ClientCall::Apply { name, definition } => {
            let applied = conductor.apply_definition(&name, &definition).await?;
            json!({"version": applied.version, "created": applied.created})
        }
        ClientCall::Start(call) => start(&conductor, call).await?,
        ClientCall::Result { workflow } => {
            let result = conductor.workflow(workflow).result().await?;
            json!({
                "status": result.status, "cause": result.cause, "output": result.output,
                "error": result.error.map(failure),
            })
        }
        ClientCall::Describe { workflow } => description(conductor.workflow(workflow).describe().await?),
        ClientCall::Signal { workflow, name, input } => {
            conductor.workflow(workflow).signal(&name, &input.unwrap_or_default()).await?;
            json!({})
        }
        ClientCall::Cancel { workflow, reason } => {
            conductor.workflow(workflow).cancel(&reason).await?;
            json!({})
        }
        ClientCall::Watch { workflow } => watch(&conductor.workflow(workflow)).await?,
        ClientCall::List { filter } => list(&conductor, filter).await?,
        ClientCall::PutSchedule { name, definition, cron, input } => {
            let spec = ScheduleSpec { definition, cron: Some(cron), input, ..ScheduleSpec::default() };
            schedule(&conductor.put_schedule(&name, &spec).await?)
        }
        ClientCall::GetSchedule { name } => schedule(&conductor.schedule(&name).await?),
        ClientCall::PauseSchedule { name, reason } => {
            conductor.pause_schedule(&name, &reason).await?;
            json!({})
        }
        ClientCall::TriggerSchedule { name } => {
            json!({"id": conductor.trigger_schedule(&name).await?.id()})
        }
        ClientCall::DeleteSchedule { name } => {
            conductor.delete_schedule(&name).await?;
            json!({})
        }
    })
}

async fn start(conductor: &Conductor, call: StartCall) -> Result<Value, Error> {
    let mut start = Start::of(call.name);
    if let Some(input) = call.input {
        start = start.input(input)?;
    }
    if let Some(key) = call.key {
        start = start.idempotency_key(key);
    }
    for (name, value) in call.labels {
        start = start.label(name, value);
    }
    let handle = conductor.start(start).await?;
    Ok(json!({"id": handle.id(), "replayed": handle.replayed()}))
}

async fn watch(handle: &Handle) -> anyhow::Result<Value> {
    let mut events = handle.watch();
    let mut types = Vec::new();
    let mut expected = 0;
    while let Some(event) = events.next().await {
        let event = event.map_err(Error::from)?;
        expected += 1;
        anyhow::ensure!(event.seq == expected, "event {expected} has the number {}", event.seq);
        types.push(event.kind);
    }
    Ok(json!({"types": types}))
}

async fn list(conductor: &Conductor, filter: String) -> Result<Value, Error> {
    // A small page, so that the pages are followed.
    let mut workflows =
        conductor.list(Listing { filter: Some(filter), page_size: Some(2), ..Listing::default() });
    let mut ids = Vec::new();
    while let Some(workflow) = workflows.next().await {
        ids.push(workflow?.id);
    }
    Ok(json!({"count": ids.len(), "ids": ids}))
}

fn description(workflow: Workflow) -> Value {
    let steps: Map<String, Value> = workflow
        .steps
        .into_iter()
        .map(|step| {
            let state = json!({"status": step.status, "attempts": step.attempts, "output": step.output});
            (step.name, state)
        })
        .collect();
    let waiting_on: Vec<String> = workflow.waiting_on.into_iter().map(|reason| reason.kind).collect();
    json!({
        "id": workflow.id,
        "definition": workflow.definition,
        "version": workflow.version,
        "status": workflow.status,
        "input": workflow.input,
        "labels": workflow.labels,
        "idempotency_key": workflow.idempotency_key,
        "steps": steps,
        "waiting_on": waiting_on,
    })
}

fn failure(failure: Failure) -> Value {
    json!({"code": failure.code, "message": failure.message, "detail": failure.detail})
}

fn schedule(schedule: &Schedule) -> Value {
    json!({"name": schedule.name, "cron": schedule.cron, "paused": schedule.paused.is_some()})
}

/// Describes the error of a call.
pub(crate) fn error(error: &anyhow::Error) -> Value {
    let known = error.downcast_ref::<Error>();
    let kind = known.map_or(ErrorKind::Other, Error::kind);
    // The protocol has no kind for a worker without an executor.
    let kind = if kind == ErrorKind::NoExecutor { ErrorKind::Other } else { kind };
    json!({"kind": kind.as_str(), "code": known.and_then(Error::code), "message": format!("{error:#}")})
}
