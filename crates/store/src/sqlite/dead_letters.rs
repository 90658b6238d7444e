//! Dead letters.

use super::SqliteStore;
use crate::{DeadLetter, DeadLetterPosition, DeadLetterStore, Error};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        let letters = letters.to_vec();
        self.write_job(move |connection| put_dead_letters(connection, &letters)).await
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPosition>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let before = before.cloned();
        self.read(move |connection| dead_letters(connection, before.as_ref(), limit)).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let id = id.to_owned();
        self.read(move |connection| dead_letter(connection, &id)).await
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.write_job(move |connection| delete_dead_letter(connection, &id)).await
    }
}

fn put_dead_letters(connection: &Connection, letters: &[DeadLetter]) -> Result<u64, Error> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO dead_letters (id, topic, message_key, payload, reason, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING",
    )?;
    let mut new = 0;
    for each in letters {
        let row = params![each.id, each.topic, each.key, each.payload, each.reason, each.at.0];
        new += u64::try_from(insert.execute(row)?).unwrap_or(0);
    }
    Ok(new)
}

fn dead_letters(
    connection: &Connection,
    before: Option<&DeadLetterPosition>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, topic, message_key, payload, reason, at FROM dead_letters
         WHERE ?1 IS NULL OR (at, id) < (?1, ?2) ORDER BY at DESC, id DESC LIMIT ?3",
    )?;
    let (at, id) = (before.map(|position| position.at.0), before.map(|position| position.id.clone()));
    let rows = statement.query_map(params![at, id, limit], letter)?;
    rows.map(|row| Ok(row?)).collect()
}

fn dead_letter(connection: &Connection, id: &str) -> Result<Option<DeadLetter>, Error> {
    let sql = "SELECT id, topic, message_key, payload, reason, at FROM dead_letters WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([id], letter).optional()?)
}

fn letter(row: &rusqlite::Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter {
        id: row.get(0)?,
        topic: row.get(1)?,
        key: row.get(2)?,
        payload: row.get(3)?,
        reason: row.get(4)?,
        at: Timestamp(row.get(5)?),
    })
}

fn delete_dead_letter(connection: &Connection, id: &str) -> Result<bool, Error> {
    Ok(connection.prepare_cached("DELETE FROM dead_letters WHERE id = ?1")?.execute([id])? > 0)
}
