//! Locks: leases on keys, with fencing tokens.

use super::{Api, CallContext, PageRequest, cut_to_page};
use crate::audit_notes;
use crate::error::{ApiResult, LOCK_HELD, LOCK_LOST, LOCK_OWNER, Problem, WRONG_SHAPE};
use crate::time::{Time, rfc3339};
use goconductor_saga::{LockKey, NameError, NameKind};
use goconductor_service_kit::duration;
use goconductor_store::{Lock, LockHold, LockOutcome, LockRequest};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// The shortest lease. A shorter one could not be renewed in time.
pub(crate) const MIN_TTL: Duration = Duration::from_millis(100);
/// The longest lease. After a longer one, waiting for the lock of a failed owner would not be practical.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// A request to acquire a lock.
#[derive(Debug)]
pub(crate) struct AcquireLock {
    pub(crate) key: String,
    pub(crate) owner: String,
    pub(crate) ttl: Duration,
}

/// A request to renew a lock.
#[derive(Debug)]
pub(crate) struct RenewLock {
    pub(crate) key: String,
    pub(crate) owner: String,
    /// `None` for any token.
    pub(crate) fencing_token: Option<u64>,
    pub(crate) ttl: Duration,
}

/// A request to release a lock.
#[derive(Debug)]
pub(crate) struct ReleaseLock {
    pub(crate) key: String,
    pub(crate) owner: String,
    /// `None` for any token.
    pub(crate) fencing_token: Option<u64>,
}

/// A held lock.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LockView {
    pub(crate) key: String,
    pub(crate) owner: String,
    /// Fencing token. It is higher than the token of each earlier hold of the same key. A resource that the lock
    /// protects must reject lower tokens than the highest it has seen.
    pub(crate) fencing_token: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) acquired_at: Time,
    /// Time at which the lease expires unless it is renewed, by the database's clock.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Time,
}

/// A page of held locks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LockPage {
    /// Locks, ordered by key.
    pub(crate) locks: Vec<LockView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// The outcome of a release.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Released {
    /// Whether the lock was held. `false` if no owner held it.
    pub(crate) released: bool,
}

impl Api {
    /// Lists the held locks of the namespace.
    pub(crate) async fn list_locks(&self, context: &CallContext, page: &PageRequest) -> ApiResult<LockPage> {
        let size = self.page_size(page.size)?;
        let mut locks =
            self.store().locks(context.namespace.as_str(), page.token(), size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut locks, size);
        let last = locks.last().filter(|_| is_more).map(|lock| lock.key.clone());
        let locks = locks.into_iter().map(view).collect();
        Ok(LockPage { locks, next_page_token: last.unwrap_or_default() })
    }

    /// Acquires a lock. If `owner` already holds it, its lease is renewed for `ttl` and keeps its token.
    pub(crate) async fn acquire_lock(
        &self,
        context: &CallContext,
        acquire: AcquireLock,
    ) -> ApiResult<LockView> {
        let AcquireLock { key, owner, ttl } = acquire;
        let (key, owner, ttl) = (check_key(key)?, check_owner(owner)?, check_ttl(ttl)?);
        refuse_workflow(&owner)?;
        note_lock(&key, &owner);
        let request = LockRequest { namespace: context.namespace.to_string(), key, owner, ttl };
        match self.store().acquire_lock(&request).await? {
            LockOutcome::Granted(lock) => Ok(view(lock)),
            LockOutcome::Held(lock) => Err(held_by_other(&lock)),
            LockOutcome::Free => Err(not_held(&request.key, "acquired")),
        }
    }

    /// Renews a lock for `ttl` from now.
    pub(crate) async fn renew_lock(&self, context: &CallContext, renew: RenewLock) -> ApiResult<LockView> {
        let RenewLock { key, owner, fencing_token, ttl } = renew;
        let ttl = check_ttl(ttl)?;
        refuse_workflow(&owner)?;
        let hold = hold(context, key, owner, fencing_token)?;
        match self.store().renew_lock(&hold, ttl).await? {
            LockOutcome::Granted(lock) => Ok(view(lock)),
            LockOutcome::Held(lock) => Err(taken_over(&lock, "renewed")),
            LockOutcome::Free => Err(not_held(&hold.key, "renewed")),
        }
    }

