//! Conversion between rows and values.

use super::unavailable;
use crate::json::{corrupt, json, parsed};
use crate::{EncodedWorkflow, Error, LedgerRow, LedgerRowKey, Loaded, RowKind};
use goconductor_saga::{OwedKey, Status, Timestamp, WorkflowId};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use std::borrow::Cow;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The first character of an escape sequence.
const ESCAPE: char = '\u{1}';

/// Escapes U+0000, which PostgreSQL's text type cannot contain. U+0000 becomes U+0001 `0`, and U+0001 becomes U+0001 `1`.
/// All other characters are unchanged, and the order of texts is preserved.
pub(super) fn escape_nul(text: &str) -> Cow<'_, str> {
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

/// Reverses [`escape_nul`].
pub(super) fn unescape_nul(stored: String) -> String {
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

/// Encodes labels, with escaped names and values.
pub(super) fn encode_labels(labels: &BTreeMap<String, String>) -> Result<String, Error> {
    if labels.iter().all(|(name, value)| !name.contains(['\0', ESCAPE]) && !value.contains(['\0', ESCAPE])) {
        return json("labels", labels);
    }
    json(
        "labels",
        &labels.iter().map(|(name, value)| (escape_nul(name), escape_nul(value))).collect::<BTreeMap<_, _>>(),
    )
}

/// Reverses [`encode_labels`]. `what` names the labels in an error.
pub(super) fn decode_labels(what: &str, text: &str) -> Result<BTreeMap<String, String>, Error> {
    let labels: BTreeMap<String, String> = parsed(what, text)?;
    Ok(labels.into_iter().map(|(name, value)| (unescape_nul(name), unescape_nul(value))).collect())
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
) -> Result<Vec<Option<EncodedWorkflow>>, Error> {
    let rows: Vec<(Uuid, String, String)> =
        sqlx::query_as("SELECT id, state, idempotency_key FROM workflows WHERE id = ANY ($1)")
            .bind(uuids(ids))
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
    let mut found = BTreeMap::new();
    for (id, state, key) in rows {
        let idempotency_key = (!key.is_empty()).then(|| unescape_nul(key));
        found.insert(WorkflowId(id), EncodedWorkflow { state: state.into(), idempotency_key });
    }
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

pub(super) async fn load(
    connection: &mut PgConnection,
    ids: &[WorkflowId],
) -> Result<Vec<Option<Loaded>>, Error> {
    let stored = read(connection, ids).await?;
    ids.iter().zip(stored).map(|(id, found)| found.map(|found| found.decode(*id)).transpose()).collect()
}

/// The columns of a ledger row.
pub(super) struct PgLedgerRow {
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

impl<'r> FromRow<'r, PgRow> for PgLedgerRow {
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

impl PgLedgerRow {
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
            namespace: unescape_nul(self.namespace),
            service: self.service.map(unescape_nul),
            kind,
            due_at: Timestamp(self.due_at),
            deliveries: count(self.deliveries),
            issued_at: Timestamp(self.issued_at),
        })
    }
}
