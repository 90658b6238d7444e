//! Writes, and loaded workflows.

use super::{Malformed, id, id_bytes, owed_key, parsed, required, value};
use crate::internal as wire;
use bytes::Bytes;
use bytestring::ByteString;
use goconductor_saga::{
    Due, LedgerChange, LockRelease, Owed, OwedKey, RollbackCause, Status, Timestamp, TraceContext,
};
use goconductor_store::{
    EncodedTransition, EncodedWorkflow, FormerEnd, Loaded, NewWorkflow, Summary, TransitionWrite,
    WorkflowHead, Write, WriteOutcome, WriteTrace,
};
use prost::Message;
use std::sync::Arc;

/// Encodes a write.
///
/// # Errors
/// Returns [`Malformed`] if a value of the write cannot be represented in JSON.
pub fn write_bytes(write: &Write) -> Result<Bytes, Malformed> {
    Ok(wire::Write::try_from(write)?.encode_to_vec().into())
}

/// Decodes a write.
///
/// # Errors
/// Returns [`Malformed`] if the bytes are not a valid message.
pub fn write_of(bytes: Bytes) -> Result<Write, Malformed> {
    let write = wire::Write::decode(bytes).map_err(|error| Malformed(format!("write: {error}")))?;
    write.try_into()
}

impl TryFrom<&Write> for wire::Write {
    type Error = Malformed;

    fn try_from(write: &Write) -> Result<Self, Malformed> {
        let write = match write {
            Write::Start(new) => wire::write::Write::Start(wire::NewWorkflow {
                transition: Some((&new.write).try_into()?),
                idempotency_key: new.idempotency_key.clone(),
                request_digest: new.request_digest.clone(),
            }),
            Write::Transition(write) => wire::write::Write::Transition(write.try_into()?),
        };
        Ok(Self { write: Some(write) })
    }
}

impl TryFrom<wire::Write> for Write {
    type Error = Malformed;

    fn try_from(write: wire::Write) -> Result<Self, Malformed> {
        Ok(match required(write.write, "write")? {
            wire::write::Write::Start(new) => Self::Start(NewWorkflow {
                write: required(new.transition, "transition of a start")?.try_into()?,
                idempotency_key: new.idempotency_key,
                request_digest: new.request_digest,
            }),
            wire::write::Write::Transition(transition) => Self::Transition(transition.try_into()?),
        })
    }
}

impl TryFrom<&TransitionWrite> for wire::Transition {
    type Error = Malformed;

    fn try_from(write: &TransitionWrite) -> Result<Self, Malformed> {
        let record = &*write.record;
        Ok(Self {
            id: id_bytes(record.id),
            from_seq: record.from_seq,
            seq: record.seq,
            namespace: record.namespace.clone(),
            definition: record.definition.clone(),
            version: record.version,
            status: record.status.as_str().to_owned(),
            cause: record.cause.map(|cause| cause.as_str().to_owned()),
            created_at: record.created_at.0,
            ended_at: record.ended_at.map(|at| at.0),
            ends: record.ends,
            reopens: record.reopens.is_some(),
            reopened_status: record
                .reopens
                .map(|former| former.status.as_str().to_owned())
                .unwrap_or_default(),
            reopened_cause: record
                .reopens
                .and_then(|former| former.cause)
                .map(|cause| cause.as_str().to_owned()),
            migrates: record.migrates,
            parent_id: record.parent.map(id_bytes),
            labels: record.labels.clone().into_iter().collect(),
            error_json: record.error.clone(),
            state_json: bytes(&record.state),
            event_jsons: record.events.iter().map(|(_, event)| bytes(event)).collect(),
            event_seqs: record.events.iter().map(|(seq, _)| *seq).collect(),
            ledger: record.ledger.iter().map(change).collect(),
            lock_releases: record.locks.iter().map(release).collect(),
            publishes: write.publishes.iter().map(ToString::to_string).collect(),
            now: write.now.0,
            redeliver_at: write.redeliver_at.0,
            trace: write.trace.as_ref().map(|trace| wire::WriteTrace {
                traceparent: trace.parent.traceparent.clone(),
                tracestate: trace.parent.tracestate.clone(),
                commit: trace.commit.clone(),
            }),
        })
    }
}

impl TryFrom<wire::Transition> for TransitionWrite {
    type Error = Malformed;