    /// Releases a lock. An operator can release the lock of a workflow, by the owner that the list shows.
    pub(crate) async fn release_lock(
        &self,
        context: &CallContext,
        release: ReleaseLock,
    ) -> ApiResult<Released> {
        let ReleaseLock { key, owner, fencing_token } = release;
        let hold = hold(context, key, owner, fencing_token)?;
        match self.store().release_lock(&hold).await? {
            LockOutcome::Granted(_) => {
                // The release has made the workflows due that wait for the lock.
                self.engine.timer_notifier().notify();
                Ok(Released { released: true })
            }
            LockOutcome::Free => Ok(Released { released: false }),
            LockOutcome::Held(lock) => Err(taken_over(&lock, "released")),
        }
    }
}

/// The problem of a `ttl` that is malformed or out of range.
pub(crate) fn invalid_ttl(detail: String) -> Problem {
    Problem::new(WRONG_SHAPE, detail.clone()).at("/ttl", detail)
}

fn view(lock: Lock) -> LockView {
    LockView {
        key: lock.key,
        owner: lock.owner,
        fencing_token: lock.token,
        acquired_at: lock.acquired_at.into(),
        expires_at: lock.expires_at.into(),
    }
}

fn held_by_other(lock: &Lock) -> Problem {
    let Lock { key, owner, token, expires_at, .. } = lock;
    let expires_at = rfc3339(*expires_at);
    let detail = format!(
        "lock {key} was not acquired: it is held by {owner} with token {token}, and its lease expires at {expires_at} at \
         the earliest"
    );
    Problem::new(LOCK_HELD, detail)
}

/// The problem of a former owner whose lock another owner, or another hold of the same owner, has acquired. `wanted` is
/// the past participle of the operation.
fn taken_over(lock: &Lock, wanted: &str) -> Problem {
    let Lock { key, owner, token, .. } = lock;
    let detail = format!(
        "lock {key} was not {wanted}: it is held by {owner} with token {token}; acquire it again when it is free"
    );
    Problem::new(LOCK_LOST, detail)
}

fn not_held(key: &str, wanted: &str) -> Problem {
    let detail =
        format!("lock {key} was not {wanted}: it is not held; acquire it again, which issues a higher token");
    Problem::new(LOCK_LOST, detail)
}

fn hold(context: &CallContext, key: String, owner: String, token: Option<u64>) -> ApiResult<LockHold> {
    let (key, owner) = (check_key(key)?, check_owner(owner)?);
    note_lock(&key, &owner);
    Ok(LockHold { namespace: context.namespace.to_string(), key, owner, token })
}

fn note_lock(key: &str, owner: &str) {
    audit_notes::target("lock", key);
    audit_notes::after(&serde_json::json!({ "owner": owner }));
}

fn check_key(key: String) -> ApiResult<String> {
    LockKey::check(&key)?;
    Ok(key)
}

fn check_owner(owner: String) -> ApiResult<String> {
    let invalid =
        |error: NameError| Problem::new(WRONG_SHAPE, error.to_string()).at("/owner", error.to_string());
    NameKind::LockOwner.check(&owner).map_err(invalid)?;
    Ok(owner)
}

/// Refuses the name of a workflow as the owner of a lease. A workflow holds its locks without a lease.
fn refuse_workflow(owner: &str) -> ApiResult<()> {
    if owner.starts_with("workflow/") {
        let detail =
            format!("owner {owner} is reserved for workflows; use a name that does not begin with workflow/");
        return Err(Problem::new(LOCK_OWNER, detail.clone()).at("/owner", detail));
    }
    Ok(())
}

fn check_ttl(ttl: Duration) -> ApiResult<Duration> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    let [ttl, min, max] = [ttl, MIN_TTL, MAX_TTL].map(duration::format);
    Err(invalid_ttl(format!("invalid ttl {ttl}: it must be between {min} and {max}")))
}
