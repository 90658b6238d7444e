//! The audit log. The writer thread is the only writer, so that the chain does not fork.

use super::rows::number;
use super::{SqliteStore, clock};
use crate::audit::{chained, encoded_intent, page_of_records, unknown_outcomes};
use crate::{AuditEvent, AuditHead, AuditRecord, AuditRequest, AuditStore, Error};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use std::time::Duration;

#[async_trait]
impl AuditStore for SqliteStore {
    async fn append_audit(&self, events: &[AuditEvent]) -> Result<AuditHead, Error> {
        let events = events.to_vec();
        self.write_job(move |connection| append(connection, events)).await
    }

    async fn audit_records(&self, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
        let request = request.clone();
        self.read(move |connection| records(connection, &request)).await
    }

    async fn audit_head(&self) -> Result<AuditHead, Error> {
        self.read(head).await
    }

    async fn note_audit_intents(&self, events: &[AuditEvent]) -> Result<(), Error> {
        let mut intents = Vec::with_capacity(events.len());
        for event in events {
            intents.push((event.id.clone(), encoded_intent(event)?));
        }
        self.write_job(move |connection| {
            let mut note = connection.prepare_cached(
                "INSERT INTO audit_intents (id, noted_at, event) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
            )?;
            for (id, intent) in intents {
                note.execute(params![id, clock().0, intent])?;
            }
            Ok(())
        })
        .await
    }

    async fn settle_audit_intents(&self, age: Duration) -> Result<u64, Error> {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        self.write_job(move |connection| {
            let until = clock().0.saturating_sub(age);
            let mut delete = connection
                .prepare_cached("DELETE FROM audit_intents WHERE noted_at <= ?1 RETURNING id, event")?;
            let due: Vec<(String, String)> =
                delete.query_map([until], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let mut find = connection.prepare_cached("SELECT 1 FROM audit_log WHERE id = ?1")?;
            let mut intents = Vec::with_capacity(due.len());
            for (id, intent) in due {
                if !find.exists([&id])? {
                    intents.push(intent);
                }
            }
            if !intents.is_empty() {
                append(connection, unknown_outcomes(&intents)?)?;
            }
            Ok(u64::try_from(intents.len()).unwrap_or(u64::MAX))
        })
        .await
    }
}

fn append(connection: &Connection, events: Vec<AuditEvent>) -> Result<AuditHead, Error> {
    let head = head(connection)?;
    let mut known = BTreeSet::new();
    let mut find = connection.prepare_cached("SELECT 1 FROM audit_log WHERE id = ?1")?;
    let mut forget = connection.prepare_cached("DELETE FROM audit_intents WHERE id = ?1")?;
    let mut new = Vec::with_capacity(events.len());
    for event in events {
        forget.execute([&event.id])?;
        if known.insert(event.id.clone()) && !find.exists([&event.id])? {
            new.push(event);
        }
    }
    let records = chained(&head, new.into_iter());
    let Some(last) = records.last() else { return Ok(head) };
    let last = AuditHead { seq: last.seq, hash: last.hash.clone() };
    for record in &records {
        insert(connection, record)?;
    }
    connection
        .prepare_cached("UPDATE audit_head SET seq = ?1, hash = ?2")?
        .execute(params![signed(last.seq), last.hash])?;
    Ok(last)
}

fn insert(connection: &Connection, record: &AuditRecord) -> Result<(), Error> {
    let event = &record.event;
    connection
        .prepare_cached(
            "INSERT INTO audit_log (seq, id, at, actor, credential, source, action, namespace, target_kind, target_name,
                 outcome, code, count, value_before, value_after, trace_id, prev_hash, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        )?
        .execute(params![
            signed(record.seq),
            event.id,
            event.at.0,
            event.actor,
            event.credential,
            event.source,
            event.action,
            event.namespace,
            event.target_kind,
            event.target_name,
            event.outcome,
            event.code,
            event.count,
            event.before,
            event.after,
            event.trace_id,
            record.prev_hash,
            record.hash,
        ])?;
    Ok(())
}

fn head(connection: &Connection) -> Result<AuditHead, Error> {
    let row: Option<(i64, String)> = connection
        .prepare_cached("SELECT seq, hash FROM audit_head")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (seq, hash) = row.ok_or_else(|| Error::corrupt("the head of the audit log", "its row is missing"))?;
    Ok(AuditHead { seq: number(seq), hash })
}

fn records(connection: &Connection, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
    let AuditRequest { filter, after, before, newest_first, limit } = request;
    let [actor, credential, source, action, namespace, target_kind, target_name, outcome] = filter.texts();
    let sql = page_of_records(*newest_first, |number, _| format!("?{number}"));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(
        params![
            signed(*after),
            before.map(signed),
            actor,
            credential,
            source,
            action,
            namespace,
            target_kind,
            target_name,
            outcome,
            filter.since.map(|time| time.0),
            filter.until.map(|time| time.0),
            limit,
        ],
        record,
    )?;
    rows.map(|row| Ok(row?)).collect()
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuditRecord> {
    let event = AuditEvent {
        id: row.get(1)?,
        at: Timestamp(row.get(2)?),
        actor: row.get(3)?,
        credential: row.get(4)?,
        source: row.get(5)?,
        action: row.get(6)?,
        namespace: row.get(7)?,
        target_kind: row.get(8)?,
        target_name: row.get(9)?,
        outcome: row.get(10)?,
        code: row.get(11)?,
        count: row.get(12)?,
        before: row.get(13)?,
        after: row.get(14)?,
        trace_id: row.get(15)?,
    };
    Ok(AuditRecord { seq: number(row.get(0)?), event, prev_hash: row.get(16)?, hash: row.get(17)? })
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
