//! The version of a database's schema, and the releases that can use it.
//!
//! Each migration states the oldest schema version that is compatible with it: a release with that version can still read and
//! write the database. A release therefore accepts a database that is newer than itself, as long as the migrations of the
//! newer release are compatible with it. Two releases can then run side by side, and an upgrade can be taken back.
//!
//! Invariant: a migration never requires a version above that of the release before it. A change that an earlier release
//! would not survive is spread over two releases: the first one expands the schema, and the next one contracts it.

use crate::Error;
use goconductor_saga::{RulesVersion, Timestamp};

/// The configuration entry that holds the version of the rules that new workflows follow.
pub const START_RULES: &str = "start_rules";
/// The rules of new workflows in the last release without `schema_migrations`.
const RULES_OF_LAST_EXACT: u16 = 2;
/// The release of this build.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// A migration of this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The version of the schema after the migration. The first migration has version 1.
    pub version: i64,
    /// The name of the file, without its number.
    pub name: &'static str,
    /// The oldest schema version whose releases are compatible with the migration. The own version if no earlier release does.
    pub compatible_from: i64,
    /// The statements. They must not change after a release.
    pub(crate) sql: &'static str,
}

/// The version that a database records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RecordedVersion {
    /// The version that is recorded where releases without `schema_migrations` look. They accept only their own version.
    pub(crate) exact: i64,
    /// The newest version in `schema_migrations`, and the highest version that one of its migrations requires. `None` if
    /// the table is missing or empty.
    pub(crate) migrations: Option<(i64, i64)>,
}

/// The schema of a database, compared with that of this release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The version of the database. 0 if it is empty.
    pub database: i64,
    /// The oldest version whose releases can use the database.
    pub compatible_from: i64,
    /// The version of this release.
    pub release: i64,
    /// The migrations of this release that have not been applied, in order.
    pub pending: Vec<Migration>,
    /// Whether an earlier release that knows only exact versions can still use the database, because the end of its
    /// support was not declared.
    pub is_open_to_earlier: bool,
}

/// Whether this release can use a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaFit {
    /// The database has the schema of this release.
    Current,
    /// The database is newer, and compatible with this release.
    Newer,
    /// Migrations of this release are pending.
    Outdated,
    /// The database has no schema.
    Empty,
    /// The database is newer, and this release would damage it.
    TooNew,
}

impl SchemaFit {
    /// Returns the name of the value, such as `TOO_NEW`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "CURRENT",
            Self::Newer => "NEWER",
            Self::Outdated => "OUTDATED",
            Self::Empty => "EMPTY",
            Self::TooNew => "TOO_NEW",
        }
    }

    /// Returns whether this release can serve the database.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Current | Self::Newer)
    }
}

impl SchemaStatus {
    pub(crate) fn of(recorded: RecordedVersion, migrations: &[Migration]) -> Self {
        let RecordedVersion { exact, migrations: listed } = recorded;
        let (database, compatible_from) = match listed {
            // A release without `schema_migrations` has changed the schema since, and only its own version is compatible.
            Some((newest, _)) if exact > newest => (exact, exact),
            Some((newest, required)) => (newest, required),
            None => (exact, exact),
        };
        let pending = migrations.iter().filter(|migration| migration.version > database).copied().collect();
        let release = migrations.last().map_or(0, |migration| migration.version);
        // A release without `schema_migrations` always has the last version that it recorded.
        let is_open_to_earlier = exact > 0 && exact < database.min(release);
        Self { database, compatible_from, release, pending, is_open_to_earlier }
    }

    /// Returns whether this release can use the database.
    #[must_use]
    pub fn fit(&self) -> SchemaFit {
        if self.database == 0 {
            SchemaFit::Empty
        } else if self.database < self.release {
            SchemaFit::Outdated
        } else if self.database == self.release {
            SchemaFit::Current
        } else if self.compatible_from <= self.release {
            SchemaFit::Newer
        } else {
            SchemaFit::TooNew
        }
    }

