//! The store on SQLite, for one machine.
//!
//! One thread writes, and commits queued jobs in one transaction. Reads run concurrently with it, which the write-ahead
//! log allows. A commit is durable when it returns (`synchronous = FULL`).
//!
//! The adapter uses rusqlite instead of sqlx, because its writer keeps prepared statements on its own thread. sqlx would
//! send each statement to a thread and back through channels.

mod access_keys;
mod audit;
mod batch;
mod cluster;
mod copy;
mod dead_letters;
mod definitions;
mod file;
mod filter;
mod label_counts;
mod leases;
mod ledger;
mod locks;
mod maintenance;
mod migrations;
mod payloads;
#[cfg(test)]
mod plans;
mod read;
mod rows;
mod schedules;
mod search;
mod secrets;
mod statistics;
mod workflow_batches;
mod workflow_locks;
mod workflows;
mod writer;

use crate::schema::{RecordedVersion, verified};
use crate::{AppliedMigration, Error, Migration, SchemaFit, SchemaPolicy, SchemaStatus};
use file::FileGuard;
use goconductor_saga::Timestamp;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use writer::WriterThread;

pub use copy::StoreCopy;

/// Maximum number of concurrent reads. Further reads would only compete for the CPU.
const READERS: usize = 3;
/// Timeout of a statement that waits for a lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The migrations of this release.
pub(crate) const MIGRATIONS: &[Migration] = migrations::MIGRATIONS;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::unavailable(error.to_string()).caused_by(error)
    }
}

/// A store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Declared before the lock, and therefore dropped before it: the file is closed when another process may open it.
    writer: Option<WriterThread>,
    readers: Arc<Readers>,
    _lock: Option<File>,
    _directory: Option<tempfile::TempDir>,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl SqliteStore {
    /// Opens the file for writing and applies pending migrations. Creates the file if it does not exist and nothing
    /// shows that a store was there.
    ///
    /// While the store is open, it notices before each acknowledgement whether the file was removed, replaced or
    /// truncated. That is a failure of the process, which is reported to the supervisor.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if the file cannot be opened, is not a store, is lost although a store was there, or
    /// is used by another process, and `Error::Schema` if its schema is of a newer release.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_guarded(path, true, SchemaPolicy::Migrate)
    }

    /// Like [`open`](Self::open), with a policy for a file whose schema is older.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open), and `Error::Unavailable` if the policy does not allow a migration that
    /// is pending.
    pub fn open_with(path: &Path, policy: SchemaPolicy) -> Result<Self, Error> {
        Self::open_guarded(path, true, policy)
    }

    /// Opens the file. The files of a store whose data may be lost are not guarded.
    fn open_guarded(path: &Path, is_guarded: bool, policy: SchemaPolicy) -> Result<Self, Error> {
        let mut lock = acquire_lock(path)?;
        if policy == SchemaPolicy::Verify && !path.exists() {
            file::inspect(path, &lock_path(path))?;
            verified(&SchemaStatus::of(RecordedVersion::default(), migrations::MIGRATIONS))?;
        }
        let mut connection = connect(path)?;
        match policy {
            SchemaPolicy::Migrate => drop(migrations::run(&mut connection, None)?),
            SchemaPolicy::Verify => verified(&migrations::status(&connection)?)?,
        }
        note_creation(&mut lock, path);
        let guard = is_guarded.then(|| FileGuard::new(path)).transpose()?;
        Ok(Self {
            writer: Some(WriterThread::start(connection, guard)?),
            readers: Readers::new(path),
            _lock: Some(lock),
            _directory: None,
        })
    }

    /// Opens the file read-only. Another process may write it at the same time.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if the file does not exist or is not a store, `Error::Schema` if its schema is of
    /// another release and `Error::Unavailable` if it cannot be opened.
    pub fn open_reading(path: &Path) -> Result<Self, Error> {
        let (store, status, _) = Self::open_any(path)?;
        status.check()?;
        Ok(store)
    }

    /// Opens a file of any schema read-only. Also returns its schema, and the migrations that it has recorded.
    ///
    /// # Errors
    /// Returns the errors of [`open_reading`](Self::open_reading), except `Error::Schema`.
    pub fn open_any(path: &Path) -> Result<(Self, SchemaStatus, Vec<AppliedMigration>), Error> {
        file::inspect(path, &lock_path(path))?;
        if !path.is_file() {
            return Err(Error::configuration(format!("{} does not exist", path.display())));
        }
        let readers = Readers::new(path);
        let connection = readers.connect()?;
        migrations::check_owner(&connection, path)?;
        let (status, applied) = (migrations::status(&connection)?, migrations::applied(&connection)?);
        Ok((Self { writer: None, readers, _lock: None, _directory: None }, status, applied))
    }

    /// Applies pending migrations up to version `to`, or all, and returns them. Creates the file like
    /// [`open`](Self::open). With `finish`, also ends the support of earlier releases.
    ///
    /// # Errors
    /// Returns the errors of [`open`](Self::open).
    pub fn migrate(path: &Path, to: Option<i64>, finish: bool) -> Result<Vec<Migration>, Error> {
        let mut lock = acquire_lock(path)?;
        let mut connection = connect(path)?;
        let applied = migrations::run(&mut connection, to)?;
        if finish {
            migrations::finish(&mut connection)?;
        }
        note_creation(&mut lock, path);
        Ok(applied)
    }

    /// Returns the problems that SQLite's own check of the file finds.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the file cannot be read.
    pub async fn integrity(&self) -> Result<Vec<String>, Error> {
        self.read(copy::integrity).await
    }

    /// Describes what is left of a store whose file is missing or empty, and how to restore it. Returns `None` if the file
    /// has content, or if nothing shows that a store was there.
    #[must_use]
    pub fn remains(path: &Path) -> Option<String> {
        file::remains(path, &lock_path(path))
    }

    /// Creates a store in a temporary directory, which is removed when the store is dropped.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if the directory cannot be created.
    pub fn ephemeral() -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("goconductor-")
            .tempdir()
            .map_err(|error| unusable(&std::env::temp_dir(), error))?;
        let mut store =
            Self::open_guarded(&directory.path().join("ephemeral.db"), false, SchemaPolicy::Migrate)?;
        store._directory = Some(directory);
        Ok(store)
    }

    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        fn closed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
            Error::unavailable(error.to_string()).caused_by(error)
        }
        let readers = Arc::clone(&self.readers);
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(closed)?;
        tokio::task::spawn_blocking(move || {
            let result = readers.with(work);
            drop(permit);
            result
        })
        .await
        .map_err(closed)?
    }

    async fn write_job<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        match &self.writer {
            Some(writer) => writer.run(work).await,
            None => Err(Error::configuration("the database was opened read-only")),
        }
    }
}

