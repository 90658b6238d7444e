//! Secrets.

use super::rows::{escape_nul, unescape_nul};
use super::{NOW, PostgresStore, retry_conflicts, unavailable, uncertain};
use crate::{Error, SecretHead, SecretPosition, SecretStore, SecretVersion, WrappedDataKey};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};

const VERSION: &str =
    "SELECT namespace, name, version, key_id, wrapped_key, sealed, created_at FROM secret_versions";

#[async_trait]
impl SecretStore for PostgresStore {
    async fn put_secret(&self, version: &SecretVersion, keep: u32) -> Result<Option<SecretHead>, Error> {
        let mut connection = self.connection().await?;
        retry_conflicts!(put(&mut connection, version, keep).await)
    }

    async fn secret_head(&self, namespace: &str, name: &str) -> Result<Option<SecretHead>, Error> {
        let sql = "SELECT namespace, name, version, created_at, updated_at, deleted FROM secrets
                   WHERE namespace = $1 AND name = $2";
        let row = sqlx::query(sql).bind(escape_nul(namespace)).bind(escape_nul(name));
        let row = row.fetch_optional(&mut *self.connection().await?).await.map_err(unavailable)?;
        row.map(|row| head(&row).map_err(unavailable)).transpose()
    }

    async fn secret_version(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<SecretVersion>, Error> {
        let sql = format!(
            "{VERSION} WHERE namespace = $1 AND name = $2 AND ($3::bigint IS NULL OR version = $3)
             ORDER BY version DESC LIMIT 1"
        );
        // Safe: the text contains only constants.
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(escape_nul(namespace))
            .bind(escape_nul(name))
            .bind(version.map(i64::from));
        let row = row.fetch_optional(&mut *self.connection().await?).await.map_err(unavailable)?;
        row.map(|row| secret_version(&row).map_err(unavailable)).transpose()
    }

    async fn secrets(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretHead>, Error> {
        let sql = "SELECT namespace, name, version, created_at, updated_at, deleted FROM secrets
                   WHERE namespace = $1 AND NOT deleted AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(escape_nul(namespace))
            .bind(after.map(escape_nul))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        rows.iter().map(|row| head(row).map_err(unavailable)).collect()
    }

    async fn delete_secret(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        delete(&mut *self.connection().await?, namespace, name).await
    }

    async fn secrets_of_other_keys(
        &self,
        key_id: &str,
        after: Option<&SecretPosition>,
        limit: u32,
    ) -> Result<Vec<SecretVersion>, Error> {
        let sql = format!(
            "{VERSION} WHERE key_id <> $1 AND ($2::text IS NULL OR (namespace, name, version) > ($2, $3, $4))
             ORDER BY namespace, name, version LIMIT $5"
        );
        // Safe: the text contains only constants.
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(key_id)
            .bind(after.map(|at| escape_nul(&at.namespace)))
            .bind(after.map(|at| escape_nul(&at.name)))
            .bind(after.map(|at| i64::from(at.version)))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.connection().await?)
            .await
            .map_err(unavailable)?;
        rows.iter().map(|row| secret_version(row).map_err(unavailable)).collect()
    }

    async fn rewrap_secret(
        &self,
        at: &SecretPosition,
        from_key_id: &str,
        key: &WrappedDataKey,
    ) -> Result<bool, Error> {
        let done = sqlx::query(
            "UPDATE secret_versions SET key_id = $5, wrapped_key = $6
             WHERE namespace = $1 AND name = $2 AND version = $3 AND key_id = $4",
        )
        .bind(escape_nul(&at.namespace))
        .bind(escape_nul(&at.name))
        .bind(i64::from(at.version))
        .bind(from_key_id)
        .bind(&key.key_id)
        .bind(&key.wrapped)
        .execute(&mut *self.connection().await?)
        .await
        .map_err(uncertain)?;
        Ok(done.rows_affected() > 0)
    }
}

async fn put(
    connection: &mut PgConnection,
    version: &SecretVersion,
    keep: u32,
) -> Result<Option<SecretHead>, Error> {
    let SecretVersion { position, key, sealed, created_at: _ } = version;
    let (namespace, name) = (escape_nul(&position.namespace), escape_nul(&position.name));
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    let sql = if position.version == 1 {
        format!(
            "INSERT INTO secrets (namespace, name, version, created_at, updated_at, deleted)
             SELECT $1, $2, $3, at, at, false FROM (SELECT {NOW} AS at) AS clock ON CONFLICT DO NOTHING
             RETURNING namespace, name, version, created_at, updated_at, deleted"
        )
    } else {
        // The row is locked, so that of two writers the second one sees the version of the first.
        format!(
            "UPDATE secrets SET version = $3, updated_at = at, deleted = false,
                 created_at = CASE WHEN deleted THEN at ELSE created_at END
             FROM (SELECT {NOW} AS at) AS clock
             WHERE namespace = $1 AND name = $2 AND version = $3 - 1
             RETURNING namespace, name, version, created_at, updated_at, deleted"
        )
    };
    // Safe: the text contains only constants.
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(&*namespace)
        .bind(&*name)
        .bind(i64::from(position.version))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
    let Some(row) = row else { return Ok(None) };
    let head = head(&row).map_err(unavailable)?;
    sqlx::query(
        "INSERT INTO secret_versions (namespace, name, version, key_id, wrapped_key, sealed, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&*namespace)
    .bind(&*name)
    .bind(i64::from(position.version))
    .bind(&key.key_id)
    .bind(&key.wrapped)
    .bind(sealed)
    .bind(head.updated_at.0)
    .execute(&mut *transaction)
    .await
    .map_err(unavailable)?;
    let oldest = if keep == 0 { 0 } else { i64::from(position.version) - i64::from(keep) };
    sqlx::query("DELETE FROM secret_versions WHERE namespace = $1 AND name = $2 AND version <= $3")
        .bind(&*namespace)
        .bind(&*name)
        .bind(oldest)
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(uncertain)?;
    Ok(Some(head))
}

async fn delete(connection: &mut PgConnection, namespace: &str, name: &str) -> Result<bool, Error> {
    let mut transaction = connection.begin().await.map_err(unavailable)?;
    let sql = format!(
        "UPDATE secrets SET deleted = true, updated_at = {NOW}
         WHERE namespace = $1 AND name = $2 AND NOT deleted"
    );
    // Safe: the text contains only constants.
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(escape_nul(namespace))
        .bind(escape_nul(name))
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    sqlx::query("DELETE FROM secret_versions WHERE namespace = $1 AND name = $2")
        .bind(escape_nul(namespace))
        .bind(escape_nul(name))
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
    transaction.commit().await.map_err(uncertain)?;
    Ok(done.rows_affected() > 0)
}

fn head(row: &PgRow) -> Result<SecretHead, sqlx::Error> {
    Ok(SecretHead {
        namespace: unescape_nul(row.try_get(0)?),
        name: unescape_nul(row.try_get(1)?),
        version: version_number(row.try_get(2)?),
        created_at: Timestamp(row.try_get(3)?),
        updated_at: Timestamp(row.try_get(4)?),
        is_deleted: row.try_get(5)?,
    })
}

fn secret_version(row: &PgRow) -> Result<SecretVersion, sqlx::Error> {
    Ok(SecretVersion {
        position: SecretPosition {
            namespace: unescape_nul(row.try_get(0)?),
            name: unescape_nul(row.try_get(1)?),
            version: version_number(row.try_get(2)?),
        },
        key: WrappedDataKey { key_id: row.try_get(3)?, wrapped: row.try_get(4)? },
        sealed: row.try_get(5)?,
        created_at: Timestamp(row.try_get(6)?),
    })
}

fn version_number(version: i64) -> u32 {
    u32::try_from(version).unwrap_or(0)
}
