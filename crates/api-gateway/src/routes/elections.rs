//! Who leads what: for looking, and for having somebody step down. To stand in an election there is gRPC.

use crate::App;
use crate::error::{Answer, ELECTION, NO_ELECTION, NO_LEADER, PARAMETER, Problem, ProblemBody, SOON};
use crate::extract::Path;
use crate::moment::rfc3339;
use axum::Json;
use axum::extract::State;
use goconductor_election::{Election, Error, Leader};
use goconductor_saga::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of an election's name, and of a candidate's.
const NAME: usize = 256;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(step_down))
}

/// Who leads an election.
#[derive(Debug, Serialize, ToSchema)]
struct LeaderView {
    /// What is led.
    name: String,
    /// Who leads it, as it calls itself.
    candidate: String,
    /// Higher than that of every term of the same name before it; to be checked where a write lands.
    fencing_token: u64,
    /// When the term began. For people: nothing is decided by it.
    since: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct ElectionList {
    /// By name; those that nobody leads are not in it.
    elections: Vec<LeaderView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SteppedDown {
    /// False: nobody led.
    ended: bool,
}

/// List who leads what
#[utoipa::path(get, path = "/elections", tag = "elections", responses((status = 200, body = ElectionList),
    (status = 404, body = ProblemBody, description = "No election is configured"), (status = 503, body = ProblemBody)))]
async fn list(State(app): State<App>) -> Answer<Json<ElectionList>> {
    let leaders = election(&app)?.list().await?;
    Ok(Json(ElectionList { elections: leaders.into_iter().map(view).collect() }))
}

/// Read who leads an election
#[utoipa::path(get, path = "/elections/{name}", tag = "elections", params(("name" = String, Path)),
    responses((status = 200, body = LeaderView), (status = 404, body = ProblemBody, description = "Nobody leads it"),
        (status = 503, body = ProblemBody)))]
async fn get(State(app): State<App>, Path(name): Path<String>) -> Answer<Json<LeaderView>> {
    let name = checked(name, "an election's name")?;
    let leader = election(&app)?.observe(&name).await?;
    leader.map(view).map(Json).ok_or_else(|| Problem::new(NO_LEADER, format!("nobody leads {name}")))
}

/// Have the leader of an election step down
///
/// Whoever stands for it next leads it then, which may be the same one.
#[utoipa::path(post, path = "/elections/{name}/step-down", tag = "elections", params(("name" = String, Path)),
    responses((status = 200, body = SteppedDown),
        (status = 404, body = ProblemBody, description = "No election is configured"), (status = 503, body = ProblemBody)))]
async fn step_down(State(app): State<App>, Path(name): Path<String>) -> Answer<Json<SteppedDown>> {
    let name = checked(name, "an election's name")?;
    let ended = election(&app)?.step_down(&name).await?;
    Ok(Json(SteppedDown { ended }))
}

/// The election, where there is one.
pub(crate) fn election(app: &App) -> Answer<&Arc<dyn Election>> {
    app.hosted.as_ref().map(|hosted| hosted.election()).ok_or_else(no_election)
}

pub(crate) fn no_election() -> Problem {
    let detail = "this gateway has no election: name leader-electors by election.electors, or a backend by \
                  election.backend";
    Problem::new(NO_ELECTION, detail)
}

/// A name that a call brings.
pub(crate) fn checked(name: String, what: &str) -> Answer<String> {
    // The last two can't be named in a URL.
    if name.is_empty()
        || name.len() > NAME
        || name.contains(char::is_control)
        || [".", ".."].contains(&&*name)
    {
        let detail = format!("{what} has 1 to {NAME} bytes without control characters, and is not . or ..");
        return Err(Problem::new(PARAMETER, detail));
    }
    Ok(name)
}

fn view(leader: Leader) -> LeaderView {
    LeaderView {
        name: leader.name,
        candidate: leader.candidate,
        fencing_token: leader.token.0,
        since: rfc3339(Timestamp(leader.since_ms.saturating_mul(1000))),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(ELECTION, error.to_string()).after(SOON)
    }
}
