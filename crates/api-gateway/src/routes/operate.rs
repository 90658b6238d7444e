//! An operator's help.

use crate::App;
use crate::error::{Answer, NO_STEP, Problem, ProblemBody, REASON};
use crate::extract::{Caller, OptionalBody, Path};
use crate::routes::workflows::{load, shown};
use crate::view::WorkflowView;
use axum::Json;
use axum::extract::State;
use goconductor_saga::{Input, StepIndex, WorkflowId};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of a reason.
const LONGEST_REASON: usize = 4096;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(cancel))
        .routes(routes!(terminate))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(retry))
        .routes(routes!(skip))
        .routes(routes!(complete))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Completion {
    reason: Option<String>,
    /// The step's result; not looked at for a compensation.
    output: Option<serde_json::Value>,
}

type Shown = Answer<Json<WorkflowView>>;

/// Ask a workflow to be rolled back
#[utoipa::path(post, path = "/workflows/{id}/cancel", tag = "operate", params(("id" = String, Path)),
    request_body = Option<Reason>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody, description = "It has ended, or its pivot has completed")))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<Reason>,
) -> Shown {
    let reason = optional(body.reason)?;
    hand_in(&app, &caller, &id, |actor| Input::Cancel { actor, reason }).await
}

/// End a workflow without a roll-back
#[utoipa::path(post, path = "/workflows/{id}/terminate", tag = "operate", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody, description = "Without a reason")))]
async fn terminate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<Reason>,
) -> Shown {
    let reason = required(body.reason)?;
    hand_in(&app, &caller, &id, |actor| Input::Terminate { actor, reason }).await
}

/// Hold a workflow: nothing new is issued
#[utoipa::path(post, path = "/workflows/{id}/pause", tag = "operate", params(("id" = String, Path)),
    request_body = Option<Reason>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
async fn pause(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<Reason>,
) -> Shown {
    let reason = optional(body.reason)?;
    hand_in(&app, &caller, &id, |actor| Input::Pause { actor, reason }).await
}

/// Let a held workflow go on
#[utoipa::path(post, path = "/workflows/{id}/resume", tag = "operate", params(("id" = String, Path)),
    request_body = Option<Reason>, responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody)))]
async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(body): OptionalBody<Reason>,
) -> Shown {
    let reason = optional(body.reason)?;
    hand_in(&app, &caller, &id, |actor| Input::Resume { actor, reason }).await
}

/// Have a step tried again
///
/// During a roll-back it is the compensation that is meant.
#[utoipa::path(post, path = "/workflows/{id}/steps/{step}/retry", tag = "operate",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Option<Reason>,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path((id, step)): Path<(String, String)>,
    OptionalBody(body): OptionalBody<Reason>,
) -> Shown {
    let reason = optional(body.reason)?;
    let step = step_index(&app, &caller, &id, &step).await?;
    hand_in(&app, &caller, &id, |actor| Input::RetryStep { step, actor, reason }).await
}

/// Let a step be
///
/// During a roll-back it is the compensation that is meant.
#[utoipa::path(post, path = "/workflows/{id}/steps/{step}/skip", tag = "operate",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Reason,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody, description = "Without a reason")))]
async fn skip(
    State(app): State<App>,
    caller: Caller,
    Path((id, step)): Path<(String, String)>,
    OptionalBody(body): OptionalBody<Reason>,
) -> Shown {
    let reason = required(body.reason)?;
    let step = step_index(&app, &caller, &id, &step).await?;
    hand_in(&app, &caller, &id, |actor| Input::SkipStep { step, actor, reason }).await
}

/// Give a step's result by hand
///
/// During a roll-back it is the compensation that is meant.
#[utoipa::path(post, path = "/workflows/{id}/steps/{step}/complete", tag = "operate",
    params(("id" = String, Path), ("step" = String, Path)), request_body = Completion,
    responses((status = 200, body = WorkflowView), (status = 404, body = ProblemBody),
        (status = 409, body = ProblemBody), (status = 422, body = ProblemBody, description = "Without a reason")))]
async fn complete(
    State(app): State<App>,
    caller: Caller,
    Path((id, step)): Path<(String, String)>,
    OptionalBody(body): OptionalBody<Completion>,
) -> Shown {
    let reason = required(body.reason)?;
    let output = body.output.unwrap_or(serde_json::Value::Null);
    let step = step_index(&app, &caller, &id, &step).await?;
    hand_in(&app, &caller, &id, |actor| Input::CompleteStep { step, output, actor, reason }).await
}

async fn hand_in(app: &App, caller: &Caller, id: &str, news: impl FnOnce(Option<String>) -> Input) -> Shown {
    let known: WorkflowId = load(app, caller, id).await?.state.id;
    let actor = caller.actor.clone().or_else(|| Some("api".to_owned()));
    app.conductor.submit(known, news(actor)).await?;
    Ok(Json(shown(app, load(app, caller, id).await?).await?))
}

async fn step_index(app: &App, caller: &Caller, id: &str, step: &str) -> Answer<StepIndex> {
    let loaded = load(app, caller, id).await?;
    let plan = app.conductor.plan_of(&loaded.state).await?;
    plan.step_named(step).ok_or_else(|| {
        let names: Vec<&str> = plan.definition().steps.iter().map(|step| step.name.as_str()).collect();
        Problem::new(NO_STEP, format!("the workflow has no step {step}; it has {}", names.join(", ")))
    })
}

fn optional(reason: Option<String>) -> Answer<Option<String>> {
    match reason {
        Some(reason) if reason.len() > LONGEST_REASON => {
            let detail = format!("a reason has at most {LONGEST_REASON} bytes");
            Err(Problem::new(REASON, detail.clone()).at("/reason", detail))
        }
        other => Ok(other.filter(|reason| !reason.trim().is_empty())),
    }
}

fn required(reason: Option<String>) -> Answer<String> {
    optional(reason)?.ok_or_else(|| {
        let detail = "say why: the history keeps it";
        Problem::new(REASON, detail).at("/reason", detail)
    })
}
