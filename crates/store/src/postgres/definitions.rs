//! Definitions and services.

use super::rows::{escape_nul, unescape_nul};
use super::{PostgresStore, commit, unavailable, uncertain};
use crate::json::{json, parsed};
use crate::{
    ClusterStore, DefinitionName, DefinitionRecord, DefinitionStore, Error, NewDefinition, PutDefinition,
    ServiceRecord,
};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};
use std::sync::Arc;

#[async_trait]
impl DefinitionStore for PostgresStore {
    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        let now = self.now().await?;
        let mut transaction = self.begin().await?;
        let put = put(&mut transaction, &new, now).await?;
        commit(transaction).await?;
        Ok(put)
    }

    async fn archive_definition(&self, name: &DefinitionName) -> Result<bool, Error> {
        let now = self.now().await?;
        archive(&mut *self.connection().await?, name, now).await
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        newest(&mut *self.connection().await?, names).await
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        get(&mut *self.connection().await?, namespace, name, version).await
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        list(&mut *self.connection().await?, namespace, name).await
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        put_service(&mut *self.connection().await?, &service).await
    }

    async fn delete_service(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        delete_service(&mut *self.connection().await?, namespace, name).await
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        services(&mut *self.connection().await?).await
    }
}

struct Raw {
    namespace: String,
    name: String,
    version: i32,
    digest: String,
    definition: String,
    source: String,
    source_format: String,
    created_at: i64,
    actor: Option<String>,
}

impl<'r> FromRow<'r, PgRow> for Raw {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            namespace: row.try_get("namespace")?,
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            digest: row.try_get("digest")?,
            definition: row.try_get("definition")?,
            source: row.try_get("source")?,
            source_format: row.try_get("source_format")?,
            created_at: row.try_get("created_at")?,
            actor: row.try_get("actor")?,
        })
    }
}

fn record(raw: Raw) -> Result<DefinitionRecord, Error> {
    let what = format!("definition {} version {}", raw.name, raw.version);
    Ok(DefinitionRecord {
        definition: parsed(&what, &raw.definition)?,
        namespace: unescape_nul(raw.namespace),
        name: unescape_nul(raw.name),
        version: u32::try_from(raw.version).unwrap_or(0),
        digest: unescape_nul(raw.digest),
        source: unescape_nul(raw.source),
        source_format: unescape_nul(raw.source_format),
        created_at: Timestamp(raw.created_at),
        actor: raw.actor.map(unescape_nul),
    })
}

