//! Members, fencing tokens and configuration entries.

use super::rows::number;
use super::{SqliteStore, clock, migrations};
use crate::json::{json, parsed};
use crate::{Announcement, ClusterStore, ConfigEntry, Error, Member};
use async_trait::async_trait;
use goconductor_saga::{Json, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

#[async_trait]
impl ClusterStore for SqliteStore {
    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        let member = member.clone();
        self.write_job(move |connection| announce(connection, &member, clock())).await
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        self.read(|connection| members(connection, clock())).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        let name = name.to_owned();
        self.write_job(move |connection| raise_epoch(connection, &name)).await
    }

    async fn config_entry(&self, name: &str) -> Result<Option<ConfigEntry>, Error> {
        let name = name.to_owned();
        self.read(move |connection| config_entry(connection, &name)).await
    }

    async fn compare_and_set(
        &self,
        name: &str,
        revision: u64,
        value: &Json,
    ) -> Result<Option<ConfigEntry>, Error> {
        let (name, value) = (name.to_owned(), value.clone());
        self.write_job(move |connection| compare_and_set(connection, &name, revision, value, clock())).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        Ok(clock())
    }

    async fn check(&self) -> Result<(), Error> {
        self.read(migrations::check).await
    }
}

fn announce(connection: &Connection, member: &Announcement, now: Timestamp) -> Result<(), Error> {
    connection
        .prepare_cached("DELETE FROM members WHERE seen_at + lives < ?1 AND instance <> ?2")?
        .execute(params![now.0, member.instance])?;
    connection
        .prepare_cached(
            "INSERT INTO members (instance, kind, address, about, since, seen_at, lives)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
             ON CONFLICT (instance) DO UPDATE SET kind = excluded.kind, address = excluded.address,
                 about = excluded.about, seen_at = excluded.seen_at, lives = excluded.lives",
        )?
        .execute(params![
            member.instance,
            member.kind,
            member.address,
            json("a member", &member.info)?,
            now.0,
            i64::try_from(member.ttl.as_micros()).unwrap_or(i64::MAX >> 2),
        ])?;
    Ok(())
}

fn members(connection: &Connection, now: Timestamp) -> Result<Vec<Member>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT instance, kind, address, about, since, seen_at, lives FROM members
         WHERE seen_at + lives > ?1 ORDER BY kind, instance",
    )?;
    let rows = statement.query_map([now.0], |row| {
        let texts: (String, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((texts, row.get::<_, i64>(4)?, row.get::<_, i64>(5)?, row.get::<_, i64>(6)?))
    })?;
    rows.map(|row| {
        let ((instance, kind, address, info), since, seen_at, ttl) = row?;
        let info = parsed(&format!("member {instance}"), &info)?;
        let ttl = Duration::from_micros(u64::try_from(ttl).unwrap_or(0));
        let announcement = Announcement { instance, kind, address, info, ttl };
        Ok(Member { announcement, since: Timestamp(since), seen_at: Timestamp(seen_at) })
    })
    .collect()
}

fn raise_epoch(connection: &Connection, name: &str) -> Result<u64, Error> {
    let value: i64 = connection
        .prepare_cached(
            "INSERT INTO epochs (name, value) VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
        )?
        .query_row(params![format!("epoch/{name}")], |row| row.get(0))?;
    Ok(number(value))
}

fn config_entry(connection: &Connection, name: &str) -> Result<Option<ConfigEntry>, Error> {
    let row: Option<(i64, String, i64)> = connection
        .prepare_cached("SELECT revision, value, since FROM agreements WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    row.map(|(revision, value, since)| {
        let value = parsed(&format!("the configuration entry {name}"), &value)?;
        Ok(ConfigEntry { revision: number(revision), value, since: Timestamp(since) })
    })
    .transpose()
}

/// Sets an entry. Returns `None` if it has another revision.
fn compare_and_set(
    connection: &Connection,
    name: &str,
    revision: u64,
    value: Json,
    now: Timestamp,
) -> Result<Option<ConfigEntry>, Error> {
    let text = json("a configuration entry", &value)?;
    let changed = if revision == 0 {
        connection
            .prepare_cached(
                "INSERT INTO agreements (name, revision, value, since) VALUES (?1, 1, ?2, ?3)
                 ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![name, text, now.0])?
    } else {
        connection
            .prepare_cached(
                "UPDATE agreements SET revision = revision + 1, value = ?2, since = ?3
                 WHERE name = ?1 AND revision = ?4",
            )?
            .execute(params![name, text, now.0, i64::try_from(revision).unwrap_or(i64::MAX)])?
    };
    Ok((changed > 0).then(|| ConfigEntry { revision: revision.saturating_add(1), value, since: now }))
}
