//! Locks: a key that one owner holds at a time, with a lease and a fencing token.

use crate::App;
use crate::error::{Answer, LOCK_HELD, LOCK_LOST, PARAMETER, Problem, ProblemBody, WRONG_SHAPE};
use crate::extract::{Body, Caller, Path, Query};
use crate::moment::rfc3339;
use crate::routes::workflows::page_size;
use axum::Json;
use axum::extract::State;
use goconductor_service_kit::duration;
use goconductor_store::{Lock, LockAnswer, LockHold, LockRequest};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bytes of a key, and of an owner's name.
const KEY: usize = 512;
const OWNER: usize = 256;
/// The shortest lease that can be renewed in time, and the longest that can still be waited for.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(acquire))
        .routes(routes!(renew))
        .routes(routes!(release))
}

/// Who wants a lock, and for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcquireBody {
    /// Who holds it then: nobody else may call himself so. Asked again by the same, it is the same hold.
    owner: String,
    /// For how long it is held unless it is renewed: `100ms` to `24h`.
    ttl: String,
}

/// Who holds a lock, and for how much longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    owner: String,
    /// By which token it is held; none: by whichever it is.
    fencing_token: Option<u64>,
    /// For how long from now it is held unless it is renewed again: `100ms` to `24h`.
    ttl: String,
}

/// Who gives a lock back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    owner: String,
    /// By which token it is held; none: by whichever it is.
    fencing_token: Option<u64>,
}

/// A lock that is held.
#[derive(Debug, Serialize, ToSchema)]
struct LockView {
    key: String,
    owner: String,
    /// Higher than that of every hold of this key before it, for ever; to be checked where something is done on
    /// behalf of the lock.
    fencing_token: u64,
    acquired_at: String,
    /// When it is free unless it is renewed, by the database's clock.
    expires_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct LockPage {
    /// By key.
    locks: Vec<LockView>,
    /// Asks for the next page; empty on the last.
    next_page_token: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Released {
    /// False: nobody held it.
    released: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// 1 to 1000
    page_size: Option<u32>,
    /// `next_page_token` of the page before
    page_token: Option<String>,
}

/// List the locks that are held, by key
#[utoipa::path(get, path = "/locks", tag = "locks", params(PageQuery),
    responses((status = 200, body = LockPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Answer<Json<LockPage>> {
    let limit = page_size(query.page_size, app.limits.page_size)?;
    let after = query.page_token.filter(|token| !token.is_empty());
    // One more than is shown says whether there are more.
    let mut locks = app.store().locks(&caller.namespace, after.as_deref(), limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = locks.len() > size;
    locks.truncate(size);
    let last = locks.last().filter(|_| more).map(|lock| lock.key.clone());
    let locks = locks.into_iter().map(view).collect();
    Ok(Json(LockPage { locks, next_page_token: last.unwrap_or_default() }))
}

/// Take a lock
///
/// The same owner gets the same hold again, so a call whose answer was lost can be repeated.
#[utoipa::path(post, path = "/locks/{key}/acquire", tag = "locks", params(("key" = String, Path)),
    request_body = AcquireBody, responses((status = 200, body = LockView),
        (status = 409, body = ProblemBody, description = "Held by another"), (status = 422, body = ProblemBody)))]
async fn acquire(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
    Body(AcquireBody { owner, ttl }): Body<AcquireBody>,
) -> Answer<Json<LockView>> {
    let (key, owner, ttl) = (check_key(&key)?, check_owner(owner)?, check_ttl(&ttl)?);
    let request = LockRequest { namespace: caller.namespace, key, owner, ttl };
    match app.store().acquire_lock(&request).await? {
        LockAnswer::Granted(lock) => Ok(Json(view(lock))),
        LockAnswer::Held(lock) => Err(held(&lock)),
        LockAnswer::Free => Err(lost(&request.key)),
    }
}

/// Hold a lock for longer
#[utoipa::path(post, path = "/locks/{key}/renew", tag = "locks", params(("key" = String, Path)),
    request_body = RenewBody, responses((status = 200, body = LockView),
        (status = 409, body = ProblemBody, description = "Held by another, or not held any more"),
        (status = 422, body = ProblemBody)))]
async fn renew(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
    Body(RenewBody { owner, fencing_token, ttl }): Body<RenewBody>,
) -> Answer<Json<LockView>> {
    let ttl = check_ttl(&ttl)?;
    let hold = hold(caller, key, owner, fencing_token)?;
    match app.store().renew_lock(&hold, ttl).await? {
        LockAnswer::Granted(lock) => Ok(Json(view(lock))),
        LockAnswer::Held(lock) => Err(taken(&lock)),
        LockAnswer::Free => Err(lost(&hold.key)),
    }
}

/// Give a lock back
#[utoipa::path(post, path = "/locks/{key}/release", tag = "locks", params(("key" = String, Path)),
    request_body = ReleaseBody, responses((status = 200, body = Released),
        (status = 409, body = ProblemBody, description = "Held by another"), (status = 422, body = ProblemBody)))]
