//! The files of a store: checks before they are opened, and checks that they are still in place while they are open.
//!
//! SQLite creates a missing or empty database, and deletes a write-ahead log without a database. A store whose database
//! was lost would therefore become an empty store, and the last part of its data would be deleted. A process also keeps
//! its files open after they were removed, so its writes would succeed and be lost.

use super::unusable;
use crate::Error;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Size to which SQLite cuts a larger write-ahead log. Below it, the log never shrinks while the store is open.
pub(super) const WAL_LIMIT: u64 = 64 << 20;
/// The first bytes of every SQLite database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Length of the header of a database.
const HEADER: usize = 100;
/// The advice for a database that is gone.
const RESTORE: &str = "stop all programs that use it, and restore the database from a backup";
/// Text of the lock file of a store that has been created.
const CREATED: &str = "A GoConductor store was created next to this file. If its database is missing, restore it from a \
                       backup. Remove this file only to start with an empty store.\n";

/// Returns the path of a file next to the database.
fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn has_content(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// The header of a database.
#[derive(Debug, Clone, Copy)]
struct Header {
    page_size: u64,
    /// Rises with every change of the first page.
    changes: u32,
    /// `None` if the last program that changed the file did not write it.
    pages: Option<u64>,
}

impl Header {
    /// Decodes a header. Returns `None` if it is of another kind of file.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        let page_size =
            bytes.get(16..18).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)))?;
        // The value 1 stands for the size that does not fit.
        let page_size = if page_size == 1 { 65_536 } else { u64::from(page_size) };
        let (changes, pages, valid_for) = (number(24)?, number(28)?, number(92)?);
        let header = Self { page_size, changes, pages: (valid_for == changes).then_some(pages.into()) };
        bytes.starts_with(MAGIC).then_some(header)
    }
}

/// Returns what is left of a store whose database is missing or empty. `None` if there is a database, or if nothing
/// shows that there ever was a store.
pub(super) fn remains(path: &Path, lock: &Path) -> Option<String> {
    if has_content(path) {
        return None;
    }
    let state = if path.exists() { "is empty" } else { "is missing" };
    let log = companion(path, "-wal");
    let (name, log_name) = (path.display(), log.display());
    let (trace, advice) = if has_content(&log) {
        let trace = format!("its write-ahead log {log_name} exists");
        let advice = "no server was started, because that would delete the log; restore the database from a backup, or \
                      move the log away to start with an empty store";
        (trace, advice)
    } else if companion(path, "-shm").exists() || has_content(&companion(path, "-journal")) {
        let advice = "restore the database from a backup, or remove the files -shm and -journal next to it to start \
                      with an empty store";
        ("a store was not closed there".to_owned(), advice)
    } else if has_content(lock) {
        let trace = format!("{} shows that a store was created there", lock.display());
        (trace, "restore the database from a backup, or remove that file to start with an empty store")
    } else {
        return None;
    };
    Some(format!("{name} {state}, but {trace}: {advice}"))
}

/// Checks that a path can be opened as a store: it is a database, or nothing is there yet.
pub(super) fn inspect(path: &Path, lock: &Path) -> Result<(), Error> {
    if let Some(remains) = remains(path, lock) {
        return Err(Error::configuration(remains));
    }
    let (mut header, mut length) = (Vec::with_capacity(HEADER), 0);
    match File::open(path) {
        Ok(file) => {
            length = file.metadata().map_err(|error| unusable(path, error))?.len();
            let limit = u64::try_from(HEADER).unwrap_or(u64::MAX);
            file.take(limit).read_to_end(&mut header).map_err(|error| unusable(path, error))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(path, error)),
    }
    if header.is_empty() {
        return Ok(());
    }
    let Some(found) = Header::decode(&header) else {
        let advice = "choose another data directory, or restore the database from a backup";
        return Err(Error::configuration(format!("{} is not a SQLite database: {advice}", path.display())));
    };
    let expected = found.pages.unwrap_or(0).saturating_mul(found.page_size);
    // With a log, the end of the database may be in the log only.
    if length < expected && !has_content(&companion(path, "-wal")) {
        return Err(Error::configuration(format!(
            "{} was truncated: it has {length} of {expected} bytes; restore the database from a backup",
            path.display()
        )));
    }
    Ok(())
}

/// Notes in the lock file that a store was created. Later, a missing database is then known to be lost.
pub(super) fn note_creation(lock: &mut File) -> std::io::Result<()> {
    if lock.metadata()?.len() == 0 {
        lock.write_all(CREATED.as_bytes())?;
        lock.sync_all()?;
    }
    Ok(())
}

