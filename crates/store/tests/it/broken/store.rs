//! A correct store with one injected fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use goconductor_saga::{Phase, State, Timestamp, WorkflowId};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    AccessKey, AccessKeyEnd, AccessKeyLayer, AccessKeyStore, Announcement, AuditEvent, AuditFilter,
    AuditHead, AuditLayer, AuditRecord, AuditRequest, AuditStore, BatchId, BatchItemResult, BatchLease,
    BatchSelection, Claim, ClaimRequest, ClusterLayer, ClusterStore, Count, DeadLetter, DeadLetterLayer,
    DeadLetterStore, DefinitionLayer, DefinitionName, DefinitionStore, EncodedWorkflow, Error, Field, Filter,
    LeaseRequest, LeaseUpdate, LedgerLayer, LedgerRow, LedgerRowKey, LedgerStore, ListPage, ListRequest,
    Loaded, Lock, LockHold, LockLayer, LockOutcome, LockRequest, LockStore, MaintenanceLayer,
    MaintenanceReport, MaintenanceRequest, MaintenanceStore, NewDefinition, NewShardLease, PayloadLayer,
    PayloadLink, PayloadStore, PutDefinition, ScheduleLayer, ScheduleStore, SecretHead, SecretLayer,
    SecretPosition, SecretStore, SecretVersion, ServiceRecord, ShardLeaseLayer, ShardLeaseStore, Store,
    StoreLayer, StoreStatistics, StoredSchedule, WorkflowBatch, WorkflowBatchLayer, WorkflowBatchStore,
    WorkflowLayer, WorkflowLockOutcome, WorkflowLockRequest, WorkflowStore, WrappedDataKey, Write,
    WriteOutcome,
};

use super::{Fault, inject};

type Key = (String, String);

#[derive(Debug)]
pub(super) struct FaultyStore {
    fault: Fault,
    inner: Arc<SqliteStore>,
    calls: AtomicU64,
    epochs: Mutex<BTreeMap<String, u64>>,
    keys: Mutex<BTreeMap<Key, WorkflowId>>,
    claimed: Mutex<Vec<LedgerRow>>,
    counted: Mutex<Vec<Count>>,
    /// The workflows that have completed, also if they roll back.
    completed: Mutex<BTreeSet<WorkflowId>>,
    /// Those that the retention has removed.
    removed: Mutex<BTreeSet<WorkflowId>>,
}

