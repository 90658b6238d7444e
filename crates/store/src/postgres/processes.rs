//! Who is there, and dead letters.

use super::rows::{given, stored};
use super::{unavailable, uncertain};
use crate::json::{json, parsed};
use crate::{Announcement, DeadLetter, DeadLetterPlace, Error, Member};
use goconductor_saga::Timestamp;
use sqlx::{PgConnection, Row};
use std::time::Duration;

/// The database's clock, in microseconds.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

pub(super) async fn announce(connection: &mut PgConnection, member: &Announcement) -> Result<(), Error> {
    let sql = format!(
        "WITH gone AS (DELETE FROM members WHERE seen_at + lives < {NOW} AND instance <> $1)
         INSERT INTO members (instance, kind, address, about, since, seen_at, lives)
         VALUES ($1, $2, $3, $4, {NOW}, {NOW}, $5)
         ON CONFLICT (instance) DO UPDATE SET kind = excluded.kind, address = excluded.address,
             about = excluded.about, seen_at = excluded.seen_at, lives = excluded.lives"
    );
    // Safe: made of constants only.
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(stored(&member.instance))
        .bind(stored(&member.kind))
        .bind(stored(&member.address))
        .bind(json("a member", &member.info)?)
        .bind(i64::try_from(member.ttl.as_micros()).unwrap_or(i64::MAX >> 2))
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(())
}

pub(super) async fn members(connection: &mut PgConnection) -> Result<Vec<Member>, Error> {
    let sql = format!(
        "SELECT instance, kind, address, about, since, seen_at, lives FROM members
         WHERE seen_at + lives > {NOW} ORDER BY kind COLLATE \"C\", instance COLLATE \"C\""
    );
    // Safe: made of constants only.
    let rows: Vec<(String, String, String, String, i64, i64, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await.map_err(unavailable)?;
    rows.into_iter()
        .map(|(instance, kind, address, info, since, seen_at, ttl)| {
            let announcement = Announcement {
                info: parsed(&format!("member {instance}"), &info)?,
                instance: given(instance),
                kind: given(kind),
                address: given(address),
                ttl: Duration::from_micros(u64::try_from(ttl).unwrap_or(0)),
            };
            Ok(Member { announcement, since: Timestamp(since), seen_at: Timestamp(seen_at) })
        })
        .collect()
}

pub(super) async fn put_dead_letters(
    connection: &mut PgConnection,
    letters: &[DeadLetter],
) -> Result<u64, Error> {
    let texts = |of: fn(&DeadLetter) -> &str| letters.iter().map(|each| stored(of(each))).collect::<Vec<_>>();
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

pub(super) async fn dead_letters(
    connection: &mut PgConnection,
    before: Option<&DeadLetterPlace>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let rows = sqlx::query(
        "SELECT id, topic, message_key, payload, reason, at FROM dead_letters
         WHERE $1::bigint IS NULL OR (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3",
    )
    .bind(before.map(|place| place.at.0))
    .bind(before.map(|place| stored(&place.id)).unwrap_or_default())
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.iter().map(|row| letter(row).map_err(unavailable)).collect()
}

pub(super) async fn dead_letter(
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<DeadLetter>, Error> {
    let row =
        sqlx::query("SELECT id, topic, message_key, payload, reason, at FROM dead_letters WHERE id = $1")
            .bind(stored(id))
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    row.map(|row| letter(&row).map_err(unavailable)).transpose()
}

fn letter(row: &sqlx::postgres::PgRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        id: given(row.try_get(0)?),
        topic: given(row.try_get(1)?),
        key: given(row.try_get(2)?),
        payload: row.try_get(3)?,
        reason: given(row.try_get(4)?),
        at: Timestamp(row.try_get(5)?),
    })
}

pub(super) async fn delete_dead_letter(connection: &mut PgConnection, id: &str) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM dead_letters WHERE id = $1")
        .bind(stored(id))
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(done.rows_affected() > 0)
}
