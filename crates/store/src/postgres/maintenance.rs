//! Partitions of history that are made ahead of time and dropped as a whole, and what is removed.
//!
//! Every step is a short transaction of its own, of one process at a time, and waits for a table no longer
//! than writers can wait for it. What could not be done is done the next time.

use super::rows::number;
use super::sqlstate::{SqlState, sqlstate};
use super::{PostgresStore, commit, locks, unavailable};
use crate::maintenance::{DEFAULT_RETENTION, above, first_id};
use crate::{ClusterStore, Error, MaintenanceReport, MaintenanceRequest, MaintenanceStore};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::{PgConnection, Postgres, Transaction};
use std::time::Duration;
use uuid::Uuid;

/// Workflows that are removed in one transaction.
const BATCH: i64 = 200;
/// Any number, the same in every process: one at a time makes and drops partitions.
const LOCK: i64 = 0x676f_7570_6b65_6570;
/// How long a table is waited for, and so how long a writer may have to wait behind.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";

const HOUR: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// As many partitions as a retention is long: enough that little is kept for longer than it has to be, and
/// so few that planning a query over all of them takes no time.
const PARTS: u32 = 30;
/// So many partitions stand ready: what is to be made can be late by that.
const AHEAD: i64 = 3;
/// In one upkeep; there are never so many to make.
const MOST_MADE: u32 = 64;
/// Dead rows of the ledger that are not worth a vacuum.
const VACUUM_THRESHOLD: i64 = 2_000;
/// Waits for nobody: not for one who is at it already, nor for those who read, so as to give pages back.
const VACUUM: &str = "VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF) dispatch";
/// Rows of `ended_counts` that are not worth folding.
const UNFOLDED: i64 = 256;

#[async_trait]
impl MaintenanceStore for PostgresStore {
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
        maintain(self, request).await
    }

    async fn vacuum_ledger(&self) -> Result<(), Error> {
        vacuum_ledger(&mut *self.connection().await?).await
    }
}

/// How long the time is that one partition is for, in milliseconds: whole hours.
fn length(keep: Option<Duration>) -> i64 {
    let length = keep.map_or(LONGEST, |keep| (keep / PARTS).clamp(HOUR, LONGEST));
    let hours = i64::try_from(length.as_secs() / HOUR.as_secs()).unwrap_or(1);
    hours.max(1).saturating_mul(3_600_000)
}

/// The range of the next partition; none: enough stand ready.
fn next_range(newest: i64, now: i64, length: i64) -> Option<(i64, i64)> {
    let from = newest.max(now.div_euclid(length).saturating_mul(length));
    let to = from.div_euclid(length).saturating_add(1).saturating_mul(length);
    (from <= now.saturating_add(AHEAD.saturating_mul(length))).then_some((from, to))
}

/// Room for the first rows of a new database, before anybody writes.
pub(super) async fn create_first_partitions(store: &PostgresStore) -> Result<(), Error> {
    let now = store.now().await?;
    make_room(store, now, length(Some(DEFAULT_RETENTION)), "SELECT pg_advisory_xact_lock($1) IS NOT NULL")
        .await
}

/// One upkeep: what is to be removed first, and if that is all, what is left of partitions.
async fn maintain(store: &PostgresStore, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
    let alone = "SELECT pg_try_advisory_xact_lock($1)";
    make_room(store, request.now, length(request.retention), alone).await?;
    let mut done = MaintenanceReport::default();
    if let Some(ended_by) = request.ended_by() {
        done.removed = remove(&mut *store.connection().await?, ended_by).await?;
        done.more = i64::try_from(done.removed).unwrap_or(BATCH) >= BATCH;
        if !done.more {
            drop_partitions(store, ended_by, alone).await?;
        }
    }
    if !done.more {
        let mut connection = store.connection().await?;
        fold_counts(&mut connection).await?;
        locks::remove_free(&mut connection, request.now).await?;
    }
    Ok(done)
}

/// A look at the ledger goes through the entries of all rows that went since the last vacuum, and the server's own
/// comes once in a minute: by then there are some hundred thousand where some thousand sagas a second end.
async fn vacuum_ledger(connection: &mut PgConnection) -> Result<(), Error> {
    let dead: Option<i64> =
        sqlx::query_scalar("SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'dispatch'::regclass")
            .fetch_optional(&mut *connection)
            .await
            .map_err(unavailable)?;
    if dead.is_some_and(|dead| dead >= VACUUM_THRESHOLD) {
        sqlx::raw_sql(VACUUM).execute(connection).await.map_err(unavailable)?;
    }
    Ok(())
}