impl FaultyStore {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            fault,
            inner: Arc::new(SqliteStore::ephemeral().expect("the temporary directory is writable")),
            calls: AtomicU64::new(0),
            epochs: Mutex::default(),
            keys: Mutex::default(),
            claimed: Mutex::default(),
            counted: Mutex::default(),
            completed: Mutex::default(),
            removed: Mutex::default(),
        }
    }

    async fn present(&self, id: WorkflowId) -> Result<Option<Loaded>, Error> {
        Ok(self.inner.load(&[id]).await?.pop().flatten())
    }

    async fn write_each(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let (mut outcomes, mut failed) = (Vec::new(), Ok(()));
        for write in batch {
            let is_aborted = self.fault == Fault::ConflictAbortsBatch
                && outcomes.last().is_some_and(|last| !matches!(last, WriteOutcome::Written));
            if is_aborted {
                outcomes.push(WriteOutcome::Missing);
                continue;
            }
            match self.inner.write(vec![write]).await {
                Ok(mut outcome) => outcomes.append(&mut outcome),
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| outcomes)
    }

    /// Looks each key up before the batch is written, and records it afterwards.
    async fn write_with_keys(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let mut outcomes = Vec::new();
        let mut started = Vec::new();
        for write in &batch {
            let Write::Start(new) = write else { continue };
            let Some(key) = &new.idempotency_key else { continue };
            let key = (new.write.record.namespace.clone(), key.clone());
            let known =
                self.keys.lock().expect("no thread panics while it holds the lock").get(&key).copied();
            if let Some(id) = known {
                let present = self.present(id).await?.expect("a recorded workflow exists");
                outcomes.push(WriteOutcome::Replayed(Box::new(present)));
            } else {
                started.push((key, write.clone()));
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        for (key, write) in started {
            let Write::Start(mut new) = write else { continue };
            new.idempotency_key = None;
            let id = new.write.record.id;
            outcomes.extend(self.inner.write(vec![Write::Start(new)]).await?);
            self.keys.lock().expect("no thread panics while it holds the lock").insert(key, id);
        }
        Ok(outcomes)
    }

    async fn write_ignoring_seq(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let mut outcomes = Vec::new();
        for write in batch {
            loop {
                let mut write = write.clone();
                if let Write::Transition(late) = &write
                    && let Some(present) = self.present(late.record.id).await?
                {
                    write = Write::Transition(inject::rebased(late, present.state.seq));
                }
                let mut outcome = self.inner.write(vec![write]).await?;
                if !matches!(outcome.as_slice(), [WriteOutcome::Lost(_)]) {
                    outcomes.append(&mut outcome);
                    break;
                }
            }
        }
        Ok(outcomes)
    }

    /// Writes the batch without the entries that `skip` selects, and reports those as written.
    async fn write_without(
        &self,
        batch: Vec<Write>,
        mut skip: impl FnMut(usize, &Write) -> bool,
    ) -> Result<Vec<WriteOutcome>, Error> {
        let mut outcomes = Vec::new();
        let mut rest = Vec::new();
        for (index, write) in batch.into_iter().enumerate() {
            outcomes.push(WriteOutcome::Written);
            if !skip(index, &write) {
                rest.push((index, write));
            }
        }
        let (indexes, rest): (Vec<usize>, Vec<Write>) = rest.into_iter().unzip();
        for (index, outcome) in indexes.into_iter().zip(self.inner.write(rest).await?) {
            outcomes[index] = outcome;
        }
        Ok(outcomes)
    }

    fn completed(&self) -> BTreeSet<WorkflowId> {
        self.completed.lock().expect("no thread panics while it holds the lock").clone()
    }

    /// Records the workflows that a batch completes.
    fn record_completed(&self, batch: &[Write]) {
        let states = batch.iter().map(state_of).filter(|state| state.phase == Phase::Completed);
        let mut completed = self.completed.lock().expect("no thread panics while it holds the lock");
        completed.extend(states.map(|state| state.id));
    }

    /// Returns the hold with the token of the inner store.
    fn inner_hold(&self, hold: &LockHold) -> LockHold {
        let replaces_tokens = self.fault == Fault::RepeatsLockTokens;
        LockHold { token: hold.token.filter(|_| !replaces_tokens), ..hold.clone() }
    }

    async fn with_present_attempts(&self, rows: &[LedgerRowKey]) -> Result<Vec<LedgerRowKey>, Error> {
        let mut present = Vec::new();
        for row in rows {
            let ledger = self.inner.ledger(&[row.id]).await?;
            present.extend(ledger.iter().map(|each| each.key).filter(|each| each.key == row.key));
        }
        Ok(present)
    }
}

fn state_of(write: &Write) -> State {
    let record = match write {
        Write::Start(new) => &new.write.record,
        Write::Transition(write) => &write.record,
    };
    record.transition().expect("the record can be decoded").state
}

fn inject_outcome(fault: Fault, write: &Write, outcome: WriteOutcome) -> WriteOutcome {
    match (fault, write, outcome) {
        (Fault::ReturnsRejectedStateOnConflict, _, WriteOutcome::Lost(mut present)) => {
            present.state = state_of(write);
            WriteOutcome::Lost(present)
        }
        (Fault::AcceptsDuplicateIds, Write::Start(_), WriteOutcome::Lost(_)) => WriteOutcome::Written,
        (_, _, outcome) => outcome,
    }
}

impl StoreLayer for FaultyStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
}

#[async_trait]
impl WorkflowLayer for FaultyStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let batch: Vec<Write> = batch.into_iter().map(|write| inject::write(self.fault, write)).collect();
        self.record_completed(&batch);
        let requested = batch.clone();
        let mut seen = BTreeSet::new();
        let outcomes = match self.fault {
            Fault::ConflictAbortsBatch | Fault::WritesBatchNonAtomically => self.write_each(batch).await?,
            Fault::ChecksKeysOutsideTransaction => self.write_with_keys(batch).await?,
            Fault::IgnoresSeq => self.write_ignoring_seq(batch).await?,
            Fault::TruncatesBatches => self.write_without(batch, |index, _| index >= 256).await?,
            Fault::WritesWorkflowOncePerBatch => {
                self.write_without(batch, |_, write| !seen.insert(state_of(write).id)).await?
            }
            Fault::RespondsBeforeWriting => {
                let (inner, outcomes) = (Arc::clone(&self.inner), vec![WriteOutcome::Written; batch.len()]);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    drop(inner.write(batch).await);
                });
                outcomes
            }
            _ => self.inner.write(batch).await?,
        };
        Ok(requested
            .iter()
            .zip(outcomes)
            .map(|(write, outcome)| inject_outcome(self.fault, write, outcome))
            .collect())
    }

    async fn load_encoded(&self, ids: &[WorkflowId]) -> Result<Vec<Option<EncodedWorkflow>>, Error> {
        let mut ids = ids.to_vec();
        if self.fault == Fault::LoadsInIdOrder {
            ids.sort();
        }
        let mut stored = self.inner.load_encoded(&ids).await?;
        let removed = self.removed.lock().expect("no thread panics while it holds the lock").clone();
        for (_, found) in ids.iter().zip(&mut stored).filter(|(id, _)| removed.contains(id)) {
            *found = None;
        }
        for stored in stored.iter().flatten().filter(|_| self.fault == Fault::RejectsDeepValues) {
            let read: Result<State, _> = serde_json::from_str(&stored.state);
            read.map_err(|error| Error::corrupt("a state", error.to_string()))?;
        }
        Ok(stored)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        let mut request = request.clone();
        request.filter = request.filter.as_ref().map(|filter| inject::filter(self.fault, filter));
        let reopened = match self.fault {
            Fault::ListsReopenedAsCompleted if inject::is_for_completed(request.filter.as_ref()) => {
                request.filter = None;
                Some(self.completed())
            }
            _ => None,
        };
        match self.fault {
            Fault::IgnoresListNamespace => request.namespace = "default".to_owned(),
            Fault::StripsNul => request.namespace = request.namespace.replace('\0', ""),
            _ => {}
        }
        let mut page = self.inner.list(&request).await?;
        page.workflows.retain(|found| reopened.as_ref().is_none_or(|reopened| reopened.contains(&found.id)));
        match self.fault {
            Fault::ListsOldestFirst => page.workflows.reverse(),
            Fault::AlwaysReportsMorePages => page.more = true,
            _ => {}
        }
        Ok(page)
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        let filter = filter.filter(|_| self.fault != Fault::IgnoresFilterInCounts);
        let mut counts = self.inner.counts(namespace, by.clone(), filter).await?;
        if self.fault == Fault::CountsFirstVersions && by == Field::Version {
            counts.iter_mut().for_each(|count| count.value = "1".to_owned());
        }
        let reopened = self.completed();
        if self.fault == Fault::CountsReopenedAsCompleted && !reopened.is_empty() {
            counts.retain(|count| count.value != "COMPLETED");
            let count = u64::try_from(reopened.len()).expect("few workflows");
            counts.push(Count { by, value: "COMPLETED".to_owned(), count });
            return Ok(counts);
        }
        if self.fault != Fault::CountsRemovedWorkflows {
            return Ok(counts);
        }
        let mut counted = self.counted.lock().expect("no thread panics while it holds the lock");
        counted.retain(|known| counts.iter().all(|count| count.value != known.value));
        counted.extend(counts);
        Ok(counted.clone())
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        let mut ids = self.inner.ids(after, limit).await?;
        if self.fault == Fault::SkipsIds && after.is_some() && !ids.is_empty() {
            ids.remove(0);
        }
        Ok(ids)
    }
}

