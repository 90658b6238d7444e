//! The audit log.
//!
//! All writers lock the row of the head, so that the chain does not fork. They hold the lock for one round trip and a
//! commit, and a writer appends all events that it has collected at once.

use super::rows::{escape_nul, number, unescape_nul};
use super::{PostgresStore, commit, unavailable};
use crate::audit::{chained, encoded_intent, page_of_records, unknown_outcomes};
use crate::{AuditEvent, AuditHead, AuditRecord, AuditRequest, AuditStore, Error};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::{PgConnection, Row};
use std::collections::BTreeSet;
use std::time::Duration;

#[async_trait]
impl AuditStore for PostgresStore {
    async fn append_audit(&self, events: &[AuditEvent]) -> Result<AuditHead, Error> {
        let mut transaction = self.begin().await?;
        let head = append(&mut transaction, events).await?;
        commit(transaction).await?;
        Ok(head)
    }

    async fn audit_records(&self, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
        records(&mut *self.connection().await?, request).await
    }

    async fn audit_head(&self) -> Result<AuditHead, Error> {
        head(&mut *self.connection().await?, "SELECT seq, hash FROM audit_head").await
    }

    async fn note_audit_intents(&self, events: &[AuditEvent]) -> Result<(), Error> {
        let ids: Vec<_> = events.iter().map(|event| escape_nul(&event.id)).collect();
        let intents: Vec<String> = events.iter().map(encoded_intent).collect::<Result<_, _>>()?;
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO audit_intents (id, noted_at, event)
             SELECT new.id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, new.event
             FROM unnest($1::text[], $2::text[]) AS new (id, event)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(ids)
        .bind(intents)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        commit(transaction).await
    }

    async fn settle_audit_intents(&self, age: Duration) -> Result<u64, Error> {
        let mut transaction = self.begin().await?;
        // Locks the head first, as every writer does.
        head(&mut transaction, LOCKED_HEAD).await?;
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let intents: Vec<String> = sqlx::query_scalar(
            "WITH due AS (
                 DELETE FROM audit_intents
                 WHERE noted_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1
                 RETURNING id, event
             )
             SELECT event FROM due WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE audit_log.id = due.id)",
        )
        .bind(age)
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
        if !intents.is_empty() {
            append(&mut transaction, &unknown_outcomes(&intents)?).await?;
        }
        commit(transaction).await?;
        Ok(u64::try_from(intents.len()).unwrap_or(u64::MAX))
    }
}

/// Reads the head, and locks it until the end of the transaction.
const LOCKED_HEAD: &str = "SELECT seq, hash FROM audit_head FOR UPDATE";

async fn append(connection: &mut PgConnection, events: &[AuditEvent]) -> Result<AuditHead, Error> {
    let head = head(connection, LOCKED_HEAD).await?;
    let ids: Vec<_> = events.iter().map(|event| escape_nul(&event.id)).collect();
    sqlx::query("DELETE FROM audit_intents WHERE id = ANY($1)")
        .bind(&ids)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    let known: Vec<String> = sqlx::query_scalar("SELECT id FROM audit_log WHERE id = ANY($1)")
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(unavailable)?;
    let mut known: BTreeSet<String> = known.into_iter().map(unescape_nul).collect();
    let new = events.iter().filter(|event| known.insert(event.id.clone())).cloned();
    let records = chained(&head, new);
    let Some(last) = records.last() else { return Ok(head) };
    let last = AuditHead { seq: last.seq, hash: last.hash.clone() };
    insert(connection, &records).await?;
    sqlx::query("UPDATE audit_head SET seq = $1, hash = $2")
        .bind(signed(last.seq))
        .bind(&last.hash)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(last)
}

async fn insert(connection: &mut PgConnection, records: &[AuditRecord]) -> Result<(), Error> {
    let texts =
        |of: fn(&AuditRecord) -> &str| records.iter().map(|each| escape_nul(of(each))).collect::<Vec<_>>();
    let optional = |of: fn(&AuditEvent) -> &Option<String>| {
        records.iter().map(|each| of(&each.event).as_deref().map(escape_nul)).collect::<Vec<_>>()
    };
    sqlx::query(
        "INSERT INTO audit_log (seq, id, at, actor, credential, source, action, namespace, target_kind, target_name,
             outcome, code, count, value_before, value_after, trace_id, prev_hash, hash)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::text[],
             $16::text[], $17::text[], $18::text[])",
    )
    .bind(records.iter().map(|each| signed(each.seq)).collect::<Vec<_>>())
    .bind(texts(|each| &each.event.id))
    .bind(records.iter().map(|each| each.event.at.0).collect::<Vec<_>>())
    .bind(texts(|each| &each.event.actor))
    .bind(optional(|event| &event.credential))
    .bind(optional(|event| &event.source))
    .bind(texts(|each| &each.event.action))
    .bind(optional(|event| &event.namespace))
    .bind(optional(|event| &event.target_kind))
    .bind(optional(|event| &event.target_name))
    .bind(texts(|each| &each.event.outcome))
    .bind(optional(|event| &event.code))
    .bind(records.iter().map(|each| each.event.count).collect::<Vec<_>>())
    .bind(optional(|event| &event.before))
    .bind(optional(|event| &event.after))
    .bind(optional(|event| &event.trace_id))
    .bind(texts(|each| &each.prev_hash))
    .bind(texts(|each| &each.hash))
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn head(connection: &mut PgConnection, sql: &'static str) -> Result<AuditHead, Error> {
    let row: Option<(i64, String)> =
        sqlx::query_as(sql).fetch_optional(connection).await.map_err(unavailable)?;
    let (seq, hash) = row.ok_or_else(|| Error::corrupt("the head of the audit log", "its row is missing"))?;
    Ok(AuditHead { seq: number(seq), hash })
}

async fn records(connection: &mut PgConnection, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
    let AuditRequest { filter, after, before, newest_first, limit } = request;
    let sql = page_of_records(*newest_first, |number, kind| format!("${number}::{kind}"));
    // Safe: the text contains only constants.
    let mut page = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(signed(*after)).bind(before.map(signed));
    for text in filter.texts() {
        page = page.bind(text.map(|text| escape_nul(text).into_owned()));
    }
    let rows = page
        .bind(filter.since.map(|time| time.0))
        .bind(filter.until.map(|time| time.0))
        .bind(i64::from(*limit))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(|row| record(row).map_err(unavailable)).collect()
}

fn record(row: &sqlx::postgres::PgRow) -> Result<AuditRecord, sqlx::Error> {
    let text = |index: usize| row.try_get::<String, _>(index).map(unescape_nul);
    let optional = |index: usize| row.try_get::<Option<String>, _>(index).map(|text| text.map(unescape_nul));
    let event = AuditEvent {
        id: text(1)?,
        at: Timestamp(row.try_get(2)?),
        actor: text(3)?,
        credential: optional(4)?,
        source: optional(5)?,
        action: text(6)?,
        namespace: optional(7)?,
        target_kind: optional(8)?,
        target_name: optional(9)?,
        outcome: text(10)?,
        code: optional(11)?,
        count: row.try_get(12)?,
        before: optional(13)?,
        after: optional(14)?,
        trace_id: optional(15)?,
    };
    Ok(AuditRecord { seq: number(row.try_get(0)?), event, prev_hash: text(16)?, hash: text(17)? })
}

fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
