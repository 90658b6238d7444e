//! What is asked of PostgreSQL beside the store's own.

pub(crate) mod limit;

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    PgConnection::connect(url).await.context("the PostgreSQL of --database-url can't be reached")
}

/// Makes an empty database.
pub(crate) async fn make(url: &str, name: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.context(
        "no database can be made there, and the bench measures in one of its own: \
         ALTER ROLE … CREATEDB, or name another role in --database-url",
    )?;
    Ok(())
}

/// Removes a database, whoever is connected to it.
pub(crate) async fn remove(url: &str, name: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    // Our own connections first. WITH (FORCE) would have to end the server's own as well, such as a vacuum,
    // which a role without privileges may not; without it the server does that itself.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = current_user",
    )
    .bind(name)
    .execute(&mut connection)
    .await?;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
        .execute(&mut connection)
        .await
        .with_context(|| format!("the database {name} is left behind"))?;
    Ok(())
}

/// Whether what the server has acknowledged is on its disk.
pub(crate) async fn is_durable(url: &str) -> anyhow::Result<bool> {
    let mut connection = connect(url).await?;
    // A commit's own setting is the store's: it asks for it.
    let set: String = sqlx::query_scalar("SHOW fsync").fetch_one(&mut connection).await?;
    let whole: String = sqlx::query_scalar("SHOW full_page_writes").fetch_one(&mut connection).await?;
    Ok(set == "on" && whole == "on")
}

/// How many bytes the tables take, with their indexes and partitions; the largest first.
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

/// Clears away dead rows and counts the living, as the server would do some time later.
pub(crate) async fn vacuum(url: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut connection).await?;
    Ok(())
}
