//! Leases of shards.

use super::rows::number;
use super::{SqliteStore, clock};
use crate::json::{json, parsed};
use crate::lease::{micros, stored_number};
use crate::{Error, LeaseProgress, LeaseRequest, LeaseUpdate, NewShardLease, ShardLease, ShardLeaseStore};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, params};
use std::time::Duration;

#[async_trait]
impl ShardLeaseStore for SqliteStore {
    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        let stream = stream.to_owned();
        self.read(move |connection| list(connection, &stream, clock())).await
    }

    async fn sync_leases(&self, stream: &str, new: &[NewShardLease], gone: &[String]) -> Result<(), Error> {
        let (stream, new, gone) = (stream.to_owned(), new.to_vec(), gone.to_vec());
        self.write_job(move |connection| sync(connection, &stream, &new, &gone)).await
    }

    async fn acquire_leases(&self, stream: &str, request: &LeaseRequest) -> Result<Vec<bool>, Error> {
        let (stream, request) = (stream.to_owned(), request.clone());
        self.write_job(move |connection| acquire(connection, &stream, &request, clock())).await
    }

    async fn update_leases(
        &self,
        stream: &str,
        owner: &str,
        updates: &[LeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let (stream, owner, updates) = (stream.to_owned(), owner.to_owned(), updates.to_vec());
        self.write_job(move |connection| update(connection, &stream, &owner, &updates, clock())).await
    }
}

fn list(connection: &Connection, stream: &str, now: Timestamp) -> Result<Vec<ShardLease>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT shard, owner, counter, expires_at - ?2, checkpoint, taken, waiting, oldest_waiting_ms, parents
         FROM shard_leases WHERE stream = ?1 ORDER BY shard",
    )?;
    let rows = statement.query_map(params![stream, now.0], |row| {
        let progress = LeaseProgress {
            checkpoint: row.get(4)?,
            acknowledged: number(row.get(5)?),
            backlog: number(row.get(6)?),
            oldest_publish_ms: row.get(7)?,
        };
        let lease = ShardLease {
            shard: row.get(0)?,
            parents: Vec::new(),
            owner: row.get(1)?,
            counter: number(row.get(2)?),
            remaining: Duration::from_micros(number(row.get(3)?)),
            progress,
        };
        Ok((lease, row.get::<_, String>(8)?))
    })?;
    rows.map(|row| {
        let (lease, parents) = row?;
        Ok(ShardLease { parents: parsed("a lease's parents", &parents)?, ..lease })
    })
    .collect()
}

fn sync(connection: &Connection, stream: &str, new: &[NewShardLease], gone: &[String]) -> Result<(), Error> {
    let mut delete =
        connection.prepare_cached("DELETE FROM shard_leases WHERE stream = ?1 AND shard = ?2")?;
    for shard in gone {
        delete.execute(params![stream, shard])?;
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO shard_leases (stream, shard, parents, counter, expires_at, checkpoint, taken, waiting)
         VALUES (?1, ?2, ?3, 0, 0, '', 0, 0) ON CONFLICT DO NOTHING",
    )?;
    for NewShardLease { shard, parents } in new {
        insert.execute(params![stream, shard, json("a lease's parents", parents)?])?;
    }
    Ok(())
}

fn acquire(
    connection: &Connection,
    stream: &str,
    request: &LeaseRequest,
    now: Timestamp,
) -> Result<Vec<bool>, Error> {
    let mut statement = connection.prepare_cached(
        "UPDATE shard_leases SET owner = ?3, counter = counter + 1, expires_at = ?4 + ?5
         WHERE stream = ?1 AND shard = ?2 AND counter = ?6 AND (?7 OR owner IS NULL OR expires_at <= ?4)",
    )?;
    let mut acquired = Vec::with_capacity(request.shards.len());
    for (shard, counter) in &request.shards {
        let (ttl, counter) = (micros(request.ttl), stored_number(*counter));
        acquired.push(
            statement.execute(params![stream, shard, request.owner, now.0, ttl, counter, request.steal])? > 0,
        );
    }
    Ok(acquired)
}

fn update(
    connection: &Connection,
    stream: &str,
    owner: &str,
    updates: &[LeaseUpdate],
    now: Timestamp,
) -> Result<Vec<bool>, Error> {
    let mut statement = connection.prepare_cached(
        "UPDATE shard_leases SET owner = ?5, expires_at = ?6, checkpoint = ?7, taken = ?8, waiting = ?9,
             oldest_waiting_ms = ?10
         WHERE stream = ?1 AND shard = ?2 AND counter = ?4 AND (owner IS NULL OR owner = ?3) AND taken <= ?8",
    )?;
    let mut kept = Vec::with_capacity(updates.len());
    for LeaseUpdate { shard, counter, progress, ttl } in updates {
        let changed = statement.execute(params![
            stream,
            shard,
            owner,
            stored_number(*counter),
            Some(owner).filter(|_| !ttl.is_zero()),
            now.0.saturating_add(micros(*ttl)),
            progress.checkpoint,
            stored_number(progress.acknowledged),
            stored_number(progress.backlog),
            progress.oldest_publish_ms,
        ])?;
        kept.push(changed > 0);
    }
    Ok(kept)
}
