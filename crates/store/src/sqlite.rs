//! The store on SQLite, for one machine.
//!
//! One thread writes, and commits together what waits together; readers stand beside it, as the
//! write-ahead log lets them. A commit is durable when it answers (`synchronous = FULL`).
//!
//! rusqlite and not sqlx: the writer keeps its statements prepared on its own thread, where sqlx sends
//! each statement through a channel to one and back.

mod agreements;
mod claim;
mod definitions;
mod filter;
mod group;
mod leases;
mod locks;
mod migrations;
mod processes;
mod read;
mod rows;
mod upkeep;
mod writer;

use crate::{
    Announcement, Claim, ClaimRequest, Count, DeadLetter, DeadLetterPlace, DefinitionName, DefinitionRecord,
    Error, Field, Filter, LeaseMark, LeaseTake, LedgerRow, LedgerRowKey, ListPage, ListRequest, Lock,
    LockAnswer, LockHold, LockRequest, Member, NewDefinition, NewLease, PutDefinition, Seen, ServiceRecord,
    ShardLease, Store, Stored, Upkeep, UpkeepRequest, Write, WriteOutcome,
};
use async_trait::async_trait;
use goconductor_saga::{Event, Timestamp, WorkflowId};
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
        Self::Unavailable { reason: error.to_string() }
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
        let cannot = |what: &Path, error: &dyn std::fmt::Display| Error::Configuration {
            reason: format!("{}: {error}", what.display()),
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
        }
        let lock_path = path.with_extension("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| cannot(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = format!(
                    "{} is used by another process: end that one, or choose another data directory",
                    path.display()
                );
                return Err(Error::Configuration { reason });
            }
            Err(TryLockError::Error(error)) => return Err(cannot(&lock_path, &error)),
        }
        let mut connection = Connection::open(path).map_err(|error| cannot(path, &error))?;
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
            return Err(Error::Configuration { reason: format!("{} is not there", path.display()) });
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
            .map_err(|error| Error::Configuration { reason: error.to_string() })?;
        let mut store = Self::open(&folder.path().join("ephemeral.db"))?;
        store._folder = Some(folder);
        Ok(store)
    }

    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let gone = |error: &dyn std::fmt::Display| Error::Unavailable { reason: error.to_string() };
        let readers = Arc::clone(&self.readers);
        let place = Arc::clone(&readers.places).acquire_owned().await.map_err(|error| gone(&error))?;
        tokio::task::spawn_blocking(move || {
            let result = readers.with(work);
            drop(place);
            result
        })
        .await
        .map_err(|error| gone(&error))?
    }

    async fn write_job<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        match &self.writer {
            Some(writer) => writer.run(work).await,
            None => {
                Err(Error::Configuration { reason: "the database was opened for reading only".to_owned() })
            }
        }
    }
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