/// Applies a definition. The caller commits.
async fn put(
    connection: &mut PgConnection,
    new: &NewDefinition,
    now: Timestamp,
) -> Result<PutDefinition, Error> {
    // Serializes calls for the same name, so that two calls with equal content do not create two versions.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(escape_nul(&format!("definition/{}/{}", new.namespace, new.definition.name)))
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    let newest = last(connection, &new.namespace, &new.definition.name).await?;
    if let Some(same) = newest.as_ref().filter(|newest| newest.digest == new.digest) {
        restore(connection, same).await?;
        return Ok(PutDefinition { record: Arc::new(same.clone()), created: false });
    }
    let version = newest.map_or(1, |newest| newest.version.saturating_add(1));
    sqlx::query(
        "INSERT INTO definitions (namespace, name, version, digest, definition, source, source_format,
             created_at, actor)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(escape_nul(&new.namespace))
    .bind(escape_nul(&new.definition.name))
    .bind(i32::try_from(version).unwrap_or(i32::MAX))
    .bind(escape_nul(&new.digest))
    .bind(json("a definition", &new.definition)?)
    .bind(escape_nul(&new.source))
    .bind(escape_nul(&new.source_format))
    .bind(now.0)
    .bind(new.actor.as_deref().map(escape_nul))
    .execute(connection)
    .await
    .map_err(unavailable)?;
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

async fn newest(connection: &mut PgConnection, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
    let versions: Vec<Option<i32>> = sqlx::query_scalar(
        "SELECT (SELECT CASE WHEN archived_at IS NULL THEN version END FROM definitions
             WHERE definitions.namespace = row.namespace AND definitions.name = row.name
             ORDER BY version DESC LIMIT 1)
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS row (namespace, name, place) ORDER BY place",
    )
    .bind(names.iter().map(|each| escape_nul(&each.namespace)).collect::<Vec<_>>())
    .bind(names.iter().map(|each| escape_nul(&each.name)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    Ok(versions.into_iter().map(|version| version.and_then(|version| u32::try_from(version).ok())).collect())
}

async fn get(
    connection: &mut PgConnection,
    namespace: &str,
    name: &str,
    version: Option<u32>,
) -> Result<Option<DefinitionRecord>, Error> {
    let raw: Option<Raw> = sqlx::query_as(
        "SELECT * FROM definitions
         WHERE namespace = $1 AND name = $2
             AND (version = $3 OR $3::int IS NULL AND archived_at IS NULL AND version =
                 (SELECT max(version) FROM definitions WHERE namespace = $1 AND name = $2))",
    )
    .bind(escape_nul(namespace))
    .bind(escape_nul(name))
    .bind(version.map(|version| i32::try_from(version).unwrap_or(i32::MAX)))
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    raw.map(record).transpose()
}

/// Returns the newest version of a definition, archived or not.
async fn last(
    connection: &mut PgConnection,
    namespace: &str,
    name: &str,
) -> Result<Option<DefinitionRecord>, Error> {
    let raw: Option<Raw> = sqlx::query_as(
        "SELECT * FROM definitions WHERE namespace = $1 AND name = $2 ORDER BY version DESC LIMIT 1",
    )
    .bind(escape_nul(namespace))
    .bind(escape_nul(name))
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    raw.map(record).transpose()
}

/// Archives a definition by marking its newest version. The marks of older versions have no effect.
async fn archive(
    connection: &mut PgConnection,
    name: &DefinitionName,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE definitions SET archived_at = $3
         WHERE namespace = $1 AND name = $2 AND archived_at IS NULL AND version =
             (SELECT max(version) FROM definitions WHERE namespace = $1 AND name = $2)",
    )
    .bind(escape_nul(&name.namespace))
    .bind(escape_nul(&name.name))
    .bind(now.0)
    .execute(connection)
    .await
    .map_err(uncertain)?;
    Ok(updated.rows_affected() > 0)
}

/// Removes the mark of an archived version. The caller commits.
async fn restore(connection: &mut PgConnection, record: &DefinitionRecord) -> Result<(), Error> {
    sqlx::query(
        "UPDATE definitions SET archived_at = NULL
         WHERE namespace = $1 AND name = $2 AND version = $3 AND archived_at IS NOT NULL",
    )
    .bind(escape_nul(&record.namespace))
    .bind(escape_nul(&record.name))
    .bind(i32::try_from(record.version).unwrap_or(i32::MAX))
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn list(
    connection: &mut PgConnection,
    namespace: &str,
    name: Option<&str>,
) -> Result<Vec<DefinitionRecord>, Error> {
    let sql = match name {
        Some(_) => "SELECT * FROM definitions WHERE namespace = $1 AND name = $2 ORDER BY version DESC",
        None => {
            "SELECT * FROM (SELECT DISTINCT ON (name COLLATE \"C\") * FROM definitions
                 WHERE namespace = $1 AND $2::text IS NULL ORDER BY name COLLATE \"C\", version DESC) AS newest
             WHERE archived_at IS NULL ORDER BY name COLLATE \"C\""
        }
    };
    let rows: Vec<Raw> = sqlx::query_as(sql)
        .bind(escape_nul(namespace))
        .bind(name.map(escape_nul))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    rows.into_iter().map(record).collect()
}

async fn put_service(connection: &mut PgConnection, service: &ServiceRecord) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO services (namespace, name, settings, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (namespace, name) DO UPDATE SET settings = excluded.settings,
             updated_at = excluded.updated_at",
    )
    .bind(escape_nul(&service.namespace))
    .bind(escape_nul(&service.name))
    .bind(json("a service", &service.settings)?)
    .bind(service.updated_at.0)
    .execute(connection)
    .await
    .map_err(uncertain)?;
    Ok(())
}

async fn delete_service(connection: &mut PgConnection, namespace: &str, name: &str) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM services WHERE namespace = $1 AND name = $2")
        .bind(escape_nul(namespace))
        .bind(escape_nul(name))
        .execute(connection)
        .await
        .map_err(uncertain)?;
    Ok(deleted.rows_affected() > 0)
}

async fn services(connection: &mut PgConnection) -> Result<Vec<ServiceRecord>, Error> {
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
        "SELECT namespace, name, settings, updated_at FROM services
             ORDER BY namespace COLLATE \"C\", name COLLATE \"C\"",
    )
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    rows.into_iter()
        .map(|(namespace, name, settings, updated_at)| {
            let settings = parsed(&format!("service {name}"), &settings)?;
            let (namespace, name) = (unescape_nul(namespace), unescape_nul(name));
            Ok(ServiceRecord { namespace, name, settings, updated_at: Timestamp(updated_at) })
        })
        .collect()
}
