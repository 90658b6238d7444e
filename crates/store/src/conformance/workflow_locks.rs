//! Locks of workflows: queues in the order of arrival, shared locks, and releases that are part of a transition.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{
    Fixture, Flow, NAMESPACE, at, cancel, definition, done, ensure, expect_eq, pause, plan_of, resume, step,
    unexpected,
};
use super::{CaseResult, Factory};
use crate::{
    LockHold, LockOutcome, LockRequest, WantedLock, WorkflowLockOutcome, WorkflowLockRequest, Write,
};
use goconductor_saga::{
    Input, Json, LockScope, LockSpec, OwedKey, Plan, StepIndex, Template, TimerKind, Timestamp,
};

const TIMER: TimerKind = TimerKind::StepLock(StepIndex(0));
const WORKFLOW: TimerKind = TimerKind::WorkflowLock;

fn spec(key: &str, shared: bool) -> LockSpec {
    LockSpec { key: Template::Value(Json::from(key)), shared, wait: None, hold: LockScope::Step }
}

/// Returns a definition of one step with a lock.
fn locked(key: &str, shared: bool) -> Result<Arc<Plan>, String> {
    let mut only = step("s", "stock", &[]);
    only.lock = Some(spec(key, shared));
    plan_of(definition("locked", vec![only]))
}

/// Returns a definition with locks of its own.
fn with_locks(keys: &[&str]) -> Result<Arc<Plan>, String> {
    let mut all = definition("locks", vec![step("s", "stock", &[])]);
    all.locks = keys.iter().map(|key| LockSpec { hold: LockScope::Workflow, ..spec(key, false) }).collect();
    plan_of(all)
}

fn granted(tokens: &[u64]) -> WorkflowLockOutcome {
    WorkflowLockOutcome::Granted(tokens.to_vec())
}

impl Fixture {
    async fn request_locks(&self, flow: &Flow, timer: TimerKind) -> Result<WorkflowLockOutcome, String> {
        let lock = flow.state.lock_of(timer).ok_or("invalid test case: the workflow has no such lock")?;
        let wanted =
            |lock: &goconductor_saga::KeyLock| WantedLock { key: lock.key.clone(), shared: lock.shared };
        let request = WorkflowLockRequest {
            id: flow.id(),
            row: OwedKey::Timer(timer),
            namespace: NAMESPACE.to_owned(),
            owner: flow.state.lock_owner(timer),
            locks: lock.locks.iter().map(wanted).collect(),
            poll_at: at(1000),
        };
        self.store.acquire_workflow_locks(&request).await.map_err(unexpected("acquire_workflow_locks"))
    }

    /// Acquires the locks of a request, which must be free, and returns their tokens.
    async fn expect_granted(&self, flow: &Flow, timer: TimerKind) -> Result<Vec<u64>, String> {
        match self.request_locks(flow, timer).await? {
            WorkflowLockOutcome::Granted(tokens) => Ok(tokens),
            other => Err(format!("the locks of {} were not granted: {other:?}", flow.id())),
        }
    }

    /// Writes the transition for an input.
    async fn advance_lock(&self, flow: &mut Flow, input: &Input, now: Timestamp) -> CaseResult {
        let (after, write) = flow.next(input, now)?;
        self.write(vec![Write::Transition(write)]).await?;
        *flow = after;
        Ok(())
    }

    async fn record(&self, flow: &mut Flow, timer: TimerKind, tokens: &[u64]) -> CaseResult {
        let request = flow.state.lock_of(timer).map_or(0, |lock| lock.request);
        self.advance_lock(flow, &Input::AcquireLocks { timer, request, tokens: tokens.to_vec() }, at(1)).await
    }

    /// Returns when the ledger row of a wait is due.
    async fn wait_due(&self, flow: &Flow, timer: TimerKind) -> Result<Option<Timestamp>, String> {
        let rows = self.store.ledger(&[flow.id()]).await.map_err(unexpected("ledger"))?;
        Ok(rows.into_iter().find(|row| row.key.key == OwedKey::Timer(timer)).map(|row| row.due_at))
    }