    fn try_from(wire: wire::Transition) -> Result<Self, Malformed> {
        if wire.event_seqs.len() != wire.event_jsons.len() {
            return Err(Malformed("the numbers of events and of their sequence numbers differ".to_owned()));
        }
        let events = wire.event_seqs.into_iter().zip(wire.event_jsons);
        let events = events.map(|(seq, event)| Ok((seq, text("event", event)?)));
        let record = EncodedTransition {
            id: id(&wire.id)?,
            from_seq: wire.from_seq,
            seq: wire.seq,
            namespace: wire.namespace,
            definition: wire.definition,
            version: wire.version,
            status: status(&wire.status)?,
            cause: wire.cause.as_deref().map(cause).transpose()?,
            created_at: Timestamp(wire.created_at),
            ended_at: wire.ended_at.map(Timestamp),
            ends: wire.ends,
            reopens: wire
                .reopens
                .then(|| former_end(&wire.reopened_status, wire.reopened_cause.as_deref()))
                .transpose()?,
            migrates: wire.migrates,
            parent: wire.parent_id.as_ref().map(|parent| id(parent)).transpose()?,
            labels: wire.labels.into_iter().collect(),
            error: wire.error_json,
            state: text("state", wire.state_json)?,
            events: events.collect::<Result<_, Malformed>>()?,
            ledger: wire.ledger.into_iter().map(change_of).collect::<Result<_, _>>()?,
            locks: wire.lock_releases.into_iter().map(release_of).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            record: Arc::new(record),
            publishes: wire.publishes.iter().map(|key| owed_key(key)).collect::<Result<_, _>>()?,
            now: Timestamp(wire.now),
            redeliver_at: Timestamp(wire.redeliver_at),
            trace: wire.trace.map(|trace| WriteTrace {
                parent: TraceContext { traceparent: trace.traceparent, tracestate: trace.tracestate },
                commit: trace.commit,
            }),
        })
    }
}

/// Returns how a reopened workflow had ended. A release that knows no re-runs states no status: it reopens only completed
/// workflows.
fn former_end(former: &str, former_cause: Option<&str>) -> Result<FormerEnd, Malformed> {
    if former.is_empty() {
        return Ok(FormerEnd::COMPLETED);
    }
    Ok(FormerEnd { status: status(former)?, cause: former_cause.map(cause).transpose()? })
}

/// Returns the bytes of a text without a copy.
fn bytes(text: &ByteString) -> Bytes {
    text.as_bytes().clone()
}

fn text(what: &str, bytes: Bytes) -> Result<ByteString, Malformed> {
    ByteString::try_from(bytes).map_err(|error| Malformed(format!("{what}: {error}")))
}

fn change(change: &LedgerChange) -> wire::LedgerChange {
    let change = match change {
        LedgerChange::Issue(row) => wire::ledger_change::Change::Issue(owed(row)),
        LedgerChange::Change(row) => wire::ledger_change::Change::Amend(owed(row)),
        LedgerChange::Settle(key) => wire::ledger_change::Change::Settle(key.to_string()),
    };
    wire::LedgerChange { change: Some(change) }
}

fn change_of(change: wire::LedgerChange) -> Result<LedgerChange, Malformed> {
    Ok(match required(change.change, "ledger change")? {
        wire::ledger_change::Change::Issue(row) => LedgerChange::Issue(owed_of(row)?),
        wire::ledger_change::Change::Amend(row) => LedgerChange::Change(owed_of(row)?),
        wire::ledger_change::Change::Settle(key) => LedgerChange::Settle(owed_key(&key)?),
    })
}

fn release(release: &LockRelease) -> wire::LockRelease {
    wire::LockRelease { row: OwedKey::Timer(release.timer).to_string(), keys: release.keys.clone() }
}

fn release_of(release: wire::LockRelease) -> Result<LockRelease, Malformed> {
    match owed_key(&release.row)? {
        OwedKey::Timer(timer) => Ok(LockRelease { timer, keys: release.keys }),
        OwedKey::Command(..) => Err(Malformed(format!("{} is not the wait for a lock", release.row))),
    }
}

fn owed(row: &Owed) -> wire::OwedRow {
    let due = match row.due {
        Due::At(at) => wire::owed_row::Due::At(at.0),
        Due::Held => wire::owed_row::Due::Held(wire::Held {}),
        Due::Withdraw => wire::owed_row::Due::Withdraw(wire::Withdraw {}),
    };
    wire::OwedRow {
        key: row.key.to_string(),
        attempt: row.attempt,
        service: row.service.clone(),
        due: Some(due),
    }
}

fn owed_of(row: wire::OwedRow) -> Result<Owed, Malformed> {
    let due = match required(row.due, "due time of a ledger row")? {
        wire::owed_row::Due::At(at) => Due::At(Timestamp(at)),
        wire::owed_row::Due::Held(wire::Held {}) => Due::Held,
        wire::owed_row::Due::Withdraw(wire::Withdraw {}) => Due::Withdraw,
    };
    Ok(Owed { key: owed_key(&row.key)?, attempt: row.attempt, service: row.service, due })
}

impl TryFrom<&WriteOutcome> for wire::WriteOutcome {
    type Error = Malformed;