/// Identity of a file: its device and its number.
type FileId = (u64, u64);

#[cfg(unix)]
fn id_of(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn id_of(_: &Metadata) -> FileId {
    (0, 0)
}

#[cfg(unix)]
fn read_header(file: &File) -> std::io::Result<[u8; HEADER]> {
    use std::os::unix::fs::FileExt;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    Ok(header)
}

#[cfg(not(unix))]
fn read_header(mut file: &File) -> std::io::Result<[u8; HEADER]> {
    use std::io::Seek;
    let mut header = [0; HEADER];
    file.rewind()?;
    file.read_exact(&mut header)?;
    Ok(header)
}

/// One of the open files of a store.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    id: Option<FileId>,
    /// The largest size seen, up to the size to which SQLite may cut the file.
    size: u64,
    cut_to: u64,
}

impl OpenFile {
    fn new(path: PathBuf, cut_to: u64) -> Self {
        Self { path, id: None, size: 0, cut_to }
    }

    /// Checks that the file is in place and was not cut. Returns the reason otherwise.
    fn check(&mut self) -> Result<(), String> {
        let name = self.path.display();
        let metadata = match self.path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound && self.id.is_none() => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(format!("{name} was removed while it was in use"));
            }
            Err(error) => return Err(format!("{name} cannot be accessed any more: {error}")),
        };
        if *self.id.get_or_insert(id_of(&metadata)) != id_of(&metadata) {
            return Err(format!("{name} was replaced while it was in use"));
        }
        if metadata.len() < self.size {
            let (from, to) = (self.size, metadata.len());
            return Err(format!("{name} was truncated while it was in use: from {from} to {to} bytes"));
        }
        self.size = metadata.len().min(self.cut_to);
        Ok(())
    }
}

/// Notices that the files of an open store were removed, replaced or truncated.
#[derive(Debug)]
pub(super) struct FileGuard {
    /// Stays open as long as the connection of the writer: closing it would release the locks of SQLite.
    file: File,
    database: OpenFile,
    log: OpenFile,
    index: OpenFile,
    changes: Option<u32>,
}

impl FileGuard {
    /// Creates a guard of the files of a database that has just been opened.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let mut guard = Self {
            file: File::open(path).map_err(|error| unusable(path, error))?,
            database: OpenFile::new(path.to_owned(), u64::MAX),
            log: OpenFile::new(companion(path, "-wal"), WAL_LIMIT),
            index: OpenFile::new(companion(path, "-shm"), 0),
            changes: None,
        };
        guard.check().map_err(Error::configuration)?;
        Ok(guard)
    }

    /// Checks that the files are the ones that were opened. Returns the reason and the advice otherwise.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let checked = self.database.check().and_then(|()| self.check_header());
        let checked = checked.and_then(|()| self.log.check()).and_then(|()| self.index.check());
        checked.map_err(|reason| format!("{reason}; {RESTORE}"))
    }

    /// Checks that the file was not overwritten by another one.
    fn check_header(&mut self) -> Result<(), String> {
        let name = self.database.path.display();
        let header = read_header(&self.file).ok().and_then(|bytes| Header::decode(&bytes));
        let Some(header) = header else { return Err(format!("{name} was overwritten while it was in use")) };
        // A difference of more than half of the range means that the counter went back.
        if self.changes.is_some_and(|known| header.changes.wrapping_sub(known) > u32::MAX / 2) {
            return Err(format!("{name} was overwritten by an older database while it was in use"));
        }
        self.changes = Some(header.changes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_another_kind_of_file_is_not_decoded() {
        let mut bytes = [0_u8; HEADER];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        bytes[24..28].copy_from_slice(&7_u32.to_be_bytes());
        bytes[28..32].copy_from_slice(&3_u32.to_be_bytes());
        let header = Header::decode(&bytes).unwrap();
        assert_eq!((header.page_size, header.changes, header.pages), (4096, 7, None));
        bytes[92..96].copy_from_slice(&7_u32.to_be_bytes());
        assert_eq!(Header::decode(&bytes).unwrap().pages, Some(3));
        bytes[16..18].copy_from_slice(&1_u16.to_be_bytes());
        assert_eq!(Header::decode(&bytes).unwrap().page_size, 65_536);
        bytes[0] = b'M';
        assert!(Header::decode(&bytes).is_none());
        assert!(Header::decode(MAGIC).is_none(), "the header is incomplete");
    }
}
