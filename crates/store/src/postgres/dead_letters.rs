//! Dead letters.

use super::rows::{escape_nul, unescape_nul};
use super::{PostgresStore, unavailable, uncertain};
use crate::{DeadLetter, DeadLetterPosition, DeadLetterStore, Error};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::{PgConnection, Row};

#[async_trait]
impl DeadLetterStore for PostgresStore {
    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        put_dead_letters(&mut *self.connection().await?, letters).await
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPosition>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        dead_letters(&mut *self.connection().await?, before, limit).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        dead_letter(&mut *self.connection().await?, id).await
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        delete_dead_letter(&mut *self.connection().await?, id).await
    }
}

async fn put_dead_letters(connection: &mut PgConnection, letters: &[DeadLetter]) -> Result<u64, Error> {
    let texts =
        |of: fn(&DeadLetter) -> &str| letters.iter().map(|each| escape_nul(of(each))).collect::<Vec<_>>();
    let done = sqlx::query(
        "INSERT INTO dead_letters (id, topic, message_key, payload, reason, at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[])
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(texts(|each| &each.id))
    .bind(texts(|each| &each.topic))
    .bind(texts(|each| &each.key))
    .bind(letters.iter().map(|each| each.payload.clone()).collect::<Vec<_>>())
    .bind(texts(|each| &each.reason))
    .bind(letters.iter().map(|each| each.at.0).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(uncertain)?;
    Ok(done.rows_affected())
}

async fn dead_letters(
    connection: &mut PgConnection,
    before: Option<&DeadLetterPosition>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let rows = sqlx::query(
        "SELECT id, topic, message_key, payload, reason, at FROM dead_letters
         WHERE $1::bigint IS NULL OR (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3",
    )
    .bind(before.map(|position| position.at.0))
    .bind(before.map(|position| escape_nul(&position.id)).unwrap_or_default())
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.iter().map(|row| letter(row).map_err(unavailable)).collect()
}

async fn dead_letter(connection: &mut PgConnection, id: &str) -> Result<Option<DeadLetter>, Error> {
    let row =
        sqlx::query("SELECT id, topic, message_key, payload, reason, at FROM dead_letters WHERE id = $1")
            .bind(escape_nul(id))
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    row.map(|row| letter(&row).map_err(unavailable)).transpose()
}

fn letter(row: &sqlx::postgres::PgRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        id: unescape_nul(row.try_get(0)?),
        topic: unescape_nul(row.try_get(1)?),
        key: unescape_nul(row.try_get(2)?),
        payload: row.try_get(3)?,
        reason: unescape_nul(row.try_get(4)?),
        at: Timestamp(row.try_get(5)?),
    })
}

async fn delete_dead_letter(connection: &mut PgConnection, id: &str) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
        .bind(escape_nul(id))
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(done.rows_affected() > 0)
}