#[async_trait]
impl LedgerLayer for FaultyStore {
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let mut claim = self.inner.claim(&inject::claim(self.fault, request)).await?;
        if self.fault == Fault::ClaimsRowsTwice {
            let mut claimed = self.claimed.lock().expect("no thread panics while it holds the lock");
            let again = claimed.pop();
            claimed.extend(claim.rows.first().cloned());
            claim.rows.extend(again);
        }
        Ok(claim)
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        match self.fault {
            Fault::NeverExtends => Ok(()),
            Fault::FailsOnConflict if self.calls.fetch_add(1, Ordering::Relaxed) == 10 => {
                Err(Error::unavailable("conflict with a concurrent transaction"))
            }
            Fault::ExtendsAnyAttempt => {
                let rows = self.with_present_attempts(rows).await?;
                self.inner.extend(&rows, due_at).await
            }
            _ => self.inner.extend(rows, due_at).await,
        }
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        match self.fault {
            Fault::NeverReleases => Ok(()),
            Fault::ReleasesAnyAttempt => {
                let rows = self.with_present_attempts(rows).await?;
                self.inner.release(&rows).await
            }
            _ => self.inner.release(rows).await,
        }
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        if self.fault == Fault::NeverExpiresDeliveries {
            Ok(2)
        } else {
            self.inner.expire_deliveries(now).await
        }
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        let later =
            if self.fault == Fault::CountsRowsBeforeDue { Duration::from_secs(3600) } else { Duration::ZERO };
        let mut backlog = self.inner.backlog(now.after(later)).await?;
        if self.fault == Fault::MergesLanes {
            let mut lanes: BTreeMap<String, u64> = BTreeMap::new();
            for (lane, count) in backlog {
                *lanes.entry(lane.replace("%2F", "/")).or_default() += count;
            }
            backlog = lanes.into_iter().collect();
        }
        Ok(backlog)
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        if self.fault != Fault::ReportsFalseOrphans {
            return self.inner.orphans(limit).await;
        }
        let ids = self.inner.ids(None, limit).await?;
        self.inner.ledger(&ids).await
    }
}

