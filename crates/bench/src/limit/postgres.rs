//! The limit of PostgreSQL, measured with tables like those of the store.

use super::workload::{TransitionCounter, WORKFLOWS, WriteMode, WriteSizes, payload, run_clients};
use crate::postgres::connect;
use sqlx::{Connection, PgConnection};
use std::time::Duration;
use uuid::Uuid;

const TABLES: &str = "
CREATE SCHEMA IF NOT EXISTS bench_limit;
DROP TABLE IF EXISTS bench_limit.workflows, bench_limit.events, bench_limit.dispatch;
CREATE TABLE bench_limit.workflows (id UUID NOT NULL PRIMARY KEY, seq BIGINT NOT NULL, state TEXT NOT NULL)
    WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE bench_limit.events (
    workflow_id UUID NOT NULL, seq BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (workflow_id, seq)
);
CREATE TABLE bench_limit.dispatch (
    workflow_id UUID NOT NULL, key BIGINT NOT NULL, due_at BIGINT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (workflow_id, key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX dispatch_due ON bench_limit.dispatch (due_at);
";

const UPDATE: &str = "UPDATE bench_limit.workflows SET seq = $2, state = $3 WHERE id = $1 AND seq = $2 - 1";
const INSERT_EVENTS: &str = "INSERT INTO bench_limit.events SELECT $1, $2 * $4 + number, $3 FROM generate_series(0, $4 - 1) AS number";
const DELETE_ROW: &str = "DELETE FROM bench_limit.dispatch WHERE workflow_id = $1 AND key = $2 - 1";
const INSERT_ROW: &str = "INSERT INTO bench_limit.dispatch VALUES ($1, $2, $2, $3)";

/// Writes a batch in one statement: one round trip and one commit.
const WRITE_BATCH: &str = "
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) AS input (id, state, ledger)
), updated AS (
    UPDATE bench_limit.workflows SET seq = $4::bigint, state = input.state FROM input
    WHERE workflows.id = input.id AND workflows.seq = $4 - 1 RETURNING workflows.id
), inserted_events AS (
    INSERT INTO bench_limit.events SELECT * FROM unnest($5::uuid[], $6::bigint[], $7::text[])
), deleted_rows AS (
    DELETE FROM bench_limit.dispatch USING input WHERE workflow_id = input.id AND key = $4 - 1
), inserted_rows AS (
    INSERT INTO bench_limit.dispatch SELECT input.id, $4, $4, input.ledger FROM input
)
SELECT count(*) FROM updated";

/// Writes transitions in one mode for `duration`. Returns their number and the elapsed seconds.
pub(crate) async fn measure(
    url: &str,
    bytes: WriteSizes,
    mode: WriteMode,
    duration: Duration,
) -> anyhow::Result<(u64, f64)> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql(TABLES).execute(&mut connection).await?;
    let mut all = Vec::new();
    for _ in 0..mode.clients {
        let ids: Vec<Uuid> = (0..WORKFLOWS / mode.clients).map(|_| Uuid::now_v7()).collect();
        fill(&mut connection, bytes, &ids).await?;
        let mut connection = connect(url).await?;
        // The store uses the same setting.
        sqlx::raw_sql("SET synchronous_commit = on").execute(&mut connection).await?;
        all.push(move |counter| write(connection, bytes, ids, mode.batch_size, counter));
    }
    sqlx::raw_sql("VACUUM ANALYZE bench_limit.workflows, bench_limit.dispatch")
        .execute(&mut connection)
        .await?;
    run_clients(all, duration).await
}

async fn fill(connection: &mut PgConnection, bytes: WriteSizes, ids: &[Uuid]) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO bench_limit.workflows SELECT id, 0, $2 FROM unnest($1::uuid[]) AS row (id)")
        .bind(ids)
        .bind(payload(bytes.state, 0))
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO bench_limit.dispatch SELECT id, 0, 0, $2 FROM unnest($1::uuid[]) AS row (id)")
        .bind(ids)
        .bind(payload(bytes.ledger, 0))
        .execute(connection)
        .await?;
    Ok(())
}

/// Runs one client, which writes its workflows in turn until the deadline.
async fn write(
    mut connection: PgConnection,
    bytes: WriteSizes,
    ids: Vec<Uuid>,
    batch_size: usize,
    counter: TransitionCounter,
) -> anyhow::Result<()> {
    for seq in 1.. {
        for ids in ids.chunks(batch_size) {
            match ids {
                [id] if batch_size == 1 => write_one(&mut connection, bytes, *id, seq).await?,
                ids => write_batch(&mut connection, bytes, ids, seq).await?,
            }
            if !counter.add(ids.len()) {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn write_one(
    connection: &mut PgConnection,
    bytes: WriteSizes,
    id: Uuid,
    seq: i64,
) -> anyhow::Result<()> {
    let number = u64::try_from(seq).unwrap_or(0);
    let mut transaction = connection.begin().await?;
    let updated = sqlx::query(UPDATE)
        .bind(id)
        .bind(seq)
        .bind(payload(bytes.state, number))
        .execute(&mut *transaction)
        .await?;
    anyhow::ensure!(updated.rows_affected() == 1, "an update affected no workflow");
    let events = sqlx::query(INSERT_EVENTS).bind(id).bind(seq).bind(payload(bytes.event, number));
    events.bind(i64::try_from(bytes.events)?).execute(&mut *transaction).await?;
    sqlx::query(DELETE_ROW).bind(id).bind(seq).execute(&mut *transaction).await?;
    let row = sqlx::query(INSERT_ROW).bind(id).bind(seq).bind(payload(bytes.ledger, number));
    row.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

async fn write_batch(
    connection: &mut PgConnection,
    bytes: WriteSizes,
    ids: &[Uuid],
    seq: i64,
) -> anyhow::Result<()> {
    let number = u64::try_from(seq).unwrap_or(0);
    let texts = |size: usize| vec![payload(size, number); ids.len()];
    let events = || ids.iter().flat_map(|id| std::iter::repeat_n(id, bytes.events));
    let first = seq * i64::try_from(bytes.events)?;
    let numbers: Vec<i64> = (first..).take(bytes.events).cycle().take(events().count()).collect();
    let updated: i64 = sqlx::query_scalar(WRITE_BATCH)
        .bind(ids)
        .bind(texts(bytes.state))
        .bind(texts(bytes.ledger))
        .bind(seq)
        .bind(events().copied().collect::<Vec<_>>())
        .bind(numbers)
        .bind(vec![payload(bytes.event, number); ids.len() * bytes.events])
        .fetch_one(connection)
        .await?;
    anyhow::ensure!(usize::try_from(updated) == Ok(ids.len()), "a batch did not update all of its workflows");
    Ok(())
}
