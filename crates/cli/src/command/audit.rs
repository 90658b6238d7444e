//! `goconductor audit …`

mod verify;

use crate::args::{AuditCommand, AuditFilterArgs};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{AuditListing, AuditRecord, Client};
use serde_json::Value;

/// The number of records that one request of an export or a verification reads.
const PAGE_SIZE: u32 = 1000;

/// Runs a command for the audit log.
pub(super) async fn run(command: AuditCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    match command {
        AuditCommand::List { filter, limit } => list(filter, limit, session).await,
        AuditCommand::Verify(args) => verify::run(args, session).await,
        AuditCommand::Export { filter } => export(filter, session).await,
        AuditCommand::Head => {
            let reply = client.audit_head().await?;
            if out.structured(&reply.text)? {
                return Ok(Exit::Success);
            }
            if out.names_only() {
                out.data(&reply.value.hash)?;
            } else {
                out.table(&["SEQ", "HASH"], vec![vec![reply.value.seq.to_string(), reply.value.hash]])?;
            }
            Ok(Exit::Success)
        }
    }
}

async fn list(filter: AuditFilterArgs, limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let listing =
        AuditListing { conditions: filter.conditions(), page_size: Some(limit), ..AuditListing::default() };
    let reply = client.audit(&listing).await?;
    if out.structured_list(&reply.text, "records")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for record in &reply.value.records {
            out.data(&record.seq.to_string())?;
        }
    } else if reply.value.records.is_empty() {
        out.message("no records");
    } else {
        let heads = ["SEQ", "TIME", "ACTOR", "SOURCE", "ACTION", "TARGET", "OUTCOME"];
        out.table(&heads, reply.value.records.iter().map(|each| row(each, out)).collect())?;
        if !reply.value.next_page_token.is_empty() {
            out.message("more records exist: increase --limit, up to 1000, or add conditions");
        }
    }
    Ok(Exit::Success)
}

fn row(record: &AuditRecord, out: &Output) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let target = match (&record.target_kind, &record.target_name) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        (_, name) => text(name),
    };
    let mut outcome = record.outcome.clone();
    if let Some(code) = &record.code {
        outcome = format!("{outcome} {code}");
    }
    if record.count != 1 {
        outcome = format!("{outcome} ({} times)", record.count);
    }
    vec![
        record.seq.to_string(),
        out.time(Some(&record.time)),
        record.actor.clone(),
        text(&record.source),
        record.action.clone(),
        target,
        outcome,
    ]
}

async fn export(filter: AuditFilterArgs, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let mut listing = oldest_first(filter.conditions());
    loop {
        let (records, next) = page(client, &listing).await?;
        for record in records {
            out.stream(&record.to_string())?;
        }
        if next.is_empty() {
            return Ok(Exit::Success);
        }
        listing.page_token = next;
    }
}

fn oldest_first(conditions: Vec<(&'static str, String)>) -> AuditListing {
    AuditListing { conditions, oldest_first: true, page_size: Some(PAGE_SIZE), page_token: String::new() }
}

/// Returns the records of a page with all their fields, and the token of the next page.
async fn page(client: &Client, listing: &AuditListing) -> Result<(Vec<Value>, String)> {
    let reply = client.audit(listing).await?;
    let unreadable = |error: serde_json::Error| {
        CliError::new(Exit::Other, format!("the response is not valid JSON: {error}")).code("GC3003")
    };
    let mut body: Value = serde_json::from_str(&reply.text).map_err(unreadable)?;
    let records = match body.get_mut("records").map(Value::take) {
        Some(Value::Array(records)) => records,
        Some(_) | None => Vec::new(),
    };
    Ok((records, reply.value.next_page_token))
}
