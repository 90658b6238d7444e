//! `goconductor db backup` and `goconductor db restore`

use crate::args::StoreArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::store_location::{StoreLocation, check_presence};
use std::path::Path;

/// The code of a failed backup.
const BACKUP: &str = "GC3022";
/// The code of a refused restoration.
const RESTORE: &str = "GC3023";

/// Copies a SQLite store to a new file. A server can use the store at the same time.
pub(super) fn backup(file: &Path, store: &StoreArgs, out: &Output) -> Result {
    let location = StoreLocation::of(store, out)?;
    let StoreLocation::Sqlite(source) = &location else {
        return Err(other_tool(
            &location,
            "back it up",
            "pg_dump --format=custom --file=FILE, or pg_basebackup with WAL archiving",
        ));
    };
    check_presence(source)?;
    if file.exists() {
        return Err(CliError::new(Exit::Conflict, format!("{} exists", file.display()))
            .hint("name a file that does not exist; a backup overwrites nothing")
            .code(BACKUP));
    }
    sqlite::backup(source, file, out)
}

/// Restores a backup of a SQLite store.
pub(super) fn restore(file: &Path, store: &StoreArgs, out: &Output) -> Result {
    let location = StoreLocation::of(store, out)?;
    let StoreLocation::Sqlite(target) = &location else {
        return Err(other_tool(
            &location,
            "restore it",
            "pg_restore into an empty database, or a base backup with its WAL",
        ));
    };
    if !file.exists() {
        return Err(CliError::new(Exit::NotFound, format!("{} does not exist", file.display())).code(RESTORE));
    }
    if target.exists() || goconductor_store::remains(target).is_some() {
        let reason =
            goconductor_store::remains(target).unwrap_or_else(|| format!("{} exists", target.display()));
        return Err(CliError::new(Exit::Conflict, format!("the location contains a store, or contained one: {reason}"))
            .hint("restore into an empty directory with --data-dir, or move all files of the store to another directory first")
            .code(RESTORE));
    }
    sqlite::restore(file, target, out)
}

fn other_tool(location: &StoreLocation, verb: &str, tool: &str) -> CliError {
    let message = format!("{} is a PostgreSQL database, which has its own tools", location.display());
    CliError::new(Exit::Usage, message)
        .hint(format!("{verb} with {tool}; see `goconductor explain {BACKUP}`"))
        .code(BACKUP)
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::{BACKUP, RESTORE};
    use crate::error::{CliError, Exit, Result};
    use crate::output::Output;
    use goconductor_store::admin::StoreCopy;
    use goconductor_store::sqlite::SqliteStore;
    use serde_json::json;
    use std::path::Path;

    pub(super) fn backup(source: &Path, file: &Path, out: &Output) -> Result {
        let copied = SqliteStore::backup(source, file);
        let copied = copied.map_err(|error| CliError::from(error).code(BACKUP))?;
        write("backed up", file, &copied, out)
    }

    pub(super) fn restore(file: &Path, target: &Path, out: &Output) -> Result {
        let copied = SqliteStore::restore(file, target);
        let copied = copied.map_err(|error| CliError::from(error).code(RESTORE))?;
        write("restored", target, &copied, out)
    }

    fn write(verb: &str, file: &Path, copied: &StoreCopy, out: &Output) -> Result {
        let StoreCopy { bytes, schema, workflows } = copied;
        let name = file.display().to_string();
        let response = json!({ "file": name, "bytes": bytes, "schema": schema, "workflows": workflows });
        if out.names_only() {
            out.data(&name)?;
        } else if !out.structured(&response.to_string())? {
            let text =
                format!("{verb} {workflows} workflows to {name}: {bytes} bytes, schema version {schema}");
            out.data(&text)?;
        }
        Ok(Exit::Success)
    }
}

#[cfg(not(feature = "sqlite"))]
mod sqlite {
    use super::BACKUP;
    use crate::error::{CliError, Exit, Result};
    use crate::output::Output;
    use std::path::Path;

    pub(super) fn backup(_: &Path, _: &Path, _: &Output) -> Result {
        Err(missing_driver())
    }

    pub(super) fn restore(_: &Path, _: &Path, _: &Output) -> Result {
        Err(missing_driver())
    }

    fn missing_driver() -> CliError {
        CliError::new(Exit::Other, "this build has no driver for sqlite: build with `--features sqlite`")
            .code(BACKUP)
    }
}
