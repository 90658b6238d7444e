//! Maintenance: creates partitions of the history ahead of time, removes workflows and drops partitions.
//!
//! Each step is a short transaction. One process at a time executes a step. A step waits for a table lock only as long as
//! writers may be delayed. A step that fails is retried in the next maintenance.

use super::removal::{BATCH, remove};
use super::sqlstate::{SqlState, sqlstate};
use super::{PostgresStore, commit, locks, payloads, statistics, unavailable, workflow_batches};
use crate::maintenance::{DEFAULT_RETENTION, above, first_id};
use crate::{ClusterStore, Error, MaintenanceReport, MaintenanceRequest, MaintenanceStore, StoreStatistics};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::{PgConnection, Postgres, Transaction};
use std::time::Duration;
use uuid::Uuid;

/// The advisory lock for creating and dropping partitions. The number is arbitrary.
const LOCK: i64 = 0x676f_7570_6b65_6570;
/// Limits the wait for a table lock. Writers queue behind that wait.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";

const HOUR: Duration = Duration::from_secs(3600);
/// Maximum length of a partition.
const MAX_LENGTH: Duration = Duration::from_secs(30 * 24 * 3600);
/// Number of partitions in a retention. More partitions are dropped sooner after their retention, and fewer make the
/// planning of a query over all of them faster.
const PARTITIONS_PER_RETENTION: u32 = 30;
/// Number of partitions created ahead of time. The maintenance may be late by their length.
const PARTITIONS_AHEAD: i64 = 3;
/// Maximum number of partitions created in one maintenance. It is never reached.
const MAX_CREATED: u32 = 64;
/// Number of dead ledger rows from which on a vacuum is worth its cost.
const VACUUM_THRESHOLD: i64 = 2_000;
/// Does not wait for locks: it skips the table if another vacuum is running, and does not truncate the file, which would
/// wait for readers.
const VACUUM: &str = "VACUUM (SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF) dispatch";
/// Number of rows of `ended_counts` from which on they are merged.
const MERGE_THRESHOLD: i64 = 256;

#[async_trait]
impl MaintenanceStore for PostgresStore {
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
        maintain(self, request).await
    }

    async fn vacuum_ledger(&self) -> Result<(), Error> {
        vacuum_ledger(&mut *self.connection().await?).await
    }

    async fn statistics(&self, now: Timestamp) -> Result<Option<StoreStatistics>, Error> {
        statistics::statistics(&mut *self.connection().await?, now).await.map(Some)
    }
}

/// Returns the length of a partition in milliseconds. It is a multiple of an hour.
fn partition_length(retention: Option<Duration>) -> i64 {
    let length = retention
        .map_or(MAX_LENGTH, |retention| (retention / PARTITIONS_PER_RETENTION).clamp(HOUR, MAX_LENGTH));
    let hours = i64::try_from(length.as_secs() / HOUR.as_secs()).unwrap_or(1);
    hours.max(1).saturating_mul(3_600_000)
}

/// Returns the range of the next partition, or `None` if enough partitions exist.
fn next_range(newest: i64, now: i64, length: i64) -> Option<(i64, i64)> {
    let from = newest.max(now.div_euclid(length).saturating_mul(length));
    let to = from.div_euclid(length).saturating_add(1).saturating_mul(length);
    (from <= now.saturating_add(PARTITIONS_AHEAD.saturating_mul(length))).then_some((from, to))
}

/// Creates the first partitions of a new database, before the first write.
pub(super) async fn create_first_partitions(store: &PostgresStore) -> Result<(), Error> {
    let now = store.now().await?;
    create_partitions(
        store,
        now,
        partition_length(Some(DEFAULT_RETENTION)),
        "SELECT pg_advisory_xact_lock($1) IS NOT NULL",
    )
    .await
}