/// Acquires the lock of the process that writes a database. Creates the directory.
fn acquire_lock(path: &Path) -> Result<File, Error> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(|error| unusable(directory, error))?;
    }
    let lock_path = lock_path(path);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| unusable(&lock_path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::configuration(format!(
            "{} is used by another process: stop that process, or choose another data directory",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(&lock_path, error)),
    }
}

/// Opens the connection of the writer. Nothing is created where a store was lost.
fn connect(path: &Path) -> Result<Connection, Error> {
    file::inspect(path, &lock_path(path))?;
    let connection = Connection::open(path).map_err(|error| unusable(path, error))?;
    migrations::check_owner(&connection, path)?;
    // A database of a newer release is not changed at all.
    let status = migrations::status(&connection)?;
    if status.fit() == SchemaFit::TooNew {
        status.check()?;
    }
    prepare(&connection)?;
    Ok(connection)
}

fn note_creation(lock: &mut File, path: &Path) {
    if let Err(error) = file::note_creation(lock) {
        let path = lock_path(path);
        tracing::warn!(%error, path = %path.display(), "failed to note that the store was created");
    }
}

/// Returns the path of the file that the process that writes a database locks.
fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// The error of a path that cannot be used.
fn unusable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::configuration(format!("{}: {error}", path.display())).caused_by(error)
}

/// Configures the connection of the writer.
fn prepare(connection: &Connection) -> Result<(), Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(
        None,
        "journal_size_limit",
        i64::try_from(file::WAL_LIMIT).unwrap_or(i64::MAX),
    )?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

impl Readers {
    fn new(path: &Path) -> Arc<Self> {
        let (idle, permits) = (Mutex::new(Vec::new()), Arc::new(Semaphore::new(READERS)));
        Arc::new(Self { path: path.to_owned(), idle, permits })
    }

    fn connect(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = work(&connection);
        self.idle.lock().push(connection);
        result
    }
}

fn clock() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "this machine's clock is the database's clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::SqliteStore;

    #[tokio::test]
    async fn writer_syncs_the_log_at_each_commit() {
        let store = SqliteStore::ephemeral().expect("a temporary directory");
        let settings = store.write_job(|connection| {
            let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            Ok((synchronous, journal))
        });
        // 2 is FULL: the log is synced at each commit.
        assert_eq!(settings.await.expect("settings"), (2, "wal".to_owned()));
    }
}
