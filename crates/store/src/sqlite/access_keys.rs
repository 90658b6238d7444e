//! Access keys.

use super::SqliteStore;
use super::rows::number;
use crate::json::{json, parsed};
use crate::{AccessKey, AccessKeyEnd, AccessKeyStore, Error};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str = "id, name, digest, scope, created_by, created_at, expires_at, revoked_at";

#[async_trait]
impl AccessKeyStore for SqliteStore {
    async fn create_access_key(&self, key: &AccessKey) -> Result<bool, Error> {
        let key = key.clone();
        self.write_job(move |connection| create(connection, &key)).await
    }

    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, Error> {
        let id = id.to_owned();
        self.read(move |connection| get(connection, &id)).await
    }

    async fn access_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccessKey>, Error> {
        let after = after.map(str::to_owned);
        self.read(move |connection| list(connection, after.as_deref(), limit)).await
    }

    async fn end_access_key(&self, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, Error> {
        let id = id.to_owned();
        self.write_job(move |connection| end_key(connection, &id, end)).await
    }

    async fn access_revision(&self) -> Result<u64, Error> {
        self.read(revision).await
    }
}

/// A row whose scope has not been parsed.
type StoredKey = (AccessKey, String);

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let key = AccessKey {
        id: row.get(0)?,
        name: row.get(1)?,
        digest: row.get(2)?,
        scope: crate::AccessScope::default(),
        created_by: row.get(4)?,
        created_at: Timestamp(row.get(5)?),
        expires_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
        revoked_at: row.get::<_, Option<i64>>(7)?.map(Timestamp),
    };
    Ok((key, row.get(3)?))
}

fn with_scope((key, scope): StoredKey) -> Result<AccessKey, Error> {
    let scope = parsed(&format!("the scope of the access key {}", key.id), &scope)?;
    Ok(AccessKey { scope, ..key })
}

/// Raises the revision. The statement and the change of a key are one transaction.
fn raise_revision(connection: &Connection) -> Result<(), Error> {
    connection.prepare_cached("UPDATE access_revision SET revision = revision + 1")?.execute([])?;
    Ok(())
}

fn create(connection: &Connection, key: &AccessKey) -> Result<bool, Error> {
    let inserted = connection
        .prepare_cached(
            "INSERT INTO access_keys (id, name, digest, scope, created_by, created_at, expires_at, revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            key.id,
            key.name,
            key.digest,
            json("the scope of an access key", &key.scope)?,
            key.created_by,
            key.created_at.0,
            key.expires_at.map(|at| at.0),
            key.revoked_at.map(|at| at.0),
        ])?;
    if inserted > 0 {
        raise_revision(connection)?;
    }
    Ok(inserted > 0)
}

fn get(connection: &Connection, id: &str) -> Result<Option<AccessKey>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM access_keys WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], stored).optional()?.map(with_scope).transpose()
}

fn list(connection: &Connection, after: Option<&str>, limit: u32) -> Result<Vec<AccessKey>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM access_keys WHERE ?1 IS NULL OR id > ?1 ORDER BY id LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit], stored)?;
    rows.map(|row| with_scope(row?)).collect()
}

fn end_key(connection: &Connection, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, Error> {
    let (sql, at) = match end {
        AccessKeyEnd::Revoked(at) => {
            ("UPDATE access_keys SET revoked_at = min(coalesce(revoked_at, ?2), ?2) WHERE id = ?1", at)
        }
        AccessKeyEnd::Expires(at) => {
            ("UPDATE access_keys SET expires_at = min(coalesce(expires_at, ?2), ?2) WHERE id = ?1", at)
        }
    };
    if connection.prepare_cached(sql)?.execute(params![id, at.0])? == 0 {
        return Ok(None);
    }
    raise_revision(connection)?;
    get(connection, id)
}

fn revision(connection: &Connection) -> Result<u64, Error> {
    let revision: i64 = connection
        .prepare_cached("SELECT coalesce(max(revision), 0) FROM access_revision")?
        .query_row([], |row| row.get(0))?;
    Ok(number(revision))
}