    /// Checks that this release can use the database.
    ///
    /// # Errors
    /// Returns `Error::Schema` with the action to take.
    pub fn check(&self) -> Result<(), Error> {
        let action = match self.fit() {
            SchemaFit::Current | SchemaFit::Newer => return Ok(()),
            SchemaFit::TooNew => "start the release that wrote it, or a newer one",
            // A server would make it an empty store. If there was one, its data would be lost for good.
            SchemaFit::Empty => "it is empty; name the right location, or restore the store from a backup",
            SchemaFit::Outdated => {
                "make a backup, then run `goconductor db migrate` of this release on it, or start a server of this release"
            }
        };
        Err(Error::Schema {
            reason: format!("it has version {}, this release has {}: {action}", self.database, self.release),
        })
    }
}

/// Treatment of a database whose schema is older than that of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SchemaPolicy {
    /// Applies the pending migrations.
    #[default]
    Migrate,
    /// Changes nothing. The error is `Error::Unavailable`, because another process may migrate the database later.
    Verify,
}

/// Checks that a database needs no migration.
pub(crate) fn verified(status: &SchemaStatus) -> Result<(), Error> {
    match status.fit() {
        SchemaFit::Current | SchemaFit::Newer => Ok(()),
        SchemaFit::TooNew => status.check(),
        SchemaFit::Outdated | SchemaFit::Empty => Err(Error::unavailable(format!(
            "its schema has version {}, this release needs {}, and state_store.migrate is verify: run `goconductor db \
             migrate` of this release",
            status.database, status.release
        ))),
    }
}

/// Returns whether a migration must be recorded where releases without `schema_migrations` look, so that they refuse the
/// database. `exact` is the version that they accept, and `last_exact` the one of the last of these releases.
pub(crate) fn ends_exact_version(migration: &Migration, exact: i64, is_new: bool, last_exact: i64) -> bool {
    migration.compatible_from > exact || (is_new && migration.version <= last_exact)
}

/// Returns the value of [`START_RULES`] with the rules of this release.
pub(crate) fn current_start_rules() -> String {
    serde_json::json!({ "version": RulesVersion::CURRENT }).to_string()
}

/// Returns the value of [`START_RULES`] for a database that has none. An earlier release than the last one of those
/// without `schema_migrations` knows only the first rules.
pub(crate) fn first_start_rules(exact: i64, is_new: bool, last_exact: i64) -> String {
    match (is_new, exact < last_exact) {
        (true, _) => current_start_rules(),
        (false, true) => serde_json::json!({ "version": RulesVersion::FIRST }).to_string(),
        (false, false) => serde_json::json!({ "version": RULES_OF_LAST_EXACT }).to_string(),
    }
}

/// Returns the rules of a value of [`START_RULES`]. A value that is missing or cannot be read stands for the first rules,
/// which every release knows.
#[must_use]
pub fn start_rules(value: Option<&goconductor_saga::Json>) -> RulesVersion {
    let stored = value.and_then(|value| value.get("version")).cloned();
    let rules: Option<RulesVersion> = stored.and_then(|stored| serde_json::from_value(stored).ok());
    rules.unwrap_or(RulesVersion::FIRST).min(RulesVersion::CURRENT)
}

