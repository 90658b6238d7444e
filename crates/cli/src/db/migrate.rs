//! `goconductor db migrate`

use super::status::{members, migration_document, write_pending};
use crate::args::MigrateArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::store_location::StoreLocation;
use goconductor_store::admin::{self, Inspection, OpenedDatabase};
use goconductor_store::{Migration, RELEASE, SchemaFit};
use serde_json::json;

/// Applies pending migrations. Succeeds if there are none.
pub(super) async fn run(args: &MigrateArgs, out: &Output) -> Result {
    let location = StoreLocation::of(&args.store, out)?;
    let database = admin::inspect(&location.as_database(), Inspection::default()).await?;
    if database.schema.fit() == SchemaFit::TooNew {
        database.schema.check()?;
    }
    let to = target(args, &database)?;
    if args.finish {
        check_processes(&database).await?;
    }
    let pending: Vec<Migration> = database
        .schema
        .pending
        .iter()
        .filter(|migration| to.is_none_or(|to| migration.version <= to))
        .copied()
        .collect();
    // A server may use the file, and there is nothing to write.
    let is_done = pending.is_empty() && !args.finish && !database.applied.is_empty();
    // Closes the connections before the file is written.
    let before = database.schema.clone();
    drop(database);
    if args.dry_run || is_done {
        return write(&pending, before.database, before.database, args.dry_run, out);
    }
    let applied = admin::migrate(&location.as_database(), to, args.finish).await?;
    let version = applied.last().map_or(before.database, |last| last.version);
    if args.finish {
        out.message(
            "earlier releases are refused from now on, and new workflows follow the rules of this release",
        );
    }
    write(&applied, before.database, version, false, out)
}

/// Checks the version of `--to`.
fn target(args: &MigrateArgs, database: &OpenedDatabase) -> Result<Option<i64>> {
    let Some(to) = args.to.map(i64::from) else { return Ok(None) };
    let schema = &database.schema;
    if to == 0 || to > schema.release {
        let message = format!("schema version {to} does not exist in release {RELEASE}");
        return Err(CliError::new(Exit::Usage, message)
            .hint(format!("name a version from 1 to {}", schema.release))
            .code("GC3020"));
    }
    if to < schema.database {
        let message =
            format!("the database has version {}, and a migration cannot be reverted", schema.database);
        return Err(CliError::new(Exit::Conflict, message)
            .hint("an earlier release can use the database as it is if `goconductor db status` says so; otherwise restore a backup")
            .code("GC3020"));
    }
    Ok(Some(to))
}

/// Checks that no process of another release is connected.
async fn check_processes(database: &OpenedDatabase) -> Result<()> {
    let members = members(database).await?;
    let others = members.iter().filter(|each| each.announcement.info.release.as_deref() != Some(RELEASE));
    let others: Vec<String> = others
        .map(|member| {
            let announcement = &member.announcement;
            let release = announcement.info.release.as_deref().unwrap_or("an earlier release");
            format!("{} {} at {}: {release}", announcement.kind, announcement.instance, announcement.address)
        })
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(CliError::new(Exit::Conflict, "processes of another release are connected")
        .details(others)
        .hint("upgrade or stop them first; a process that ended is removed from the list after a few seconds")
        .code("GC3020"))
}

fn write(migrations: &[Migration], from: i64, to: i64, is_dry_run: bool, out: &Output) -> Result {
    let key = if is_dry_run { "pending" } else { "applied" };
    let documents: Vec<_> = migrations.iter().map(migration_document).collect();
    let response = json!({ "from": from, "version": to, key: documents });
    if out.structured(&response.to_string())? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for migration in migrations {
            out.data(&migration.version.to_string())?;
        }
        return Ok(Exit::Success);
    }
    if is_dry_run {
        write_pending(migrations, out)?;
    }
    let count = migrations.len();
    match (count, is_dry_run) {
        (0, _) => out.data(&format!("the schema has version {to}; no migration is pending"))?,
        (_, true) => out.data(&format!("{count} migrations are pending; nothing was changed"))?,
        (_, false) => out.data(&format!("the schema was migrated from version {from} to {to}"))?,
    }
    Ok(Exit::Success)
}
