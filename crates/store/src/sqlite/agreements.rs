//! What all processes agree on.

use super::rows::number;
use crate::json::{json, parsed};
use crate::{Agreement, Error};
use goconductor_saga::{Json, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn get(connection: &Connection, name: &str) -> Result<Option<Agreement>, Error> {
    let row: Option<(i64, String, i64)> = connection
        .prepare_cached("SELECT revision, value, since FROM agreements WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    row.map(|(revision, value, since)| {
        let value = parsed(&format!("the agreement {name}"), &value)?;
        Ok(Agreement { revision: number(revision), value, since: Timestamp(since) })
    })
    .transpose()
}

/// What is agreed on then; none: it is of another revision.
pub(super) fn put(
    connection: &Connection,
    name: &str,
    revision: u64,
    value: Json,
    now: Timestamp,
) -> Result<Option<Agreement>, Error> {
    let text = json("an agreement", &value)?;
    let changed = if revision == 0 {
        connection
            .prepare_cached(
                "INSERT INTO agreements (name, revision, value, since) VALUES (?1, 1, ?2, ?3)
                 ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![name, text, now.0])?
    } else {
        connection
            .prepare_cached(
                "UPDATE agreements SET revision = revision + 1, value = ?2, since = ?3
                 WHERE name = ?1 AND revision = ?4",
            )?
            .execute(params![name, text, now.0, i64::try_from(revision).unwrap_or(i64::MAX)])?
    };
    Ok((changed > 0).then(|| Agreement { revision: revision.saturating_add(1), value, since: now }))
}
