//! Binary encoding of rows as arrays of the composite types `workflow_row`, `step_row` and `ledger_row`.

use super::rows::{encode_labels, escape_nul};
use crate::ledger::queue_of;
use crate::{EncodedTransition, Error, NewWorkflow, TransitionWrite};
use goconductor_saga::{Due, Owed, Timestamp};
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgRecordEncoder;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Postgres, Type};
use std::borrow::Cow;
use uuid::Uuid;

/// The due time of a row that is never due.
pub(super) const NEVER: i64 = i64::MAX;
/// The queue of timers, and of commands to withdraw that were never delivered.
pub(super) const NO_LANE: &str = "";

/// A start, encoded as `workflow_row`.
pub(super) struct StartRow<'a> {
    /// The position in the batch.
    position: i64,
    record: &'a EncodedTransition,
    key: Cow<'a, str>,
    digest: Cow<'a, str>,
    labels: String,
}

impl<'a> StartRow<'a> {
    pub(super) fn of(position: i64, new: &'a NewWorkflow) -> Result<Self, Error> {
        Ok(Self {
            position,
            record: &new.write.record,
            key: new.idempotency_key.as_deref().map(escape_nul).unwrap_or_default(),
            digest: escape_nul(&new.request_digest),
            labels: encode_labels(&new.write.record.labels)?,
        })
    }
}

/// A transition of an existing workflow, encoded as `step_row`. It omits the columns that only a start sets.
pub(super) struct StepRow<'a>(pub(super) &'a EncodedTransition);

/// A ledger row to insert or change, encoded as `ledger_row`.
#[derive(Clone)]
pub(super) struct LedgerEntry<'a> {
    pub(super) id: Uuid,
    pub(super) key: String,
    pub(super) attempt: i64,
    pub(super) namespace: Cow<'a, str>,
    pub(super) service: Option<Cow<'a, str>>,
    pub(super) kind: &'static str,
    pub(super) queue: String,
    /// The queue of the row after its delivery.
    pub(super) lane: String,
    pub(super) due_at: i64,
    pub(super) deliveries: i64,
    pub(super) issued_at: i64,
}

impl<'a> LedgerEntry<'a> {
    pub(super) fn of(write: &'a TransitionWrite, row: &'a Owed) -> Self {
        let namespace = &write.record.namespace;
        let lane = escape_nul(&queue_of(namespace, row.service.as_deref(), row.key)).into_owned();
        let (kind, queue, due_at) = match row.due {
            Due::At(Timestamp(at)) => ("run", lane.clone(), at),
            Due::Held => ("held", lane.clone(), NEVER),
            Due::Withdraw => ("withdraw", NO_LANE.to_owned(), write.now.0),
        };
        let published = write.publishes.contains(&row.key);
        Self {
            id: write.record.id.0,
            key: row.key.to_string(),
            attempt: i64::from(row.attempt),
            namespace: escape_nul(namespace),
            service: row.service.as_deref().map(escape_nul),
            kind,
            queue,
            lane,
            due_at: if published { write.redeliver_at.0 } else { due_at },
            deliveries: i64::from(published),
            issued_at: write.now.0,
        }
    }
}

pub(super) fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Returns the `cause` column. It is empty if the workflow is not rolled back.
fn cause(record: &EncodedTransition) -> &'static str {
    record.cause.map_or("", |cause| cause.as_str())
}

impl Encode<'_, Postgres> for StartRow<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let record = self.record;
        let mut row = PgRecordEncoder::new(buffer);
        // The order is that of the type's columns.
        row.encode(record.id.0)?
            .encode(self.position)?
            .encode(number(record.from_seq))?
            .encode(&*escape_nul(&record.namespace))?
            .encode(&*escape_nul(&record.definition))?
            .encode(i32::try_from(record.version).unwrap_or(i32::MAX))?
            .encode(record.status.as_str())?
            .encode(cause(record))?
            .encode(number(record.seq))?
            .encode(&*record.state)?
            .encode(record.created_at.0)?
            .encode(record.ended_at.map(|at| at.0))?
            .encode(&*self.key)?
            .encode(&*self.digest)?
            .encode(&*self.labels)?
            .encode(record.error.as_deref())?
            .encode(record.ends)?;
        row.finish();
        Ok(IsNull::No)
    }
}

impl Encode<'_, Postgres> for StepRow<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Self(record) = self;
        let mut row = PgRecordEncoder::new(buffer);
        row.encode(record.id.0)?
            .encode(number(record.from_seq))?
            .encode(record.status.as_str())?
            .encode(cause(record))?
            .encode(number(record.seq))?
            .encode(&*record.state)?
            .encode(record.ended_at.map(|at| at.0))?
            .encode(record.error.as_deref())?
            .encode(record.ends)?;
        row.finish();
        Ok(IsNull::No)
    }
}

impl Encode<'_, Postgres> for LedgerEntry<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let mut row = PgRecordEncoder::new(buffer);
        row.encode(self.id)?
            .encode(&*self.key)?
            .encode(self.attempt)?
            .encode(&*self.namespace)?
            .encode(self.service.as_deref())?
            .encode(self.kind)?
            .encode(&*self.queue)?
            .encode(self.due_at)?
            .encode(self.deliveries)?
            .encode(self.issued_at)?;
        row.finish();
        Ok(IsNull::No)
    }
}

/// Sets the names of the composite type and of its array type.
macro_rules! composite_type {
    ($row:ident, $name:literal) => {
        impl Type<Postgres> for $row<'_> {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($name)
            }
        }

        impl PgHasArrayType for $row<'_> {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of($name)
            }
        }
    };
}

composite_type!(StartRow, "workflow_row");
composite_type!(StepRow, "step_row");
composite_type!(LedgerEntry, "ledger_row");
