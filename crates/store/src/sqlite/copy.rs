//! Copies of a store: a backup while a server writes it, and its restoration.

use super::{BUSY_TIMEOUT, SqliteStore, acquire_lock, file, lock_path, migrations, note_creation, unusable};
use crate::{Error, SchemaFit};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Maximum number of problems that a check reports.
const PROBLEMS: i64 = 100;

/// A copy of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCopy {
    /// Its size in bytes.
    pub bytes: u64,
    /// The version of its schema.
    pub schema: i64,
    /// The number of workflows in it.
    pub workflows: u64,
}

impl SqliteStore {
    /// Copies a store to a new file. Another process may write the store at the same time: the copy is its state at one
    /// moment. The copy is checked and synced before it appears under its name.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if the store cannot be opened, if `target` exists or cannot be written, or if the
    /// copy is damaged.
    pub fn backup(source: &Path, target: &Path) -> Result<StoreCopy, Error> {
        if target.exists() {
            return Err(Error::configuration(format!(
                "{} exists: name a file that does not exist, because a backup overwrites nothing",
                target.display()
            )));
        }
        copy(&open_source(source)?, source, target)
    }

    /// Restores a backup as the store `target`, which must not exist. Nothing is changed where a store is or was.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if a store is or was at `target`, if a process uses it, or if the backup is not a
    /// store or is damaged, and `Error::Schema` if this release cannot use it.
    pub fn restore(backup: &Path, target: &Path) -> Result<StoreCopy, Error> {
        if let Some(remains) = file::remains(target, &lock_path(target)) {
            return Err(Error::configuration(remains));
        }
        if target.exists() {
            return Err(Error::configuration(format!(
                "{} exists: move the files of that store to another directory, or restore into an empty directory",
                target.display()
            )));
        }
        let source = open_source(backup)?;
        let status = migrations::status(&source)?;
        if !matches!(status.fit(), SchemaFit::Current | SchemaFit::Newer | SchemaFit::Outdated) {
            status.check()?;
        }
        let mut lock = acquire_lock(target)?;
        let copied = copy(&source, backup, target)?;
        note_creation(&mut lock, target);
        Ok(copied)
    }
}

/// Returns the problems of a file.
pub(super) fn integrity(connection: &Connection) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS})"))?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    let found: Vec<String> = match found.collect() {
        Ok(found) => found,
        // A page that cannot be read at all ends the check.
        Err(error) if is_damage(&error) => vec![error.to_string()],
        Err(error) => return Err(error.into()),
    };
    Ok(found.into_iter().filter(|problem| problem != "ok").collect())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    let damage = [rusqlite::ErrorCode::DatabaseCorrupt, rusqlite::ErrorCode::NotADatabase];
    error.sqlite_error_code().is_some_and(|code| damage.contains(&code))
}

/// Opens a file of any schema to copy it.
fn open_source(path: &Path) -> Result<Connection, Error> {
    file::inspect(path, &lock_path(path))?;
    if !path.is_file() {
        return Err(Error::configuration(format!("{} does not exist", path.display())));
    }
    let connection = open(path)?;
    migrations::check_owner(&connection, path)?;
    if migrations::status(&connection)?.fit() == SchemaFit::Empty {
        return Err(Error::configuration(format!("{} is empty", path.display())));
    }
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unusable(path, error))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Copies a store within one read transaction. The file appears complete, checked and synced, or not at all.
fn copy(source: &Connection, name: &Path, target: &Path) -> Result<StoreCopy, Error> {
    let directory = directory_of(target);
    let failed = |error: rusqlite::Error| {
        let (from, to) = (name.display(), target.display());
        Error::configuration(format!("failed to copy {from} to {to}: {error}")).caused_by(error)
    };
    let temporary = tempfile::Builder::new()
        .prefix(".goconductor-")
        .suffix(".tmp")
        .tempfile_in(&directory)
        .map_err(|error| unusable(&directory, error))?;
    let path = temporary.path().to_str();
    let path = path.ok_or_else(|| Error::configuration(format!("{} is not UTF-8", target.display())))?;
    // Writes a new file with all pages of the snapshot. The write-ahead log of the source is part of the snapshot.
    source.execute("VACUUM INTO ?1", [path]).map_err(failed)?;
    temporary.as_file().sync_all().map_err(|error| unusable(target, error))?;
    let copied = check_copy(source, temporary.path(), name)?;
    temporary.persist_noclobber(target).map_err(|error| unusable(target, error.error))?;
    sync_directory(&directory)?;
    Ok(copied)
}

fn check_copy(source: &Connection, path: &Path, name: &Path) -> Result<StoreCopy, Error> {
    let connection = open(path)?;
    let problems = integrity(&connection)?;
    if let Some(first) = problems.first() {
        return Err(Error::configuration(format!(
            "{} is damaged ({} problems, the first is: {first}); restore the database from an earlier backup",
            name.display(),
            problems.len()
        )));
    }
    let (schema, expected) = (migrations::status(&connection)?, migrations::status(source)?);
    if schema != expected {
        return Err(Error::unavailable("the schema was migrated while it was copied; try again"));
    }
    let workflows: i64 = connection.query_row("SELECT count(*) FROM workflows", [], |row| row.get(0))?;
    let bytes = path.metadata().map_err(|error| unusable(path, error))?.len();
    Ok(StoreCopy { bytes, schema: schema.database, workflows: u64::try_from(workflows).unwrap_or(0) })
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Makes the new name of a file durable.
fn sync_directory(directory: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| unusable(directory, error))?;
    }
    Ok(())
}
