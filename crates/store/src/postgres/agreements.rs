//! What all processes agree on.

use super::rows::{number, stored};
use super::{unavailable, uncertain};
use crate::json::{json, parsed};
use crate::{Agreement, Error};
use goconductor_saga::{Json, Timestamp};
use sqlx::PgConnection;

pub(super) async fn get(connection: &mut PgConnection, name: &str) -> Result<Option<Agreement>, Error> {
    let row: Option<(i64, String, i64)> =
        sqlx::query_as("SELECT revision, value, since FROM agreements WHERE name = $1")
            .bind(stored(name))
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    row.map(|(revision, value, since)| {
        let value = parsed(&format!("the agreement {name}"), &value)?;
        Ok(Agreement { revision: number(revision), value, since: Timestamp(since) })
    })
    .transpose()
}

/// What is agreed on then; none: it is of another revision. One statement, which is its own transaction: of two that
/// come together the second waits for the first, and finds its revision.
pub(super) async fn put(
    connection: &mut PgConnection,
    name: &str,
    revision: u64,
    value: &Json,
) -> Result<Option<Agreement>, Error> {
    let sql = if revision == 0 {
        "INSERT INTO agreements (name, revision, value, since)
         SELECT $1, $2 + 1, $3, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
         ON CONFLICT (name) DO NOTHING RETURNING since"
    } else {
        "UPDATE agreements SET revision = revision + 1, value = $3,
             since = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
         WHERE name = $1 AND revision = $2 RETURNING since"
    };
    let since: Option<i64> = sqlx::query_scalar(sql)
        .bind(stored(name))
        .bind(i64::try_from(revision).unwrap_or(i64::MAX))
        .bind(json("an agreement", value)?)
        .fetch_optional(connection)
        .await
        .map_err(uncertain)?;
    let (revision, value) = (revision.saturating_add(1), value.clone());
    Ok(since.map(|since| Agreement { revision, value, since: Timestamp(since) }))
}
