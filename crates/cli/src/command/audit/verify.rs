//! `goconductor audit verify`: checks the hashes on this machine, so that the server need not be trusted.

use super::{oldest_first, page};
use crate::args::VerifyArgs;
use crate::error::{CliError, Exit, Result, unreadable};
use crate::output::Output;
use crate::session::ServerSession;
use crate::store_location::StoreLocation;
use crate::time;
use goconductor_client::{AuditRecord, Client};
use goconductor_saga::Timestamp;
use goconductor_store::{
    AuditEvent, AuditHead, AuditRecord as StoredRecord, AuditReport, AuditRequest, AuditVerifier, Store,
};
use serde_json::{Value, json};
use std::io::BufRead;
use std::path::Path;

/// The code of a broken chain.
const BROKEN: &str = "GC2072";

pub(super) async fn run(args: VerifyArgs, session: &ServerSession) -> Result {
    let anchor = args.anchor.as_deref().map(read_anchor).transpose()?;
    let verifier = AuditVerifier::new(anchor);
    let report = match (&args.file, &args.state_store_url) {
        (Some(file), _) => of_file(verifier, file)?,
        (None, Some(url)) => {
            let store = StoreLocation::by_url(url)?.open_reading().await?;
            of_store(verifier, store.as_ref()).await?
        }
        (None, None) => of_server(verifier, &session.client).await?,
    };
    write(&report, &session.out)
}

async fn of_server(mut verifier: AuditVerifier, client: &Client) -> Result<AuditReport> {
    loop {
        let mut listing = oldest_first(Vec::new());
        // The token of a page is the number of its last record.
        listing.page_token = verifier.last_seq().to_string();
        let (records, next) = page(client, &listing).await?;
        let is_empty = records.is_empty();
        for record in records {
            verifier.check(&stored(record)?);
        }
        if !next.is_empty() || !is_empty {
            continue;
        }
        let head = client.audit_head().await?.value;
        // A record may have been appended after the last page was read.
        if head.seq <= verifier.last_seq() || page(client, &listing).await?.0.is_empty() {
            return Ok(verifier.finish(&AuditHead { seq: head.seq, hash: head.hash }));
        }
    }
}

async fn of_store(mut verifier: AuditVerifier, store: &dyn Store) -> Result<AuditReport> {
    loop {
        let after = verifier.last_seq();
        let request = AuditRequest { after, limit: super::PAGE_SIZE, ..AuditRequest::default() };
        let records = store.audit_records(&request).await?;
        records.iter().for_each(|record| verifier.check(record));
        if !records.is_empty() {
            continue;
        }
        let head = store.audit_head().await?;
        if head.seq <= after || store.audit_records(&request).await?.is_empty() {
            return Ok(verifier.finish(&head));
        }
    }
}

/// Verifies an export. It has no head, so a removed tail is only found by an anchor.
fn of_file(mut verifier: AuditVerifier, file: &Path) -> Result<AuditReport> {
    let shown = file.display().to_string();
    let reader = std::fs::File::open(file).map_err(|error| unreadable(&shown, &error))?;
    let mut head = AuditHead::default();
    for line in std::io::BufReader::new(reader).lines() {
        let line = line.map_err(|error| unreadable(&shown, &error))?;
        let record = serde_json::from_str(&line).map_err(|error| {
            let message = format!("{shown} is not an export of the audit log: {error}");
            CliError::new(Exit::Invalid, message).hint("write it with `goconductor audit export`")
        })?;
        let record = stored(record)?;
        verifier.check(&record);
        head = AuditHead { seq: record.seq, hash: record.hash };
    }
    Ok(verifier.finish(&head))
}

fn read_anchor(file: &Path) -> Result<AuditHead> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&shown, &error))?;
    let anchor: Option<AuditHead> = serde_json::from_str::<Value>(&text).ok().and_then(|value| {
        let hash = value.get("hash")?.as_str().filter(|hash| hash.len() == 64)?;
        Some(AuditHead { seq: value.get("seq")?.as_u64()?, hash: hash.to_owned() })
    });
    anchor.ok_or_else(|| {
        CliError::new(Exit::Invalid, format!("{shown} is not an anchor"))
            .hint("write it with `goconductor audit head -o json`")
    })
}

/// Converts a record of the API. A time that cannot be read was altered: it becomes one that has another hash.
fn stored(value: Value) -> Result<StoredRecord> {
    let record: AuditRecord = serde_json::from_value(value).map_err(|error| {
        CliError::new(Exit::Other, format!("a record of the audit log cannot be read: {error}"))
            .code("GC3003")
    })?;
    let event = AuditEvent {
        id: record.id,
        at: Timestamp(time::parse(&record.time).unwrap_or(i64::MIN)),
        actor: record.actor,
        credential: record.credential,
        source: record.source,
        action: record.action,
        namespace: record.namespace,
        target_kind: record.target_kind,
        target_name: record.target_name,
        outcome: record.outcome,
        code: record.code,
        count: record.count,
        before: record.before,
        after: record.after,
        trace_id: record.trace_id,
    };
    Ok(StoredRecord { seq: record.seq, event, prev_hash: record.prev_hash, hash: record.hash })
}

fn write(report: &AuditReport, out: &Output) -> Result {
    let AuditReport { records, head, problems } = report;
    let exit = if problems.is_empty() { Exit::Success } else { Exit::Other };
    let listed: Vec<Value> = problems
        .iter()
        .map(|each| json!({"seq": each.seq, "kind": each.kind.as_str(), "code": BROKEN, "detail": each.detail}))
        .collect();
    let head = json!({"seq": head.seq, "hash": head.hash});
    let document = json!({"records": records, "head": head, "problems": listed});
    if out.structured_list(&document.to_string(), "problems")? {
        return Ok(exit);
    }
    if out.names_only() {
        for problem in problems {
            out.data(&problem.seq.to_string())?;
        }
        return Ok(exit);
    }
    if !problems.is_empty() {
        let rows = problems
            .iter()
            .map(|each| vec![each.seq.to_string(), each.kind.as_str().to_owned(), each.detail.clone()])
            .collect();
        out.table(&["SEQ", "KIND", "FINDING"], rows)?;
        out.message(&format!("the audit log is broken; see: goconductor explain {BROKEN}"));
    }
    out.data(&format!("records checked: {records}, problems: {}", problems.len()))?;
    Ok(exit)
}
