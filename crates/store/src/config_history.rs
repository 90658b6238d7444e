//! The dynamic settings and their history, as configuration entries.
//!
//! Version `n` is the entry `config/n`, which is created once and never changes. Creating it is the commit: of two writers
//! that read the same version, one creates the next entry and the other one fails. The entry `config` repeats the newest
//! version, so that a reader need not search for it. It may be late, because a writer can stop between both writes. A
//! reader therefore looks for the entry that follows the one it knows.
//!
//! The versions need no table of their own, so a release that does not know them can run beside this one.

use crate::{ClusterStore, ConfigEntry, Error};
use goconductor_saga::{Json, Timestamp};
use serde::{Deserialize, Serialize};

/// Name of the entry that repeats the newest version, and prefix of all versions.
const NAME: &str = "config";
/// The number of versions that are kept.
pub const CONFIG_VERSIONS: u64 = 1000;

/// A version of the dynamic settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigVersion {
    /// The number of the version, from 1.
    pub version: u64,
    /// Time of the change, by the database's clock.
    pub time: Timestamp,
    /// The change.
    pub change: ConfigChange,
}

/// A change of the dynamic settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// A random identity, by which a writer recognises its own change.
    pub id: String,
    /// All dynamic settings after the change.
    pub settings: Json,
    /// The digest of the settings.
    pub digest: String,
    /// The caller who made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The reason for the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The entry that repeats the newest version.
#[derive(Debug, Serialize, Deserialize)]
struct NewestVersion {
    version: u64,
}

/// The dynamic settings of a store.
#[derive(Debug, Clone, Copy)]
pub struct ConfigHistory<'s> {
    store: &'s dyn ClusterStore,
}

impl<'s> ConfigHistory<'s> {
    /// Returns the dynamic settings of a store.
    #[must_use]
    pub fn of(store: &'s dyn ClusterStore) -> Self {
        Self { store }
    }

    /// Returns a version. Returns `None` if it does not exist, or if it is no longer kept.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    pub async fn version(&self, version: u64) -> Result<Option<ConfigVersion>, Error> {
        let Some(entry) = self.store.config_entry(&name_of(version)).await? else { return Ok(None) };
        decode(version, entry)
    }

    /// Returns the newest version. Returns `None` if the settings were never changed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    pub async fn newest(&self) -> Result<Option<ConfigVersion>, Error> {
        let known = match self.store.config_entry(NAME).await? {
            Some(entry) => newest_of(entry)?,
            None => 0,
        };
        match self.newest_after(known).await? {
            Some(newer) => Ok(Some(newer)),
            None if known == 0 => Ok(None),
            None => self.version(known).await,
        }
    }

    /// Returns the newest version if it is above `known`. If nothing changed, this is one read that returns nothing.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    pub async fn newest_after(&self, known: u64) -> Result<Option<ConfigVersion>, Error> {
        let (mut newest, mut next) = (None, known.saturating_add(1));
        while let Some(entry) = self.store.config_entry(&name_of(next)).await? {
            // A version that is no longer kept is followed by others.
            newest = decode(next, entry)?.or(newest);
            next = next.saturating_add(1);
        }
        Ok(newest)
    }

    /// Returns at most `limit` versions before `before`, newest first.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    pub async fn before(&self, before: u64, limit: u32) -> Result<Vec<ConfigVersion>, Error> {
        let mut versions = Vec::new();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        for version in (1..before).rev().take(limit) {
            match self.version(version).await? {
                Some(found) => versions.push(found),
                // Older ones are no longer kept either.
                None => break,
            }
        }
        Ok(versions)
    }

    /// Adds the version that follows `current`, which is 0 before the first one. Returns `None`, and changes nothing, if
    /// another writer added it.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written, and `Error::OutcomeUnknown` if neither the response of the
    /// write nor a later read was received.
    pub async fn append(&self, current: u64, change: &ConfigChange) -> Result<Option<ConfigVersion>, Error> {
        let version = current.saturating_add(1);
        let value = serde_json::to_value(change)
            .map_err(|error| Error::corrupt("a change of the configuration", error.to_string()))?;
        let entry = match self.store.compare_and_set(&name_of(version), 0, &value).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(None),
            // The outcome is known by reading, because a repeat could be the one that fails.
            Err(error @ Error::OutcomeUnknown { .. }) => {
                match self.store.config_entry(&name_of(version)).await {
                    Ok(Some(entry)) if is_change(&entry, change) => entry,
                    Ok(Some(_)) => return Ok(None),
                    Ok(None) | Err(_) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        // The change is committed: what follows only shortens later reads.
        if let Err(error) = self.settle(version).await {
            tracing::debug!(%error, version, "the newest version of the configuration was not noted");
        }
        Ok(Some(ConfigVersion { version, time: entry.since, change: change.clone() }))
    }

    /// Notes the newest version, and clears the one that is no longer kept.
    async fn settle(&self, version: u64) -> Result<(), Error> {
        let noted = self.store.config_entry(NAME).await?;
        let revision = noted.as_ref().map_or(0, |entry| entry.revision);
        if noted.map(newest_of).transpose()?.is_none_or(|noted| noted < version) {
            let newest = serde_json::json!(NewestVersion { version });
            self.store.compare_and_set(NAME, revision, &newest).await?;
        }
        if let Some(old) = version.checked_sub(CONFIG_VERSIONS).filter(|old| *old > 0) {
            self.store.compare_and_set(&name_of(old), 1, &Json::Null).await?;
        }
        Ok(())
    }
}

fn name_of(version: u64) -> String {
    format!("{NAME}/{version}")
}

fn newest_of(entry: ConfigEntry) -> Result<u64, Error> {
    let newest: NewestVersion = serde_json::from_value(entry.value)
        .map_err(|error| Error::corrupt("the newest version of the configuration", error.to_string()))?;
    Ok(newest.version)
}

fn decode(version: u64, entry: ConfigEntry) -> Result<Option<ConfigVersion>, Error> {
    if entry.value.is_null() {
        return Ok(None);
    }
    let change = serde_json::from_value(entry.value).map_err(|error| {
        Error::corrupt(format!("version {version} of the configuration"), error.to_string())
    })?;
    Ok(Some(ConfigVersion { version, time: entry.since, change }))
}

fn is_change(entry: &ConfigEntry, change: &ConfigChange) -> bool {
    entry.value.get("id").and_then(Json::as_str) == Some(&change.id)
}
