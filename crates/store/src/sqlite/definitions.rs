//! Definitions and services.

use super::{SqliteStore, clock};
use crate::json::{json, parsed};
use crate::{
    DefinitionName, DefinitionRecord, DefinitionStore, Error, NewDefinition, PutDefinition, ServiceRecord,
};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

const COLUMNS: &str =
    "namespace, name, version, digest, definition, source, source_format, created_at, actor";

#[async_trait]
impl DefinitionStore for SqliteStore {
    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        self.write_job(move |connection| put(connection, &new, clock())).await
    }

    async fn archive_definition(&self, name: &DefinitionName) -> Result<bool, Error> {
        let name = name.clone();
        self.write_job(move |connection| archive(connection, &name, clock())).await
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        let names = names.to_vec();
        self.read(move |connection| newest(connection, &names)).await
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.read(move |connection| get(connection, &namespace, &name, version)).await
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.map(str::to_owned));
        self.read(move |connection| list(connection, &namespace, name.as_deref())).await
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        self.write_job(move |connection| put_service(connection, &service)).await
    }

    async fn delete_service(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.write_job(move |connection| delete_service(connection, &namespace, &name)).await
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        self.read(services).await
    }
}

fn raw(row: &Row<'_>) -> rusqlite::Result<(DefinitionParts, String)> {
    let parts = DefinitionParts {
        namespace: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        digest: row.get(3)?,
        source: row.get(5)?,
        source_format: row.get(6)?,
        created_at: row.get(7)?,
        actor: row.get(8)?,
    };
    Ok((parts, row.get(4)?))
}

struct DefinitionParts {
    namespace: String,
    name: String,
    version: u32,
    digest: String,
    source: String,
    source_format: String,
    created_at: i64,
    actor: Option<String>,
}

fn record((parts, definition): (DefinitionParts, String)) -> Result<DefinitionRecord, Error> {
    let what = format!("definition {} version {}", parts.name, parts.version);
    Ok(DefinitionRecord {
        definition: parsed(&what, &definition)?,
        namespace: parts.namespace,
        name: parts.name,
        version: parts.version,
        digest: parts.digest,
        source: parts.source,
        source_format: parts.source_format,
        created_at: Timestamp(parts.created_at),
        actor: parts.actor,
    })
}

fn put(connection: &Connection, new: &NewDefinition, now: Timestamp) -> Result<PutDefinition, Error> {
    let newest = last(connection, &new.namespace, &new.definition.name)?;
    if let Some(same) = newest.as_ref().filter(|newest| newest.digest == new.digest) {
        connection
            .prepare_cached(
                "UPDATE definitions SET archived_at = NULL
                 WHERE namespace = ?1 AND name = ?2 AND version = ?3 AND archived_at IS NOT NULL",
            )?
            .execute(params![same.namespace, same.name, same.version])?;
        return Ok(PutDefinition { record: Arc::new(same.clone()), created: false });
    }
    let version = newest.map_or(1, |newest| newest.version.saturating_add(1));
    connection
        .prepare_cached(
            "INSERT INTO definitions (namespace, name, version, digest, definition, source, source_format,
                 created_at, actor)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            new.namespace,
            new.definition.name,
            version,
            new.digest,
            json("a definition", &new.definition)?,
            new.source,
            new.source_format,
            now.0,
            new.actor
        ])?;
    let record = DefinitionRecord {
        namespace: new.namespace.clone(),
        name: new.definition.name.clone(),
        version,
        digest: new.digest.clone(),
        definition: new.definition.clone(),
        source: new.source.clone(),
        source_format: new.source_format.clone(),
        created_at: now,
        actor: new.actor.clone(),
    };
    Ok(PutDefinition { record: Arc::new(record), created: true })
}

