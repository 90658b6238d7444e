//! Conversion between rows and values.

use crate::json::corrupt;
use crate::{EncodedWorkflow, Error, LedgerRow, LedgerRowKey, Loaded, RowKind};
use goconductor_saga::{OwedKey, Status, Timestamp, WorkflowId};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) fn id_bytes(id: WorkflowId) -> [u8; 16] {
    id.0.into_bytes()
}

pub(super) fn id_of(bytes: &[u8]) -> Result<WorkflowId, Error> {
    uuid::Uuid::from_slice(bytes).map(WorkflowId).map_err(|error| corrupt("a workflow's id", error))
}

pub(super) fn text_of(key: OwedKey) -> String {
    key.to_string()
}

pub(super) fn status_of(text: &str) -> Result<Status, Error> {
    let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
    found.ok_or_else(|| Error::corrupt("a status", format!("unknown status {text:?}")))
}

pub(super) fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn read_one(connection: &Connection, id: WorkflowId) -> Result<Option<EncodedWorkflow>, Error> {
    let row: Option<(String, String)> = connection
        .prepare_cached("SELECT state, idempotency_key FROM workflows WHERE id = ?1")?
        .query_row(params![id_bytes(id)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((state, key)) = row else { return Ok(None) };
    Ok(Some(EncodedWorkflow { state: state.into(), idempotency_key: (!key.is_empty()).then_some(key) }))
}

pub(super) fn load_one(connection: &Connection, id: WorkflowId) -> Result<Option<Loaded>, Error> {
    read_one(connection, id)?.map(|found| found.decode(id)).transpose()
}

/// The columns that [`ledger_row`] reads.
pub(super) const LEDGER: &str =
    "workflow_id, key, attempt, namespace, service, kind, due_at, deliveries, issued_at";

/// The columns of a ledger row. Reading them fails only with errors of the driver.
pub(super) struct SqliteLedgerRow {
    id: Vec<u8>,
    key: String,
    attempt: u32,
    namespace: String,
    service: Option<String>,
    kind: String,
    due_at: i64,
    deliveries: u32,
    issued_at: i64,
}

pub(super) fn ledger_row(row: &Row<'_>) -> rusqlite::Result<SqliteLedgerRow> {
    Ok(SqliteLedgerRow {
        id: row.get(0)?,
        key: row.get(1)?,
        attempt: row.get(2)?,
        namespace: row.get(3)?,
        service: row.get(4)?,
        kind: row.get(5)?,
        due_at: row.get(6)?,
        deliveries: row.get(7)?,
        issued_at: row.get(8)?,
    })
}

impl SqliteLedgerRow {
    pub(super) fn read(self) -> Result<LedgerRow, Error> {
        let id = id_of(&self.id)?;
        let key: OwedKey = self.key.parse().map_err(|error| corrupt("a ledger row's key", error))?;
        let kind = match self.kind.as_str() {
            "run" => RowKind::Run,
            "held" => RowKind::Held,
            "withdraw" => RowKind::Withdraw,
            other => return Err(Error::corrupt("a ledger row's kind", format!("unknown kind {other:?}"))),
        };
        Ok(LedgerRow {
            key: LedgerRowKey { id, key, attempt: self.attempt },
            namespace: self.namespace,
            service: self.service,
            kind,
            due_at: Timestamp(self.due_at),
            deliveries: self.deliveries,
            issued_at: Timestamp(self.issued_at),
        })
    }
}