/// A migration that a database has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// The version of the schema after the migration.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// The oldest schema version whose releases are compatible with it.
    pub compatible_from: i64,
    /// The release that applied it.
    pub release: String,
    /// The time.
    pub applied_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn migrations(last: i64) -> Vec<Migration> {
        (1..=last)
            .map(|version| Migration { version, name: "m", compatible_from: version - 1, sql: "" })
            .collect()
    }

    #[test]
    fn release_accepts_a_newer_schema_that_is_compatible_with_it() {
        let recorded = |exact, migrations| RecordedVersion { exact, migrations };
        let cases = [
            // A store of an earlier release, which has no table of migrations.
            (recorded(3, None), SchemaFit::Current),
            (recorded(2, None), SchemaFit::Outdated),
            (recorded(4, None), SchemaFit::TooNew),
            (recorded(0, None), SchemaFit::Empty),
            // The next release has applied a migration that is compatible with this release, and one that is not.
            (recorded(3, Some((4, 3))), SchemaFit::Newer),
            (recorded(3, Some((4, 4))), SchemaFit::TooNew),
            (recorded(3, Some((5, 2))), SchemaFit::Newer),
            (recorded(2, Some((3, 2))), SchemaFit::Current),
            (recorded(2, Some((2, 2))), SchemaFit::Outdated),
            // A release without the table has migrated the database afterwards.
            (recorded(9, Some((3, 2))), SchemaFit::TooNew),
        ];
        for (recorded, fit) in cases {
            let status = SchemaStatus::of(recorded, &migrations(3));
            assert_eq!(status.fit(), fit, "{recorded:?}");
            assert_eq!(status.check().is_ok(), fit.is_usable(), "{recorded:?}");
        }
    }

    #[test]
    fn pending_migrations_are_those_above_the_version_of_the_database() {
        let pending = |exact| {
            let status = SchemaStatus::of(RecordedVersion { exact, migrations: None }, &migrations(3));
            status.pending.iter().map(|each| each.version).collect::<Vec<_>>()
        };
        assert_eq!(pending(0), [1, 2, 3]);
        assert_eq!(pending(2), [3]);
        assert!(pending(3).is_empty() && pending(4).is_empty());
    }

    #[test]
    fn process_that_does_not_migrate_waits_for_a_migration_only() {
        let verify = |exact| {
            let status = SchemaStatus::of(RecordedVersion { exact, migrations: None }, &migrations(3));
            verified(&status)
        };
        assert!(verify(3).is_ok());
        let waits = verify(2).unwrap_err();
        assert!(waits.is_retryable() && waits.to_string().contains("goconductor db migrate"), "{waits}");
        assert!(verify(0).unwrap_err().is_retryable());
        assert!(!verify(4).unwrap_err().is_retryable(), "waiting does not help");
    }

    #[test]
    fn unknown_start_rules_are_limited_to_those_of_this_release() {
        assert_eq!(start_rules(None), RulesVersion::FIRST);
        assert_eq!(start_rules(Some(&json!({"version": "x"}))), RulesVersion::FIRST);
        assert_eq!(start_rules(Some(&json!({"version": 1}))), RulesVersion::FIRST);
        let second: RulesVersion = serde_json::from_value(json!(2)).unwrap();
        assert_eq!(start_rules(Some(&json!({"version": 2}))), second);
        assert_eq!(start_rules(Some(&json!({"version": 3}))), RulesVersion::CURRENT);
        assert_eq!(start_rules(Some(&json!({"version": 9}))), RulesVersion::CURRENT);
        let written = |text: String| start_rules(Some(&serde_json::from_str(&text).unwrap()));
        assert_eq!(written(current_start_rules()), RulesVersion::CURRENT);
        assert_eq!(written(first_start_rules(0, true, 10)), RulesVersion::CURRENT);
        assert_eq!(written(first_start_rules(10, false, 10)), second);
        assert_eq!(written(first_start_rules(9, false, 10)), RulesVersion::FIRST);
    }

    #[test]
    fn earlier_release_keeps_its_version_until_a_migration_breaks_it() {
        let migration = |version, compatible_from| Migration { version, name: "m", compatible_from, sql: "" };
        assert!(!ends_exact_version(&migration(10, 9), 9, false, 10), "the release with version 9 survives");
        assert!(ends_exact_version(&migration(10, 9), 9, true, 10), "no release has used a new database");
        assert!(
            !ends_exact_version(&migration(11, 10), 10, true, 10),
            "the release with version 10 survives"
        );
        assert!(
            ends_exact_version(&migration(12, 11), 10, false, 10),
            "the release with version 10 would damage it"
        );
        assert!(ends_exact_version(&migration(5, 5), 4, false, 10));
    }
}