/// Removes workflows first. If none is left to remove, drops partitions and cleans up.
async fn maintain(store: &PostgresStore, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error> {
    let acquire = "SELECT pg_try_advisory_xact_lock($1)";
    create_partitions(store, request.now, partition_length(request.retention.longest()), acquire).await?;
    let mut report = MaintenanceReport::default();
    let ended_by = request.ended_by();
    if let Some(latest) = ended_by.latest() {
        report.removed = remove(&mut *store.connection().await?, ended_by).await?;
        report.more = i64::try_from(report.removed).unwrap_or(BATCH) >= BATCH;
        if !report.more {
            drop_partitions(store, latest, acquire).await?;
        }
    }
    if !report.more {
        let mut connection = store.connection().await?;
        merge_counts(&mut connection).await?;
        locks::remove_free(&mut connection, request.now).await?;
        report.more = workflow_batches::remove(&mut connection, request.now, ended_by.latest()).await?;
        drop(connection);
        report.more |= payloads::check(store, request.now).await?;
    }
    Ok(report)
}

/// Vacuums the ledger if it has enough dead rows.
///
/// A poll of the ledger reads the index entries of all rows that were deleted since the last vacuum. Autovacuum runs once
/// a minute. At some thousand sagas per second, there are some hundred thousand such entries by then.
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

/// Acquires the advisory lock until the end of the transaction with the statement `acquire`, and returns whether it was
/// acquired.
async fn acquire_lock(connection: &mut PgConnection, acquire: &'static str) -> Result<bool, Error> {
    let acquired =
        sqlx::query_scalar(acquire).bind(LOCK).fetch_one(&mut *connection).await.map_err(unavailable)?;
    sqlx::raw_sql(LOCK_TIMEOUT).execute(connection).await.map_err(unavailable)?;
    Ok(acquired)
}

/// Creates partitions ahead of time. If a partition is missing, for example because this fails for days, its rows are
/// written to the default partition and are removed individually.
async fn create_partitions(
    store: &PostgresStore,
    now: Timestamp,
    length: i64,
    acquire: &'static str,
) -> Result<(), Error> {
    let mut newest = i64::MIN;
    for _ in 0..MAX_CREATED {
        let mut transaction = store.begin().await?;
        if !acquire_lock(&mut transaction, acquire).await? {
            return Ok(());
        }
        newest = newest.max(newest_bound(&mut transaction).await?);
        let Some((from, to)) = next_range(newest, now.0.div_euclid(1000), length) else { return Ok(()) };
        let created = create_partition(&mut transaction, from, to).await;
        match finish(transaction, created).await {
            Ok(()) => {}
            Err(error) if sqlstate(&error) == Some(SqlState::LOCK_NOT_AVAILABLE) => {
                tracing::info!(from, to, "partition was not created: the history is in use");
                return Ok(());
            }
            Err(error) if sqlstate(&error) == Some(SqlState::CHECK_VIOLATION) => {
                tracing::warn!(
                    from,
                    to,
                    "partition was not created: events_other contains rows of its range"
                );
                newest = to;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Commits a step that succeeded, and rolls back a step that failed. A transaction that is only dropped keeps its locks
/// until its connection is used again, and the next step would wait for them.
async fn finish(transaction: Transaction<'_, Postgres>, done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Ok(()) => commit(transaction).await,
        Err(error) => {
            if let Err(why) = transaction.rollback().await {
                tracing::debug!(error = %why, "rollback failed");
            }
            Err(error)
        }
    }
}

/// Returns the end of the last partition, in milliseconds.
async fn newest_bound(connection: &mut PgConnection) -> Result<i64, Error> {
    let uppers = partitions(connection).await?.into_iter().map(|partition| millis(partition.upper));
    Ok(uppers.max().unwrap_or(i64::MIN))
}

/// Returns the time of an id, in milliseconds.
fn millis(id: Uuid) -> i64 {
    i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)
}

async fn create_partition(connection: &mut PgConnection, from: i64, to: i64) -> Result<(), Error> {
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
    // Safe: the database has quoted the names.
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map_err(unavailable)?;
    Ok(())
}

/// A partition: the history of the workflows whose ids are in `lower..upper`.
struct HistoryPartition {
    /// The quoted name.
    name: String,
    lower: Uuid,
    upper: Uuid,
}

/// Returns all partitions except the default partition, ordered by their bounds.
async fn partitions(connection: &mut PgConnection) -> Result<Vec<HistoryPartition>, Error> {
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
    Ok(rows.into_iter().map(|(name, lower, upper)| HistoryPartition { name, lower, upper }).collect())
}

/// Drops the partitions whose workflows have all been removed.
async fn drop_partitions(
    store: &PostgresStore,
    ended_by: Timestamp,
    acquire: &'static str,
) -> Result<(), Error> {
    let limit = above(ended_by).0;
    let all = partitions(&mut *store.connection().await?).await?;
    for partition in all.into_iter().filter(|partition| partition.upper <= limit) {
        if is_in_use(&mut *store.connection().await?, &partition).await? {
            continue;
        }
        let mut transaction = store.begin().await?;
        if !acquire_lock(&mut transaction, acquire).await? {
            return Ok(());
        }
        let dropped = drop_partition(&mut transaction, &partition).await;
        match finish(transaction, dropped).await {
            Ok(()) => {}
            Err(error) if sqlstate(&error) == Some(SqlState::LOCK_NOT_AVAILABLE) => {
                tracing::info!(partition.name, "partition was not dropped: the history is in use");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn is_in_use(connection: &mut PgConnection, partition: &HistoryPartition) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM workflows WHERE id >= $1 AND id < $2)")
        .bind(partition.lower)
        .bind(partition.upper)
        .fetch_one(connection)
        .await
        .map_err(unavailable)
}

async fn drop_partition(connection: &mut PgConnection, partition: &HistoryPartition) -> Result<(), Error> {
    // The lock blocks writers. A workflow that was started in the range before it is visible to the query below.
    sqlx::raw_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    if is_in_use(connection, partition).await? {
        return Ok(());
    }
    // Another process may have dropped the partition in the meantime.
    let sql = format!("DROP TABLE IF EXISTS {}", partition.name);
    // Safe: the database has quoted the names.
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map_err(unavailable)?;
    tracing::info!(partition.name, "partition was dropped");
    Ok(())
}

/// Merges the rows of `ended_counts` that have the same key.
async fn merge_counts(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query(
        "WITH many AS (SELECT 1 FROM ended_counts LIMIT $1), merged AS (
             DELETE FROM ended_counts WHERE (SELECT count(*) FROM many) = $1 RETURNING *
         )
         INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
         SELECT namespace, definition, version, status, cause, sum(count) FROM merged
         GROUP BY namespace, definition, version, status, cause HAVING sum(count) <> 0",
    )
    .bind(MERGE_THRESHOLD)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HOUR, next_range, partition_length};
    use std::time::Duration;

    const DAY: i64 = 24 * 3_600_000;

    #[test]
    fn partition_length_is_a_thirtieth_of_the_retention() {
        let days = |days: u32| Some(HOUR * 24 * days);
        assert_eq!(partition_length(days(30)), DAY);
        assert_eq!(partition_length(days(7)), 5 * 3_600_000);
        assert_eq!(partition_length(Some(Duration::from_secs(1))), 3_600_000);
        assert_eq!(partition_length(days(10_000)), 30 * DAY);
        assert_eq!(partition_length(None), 30 * DAY);
    }

    #[test]
    fn partitions_are_contiguous_and_skip_pauses() {
        let (mut newest, mut created) = (i64::MIN, Vec::new());
        while let Some((from, to)) = next_range(newest, 10 * DAY + 5, DAY) {
            created.push((from / DAY, to / DAY));
            newest = to;
        }
        assert_eq!(created, [(10, 11), (11, 12), (12, 13), (13, 14)]);
        // After a change of the length, the next partition starts where the last one ends.
        assert_eq!(next_range(13 * DAY, 11 * DAY, 5 * DAY), Some((13 * DAY, 15 * DAY)));
        // No partition is created for the time of a pause.
        assert_eq!(next_range(13 * DAY, 99 * DAY, DAY), Some((99 * DAY, 100 * DAY)));
    }
}
