//! Access keys.

use super::rows::{escape_nul, number, unescape_nul};
use super::{PostgresStore, unavailable, uncertain};
use crate::json::{json, parsed};
use crate::{AccessKey, AccessKeyEnd, AccessKeyStore, Error};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

const COLUMNS: &str = "id, name, digest, scope, created_by, created_at, expires_at, revoked_at";
/// Raises the revision in the statement that changes a key, and thereby in its transaction. Concurrent changes wait for
/// one another, so a revision that was read includes all changes with lower ones.
const RAISE: &str = "UPDATE access_revision SET revision = revision + 1 WHERE EXISTS (SELECT 1 FROM changed)";

#[async_trait]
impl AccessKeyStore for PostgresStore {
    async fn create_access_key(&self, key: &AccessKey) -> Result<bool, Error> {
        create(&mut *self.connection().await?, key).await
    }

    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, Error> {
        get(&mut *self.connection().await?, id).await
    }

    async fn access_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccessKey>, Error> {
        list(&mut *self.connection().await?, after, limit).await
    }

    async fn end_access_key(&self, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, Error> {
        end_key(&mut *self.connection().await?, id, end).await
    }

    async fn access_revision(&self) -> Result<u64, Error> {
        let revision: i64 = sqlx::query_scalar("SELECT coalesce(max(revision), 0) FROM access_revision")
            .fetch_one(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        Ok(number(revision))
    }
}

fn key(row: &PgRow) -> Result<AccessKey, Error> {
    let (key, scope) = stored(row).map_err(unavailable)?;
    let scope = parsed(&format!("the scope of the access key {}", key.id), &scope)?;
    Ok(AccessKey { scope, ..key })
}

/// Returns a row and its scope, which has not been parsed.
fn stored(row: &PgRow) -> Result<(AccessKey, String), sqlx::Error> {
    let key = AccessKey {
        id: unescape_nul(row.try_get(0)?),
        name: unescape_nul(row.try_get(1)?),
        digest: row.try_get(2)?,
        scope: crate::AccessScope::default(),
        created_by: unescape_nul(row.try_get(4)?),
        created_at: Timestamp(row.try_get(5)?),
        expires_at: row.try_get::<Option<i64>, _>(6)?.map(Timestamp),
        revoked_at: row.try_get::<Option<i64>, _>(7)?.map(Timestamp),
    };
    Ok((key, row.try_get(3)?))
}

async fn create(connection: &mut PgConnection, key: &AccessKey) -> Result<bool, Error> {
    let sql = format!(
        "WITH changed AS (
             INSERT INTO access_keys ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (id) DO NOTHING RETURNING id
         ), raised AS ({RAISE})
         SELECT count(*) FROM changed"
    );
    // Safe: the text contains only constants.
    let created: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(escape_nul(&key.id))
        .bind(escape_nul(&key.name))
        .bind(&key.digest)
        .bind(json("the scope of an access key", &key.scope)?)
        .bind(escape_nul(&key.created_by))
        .bind(key.created_at.0)
        .bind(key.expires_at.map(|at| at.0))
        .bind(key.revoked_at.map(|at| at.0))
        .fetch_one(connection)
        .await
        .map_err(uncertain)?;
    Ok(created > 0)
}

async fn get(connection: &mut PgConnection, id: &str) -> Result<Option<AccessKey>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM access_keys WHERE id = $1");
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(escape_nul(id))
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    row.map(|row| key(&row)).transpose()
}

async fn list(
    connection: &mut PgConnection,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<AccessKey>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM access_keys WHERE $1::text IS NULL OR id > $1 ORDER BY id LIMIT $2");
    // Safe: the text contains only constants.
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(after.map(escape_nul))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.iter().map(key).collect()
}

async fn end_key(
    connection: &mut PgConnection,
    id: &str,
    end: AccessKeyEnd,
) -> Result<Option<AccessKey>, Error> {
    let (column, at) = match end {
        AccessKeyEnd::Revoked(at) => ("revoked_at", at),
        AccessKeyEnd::Expires(at) => ("expires_at", at),
    };
    let sql = format!(
        "WITH changed AS (
             UPDATE access_keys SET {column} = least({column}, $2) WHERE id = $1 RETURNING {COLUMNS}
         ), raised AS ({RAISE})
         SELECT {COLUMNS} FROM changed"
    );
    // Safe: the text contains only constants.
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(escape_nul(id))
        .bind(at.0)
        .fetch_optional(connection)
        .await
        .map_err(uncertain)?;
    row.map(|row| key(&row)).transpose()
}
