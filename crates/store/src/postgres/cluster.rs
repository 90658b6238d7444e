//! Members, fencing tokens, configuration entries and the clock.

use super::rows::{escape_nul, number, unescape_nul};
use super::{NOW, PostgresStore, migrations, retry_conflicts, unavailable, uncertain};
use crate::json::{json, parsed};
use crate::{Announcement, ClusterStore, ConfigEntry, Error, Member};
use async_trait::async_trait;
use goconductor_saga::{Json, Timestamp};
use sqlx::PgConnection;
use std::time::Duration;

#[async_trait]
impl ClusterStore for PostgresStore {
    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        announce(&mut *self.connection().await?, member).await
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        members(&mut *self.connection().await?).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        raise_epoch(&mut *self.connection().await?, name).await
    }

    async fn config_entry(&self, name: &str) -> Result<Option<ConfigEntry>, Error> {
        config_entry(&mut *self.connection().await?, name).await
    }

    async fn compare_and_set(
        &self,
        name: &str,
        revision: u64,
        value: &Json,
    ) -> Result<Option<ConfigEntry>, Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(compare_and_set(&mut connection, name, revision, value).await)
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let micros: i64 =
            sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
                .fetch_one(&self.pool)
                .await
                .map_err(unavailable)?;
        Ok(Timestamp(micros))
    }

    async fn check(&self) -> Result<(), Error> {
        migrations::check(&mut *self.connection().await?).await
    }
}

async fn announce(connection: &mut PgConnection, member: &Announcement) -> Result<(), Error> {
    let sql = format!(
        "WITH gone AS (DELETE FROM members WHERE seen_at + lives < {NOW} AND instance <> $1)
         INSERT INTO members (instance, kind, address, about, since, seen_at, lives)
         VALUES ($1, $2, $3, $4, {NOW}, {NOW}, $5)
         ON CONFLICT (instance) DO UPDATE SET kind = excluded.kind, address = excluded.address,
             about = excluded.about, seen_at = excluded.seen_at, lives = excluded.lives"
    );
    // Safe: the text contains only constants.
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(escape_nul(&member.instance))
        .bind(escape_nul(&member.kind))
        .bind(escape_nul(&member.address))
        .bind(json("a member", &member.info)?)
        .bind(i64::try_from(member.ttl.as_micros()).unwrap_or(i64::MAX >> 2))
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(())
}

async fn members(connection: &mut PgConnection) -> Result<Vec<Member>, Error> {
    let sql = format!(
        "SELECT instance, kind, address, about, since, seen_at, lives FROM members
         WHERE seen_at + lives > {NOW} ORDER BY kind COLLATE \"C\", instance COLLATE \"C\""
    );
    // Safe: the text contains only constants.
    let rows: Vec<(String, String, String, String, i64, i64, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(connection).await.map_err(unavailable)?;
    rows.into_iter()
        .map(|(instance, kind, address, info, since, seen_at, ttl)| {
            let announcement = Announcement {
                info: parsed(&format!("member {instance}"), &info)?,
                instance: unescape_nul(instance),
                kind: unescape_nul(kind),
                address: unescape_nul(address),
                ttl: Duration::from_micros(u64::try_from(ttl).unwrap_or(0)),
            };
            Ok(Member { announcement, since: Timestamp(since), seen_at: Timestamp(seen_at) })
        })
        .collect()
}

async fn raise_epoch(connection: &mut PgConnection, name: &str) -> Result<u64, Error> {
    let value: i64 = sqlx::query_scalar(
        "INSERT INTO epochs (name, value) VALUES ($1, 1)
         ON CONFLICT (name) DO UPDATE SET value = epochs.value + 1 RETURNING value",
    )
    .bind(escape_nul(&format!("epoch/{name}")))
    .fetch_one(connection)
    .await
    .map_err(uncertain)?;
    Ok(number(value))
}

async fn config_entry(connection: &mut PgConnection, name: &str) -> Result<Option<ConfigEntry>, Error> {
    let row: Option<(i64, String, i64)> =
        sqlx::query_as("SELECT revision, value, since FROM agreements WHERE name = $1")
            .bind(escape_nul(name))
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    row.map(|(revision, value, since)| {
        let value = parsed(&format!("the configuration entry {name}"), &value)?;
        Ok(ConfigEntry { revision: number(revision), value, since: Timestamp(since) })
    })
    .transpose()
}

/// Sets an entry with one statement, which is its own transaction. Of two concurrent calls, the second waits for the first
/// and sees its revision.
async fn compare_and_set(
    connection: &mut PgConnection,
    name: &str,
    revision: u64,
    value: &Json,
) -> Result<Option<ConfigEntry>, Error> {
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
        .bind(escape_nul(name))
        .bind(i64::try_from(revision).unwrap_or(i64::MAX))
        .bind(json("a configuration entry", value)?)
        .fetch_optional(connection)
        .await
        .map_err(uncertain)?;
    let (revision, value) = (revision.saturating_add(1), value.clone());
    Ok(since.map(|since| ConfigEntry { revision, value, since: Timestamp(since) }))
}
