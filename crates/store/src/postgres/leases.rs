//! Leases of shards.

use super::rows::{escape_nul, number, unescape_nul};
use super::{NOW, PostgresStore, retry_conflicts, unavailable, uncertain};
use crate::json::{json, parsed};
use crate::lease::{micros, stored_number};
use crate::{Error, LeaseProgress, LeaseRequest, LeaseUpdate, NewShardLease, ShardLease, ShardLeaseStore};
use async_trait::async_trait;
use sqlx::{PgConnection, Row};
use std::time::Duration;

#[async_trait]
impl ShardLeaseStore for PostgresStore {
    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        list(&mut *self.connection().await?, stream).await
    }

    async fn sync_leases(&self, stream: &str, new: &[NewShardLease], gone: &[String]) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(sync(&mut connection, stream, new, gone).await)
    }

    async fn acquire_leases(&self, stream: &str, request: &LeaseRequest) -> Result<Vec<bool>, Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(acquire(&mut connection, stream, request).await)
    }

    async fn update_leases(
        &self,
        stream: &str,
        owner: &str,
        updates: &[LeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(update(&mut connection, stream, owner, updates).await)
    }
}

async fn list(connection: &mut PgConnection, stream: &str) -> Result<Vec<ShardLease>, Error> {
    let sql = format!(
        "SELECT shard, parents, owner, counter, expires_at - {NOW}, checkpoint, taken, waiting, oldest_waiting_ms
         FROM shard_leases WHERE stream = $1 ORDER BY shard COLLATE \"C\""
    );
    // Safe: the text contains only constants.
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(escape_nul(stream)).fetch_all(connection).await;
    rows.map_err(unavailable)?.iter().map(lease).collect()
}

fn lease(row: &sqlx::postgres::PgRow) -> Result<ShardLease, Error> {
    let parents: String = row.try_get(1).map_err(unavailable)?;
    let read = || -> Result<ShardLease, sqlx::Error> {
        Ok(ShardLease {
            shard: unescape_nul(row.try_get(0)?),
            parents: Vec::new(),
            owner: row.try_get::<Option<String>, _>(2)?.map(unescape_nul),
            counter: number(row.try_get(3)?),
            remaining: Duration::from_micros(number(row.try_get(4)?)),
            progress: LeaseProgress {
                checkpoint: unescape_nul(row.try_get(5)?),
                acknowledged: number(row.try_get(6)?),
                backlog: number(row.try_get(7)?),
                oldest_publish_ms: row.try_get(8)?,
            },
        })
    };
    Ok(ShardLease { parents: parsed("a lease's parents", &parents)?, ..read().map_err(unavailable)? })
}

async fn sync(
    connection: &mut PgConnection,
    stream: &str,
    new: &[NewShardLease],
    gone: &[String],
) -> Result<(), Error> {
    let parents: Vec<String> =
        new.iter().map(|new| json("a lease's parents", &new.parents)).collect::<Result<_, _>>()?;
    sqlx::query(
        "WITH gone AS (DELETE FROM shard_leases WHERE stream = $1 AND shard = ANY($2))
         INSERT INTO shard_leases (stream, shard, parents, counter, expires_at, checkpoint, taken, waiting)
         SELECT $1, shard, parents, 0, 0, '', 0, 0 FROM unnest($3::text[], $4::text[]) AS new (shard, parents)
         ORDER BY shard COLLATE \"C\"
         ON CONFLICT DO NOTHING",
    )
    .bind(escape_nul(stream))
    .bind(gone.iter().map(|shard| escape_nul(shard)).collect::<Vec<_>>())
    .bind(new.iter().map(|new| escape_nul(&new.shard)).collect::<Vec<_>>())
    .bind(parents)
    .execute(connection)
    .await
    .map_err(uncertain)?;
    Ok(())
}

async fn acquire(
    connection: &mut PgConnection,
    stream: &str,
    request: &LeaseRequest,
) -> Result<Vec<bool>, Error> {
    let sql = format!(
        "WITH free AS (
             SELECT shard FROM shard_leases JOIN unnest($3::text[], $4::bigint[]) AS want (shard, counter)
                 USING (shard, counter)
             WHERE stream = $1 AND ($5 OR owner IS NULL OR expires_at <= {NOW})
             ORDER BY shard COLLATE \"C\" FOR UPDATE OF shard_leases)
         UPDATE shard_leases SET owner = $2, counter = counter + 1, expires_at = {NOW} + $6
         FROM free WHERE shard_leases.stream = $1 AND shard_leases.shard = free.shard
         RETURNING shard_leases.shard"
    );
    // Safe: the text contains only constants.
    let acquired: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(escape_nul(stream))
        .bind(escape_nul(&request.owner))
        .bind(request.shards.iter().map(|(shard, _)| escape_nul(shard)).collect::<Vec<_>>())
        .bind(request.shards.iter().map(|(_, counter)| stored_number(*counter)).collect::<Vec<_>>())
        .bind(request.steal)
        .bind(micros(request.ttl))
        .fetch_all(connection)
        .await
        .map_err(uncertain)?;
    Ok(request.shards.iter().map(|(shard, _)| is_among(&acquired, shard)).collect())
}

async fn update(
    connection: &mut PgConnection,
    stream: &str,
    owner: &str,
    updates: &[LeaseUpdate],
) -> Result<Vec<bool>, Error> {
    let sql = format!(
        "WITH reported AS (
             SELECT * FROM unnest($3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[],
                 $9::bigint[]) AS reported (shard, counter, checkpoint, taken, waiting, oldest_waiting_ms, ttl)),
         own AS (
             SELECT held.shard FROM shard_leases AS held JOIN reported USING (shard, counter)
             WHERE held.stream = $1 AND (held.owner IS NULL OR held.owner = $2) AND held.taken <= reported.taken
             ORDER BY held.shard COLLATE \"C\" FOR UPDATE OF held)
         UPDATE shard_leases AS held SET owner = CASE WHEN reported.ttl > 0 THEN $2 END,
             expires_at = {NOW} + reported.ttl, checkpoint = reported.checkpoint, taken = reported.taken,
             waiting = reported.waiting, oldest_waiting_ms = reported.oldest_waiting_ms
         FROM own JOIN reported USING (shard) WHERE held.stream = $1 AND held.shard = own.shard
         RETURNING held.shard"
    );
    let numbers = |of: fn(&LeaseUpdate) -> i64| updates.iter().map(of).collect::<Vec<_>>();
    // Safe: the text contains only constants.
    let kept: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(escape_nul(stream))
        .bind(escape_nul(owner))
        .bind(updates.iter().map(|update| escape_nul(&update.shard)).collect::<Vec<_>>())
        .bind(numbers(|update| stored_number(update.counter)))
        .bind(updates.iter().map(|update| escape_nul(&update.progress.checkpoint)).collect::<Vec<_>>())
        .bind(numbers(|update| stored_number(update.progress.acknowledged)))
        .bind(numbers(|update| stored_number(update.progress.backlog)))
        .bind(updates.iter().map(|update| update.progress.oldest_publish_ms).collect::<Vec<_>>())
        .bind(numbers(|update| micros(update.ttl)))
        .fetch_all(connection)
        .await
        .map_err(uncertain)?;
    Ok(updates.iter().map(|update| is_among(&kept, &update.shard)).collect())
}

/// Returns whether a statement returned a shard.
fn is_among(all: &[String], shard: &str) -> bool {
    let shard = escape_nul(shard);
    all.iter().any(|each| *each == shard)
}