fn newest(connection: &Connection, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT CASE WHEN archived_at IS NULL THEN version END FROM definitions
         WHERE namespace = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1",
    )?;
    let mut version = |each: &DefinitionName| {
        let found =
            statement.query_row(params![each.namespace, each.name], |row| row.get::<_, Option<u32>>(0));
        Ok(found.optional()?.flatten())
    };
    names.iter().map(&mut version).collect()
}

/// Archives a definition by marking its newest version. The marks of older versions have no effect.
fn archive(connection: &Connection, name: &DefinitionName, now: Timestamp) -> Result<bool, Error> {
    let changed = connection
        .prepare_cached(
            "UPDATE definitions SET archived_at = ?3
             WHERE namespace = ?1 AND name = ?2 AND archived_at IS NULL AND version =
                 (SELECT max(version) FROM definitions WHERE namespace = ?1 AND name = ?2)",
        )?
        .execute(params![name.namespace, name.name, now.0])?;
    Ok(changed > 0)
}

fn get(
    connection: &Connection,
    namespace: &str,
    name: &str,
    version: Option<u32>,
) -> Result<Option<DefinitionRecord>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM definitions
         WHERE namespace = ?1 AND name = ?2 AND (version = ?3 OR ?3 IS NULL AND archived_at IS NULL AND version =
             (SELECT max(version) FROM definitions WHERE namespace = ?1 AND name = ?2))"
    );
    let row =
        connection.prepare_cached(&sql)?.query_row(params![namespace, name, version], raw).optional()?;
    row.map(record).transpose()
}

/// Returns the newest version of a definition, archived or not.
fn last(connection: &Connection, namespace: &str, name: &str) -> Result<Option<DefinitionRecord>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM definitions WHERE namespace = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1"
    );
    let row = connection.prepare_cached(&sql)?.query_row(params![namespace, name], raw).optional()?;
    row.map(record).transpose()
}

fn list(
    connection: &Connection,
    namespace: &str,
    name: Option<&str>,
) -> Result<Vec<DefinitionRecord>, Error> {
    let sql = match name {
        Some(_) => format!(
            "SELECT {COLUMNS} FROM definitions WHERE namespace = ?1 AND name = ?2 ORDER BY version DESC"
        ),
        None => format!(
            "SELECT {COLUMNS} FROM definitions AS newest WHERE namespace = ?1 AND ?2 IS NULL
                 AND archived_at IS NULL AND version =
                 (SELECT max(version) FROM definitions AS each
                  WHERE each.namespace = newest.namespace AND each.name = newest.name)
             ORDER BY name"
        ),
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![namespace, name], raw)?;
    rows.map(|row| record(row?)).collect()
}

fn put_service(connection: &Connection, service: &ServiceRecord) -> Result<(), Error> {
    connection
        .prepare_cached(
            "INSERT INTO services (namespace, name, settings, updated_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (namespace, name) DO UPDATE SET settings = excluded.settings,
                 updated_at = excluded.updated_at",
        )?
        .execute(params![
            service.namespace,
            service.name,
            json("a service", &service.settings)?,
            service.updated_at.0
        ])?;
    Ok(())
}

fn delete_service(connection: &Connection, namespace: &str, name: &str) -> Result<bool, Error> {
    let deleted = connection
        .prepare_cached("DELETE FROM services WHERE namespace = ?1 AND name = ?2")?
        .execute(params![namespace, name])?;
    Ok(deleted > 0)
}

fn services(connection: &Connection) -> Result<Vec<ServiceRecord>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT namespace, name, settings, updated_at FROM services ORDER BY namespace, name",
    )?;
    let rows = statement.query_map([], |row| {
        let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((texts, row.get::<_, i64>(3)?))
    })?;
    rows.map(|row| {
        let ((namespace, name, settings), updated_at) = row?;
        let settings = parsed(&format!("service {name}"), &settings)?;
        Ok(ServiceRecord { namespace, name, settings, updated_at: Timestamp(updated_at) })
    })
    .collect()
}
