//! `goconductor db verify`

use crate::args::StoreArgs;
use crate::doctor::{self, Violation};
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::store_location::{StoreLocation, check_presence};
use goconductor_store::admin::{self, Inspection};
use serde_json::{Value, json};

/// The code of damage of the database itself.
const DAMAGED: &str = "GC3024";

/// Checks the database itself, and then the workflows in it. The exit code is 1 if there are findings.
pub(super) async fn run(args: &StoreArgs, out: &Output) -> Result {
    let location = StoreLocation::of(args, out)?;
    if let StoreLocation::Sqlite(path) = &location {
        check_presence(path)?;
    }
    let database = admin::inspect(&location.as_database(), Inspection { integrity: true }).await?;
    database.schema.check()?;
    let mut findings: Vec<Value> =
        database.integrity.iter().map(|problem| json!({ "code": DAMAGED, "detail": problem })).collect();
    let (mut checked, mut too_busy) = (0, Vec::new());
    let mut rows: Vec<Vec<String>> = database
        .integrity
        .iter()
        .map(|problem| vec![DAMAGED.to_owned(), "-".to_owned(), problem.clone()])
        .collect();
    // A damaged file cannot be relied on, so its workflows are not checked.
    if let Some(store) = database.store.as_deref().filter(|_| database.integrity.is_empty()) {
        let report = doctor::scan(store, out).await?;
        findings.extend(report.findings.iter().map(|finding| json!(finding)));
        let row = |each: &Violation| vec![each.code.to_owned(), each.workflow.clone(), each.detail.clone()];
        rows.extend(report.findings.iter().map(row));
        (checked, too_busy) = (report.checked, report.too_busy);
    }
    let exit = if findings.is_empty() { Exit::Success } else { Exit::Other };
    let count = findings.len();
    let response = json!({ "checked": checked, "too_busy": too_busy, "findings": findings });
    if out.structured_list(&response.to_string(), "findings")? {
        return Ok(exit);
    }
    if out.names_only() {
        for row in &rows {
            out.data(row.get(1).map_or("", String::as_str))?;
        }
        return Ok(exit);
    }
    if !rows.is_empty() {
        out.table(&["CODE", "WORKFLOW", "FINDING"], rows)?;
    }
    if !too_busy.is_empty() {
        out.message(&format!("{} workflows changed too often to be checked", too_busy.len()));
    }
    out.data(&format!("database checked, workflows checked: {checked}, findings: {count}"))?;
    Ok(exit)
}