#[async_trait]
impl DefinitionLayer for FaultyStore {
    async fn put_definition(&self, mut new: NewDefinition) -> Result<PutDefinition, Error> {
        match self.fault {
            Fault::CreatesVersionPerApply => {
                new.digest = format!("{}#{}", new.digest, self.calls.fetch_add(1, Ordering::Relaxed));
            }
            Fault::TrimsSources => new.source = new.source.trim_end().to_owned(),
            _ => {}
        }
        self.inner.put_definition(new).await
    }

    async fn archive_definition(&self, name: &DefinitionName) -> Result<bool, Error> {
        if self.fault != Fault::KeepsArchivedDefinitions {
            return self.inner.archive_definition(name).await;
        }
        // The first call for a definition that exists claims to have archived it.
        let is_unknown = self.inner.newest(std::slice::from_ref(name)).await?.contains(&None);
        Ok(!is_unknown && self.calls.fetch_add(1, Ordering::Relaxed) == 0)
    }

    async fn delete_service(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        if self.fault != Fault::KeepsDeletedServices {
            return self.inner.delete_service(namespace, name).await;
        }
        let services = self.inner.services().await?;
        Ok(services.iter().any(|known| known.namespace == namespace && known.name == name))
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        let known = self.inner.services().await?.iter().any(|known| known.name == service.name);
        if self.fault == Fault::IgnoresServiceUpdates && known {
            Ok(())
        } else {
            self.inner.put_service(service).await
        }
    }
}

