//! The store on SQLite, for one machine.
//!
//! One thread writes, and commits together what waits together; readers stand beside it, as the
//! write-ahead log lets them. A commit is durable when it answers (`synchronous = FULL`).
//!
//! rusqlite and not sqlx: the writer keeps its statements prepared on its own thread, where sqlx sends
//! each statement through a channel to one and back.

mod cluster;
mod dead_letters;
mod definitions;
mod filter;
mod group;
mod leases;
mod ledger;
mod locks;
mod maintenance;
mod migrations;
mod read;
mod rows;
mod workflows;
mod writer;

use crate::Error;
use goconductor_saga::Timestamp;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use writer::Writer;

/// Reads at once: more would only wait for the processor.
const READERS: usize = 3;
/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::unavailable(error.to_string()).caused_by(error)
    }
}

/// A store in one file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Before the lock: dropped first, so that the file is closed when another may open it.
    writer: Option<Writer>,
    readers: Arc<Readers>,
    _lock: Option<File>,
    _folder: Option<tempfile::TempDir>,
}

#[derive(Debug)]
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl SqliteStore {
    /// Opens the file for writing, and makes it if it is not there.
    ///
    /// # Errors
    /// When another process has it, when it is of a newer release, or when it can't be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| unusable(folder, error))?;
        }
        let lock_path = path.with_extension("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| unusable(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::configuration(format!(
                    "{} is used by another process: end that one, or choose another data directory",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&lock_path, error)),
        }
        let mut connection = Connection::open(path).map_err(|error| unusable(path, error))?;
        prepare(&connection)?;
        migrations::run(&mut connection)?;
        Ok(Self {
            writer: Some(Writer::start(connection)?),
            readers: Readers::new(path),
            _lock: Some(lock),
            _folder: None,
        })
    }

    /// Opens the file for reading only, beside a process that may be writing it.
    ///
    /// # Errors
    /// When it is not there, is of another release, or can't be opened.
    pub fn open_reading(path: &Path) -> Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::configuration(format!("{} is not there", path.display())));
        }
        let readers = Readers::new(path);
        migrations::check(&readers.connect()?)?;
        Ok(Self { writer: None, readers, _lock: None, _folder: None })
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// When no temporary folder can be made.
    pub fn ephemeral() -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("goconductor-")
            .tempdir()
            .map_err(|error| unusable(&std::env::temp_dir(), error))?;
        let mut store = Self::open(&folder.path().join("ephemeral.db"))?;
        store._folder = Some(folder);
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
        let place = Arc::clone(&readers.places).acquire_owned().await.map_err(closed)?;
        tokio::task::spawn_blocking(move || {
            let result = readers.with(work);
            drop(place);
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
            None => Err(Error::configuration("the database was opened for reading only")),
        }
    }
}

/// The error of a path that cannot be used.
fn unusable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::configuration(format!("{}: {error}", path.display())).caused_by(error)
}

/// What every connection that writes is set to.
fn prepare(connection: &Connection) -> Result<(), Error> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

impl Readers {
    fn new(path: &Path) -> Arc<Self> {
        let (idle, places) = (Mutex::new(Vec::new()), Arc::new(Semaphore::new(READERS)));
        Arc::new(Self { path: path.to_owned(), idle, places })
    }

    fn connect(&self) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = work(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
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
    async fn a_commit_is_on_disk_when_it_answers() {
        let store = SqliteStore::ephemeral().expect("room for a folder");
        let set = store.write_job(|connection| {
            let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            Ok((synchronous, journal))
        });
        // FULL: the log is synced at each commit.
        assert_eq!(set.await.expect("settings"), (2, "wal".to_owned()));
    }
}