    async fn holder(&self, key: &str) -> Result<Option<String>, String> {
        let lock = self.store.lock_holder(NAMESPACE, key).await.map_err(unexpected("lock_holder"))?;
        Ok(lock.map(|lock| lock.owner))
    }

    async fn acquire_by_api(&self, key: &str) -> Result<LockOutcome, String> {
        let request = LockRequest {
            namespace: NAMESPACE.to_owned(),
            key: key.to_owned(),
            owner: "a service".to_owned(),
            ttl: Duration::from_secs(60),
        };
        self.store.acquire_lock(&request).await.map_err(unexpected("acquire_lock"))
    }
}

pub(super) async fn in_order(factory: Arc<dyn Factory>) -> CaseResult {
    let mut fixture = Fixture::open(&factory).await?;
    let plan = locked("k", false)?;
    let mut first = fixture.start(&plan).await?;
    let (mut second, third) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let tokens = fixture.expect_granted(&first, TIMER).await?;
    expect_eq("a repeated request", &fixture.request_locks(&first, TIMER).await?, &granted(&tokens))?;
    expect_eq("the holder", &fixture.holder("k").await?, &Some(first.state.lock_owner(TIMER)))?;
    let waiting = WorkflowLockOutcome::Waiting;
    expect_eq("the second request", &fixture.request_locks(&second, TIMER).await?, &waiting)?;
    expect_eq("the third request", &fixture.request_locks(&third, TIMER).await?, &waiting)?;
    expect_eq("the poll of a wait", &fixture.wait_due(&second, TIMER).await?, &Some(at(1000)))?;
    let by_api = fixture.acquire_by_api("k").await?;
    ensure(
        matches!(&by_api, LockOutcome::Held(lock) if Some(lock.token) == tokens.first().copied()),
        || format!("a lock of a workflow was granted to another owner: {by_api:?}"),
    )?;
    fixture.record(&mut first, TIMER, &tokens).await?;
    fixture.store = factory.reopen(fixture.store).await?;
    fixture.advance_lock(&mut first, &done(0), at(2)).await?;
    fixture.check_consistency(&first).await?;
    expect_eq("the due time of the next in line", &fixture.wait_due(&second, TIMER).await?, &Some(at(2)))?;
    expect_eq("the due time of the one behind", &fixture.wait_due(&third, TIMER).await?, &Some(at(1000)))?;
    expect_eq("a request that overtakes", &fixture.request_locks(&third, TIMER).await?, &waiting)?;
    let next = fixture.expect_granted(&second, TIMER).await?;
    ensure(next > tokens, || format!("tokens {next:?} were issued after {tokens:?}"))?;
    fixture.record(&mut second, TIMER, &next).await?;
    fixture.advance_lock(&mut second, &done(0), at(3)).await?;
    fixture.expect_granted(&third, TIMER).await.map(drop)
}

pub(super) async fn shared(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (readers, writer) = (locked("k", true)?, locked("k", false)?);
    let (mut first, mut second) = (fixture.start(&readers).await?, fixture.start(&readers).await?);
    let (exclusive, late) = (fixture.start(&writer).await?, fixture.start(&readers).await?);
    let tokens = fixture.expect_granted(&first, TIMER).await?;
    expect_eq("a request that shares", &fixture.request_locks(&second, TIMER).await?, &granted(&tokens))?;
    let waiting = WorkflowLockOutcome::Waiting;
    expect_eq("an exclusive request", &fixture.request_locks(&exclusive, TIMER).await?, &waiting)?;
    // Otherwise an exclusive request could wait without end.
    expect_eq("a shared request behind it", &fixture.request_locks(&late, TIMER).await?, &waiting)?;
    fixture.record(&mut first, TIMER, &tokens).await?;
    fixture.record(&mut second, TIMER, &tokens).await?;
    fixture.advance_lock(&mut first, &done(0), at(2)).await?;
    expect_eq("after one release", &fixture.request_locks(&exclusive, TIMER).await?, &waiting)?;
    fixture.advance_lock(&mut second, &done(0), at(3)).await?;
    let next = fixture.expect_granted(&exclusive, TIMER).await?;
    ensure(next > tokens, || format!("tokens {next:?} were issued after {tokens:?}"))?;
    expect_eq("a shared request behind the holder", &fixture.request_locks(&late, TIMER).await?, &waiting)
}