#[async_trait]
impl Store for SqliteStore {
    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        self.write_job(move |connection| group.iter().map(|write| group::write(connection, write)).collect())
            .await
    }

    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        let ids = ids.to_vec();
        self.read(move |connection| ids.into_iter().map(|id| rows::read_one(connection, id)).collect()).await
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        self.read(move |connection| read::history(connection, id, after_seq, limit)).await
    }

    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error> {
        let ids = ids.to_vec();
        self.read(move |connection| read::seen(connection, &ids)).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        let request = request.clone();
        self.read(move |connection| read::list(connection, &request)).await
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        let (namespace, filter) = (namespace.to_owned(), filter.cloned());
        self.read(move |connection| read::counts(connection, &namespace, &by, filter.as_ref())).await
    }

    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        self.write_job(move |connection| definitions::put(connection, &new, clock())).await
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        let names = names.to_vec();
        self.read(move |connection| definitions::newest(connection, &names)).await
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        self.read(move |connection| definitions::get(connection, &namespace, &name, version)).await
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        let (namespace, name) = (namespace.to_owned(), name.map(str::to_owned));
        self.read(move |connection| definitions::all(connection, &namespace, name.as_deref())).await
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        self.write_job(move |connection| definitions::put_service(connection, &service)).await
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        self.read(definitions::services).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        let request = request.clone();
        let looked_at = request.clone();
        if let Some(nothing) = self.read(move |connection| claim::look(connection, &looked_at)).await? {
            return Ok(nothing);
        }
        self.write_job(move |connection| claim::claim(connection, &request)).await
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        let rows = rows.to_vec();
        self.write_job(move |connection| claim::extend(connection, &rows, due_at)).await
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        let rows = rows.to_vec();
        self.write_job(move |connection| claim::release(connection, &rows)).await
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        self.write_job(move |connection| {
            let sql =
                "UPDATE dispatch SET due_at = ?1 WHERE deliveries > 0 AND kind <> 'held' AND due_at > ?1";
            Ok(rows::number(i64::try_from(connection.execute(sql, [now.0])?).unwrap_or(0)))
        })
        .await
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        let ids = ids.to_vec();
        self.read(move |connection| read::ledger(connection, &ids)).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        self.read(move |connection| read::backlog(connection, now)).await
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        self.read(move |connection| read::ids(connection, after, limit)).await
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        self.read(move |connection| read::orphans(connection, limit)).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        let name = name.to_owned();
        self.write_job(move |connection| definitions::raise_epoch(connection, &name)).await
    }

    async fn agreement(&self, name: &str) -> Result<Option<crate::Agreement>, Error> {
        let name = name.to_owned();
        self.read(move |connection| agreements::get(connection, &name)).await
    }

    async fn agree(
        &self,
        name: &str,
        revision: u64,
        value: &goconductor_saga::Json,
    ) -> Result<Option<crate::Agreement>, Error> {
        let (name, value) = (name.to_owned(), value.clone());
        self.write_job(move |connection| agreements::put(connection, &name, revision, value, clock())).await
    }

    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        let member = member.clone();
        self.write_job(move |connection| processes::announce(connection, &member, clock())).await
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        self.read(|connection| processes::members(connection, clock())).await
    }

    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        let letters = letters.to_vec();
        self.write_job(move |connection| processes::put_dead_letters(connection, &letters)).await
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPlace>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        let before = before.cloned();
        self.read(move |connection| processes::dead_letters(connection, before.as_ref(), limit)).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let id = id.to_owned();
        self.read(move |connection| processes::dead_letter(connection, &id)).await
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        let id = id.to_owned();
        self.write_job(move |connection| processes::delete_dead_letter(connection, &id)).await
    }

    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockAnswer, Error> {
        let request = request.clone();
        self.write_job(move |connection| locks::acquire(connection, &request, clock())).await
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockAnswer, Error> {
        let hold = hold.clone();
        let renew = move |connection: &Connection| {
            let now = clock();
            locks::last_until(connection, &hold, now.after(ttl), now)
        };
        self.write_job(renew).await
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockAnswer, Error> {
        self.renew_lock(hold, Duration::ZERO).await
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.read(move |connection| locks::list(connection, &namespace, after.as_deref(), limit, clock()))
            .await
    }

    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        let stream = stream.to_owned();
        self.read(move |connection| leases::list(connection, &stream, clock())).await
    }

    async fn sync_leases(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        let (stream, new, gone) = (stream.to_owned(), new.to_vec(), gone.to_vec());
        self.write_job(move |connection| leases::sync(connection, &stream, &new, &gone)).await
    }

    async fn take_leases(&self, stream: &str, take: &LeaseTake) -> Result<Vec<bool>, Error> {
        let (stream, take) = (stream.to_owned(), take.clone());
        self.write_job(move |connection| leases::take(connection, &stream, &take, clock())).await
    }

    async fn mark_leases(&self, stream: &str, owner: &str, marks: &[LeaseMark]) -> Result<Vec<bool>, Error> {
        let (stream, owner, marks) = (stream.to_owned(), owner.to_owned(), marks.to_vec());
        self.write_job(move |connection| leases::mark(connection, &stream, &owner, &marks, clock())).await
    }

    async fn upkeep(&self, request: &UpkeepRequest) -> Result<Upkeep, Error> {
        let now = Timestamp(request.now.0.min(clock().0));
        if self.read(move |connection| locks::has_free(connection, now)).await? {
            self.write_job(move |connection| locks::remove_free(connection, now)).await?;
        }
        let Some(ended_by) = request.ended_by() else { return Ok(Upkeep::default()) };
        // Found beside the writer, as mostly there is nothing to remove.
        let found = self.read(move |connection| upkeep::ended(connection, ended_by)).await?;
        if found.is_empty() {
            return Ok(Upkeep::default());
        }
        self.write_job(move |connection| upkeep::remove(connection, &found, ended_by)).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        Ok(clock())
    }

    async fn check(&self) -> Result<(), Error> {
        self.read(migrations::check).await
    }
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
