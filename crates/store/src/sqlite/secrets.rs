//! Secrets.

use super::{SqliteStore, clock};
use crate::{Error, SecretHead, SecretPosition, SecretStore, SecretVersion, WrappedDataKey};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

const HEAD: &str = "SELECT namespace, name, version, created_at, updated_at, deleted FROM secrets";
const VERSION: &str =
    "SELECT namespace, name, version, key_id, wrapped_key, sealed, created_at FROM secret_versions";

#[async_trait]
impl SecretStore for SqliteStore {
    async fn put_secret(&self, version: &SecretVersion, keep: u32) -> Result<Option<SecretHead>, Error> {
        let version = version.clone();
        self.write_job(move |connection| put(connection, &version, keep, clock())).await
    }

    async fn secret_head(&self, namespace: &str, name: &str) -> Result<Option<SecretHead>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.read(move |connection| find_head(connection, &namespace, &name)).await
    }

    async fn secret_version(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<SecretVersion>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.read(move |connection| {
            let sql = format!(
                "{VERSION} WHERE namespace = ?1 AND name = ?2 AND (?3 IS NULL OR version = ?3)
                 ORDER BY version DESC LIMIT 1"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row(params![namespace, name, version], secret_version).optional()?)
        })
        .await
    }

    async fn secrets(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretHead>, Error> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.read(move |connection| {
            let sql = format!(
                "{HEAD} WHERE namespace = ?1 AND deleted = 0 AND (?2 IS NULL OR name > ?2)
                 ORDER BY name LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![namespace, after, limit], head)?;
            rows.map(|row| Ok(row?)).collect()
        })
        .await
    }

    async fn delete_secret(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.write_job(move |connection| delete(connection, &namespace, &name, clock())).await
    }

    async fn secrets_of_other_keys(
        &self,
        key_id: &str,
        after: Option<&SecretPosition>,
        limit: u32,
    ) -> Result<Vec<SecretVersion>, Error> {
        let (key_id, after) = (key_id.to_owned(), after.cloned());
        self.read(move |connection| {
            let sql = format!(
                "{VERSION} WHERE key_id <> ?1 AND (?2 IS NULL OR (namespace, name, version) > (?2, ?3, ?4))
                 ORDER BY namespace, name, version LIMIT ?5"
            );
            let (namespace, name, version) = match after {
                Some(SecretPosition { namespace, name, version }) => {
                    (Some(namespace), Some(name), Some(version))
                }
                None => (None, None, None),
            };
            let mut statement = connection.prepare_cached(&sql)?;
            let rows =
                statement.query_map(params![key_id, namespace, name, version, limit], secret_version)?;
            rows.map(|row| Ok(row?)).collect()
        })
        .await
    }

    async fn rewrap_secret(
        &self,
        at: &SecretPosition,
        from_key_id: &str,
        key: &WrappedDataKey,
    ) -> Result<bool, Error> {
        let (at, from_key_id, key) = (at.clone(), from_key_id.to_owned(), key.clone());
        self.write_job(move |connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE secret_versions SET key_id = ?5, wrapped_key = ?6
                 WHERE namespace = ?1 AND name = ?2 AND version = ?3 AND key_id = ?4",
            )?;
            let SecretPosition { namespace, name, version } = at;
            let row = params![namespace, name, version, from_key_id, key.key_id, key.wrapped];
            Ok(statement.execute(row)? > 0)
        })
        .await
    }
}

/// Runs within the transaction of the writer.
fn put(
    connection: &Connection,
    version: &SecretVersion,
    keep: u32,
    now: Timestamp,
) -> Result<Option<SecretHead>, Error> {
    let SecretVersion { position, key, sealed, created_at: _ } = version;
    let SecretPosition { namespace, name, version } = position;
    let sql = if *version == 1 {
        "INSERT INTO secrets (namespace, name, version, created_at, updated_at, deleted)
         VALUES (?1, ?2, ?3, ?4, ?4, 0) ON CONFLICT DO NOTHING"
    } else {
        "UPDATE secrets SET version = ?3, updated_at = ?4, deleted = 0,
             created_at = CASE WHEN deleted THEN ?4 ELSE created_at END
         WHERE namespace = ?1 AND name = ?2 AND version = ?3 - 1"
    };
    if connection.prepare_cached(sql)?.execute(params![namespace, name, version, now.0])? == 0 {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "INSERT INTO secret_versions (namespace, name, version, key_id, wrapped_key, sealed, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![namespace, name, version, key.key_id, key.wrapped, sealed, now.0])?;
    let oldest = if keep == 0 { 0 } else { version.saturating_sub(keep) };
    connection
        .prepare_cached("DELETE FROM secret_versions WHERE namespace = ?1 AND name = ?2 AND version <= ?3")?
        .execute(params![namespace, name, oldest])?;
    find_head(connection, namespace, name)
}

fn find_head(connection: &Connection, namespace: &str, name: &str) -> Result<Option<SecretHead>, Error> {
    let mut statement = connection.prepare_cached(&format!("{HEAD} WHERE namespace = ?1 AND name = ?2"))?;
    Ok(statement.query_row([namespace, name], head).optional()?)
}

fn delete(connection: &Connection, namespace: &str, name: &str, now: Timestamp) -> Result<bool, Error> {
    let deleted = connection
        .prepare_cached(
            "UPDATE secrets SET deleted = 1, updated_at = ?3
             WHERE namespace = ?1 AND name = ?2 AND deleted = 0",
        )?
        .execute(params![namespace, name, now.0])?;
    connection
        .prepare_cached("DELETE FROM secret_versions WHERE namespace = ?1 AND name = ?2")?
        .execute([namespace, name])?;
    Ok(deleted > 0)
}

fn head(row: &Row<'_>) -> rusqlite::Result<SecretHead> {
    Ok(SecretHead {
        namespace: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        created_at: Timestamp(row.get(3)?),
        updated_at: Timestamp(row.get(4)?),
        is_deleted: row.get(5)?,
    })
}

fn secret_version(row: &Row<'_>) -> rusqlite::Result<SecretVersion> {
    Ok(SecretVersion {
        position: SecretPosition { namespace: row.get(0)?, name: row.get(1)?, version: row.get(2)? },
        key: WrappedDataKey { key_id: row.get(3)?, wrapped: row.get(4)? },
        sealed: row.get(5)?,
        created_at: Timestamp(row.get(6)?),
    })
}