pub(super) async fn withdrawn(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (both, only) = (with_locks(&["b", "a"])?, locked("a", false)?);
    let mut holder = fixture.start(&locked("b", false)?).await?;
    let tokens = fixture.expect_granted(&holder, TIMER).await?;
    fixture.record(&mut holder, TIMER, &tokens).await?;
    let (mut first, mut next) = (fixture.start(&both).await?, fixture.start(&only).await?);
    let waiting = WorkflowLockOutcome::Waiting;
    expect_eq("a request for two locks", &fixture.request_locks(&first, WORKFLOW).await?, &waiting)?;
    expect_eq("a request behind it", &fixture.request_locks(&next, TIMER).await?, &waiting)?;
    // The process was killed before the workflow recorded its locks, and the workflow is cancelled.
    let before = first.clone();
    fixture.advance_lock(&mut first, &cancel(), at(2)).await?;
    expect_eq(
        "a request of a workflow that ended",
        &fixture.request_locks(&before, WORKFLOW).await?,
        &WorkflowLockOutcome::Gone,
    )?;
    let tokens = fixture.expect_granted(&next, TIMER).await?;
    fixture.record(&mut next, TIMER, &tokens).await?;
    // A paused workflow gives up its place.
    let (mut paused, behind) = (fixture.start(&only).await?, fixture.start(&only).await?);
    expect_eq("a third request", &fixture.request_locks(&paused, TIMER).await?, &waiting)?;
    expect_eq("a fourth request", &fixture.request_locks(&behind, TIMER).await?, &waiting)?;
    fixture.advance_lock(&mut paused, &pause(), at(3)).await?;
    expect_eq(
        "a request of a paused workflow",
        &fixture.request_locks(&paused, TIMER).await?,
        &WorkflowLockOutcome::Gone,
    )?;
    fixture.advance_lock(&mut next, &done(0), at(4)).await?;
    fixture.expect_granted(&behind, TIMER).await?;
    fixture.advance_lock(&mut paused, &resume(), at(5)).await?;
    expect_eq("a request after the pause", &fixture.request_locks(&paused, TIMER).await?, &waiting)
}

pub(super) async fn broken(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = locked("k", false)?;
    let (mut first, second) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let tokens = fixture.expect_granted(&first, TIMER).await?;
    fixture.record(&mut first, TIMER, &tokens).await?;
    let waiting = WorkflowLockOutcome::Waiting;
    expect_eq("the second request", &fixture.request_locks(&second, TIMER).await?, &waiting)?;
    let owner = first.state.lock_owner(TIMER);
    let hold = LockHold { namespace: NAMESPACE.to_owned(), key: "k".to_owned(), owner, token: None };
    let released = fixture.store.release_lock(&hold).await.map_err(unexpected("release_lock"))?;
    ensure(matches!(released, LockOutcome::Granted(_)), || {
        format!("an operator did not release the lock: {released:?}")
    })?;
    ensure(fixture.wait_due(&second, TIMER).await?.is_some_and(|due| due != at(1000)), || {
        "the release did not wake the next in line".to_owned()
    })?;
    let next = fixture.expect_granted(&second, TIMER).await?;
    ensure(next > tokens, || format!("tokens {next:?} were issued after {tokens:?}"))?;
    // The end of the former holder must not release the lock of its successor.
    fixture.advance_lock(&mut first, &done(0), at(4)).await?;
    expect_eq("the holder", &fixture.holder("k").await?, &Some(second.state.lock_owner(TIMER)))?;
    expect_eq("a repeated request", &fixture.request_locks(&second, TIMER).await?, &granted(&next))
}
