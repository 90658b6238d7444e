//! Locks: leases on keys, with fencing tokens.

use super::PageQuery;
use super::extract::{Caller, JsonBody, Path, QueryParams};
use super::integer::Integer;
use crate::api::Api;
use crate::api::locks::{AcquireLock, LockPage, LockView, ReleaseLock, Released, RenewLock, invalid_ttl};
use crate::error::{ApiResult, ProblemBody};
use axum::Json;
use axum::extract::State;
use goconductor_service_kit::duration;
use serde::Deserialize;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(acquire))
        .routes(routes!(renew))
        .routes(routes!(release))
}

/// A request to acquire a lock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcquireBody {
    /// Name of the owner. It must be unique among the clients of the lock. If the owner already holds the lock, its
    /// lease is renewed and keeps its token.
    owner: String,
    /// Length of the lease: `100ms` to `24h`
    ttl: String,
}

/// A request to renew a lock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenewBody {
    owner: String,
    /// Fencing token of the hold (default: any)
    #[schema(value_type = Option<u64>)]
    fencing_token: Option<Integer<u64>>,
    /// Length of the lease from now: `100ms` to `24h`
    ttl: String,
}

/// A request to release a lock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseBody {
    owner: String,
    /// Fencing token of the hold (default: any)
    #[schema(value_type = Option<u64>)]
    fencing_token: Option<Integer<u64>>,
}

/// List the held locks, ordered by key
#[utoipa::path(get, path = "/locks", tag = "locks", params(PageQuery),
    responses((status = 200, body = LockPage), (status = 400, body = ProblemBody)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<LockPage>> {
    api.list_locks(&context, &query.into()).await.map(Json)
}

/// Acquire a lock
///
/// A request whose response was lost can be repeated: the same owner gets the same hold.
#[utoipa::path(post, path = "/locks/{key}/acquire", tag = "locks", params(("key" = String, Path)),
    request_body = AcquireBody, responses((status = 200, body = LockView),
        (status = 409, body = ProblemBody, description = "Another owner holds the lock"),
        (status = 422, body = ProblemBody)))]
async fn acquire(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(key): Path<String>,
    JsonBody(AcquireBody { owner, ttl }): JsonBody<AcquireBody>,
) -> ApiResult<Json<LockView>> {
    let acquire = AcquireLock { key, owner, ttl: parse_ttl(&ttl)? };
    api.acquire_lock(&context, acquire).await.map(Json)
}

/// Renew a lock
#[utoipa::path(post, path = "/locks/{key}/renew", tag = "locks", params(("key" = String, Path)),
    request_body = RenewBody, responses((status = 200, body = LockView),
        (status = 409, body = ProblemBody, description = "The lock is held by another owner, or is no longer held"),
        (status = 422, body = ProblemBody)))]
async fn renew(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(key): Path<String>,
    JsonBody(RenewBody { owner, fencing_token, ttl }): JsonBody<RenewBody>,
) -> ApiResult<Json<LockView>> {
    let renew = RenewLock { key, owner, fencing_token: token(fencing_token), ttl: parse_ttl(&ttl)? };
    api.renew_lock(&context, renew).await.map(Json)
}

/// Release a lock
#[utoipa::path(post, path = "/locks/{key}/release", tag = "locks", params(("key" = String, Path)),
    request_body = ReleaseBody, responses((status = 200, body = Released),
        (status = 409, body = ProblemBody, description = "Another owner holds the lock"),
        (status = 422, body = ProblemBody)))]
async fn release(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(key): Path<String>,
    JsonBody(ReleaseBody { owner, fencing_token }): JsonBody<ReleaseBody>,
) -> ApiResult<Json<Released>> {
    api.release_lock(&context, ReleaseLock { key, owner, fencing_token: token(fencing_token) })
        .await
        .map(Json)
}

fn token(token: Option<Integer<u64>>) -> Option<u64> {
    token.map(|Integer(token)| token)
}

fn parse_ttl(text: &str) -> ApiResult<Duration> {
    duration::parse(text).map_err(|error| invalid_ttl(format!("invalid ttl {text:?}: {error}")))
}