    fn try_from(outcome: &WriteOutcome) -> Result<Self, Malformed> {
        use wire::write_outcome::Outcome;
        let outcome = match outcome {
            WriteOutcome::Written => Outcome::Written(wire::Written {}),
            WriteOutcome::Replayed(loaded) => Outcome::Replayed((&**loaded).try_into()?),
            WriteOutcome::KeyConflict(id) => Outcome::KeyConflict(id_bytes(*id)),
            WriteOutcome::Lost(loaded) => Outcome::Lost((&**loaded).try_into()?),
            WriteOutcome::Missing => Outcome::Missing(wire::Missing {}),
        };
        Ok(Self { outcome: Some(outcome) })
    }
}

impl TryFrom<wire::WriteOutcome> for WriteOutcome {
    type Error = Malformed;

    fn try_from(outcome: wire::WriteOutcome) -> Result<Self, Malformed> {
        use wire::write_outcome::Outcome;
        Ok(match required(outcome.outcome, "outcome")? {
            Outcome::Written(wire::Written {}) => Self::Written,
            Outcome::Replayed(loaded) => Self::Replayed(Box::new(loaded.try_into()?)),
            Outcome::KeyConflict(bytes) => Self::KeyConflict(id(&bytes)?),
            Outcome::Lost(loaded) => Self::Lost(Box::new(loaded.try_into()?)),
            Outcome::Missing(wire::Missing {}) => Self::Missing,
        })
    }
}

impl TryFrom<&Loaded> for wire::Loaded {
    type Error = Malformed;

    fn try_from(loaded: &Loaded) -> Result<Self, Malformed> {
        let state_json = value("state", &loaded.state)?;
        Ok(Self { state_json, idempotency_key: loaded.idempotency_key.clone() })
    }
}

impl TryFrom<wire::Loaded> for Loaded {
    type Error = Malformed;

    fn try_from(loaded: wire::Loaded) -> Result<Self, Malformed> {
        let state = parsed("state", &loaded.state_json)?;
        Ok(Self { state, idempotency_key: loaded.idempotency_key })
    }
}

impl From<&EncodedWorkflow> for wire::Loaded {
    fn from(stored: &EncodedWorkflow) -> Self {
        Self { state_json: bytes(&stored.state), idempotency_key: stored.idempotency_key.clone() }
    }
}

impl TryFrom<wire::Loaded> for EncodedWorkflow {
    type Error = Malformed;

    fn try_from(loaded: wire::Loaded) -> Result<Self, Malformed> {
        Ok(Self { state: text("state", loaded.state_json)?, idempotency_key: loaded.idempotency_key })
    }
}

impl From<WorkflowHead> for wire::Change {
    fn from(seen: WorkflowHead) -> Self {
        Self { id: id_bytes(seen.id), seq: seen.seq, status: seen.status.as_str().to_owned() }
    }
}

impl TryFrom<wire::Change> for WorkflowHead {
    type Error = Malformed;

    fn try_from(change: wire::Change) -> Result<Self, Malformed> {
        Ok(Self { id: id(&change.id)?, seq: change.seq, status: status(&change.status)? })
    }
}

fn status(text: &str) -> Result<Status, Malformed> {
    let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
    found.ok_or_else(|| Malformed(format!("unknown status {text:?}")))
}

fn cause(text: &str) -> Result<RollbackCause, Malformed> {
    parsed("cause", format!("\"{text}\"").as_bytes())
}

impl TryFrom<&Summary> for wire::Summary {
    type Error = Malformed;

    fn try_from(summary: &Summary) -> Result<Self, Malformed> {
        Ok(Self {
            id: id_bytes(summary.id),
            definition: summary.definition.clone(),
            version: summary.version,
            status: summary.status.as_str().to_owned(),
            cause: summary.cause.map(|cause| cause.as_str().to_owned()),
            seq: summary.seq,
            created_at: summary.created_at.0,
            ended_at: summary.ended_at.map(|at| at.0),
            labels: summary.labels.clone().into_iter().collect(),
            idempotency_key: summary.idempotency_key.clone(),
            error_json: summary.error.as_ref().map(|error| value("error", error)).transpose()?,
        })
    }
}

impl TryFrom<wire::Summary> for Summary {
    type Error = Malformed;

    fn try_from(wire: wire::Summary) -> Result<Self, Malformed> {
        Ok(Self {
            id: id(&wire.id)?,
            definition: wire.definition,
            version: wire.version,
            status: status(&wire.status)?,
            cause: wire.cause.as_deref().map(cause).transpose()?,
            seq: wire.seq,
            created_at: Timestamp(wire.created_at),
            ended_at: wire.ended_at.map(Timestamp),
            labels: wire.labels.into_iter().collect(),
            idempotency_key: wire.idempotency_key,
            error: wire.error_json.map(|error| parsed("error", &error)).transpose()?,
        })
    }
}