/// Whether nobody else makes or drops partitions, until the end of the transaction.
async fn is_alone(connection: &mut PgConnection, alone: &'static str) -> Result<bool, Error> {
    let is_alone =
        sqlx::query_scalar(alone).bind(LOCK).fetch_one(&mut *connection).await.map_err(unavailable)?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(connection).await.map_err(unavailable)?;
    Ok(is_alone)
}

/// Makes partitions ahead of time. What is written meanwhile, or if this fails for days, is in the default
/// partition: it is only removed in another way.
async fn make_room(
    store: &PostgresStore,
    now: Timestamp,
    length: i64,
    alone: &'static str,
) -> Result<(), Error> {
    let mut newest = i64::MIN;
    for _ in 0..MOST_MADE {
        let mut transaction = store.begin().await?;
        if !is_alone(&mut transaction, alone).await? {
            return Ok(());
        }
        newest = newest.max(newest_bound(&mut transaction).await?);
        let Some((from, to)) = next_range(newest, now.0.div_euclid(1000), length) else { return Ok(()) };
        let made = make_partition(&mut transaction, from, to).await;
        match finish(transaction, made).await {
            Ok(()) => {}
            Err(error) if sqlstate(&error) == Some(SqlState::LOCK_NOT_AVAILABLE) => {
                tracing::info!("the history is in use: a partition is made later");
                return Ok(());
            }
            Err(error) if sqlstate(&error) == Some(SqlState::CHECK_VIOLATION) => {
                tracing::warn!(from, to, "history of a time without a partition stays in events_other");
                newest = to;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Commits what was done, and rolls back what failed: a transaction that is only dropped keeps its locks until
/// its connection is used again, and the next step would wait for them.
async fn finish(transaction: Transaction<'_, Postgres>, done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Ok(()) => commit(transaction).await,
        Err(error) => {
            if let Err(why) = transaction.rollback().await {
                tracing::debug!(%why, "a transaction ends with its connection");
            }
            Err(error)
        }
    }
}

/// Where the last partition ends, in milliseconds.
async fn newest_bound(connection: &mut PgConnection) -> Result<i64, Error> {
    let uppers = partitions(connection).await?.into_iter().map(|partition| millis(partition.upper));
    Ok(uppers.max().unwrap_or(i64::MIN))
}

/// The time in an id.
fn millis(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

async fn make_partition(connection: &mut PgConnection, from: i64, to: i64) -> Result<(), Error> {
    let sql: String = sqlx::query_scalar(
        "SELECT format('CREATE TABLE IF NOT EXISTS %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
             'events_' || to_char(to_timestamp($1::bigint / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD\"t\"HH24'),
             $2::uuid, $3::uuid)",
    )
    .bind(from)
    .bind(first_id(from).0)
    .bind(first_id(to).0)
    .fetch_one(&mut *connection)
    .await
    .map_err(unavailable)?;
    // Safe: quoted by the database itself.
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map_err(unavailable)?;
    Ok(())
}

/// History of the workflows with ids from one bound up to the other.
struct Partition {
    /// As SQL names it.
    name: String,
    lower: Uuid,
    upper: Uuid,
}

/// All but the default one, by their bounds.
async fn partitions(connection: &mut PgConnection) -> Result<Vec<Partition>, Error> {
    let rows: Vec<(String, Uuid, Uuid)> = sqlx::query_as(
        "SELECT name, coalesce(lower, '00000000-0000-0000-0000-000000000000') AS lower, upper FROM (
             SELECT part.oid::regclass::text AS name,
                 (regexp_match(bounds, 'FROM \\(''([0-9a-f-]{36})''\\)'))[1]::uuid AS lower,
                 (regexp_match(bounds, 'TO \\(''([0-9a-f-]{36})''\\)'))[1]::uuid AS upper
             FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid
             CROSS JOIN pg_get_expr(part.relpartbound, part.oid) AS bounds
             WHERE inhparent = 'events'::regclass
         ) AS parts WHERE upper IS NOT NULL ORDER BY upper",
    )
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    Ok(rows.into_iter().map(|(name, lower, upper)| Partition { name, lower, upper }).collect())
}

/// Removes some of those that ended by a time, with their keys; how many. Their histories go with their
/// partitions, but for those that are in none.
async fn remove(connection: &mut PgConnection, ended_by: Timestamp) -> Result<u64, Error> {
    let removed: i64 = sqlx::query_scalar(
        "WITH gone AS (
             DELETE FROM workflows WHERE id = ANY (ARRAY(
                 SELECT id FROM workflows WHERE id < $1 AND ended_at <= $2
                 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED))
             RETURNING id, namespace, definition, version, status, cause, idempotency_key
         ), forgotten AS (
             DELETE FROM start_keys USING gone
             WHERE gone.idempotency_key <> '' AND start_keys.namespace = gone.namespace
                 AND start_keys.key = gone.idempotency_key AND start_keys.workflow_id = gone.id
         ), unlisted AS (
             DELETE FROM listings USING gone
             WHERE listings.namespace = gone.namespace AND listings.definition = gone.definition
                 AND listings.listed = gone.status AND listings.id = gone.id
         ), history AS (
             DELETE FROM events_other USING gone WHERE events_other.workflow_id = gone.id
         ), counted AS (
             INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
             SELECT namespace, definition, version, status, cause, -count(*) FROM gone
             GROUP BY namespace, definition, version, status, cause
         ) SELECT count(*) FROM gone",
    )
    .bind(above(ended_by).0)
    .bind(ended_by.0)
    .bind(BATCH)
    .fetch_one(connection)
    .await
    .map_err(unavailable)?;
    Ok(number(removed))
}

/// Drops the partitions of whose workflows none is left.
async fn drop_partitions(
    store: &PostgresStore,
    ended_by: Timestamp,
    alone: &'static str,
) -> Result<(), Error> {
    let over = above(ended_by).0;
    let all = partitions(&mut *store.connection().await?).await?;
    for partition in all.into_iter().filter(|partition| partition.upper <= over) {
        if is_in_use(&mut *store.connection().await?, &partition).await? {
            continue;
        }
        let mut transaction = store.begin().await?;
        if !is_alone(&mut transaction, alone).await? {
            return Ok(());
        }
        let dropped = drop_partition(&mut transaction, &partition).await;
        match finish(transaction, dropped).await {
            Ok(()) => {}
            Err(error) if sqlstate(&error) == Some(SqlState::LOCK_NOT_AVAILABLE) => {
                tracing::info!(partition.name, "the history is in use: a partition is dropped later");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn is_in_use(connection: &mut PgConnection, partition: &Partition) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM workflows WHERE id >= $1 AND id < $2)")
        .bind(partition.lower)
        .bind(partition.upper)
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

async fn drop_partition(connection: &mut PgConnection, partition: &Partition) -> Result<(), Error> {
    // Nobody writes history from here on, and whoever began one in this range is seen.
    sqlx::raw_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    if is_in_use(connection, partition).await? {
        return Ok(());
    }
    // Another process may have dropped it since it was read.
    let sql = format!("DROP TABLE IF EXISTS {}", partition.name);
    // Safe: quoted by the database itself.
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map_err(unavailable)?;
    tracing::info!(partition.name, "history that nobody needs any more was dropped");
    Ok(())
}

/// Makes one row of those that are for the same.
async fn fold_counts(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query(
        "WITH many AS (SELECT 1 FROM ended_counts LIMIT $1), taken AS (
             DELETE FROM ended_counts WHERE (SELECT count(*) FROM many) = $1 RETURNING *
         )
         INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
         SELECT namespace, definition, version, status, cause, sum(count) FROM taken
         GROUP BY namespace, definition, version, status, cause HAVING sum(count) <> 0",
    )
    .bind(UNFOLDED)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HOUR, length, next_range};
    use std::time::Duration;

    const DAY: i64 = 24 * 3_600_000;

    #[test]
    fn a_retention_has_some_thirty_partitions() {
        let days = |days: u32| Some(HOUR * 24 * days);
        assert_eq!(length(days(30)), DAY);
        assert_eq!(length(days(7)), 5 * 3_600_000);
        assert_eq!(length(Some(Duration::from_secs(1))), 3_600_000);
        assert_eq!(length(days(10_000)), 30 * DAY);
        assert_eq!(length(None), 30 * DAY);
    }

    #[test]
    fn partitions_follow_one_another() {
        let (mut newest, mut made) = (i64::MIN, Vec::new());
        while let Some((from, to)) = next_range(newest, 10 * DAY + 5, DAY) {
            made.push((from / DAY, to / DAY));
            newest = to;
        }
        assert_eq!(made, [(10, 11), (11, 12), (12, 13), (13, 14)]);
        // Another length begins where the one before it ended.
        assert_eq!(next_range(13 * DAY, 11 * DAY, 5 * DAY), Some((13 * DAY, 15 * DAY)));
        // After a pause there is nothing to be made for it.
        assert_eq!(next_range(13 * DAY, 99 * DAY, DAY), Some((99 * DAY, 100 * DAY)));
    }
}
