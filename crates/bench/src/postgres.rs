//! Administration of the PostgreSQL server: databases, sizes, vacuum.

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Connects to a database.
pub(crate) async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(url).await.context("failed to connect to the PostgreSQL server of --database-url")
}

/// Creates an empty database.
pub(crate) async fn create(url: &str, name: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.context(
        "failed to create a database for the measurement; grant the right with ALTER ROLE … CREATEDB, \
         or use another role in --database-url",
    )?;
    Ok(())
}

/// Drops a database and terminates its connections.
pub(crate) async fn drop_database(url: &str, name: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    // Terminate only the connections of this role. WITH (FORCE) would also have to terminate processes of the server, such
    // as a vacuum, which an unprivileged role may not. Without it, the server ends those itself.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
    )
    .bind(name)
    .execute(&mut connection)
    .await?;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
        .execute(&mut connection)
        .await
        .with_context(|| format!("failed to drop the database {name}"))?;
    Ok(())
}

/// Whether acknowledged writes are on the disk of the server.
pub(crate) async fn is_durable(url: &str) -> anyhow::Result<bool> {
    let mut connection = connect(url).await?;
    // `synchronous_commit` is not checked: the store sets it for each connection.
    let fsync: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await?;
    let full_page_writes: String =
        sqlx::query_scalar("SHOW full_page_writes").fetch_one(&mut connection).await?;
    Ok(fsync == "on" && full_page_writes == "on")
}

/// Returns the five largest tables with their size in bytes, including indexes and partitions.
pub(crate) async fn sizes(url: &str) -> anyhow::Result<Vec<(String, u64)>> {
    let mut connection = connect(url).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT coalesce(pg_partition_root(relid), relid)::regclass::text,
                sum(pg_total_relation_size(relid))::bigint
         FROM pg_stat_user_tables WHERE schemaname = current_schema() GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5",
    )
    .fetch_all(&mut connection)
    .await?;
    Ok(rows.into_iter().map(|(name, bytes)| (name, u64::try_from(bytes).unwrap_or(0))).collect())
}

/// Vacuums and analyzes all tables, as autovacuum would do later.
pub(crate) async fn vacuum(url: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut connection).await?;
    Ok(())
}
