//! Rows to values and back.

use super::unavailable;
use crate::json::{corrupt, json, parsed};
use crate::{Error, LedgerRow, LedgerRowKey, Loaded, RowKind, Stored};
use goconductor_saga::{OwedKey, Status, Timestamp, WorkflowId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use std::borrow::Cow;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Begins what stands for a character that PostgreSQL's texts can't hold.
const ESCAPE: char = '\u{1}';

/// A text as it is stored. PostgreSQL's texts hold no U+0000: it is written as U+0001 and `0`, and
/// U+0001 as itself and `1`. All else is as it was, and texts keep their order.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for each in text.chars() {
        match each {
            '\0' => stored.extend([ESCAPE, '0']),
            ESCAPE => stored.extend([ESCAPE, '1']),
            other => stored.push(other),
        }
    }
    Cow::Owned(stored)
}

/// A stored text as it was given.
pub(super) fn given(stored: String) -> String {
    if !stored.contains(ESCAPE) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut rest = stored.chars();
    while let Some(each) = rest.next() {
        match each {
            ESCAPE if rest.next() == Some('0') => text.push('\0'),
            other => text.push(other),
        }
    }
    text
}

/// Labels as they are stored; their names and values are texts.
pub(super) fn stored_labels(labels: &BTreeMap<String, String>) -> Result<String, Error> {
    if labels.iter().all(|(name, value)| !name.contains(['\0', ESCAPE]) && !value.contains(['\0', ESCAPE])) {
        return json("labels", labels);
    }
    json(
        "labels",
        &labels.iter().map(|(name, value)| (stored(name), stored(value))).collect::<BTreeMap<_, _>>(),
    )
}

/// The same, read.
pub(super) fn given_labels(what: &str, text: &str) -> Result<BTreeMap<String, String>, Error> {
    let labels: BTreeMap<String, String> = parsed(what, text)?;
    Ok(labels.into_iter().map(|(name, value)| (given(name), given(value))).collect())
}

pub(super) fn status_of(text: &str) -> Result<Status, Error> {
    let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
    found.ok_or_else(|| Error::corrupt("a status", format!("unknown status {text:?}")))
}

pub(super) fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn uuids(ids: &[WorkflowId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

pub(super) async fn read(
    connection: &mut PgConnection,
    ids: &[WorkflowId],
) -> Result<Vec<Option<Stored>>, Error> {
    let rows: Vec<(Uuid, String, String)> =
        sqlx::query_as("SELECT id, state, idempotency_key FROM workflows WHERE id = ANY ($1)")
            .bind(uuids(ids))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
    let mut found = BTreeMap::new();
    for (id, state, key) in rows {
        let idempotency_key = (!key.is_empty()).then(|| given(key));
        found.insert(WorkflowId(id), Stored { state: state.into(), idempotency_key });
    }
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

pub(super) async fn load(
    connection: &mut PgConnection,
    ids: &[WorkflowId],
) -> Result<Vec<Option<Loaded>>, Error> {
    let stored = read(connection, ids).await?;
    ids.iter().zip(stored).map(|(id, found)| found.map(|found| found.loaded(*id)).transpose()).collect()
}

/// A ledger row's columns.
pub(super) struct RawLedgerRow {
    workflow_id: Uuid,
    key: String,
    attempt: i64,
    namespace: String,
    service: Option<String>,
    kind: String,
    due_at: i64,
    deliveries: i64,
    issued_at: i64,
}

impl<'r> FromRow<'r, PgRow> for RawLedgerRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            workflow_id: row.try_get("workflow_id")?,
            key: row.try_get("key")?,
            attempt: row.try_get("attempt")?,
            namespace: row.try_get("namespace")?,
            service: row.try_get("service")?,
            kind: row.try_get("kind")?,
            due_at: row.try_get("due_at")?,
            deliveries: row.try_get("deliveries")?,
            issued_at: row.try_get("issued_at")?,
        })
    }
}

impl RawLedgerRow {
    pub(super) fn read(self) -> Result<LedgerRow, Error> {
        let key: OwedKey = self.key.parse().map_err(|error| corrupt("a ledger row's key", error))?;
        let kind = match self.kind.as_str() {
            "run" => RowKind::Run,
            "held" => RowKind::Held,
            "withdraw" => RowKind::Withdraw,
            other => return Err(Error::corrupt("a ledger row's kind", format!("unknown kind {other:?}"))),
        };
        let count = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(LedgerRow {
            key: LedgerRowKey { id: WorkflowId(self.workflow_id), key, attempt: count(self.attempt) },
            namespace: given(self.namespace),
            service: self.service.map(given),
            kind,
            due_at: Timestamp(self.due_at),
            deliveries: count(self.deliveries),
            issued_at: Timestamp(self.issued_at),
        })
    }
}