#[async_trait]
impl ClusterLayer for FaultyStore {
    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        if self.fault == Fault::KeepsExpiredMembers {
            let ttl = Duration::from_secs(3600);
            return self.inner.announce(&Announcement { ttl, ..member.clone() }).await;
        }
        self.inner.announce(member).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        if self.fault != Fault::RaisesEpochsNonAtomically {
            return self.inner.raise_epoch(name).await;
        }
        let known = self
            .epochs
            .lock()
            .expect("no thread panics while it holds the lock")
            .get(name)
            .copied()
            .unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.epochs
            .lock()
            .expect("no thread panics while it holds the lock")
            .insert(name.to_owned(), known + 1);
        Ok(known + 1)
    }

    async fn compare_and_set(
        &self,
        name: &str,
        mut revision: u64,
        value: &goconductor_saga::Json,
    ) -> Result<Option<goconductor_store::ConfigEntry>, Error> {
        let ignores = self.fault == Fault::IgnoresRevisions && revision == 0;
        loop {
            if ignores {
                revision = self.inner.config_entry(name).await?.map_or(0, |known| known.revision);
            }
            let set = self.inner.compare_and_set(name, revision, value).await?;
            if set.is_some() || !ignores {
                return Ok(set);
            }
        }
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let now = self.inner.now().await?;
        Ok(if self.fault == Fault::ReportsTimeInSeconds { Timestamp(now.0 / 1_000_000) } else { now })
    }
}

#[async_trait]
impl LockLayer for FaultyStore {
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockOutcome, Error> {
        let mut request = request.clone();
        if self.fault == Fault::NeverExpiresLocks {
            request.ttl = Duration::from_secs(3600);
        }
        let outcome = self.inner.acquire_lock(&request).await?;
        Ok(match (self.fault, outcome) {
            (Fault::GrantsHeldLocks, LockOutcome::Held(lock)) => {
                LockOutcome::Granted(Lock { owner: request.owner, token: lock.token + 1, ..lock })
            }
            (Fault::RepeatsLockTokens, LockOutcome::Granted(lock)) => {
                LockOutcome::Granted(Lock { token: 7, ..lock })
            }
            (_, outcome) => outcome,
        })
    }