async fn release(
    State(app): State<App>,
    caller: Caller,
    Path(key): Path<String>,
    Body(ReleaseBody { owner, fencing_token }): Body<ReleaseBody>,
) -> Answer<Json<Released>> {
    let hold = hold(caller, key, owner, fencing_token)?;
    match app.store().release_lock(&hold).await? {
        LockAnswer::Granted(_) => Ok(Json(Released { released: true })),
        LockAnswer::Free => Ok(Json(Released { released: false })),
        LockAnswer::Held(lock) => Err(taken(&lock)),
    }
}

fn view(lock: Lock) -> LockView {
    LockView {
        key: lock.key,
        owner: lock.owner,
        fencing_token: lock.token,
        acquired_at: rfc3339(lock.acquired_at),
        expires_at: rfc3339(lock.expires_at),
    }
}

fn held(lock: &Lock) -> Problem {
    let Lock { key, owner, token, expires_at, .. } = lock;
    let until = rfc3339(*expires_at);
    Problem::new(LOCK_HELD, format!("{key} is held by {owner} with token {token}, until {until} at least"))
}

/// To whom believes in a hold that another came after.
fn taken(lock: &Lock) -> Problem {
    let Lock { key, owner, token, .. } = lock;
    Problem::new(LOCK_LOST, format!("{key} is held by {owner} with token {token}, and by nobody else"))
}

fn lost(key: &str) -> Problem {
    Problem::new(LOCK_LOST, format!("nobody holds {key}: acquire it anew, which gives a higher token"))
}

fn hold(caller: Caller, key: String, owner: String, token: Option<u64>) -> Answer<LockHold> {
    Ok(LockHold { namespace: caller.namespace, key: check_key(&key)?, owner: check_owner(owner)?, token })
}

/// A key that a call brings.
pub(crate) fn check_key(key: &str) -> Answer<String> {
    // The last two can't be named in a URL.
    if key.is_empty() || key.len() > KEY || key.contains(char::is_control) || [".", ".."].contains(&key) {
        let detail =
            format!("a lock's key has 1 to {KEY} bytes without control characters, and is not . or ..");
        return Err(Problem::new(PARAMETER, detail));
    }
    Ok(key.to_owned())
}

fn check_owner(owner: String) -> Answer<String> {
    if owner.is_empty() || owner.len() > OWNER || owner.contains(char::is_control) {
        let detail = format!("an owner has 1 to {OWNER} bytes without control characters");
        return Err(Problem::new(WRONG_SHAPE, detail.clone()).at("/owner", detail));
    }
    Ok(owner)
}

fn check_ttl(text: &str) -> Answer<Duration> {
    let wrong = |why: String| Problem::new(WRONG_SHAPE, why.clone()).at("/ttl", why);
    let ttl = duration::parse(text).map_err(|error| wrong(format!("ttl {text:?}: {error}")))?;
    if (SHORTEST..=LONGEST).contains(&ttl) {
        return Ok(ttl);
    }
    let (from, to) = (duration::format(SHORTEST), duration::format(LONGEST));
    Err(wrong(format!("a ttl is from {from} to {to}, not {}", duration::format(ttl))))
}
