//! `goconductor db status`

use crate::args::StoreArgs;
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::store_location::{StoreLocation, check_presence};
use goconductor_saga::Timestamp;
use goconductor_store::admin::{self, Inspection, OpenedDatabase};
use goconductor_store::{Error, Member, Migration, RELEASE, SchemaFit};
use serde_json::{Value, json};

/// The first version of the schema that has a table of processes.
const WITH_MEMBERS: i64 = 2;

/// Shows the schema of a database. The exit code states whether this release can use it.
pub(super) async fn run(args: &StoreArgs, out: &Output) -> Result {
    let location = StoreLocation::of(args, out)?;
    if let StoreLocation::Sqlite(path) = &location {
        check_presence(path)?;
    }
    let database = admin::inspect(&location.as_database(), Inspection::default()).await?;
    let members = members(&database).await?;
    let exit = if database.schema.fit().is_usable() { Exit::Success } else { Exit::Other };
    let response = document(&location, &database, &members);
    if out.structured(&response.to_string())? {
        return Ok(exit);
    }
    if out.names_only() {
        out.data(&database.schema.database.to_string())?;
        return Ok(exit);
    }
    let rows = summary(&location, &database).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    out.table(&["FIELD", "VALUE"], rows.collect())?;
    write_pending(&database.schema.pending, out)?;
    if !members.is_empty() {
        out.data("")?;
        out.table(&["PROCESS", "RELEASE", "ADDRESS", "INSTANCE"], members.iter().map(row).collect())?;
    }
    Ok(exit)
}

/// Returns the processes that are connected to the store.
pub(super) async fn members(database: &OpenedDatabase) -> Result<Vec<Member>, Error> {
    match &database.store {
        Some(store) if database.schema.database >= WITH_MEMBERS => store.members().await,
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Writes a table of migrations.
pub(super) fn write_pending(pending: &[Migration], out: &Output) -> Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    out.data("")?;
    let row = |each: &Migration| {
        vec![each.version.to_string(), each.name.to_owned(), each.compatible_from.to_string()]
    };
    out.table(&["PENDING", "MIGRATION", "COMPATIBLE FROM"], pending.iter().map(row).collect())
}

/// Returns a migration as JSON.
pub(super) fn migration_document(migration: &Migration) -> Value {
    let Migration { version, name, compatible_from, .. } = migration;
    json!({ "version": version, "name": name, "compatible_from": compatible_from })
}

fn summary(location: &StoreLocation, database: &OpenedDatabase) -> Vec<(&'static str, String)> {
    let schema = &database.schema;
    let (version, from) = (schema.database, schema.compatible_from);
    vec![
        ("database", format!("{}, {}", database.backend, location.display())),
        ("schema of the database", format!("{version}, compatible from {from}")),
        ("this release", format!("{RELEASE}, schema {}", schema.release)),
        ("state", format!("{}: {}", schema.fit().as_str(), explanation(database))),
    ]
}

fn explanation(database: &OpenedDatabase) -> &'static str {
    match database.schema.fit() {
        SchemaFit::Current if database.schema.is_open_to_earlier => {
            "this release can use it, and so can the release before it until `goconductor db migrate --finish`"
        }
        SchemaFit::Current => "this release can use it",
        SchemaFit::Newer => "a newer release migrated it, and this release can still use it",
        SchemaFit::Outdated => "run `goconductor db migrate`",
        SchemaFit::Empty => "it has no tables; `goconductor db migrate` creates them",
        SchemaFit::TooNew => "start the release that migrated it, or a newer one",
    }
}

fn row(member: &Member) -> Vec<String> {
    let announcement = &member.announcement;
    let release = announcement.info.release.clone().unwrap_or_else(|| "-".to_owned());
    vec![announcement.kind.clone(), release, announcement.address.clone(), announcement.instance.clone()]
}

fn document(location: &StoreLocation, database: &OpenedDatabase, members: &[Member]) -> Value {
    let schema = &database.schema;
    let fit = schema.fit();
    let applied = database.applied.iter().map(|each| {
        json!({
            "version": each.version,
            "name": each.name,
            "compatible_from": each.compatible_from,
            "release": (!each.release.is_empty()).then_some(&each.release),
            "applied_at": text(each.applied_at),
        })
    });
    let processes = members.iter().map(|member| {
        let announcement = &member.announcement;
        json!({
            "kind": announcement.kind,
            "instance": announcement.instance,
            "address": announcement.address,
            "release": announcement.info.release,
        })
    });
    json!({
        "backend": database.backend,
        "location": location.display(),
        "version": schema.database,
        "compatible_from": schema.compatible_from,
        "open_to_earlier_release": schema.is_open_to_earlier,
        "release": RELEASE,
        "release_version": schema.release,
        "state": fit.as_str(),
        "usable": fit.is_usable(),
        "pending": schema.pending.iter().map(migration_document).collect::<Vec<_>>(),
        "applied": applied.collect::<Vec<_>>(),
        "processes": processes.collect::<Vec<_>>(),
    })
}

/// Returns a time in RFC 3339. `None` if it is out of range.
fn text(time: Timestamp) -> Option<String> {
    Some(jiff::Timestamp::from_microsecond(time.0).ok()?.to_string())
}