    async fn acquire_workflow_locks(
        &self,
        request: &WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error> {
        let outcome = self.inner.acquire_workflow_locks(request).await?;
        Ok(match outcome {
            WorkflowLockOutcome::Waiting if self.fault == Fault::GrantsWaitingLocks => {
                WorkflowLockOutcome::Granted(vec![7; request.locks.len()])
            }
            outcome => outcome,
        })
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, Error> {
        self.inner.renew_lock(&self.inner_hold(hold), ttl).await
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockOutcome, Error> {
        self.inner.release_lock(&self.inner_hold(hold)).await
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        let mut locks = self.inner.locks(namespace, after, limit).await?;
        if self.fault == Fault::ListsFreeLocks && !locks.is_empty() {
            locks.insert(1, Lock { key: "a0".to_owned(), ..locks[0].clone() });
        }
        Ok(locks)
    }
}

#[async_trait]
impl AccessKeyLayer for FaultyStore {
    async fn create_access_key(&self, key: &AccessKey) -> Result<bool, Error> {
        let mut key = key.clone();
        if self.fault == Fault::DropsAccessScopes {
            key.scope = goconductor_store::AccessScope::default();
        }
        self.inner.create_access_key(&key).await
    }

    async fn end_access_key(&self, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, Error> {
        let mut key = self.inner.end_access_key(id, end).await?;
        if let (Fault::ExtendsAccessKeys, Some(key), AccessKeyEnd::Expires(at)) = (self.fault, &mut key, end)
        {
            key.expires_at = Some(at);
        }
        Ok(key)
    }

    async fn access_revision(&self) -> Result<u64, Error> {
        if self.fault == Fault::KeepsAccessRevision { Ok(0) } else { self.inner.access_revision().await }
    }
}

#[async_trait]
impl AuditLayer for FaultyStore {
    async fn append_audit(&self, events: &[AuditEvent]) -> Result<AuditHead, Error> {
        let mut events = events.to_vec();
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::DropsAuditValues => events.iter_mut().for_each(|event| event.after = None),
            Fault::DuplicatesAuditEvents => {
                events.iter_mut().for_each(|event| event.id = format!("{}-{call}", event.id));
            }
            Fault::DropsAuditEvents if call % 7 == 6 => events.clear(),
            _ => {}
        }
        self.inner.append_audit(&events).await
    }

    async fn note_audit_intents(&self, events: &[AuditEvent]) -> Result<(), Error> {
        if self.fault == Fault::ForgetsAuditIntents {
            return Ok(());
        }
        self.inner.note_audit_intents(events).await
    }

    async fn audit_records(&self, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
        let mut request = request.clone();
        if self.fault == Fault::IgnoresAuditFilters {
            request.filter = AuditFilter::default();
        }
        self.inner.audit_records(&request).await
    }
}

#[async_trait]
impl DeadLetterLayer for FaultyStore {
    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        let mut letters = letters.to_vec();
        if self.fault == Fault::DuplicatesDeadLetters {
            letters.iter_mut().for_each(|letter| letter.id = uuid::Uuid::now_v7().to_string());
        }
        self.inner.put_dead_letters(&letters).await
    }
}

#[async_trait]
impl WorkflowBatchLayer for FaultyStore {
    async fn select_batch_items(&self, id: BatchId, page: &ListRequest) -> Result<BatchSelection, Error> {
        let selection = self.inner.select_batch_items(id, page).await?;
        Ok(BatchSelection { more: selection.more && self.fault != Fault::StopsSelectionEarly, ..selection })
    }

    async fn batch(&self, namespace: &str, id: BatchId) -> Result<Option<WorkflowBatch>, Error> {
        let namespace = if self.fault == Fault::IgnoresBatchNamespace { "default" } else { namespace };
        self.inner.batch(namespace, id).await
    }

    async fn finish_batch_items(
        &self,
        lease: BatchLease,
        results: &[BatchItemResult],
    ) -> Result<bool, Error> {
        let is_held = self.inner.finish_batch_items(lease, results).await?;
        Ok(is_held || self.fault == Fault::AcceptsLostBatchLeases)
    }
}

#[async_trait]
impl SecretLayer for FaultyStore {
    async fn put_secret(&self, version: &SecretVersion, keep: u32) -> Result<Option<SecretHead>, Error> {
        let mut version = version.clone();
        let ignores = self.fault == Fault::IgnoresSecretVersions;
        loop {
            if ignores {
                let SecretPosition { namespace, name, .. } = version.position.clone();
                let head = self.inner.secret_head(&namespace, &name).await?;
                version.position.version = head.map_or(0, |head| head.version) + 1;
            }
            let put = self.inner.put_secret(&version, keep).await?;
            if put.is_some() || !ignores {
                return Ok(put);
            }
        }
    }

    async fn secrets(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretHead>, Error> {
        let namespace = if self.fault == Fault::IgnoresSecretNamespace { "a" } else { namespace };
        self.inner.secrets(namespace, after, limit).await
    }

    async fn rewrap_secret(
        &self,
        at: &SecretPosition,
        from_key_id: &str,
        key: &WrappedDataKey,
    ) -> Result<bool, Error> {
        let mut from_key_id = from_key_id.to_owned();
        if self.fault == Fault::IgnoresMasterKeys {
            let stored = self.inner.secret_version(&at.namespace, &at.name, Some(at.version)).await?;
            from_key_id = stored.map_or(from_key_id, |stored| stored.key.key_id);
        }
        self.inner.rewrap_secret(at, &from_key_id, key).await
    }
}

#[async_trait]
impl PayloadLayer for FaultyStore {
    async fn link_payload(&self, link: &PayloadLink) -> Result<bool, Error> {
        let is_known = self.calls.fetch_add(1, Ordering::Relaxed) > 0;
        let is_complete = self.inner.link_payload(link).await?;
        Ok(match self.fault {
            Fault::ClaimsPayloads => true,
            // A payload in removal still has its row.
            Fault::ClaimsPayloadsInRemoval => is_complete || is_known,
            _ => is_complete,
        })
    }
}

#[async_trait]
impl ScheduleLayer for FaultyStore {
    async fn put_schedule(&self, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, Error> {
        let mut replaces = replaces;
        let ignores = self.fault == Fault::IgnoresScheduleRevisions;
        loop {
            if ignores {
                let stored = self.inner.schedule(&schedule.namespace, &schedule.name).await?;
                replaces = stored.map(|stored| stored.revision);
            }
            if self.inner.put_schedule(schedule, replaces).await? {
                return Ok(true);
            }
            if !ignores {
                return Ok(false);
            }
        }
    }

    async fn schedules(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, Error> {
        let namespace = if self.fault == Fault::IgnoresScheduleNamespace { "a" } else { namespace };
        self.inner.schedules(namespace, after, limit).await
    }
}

#[async_trait]
impl ShardLeaseLayer for FaultyStore {
    async fn sync_leases(
        &self,
        stream: &str,
        new: &[NewShardLease],
        removed: &[String],
    ) -> Result<(), Error> {
        let mut removed = removed.to_vec();
        if self.fault == Fault::ResetsLeasesOnSync {
            removed.extend(new.iter().map(|new| new.shard.clone()));
            self.inner.sync_leases(stream, &[], &removed).await?;
        }
        self.inner.sync_leases(stream, new, &removed).await
    }

    async fn acquire_leases(&self, stream: &str, request: &LeaseRequest) -> Result<Vec<bool>, Error> {
        let steal = request.steal || self.fault == Fault::AlwaysStealsLeases;
        self.inner.acquire_leases(stream, &LeaseRequest { steal, ..request.clone() }).await
    }

    async fn update_leases(
        &self,
        stream: &str,
        owner: &str,
        updates: &[LeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let updated = self.inner.update_leases(stream, owner, updates).await?;
        let accepts_any = self.fault == Fault::AcceptsUpdatesOfAnyOwner;
        Ok(updated.into_iter().map(|updated| updated || accepts_any).collect())
    }
}

#[async_trait]
impl MaintenanceLayer for FaultyStore {
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
        let mut request = *request;
        match self.fault {
            Fault::RemovesReopened => {
                let mut removed = self.removed.lock().expect("no thread panics while it holds the lock");
                removed.extend(self.completed());
            }
            Fault::IgnoresStatusInRetention => request.retention = request.retention.completed.into(),
            Fault::NeverRemoves => request.retention = None.into(),
            Fault::RemovesBeforeRetention => {
                request.now = request.now.after(Duration::from_secs(2 * 24 * 3600))
            }
            _ => {}
        }
        let report = self.inner.maintain(&request).await?;
        Ok(MaintenanceReport { more: report.more && self.fault != Fault::StopsMaintenanceEarly, ..report })
    }

    async fn statistics(&self, now: Timestamp) -> Result<Option<StoreStatistics>, Error> {
        let is_early = self.fault == Fault::CountsStatisticsBeforeDue;
        let now = if is_early { now.after(Duration::from_secs(3600)) } else { now };
        let mut found = self.inner.statistics(now).await?;
        if self.fault == Fault::CountsStatisticsOfOneNamespace
            && let Some(statistics) = &mut found
        {
            statistics.namespaces.retain(|name, _| name == "default");
        }
        Ok(found)
    }
}
