//! `goconductor doctor`: checks that the histories, states and dispatch ledger of a store agree.
//!
//! It opens the store read-only and may run next to a server. State, history and ledger are separate reads, so an
//! inconsistent workflow is read again before it is reported.

mod check;
mod report;
mod scan;

use crate::args::StoreArgs;
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::store_location::StoreLocation;
use goconductor_store::Store;
use serde_json::json;

pub(crate) use report::{DoctorReport, Violation};

/// Checks the store and prints the findings. The exit code is 1 if there are any.
pub(crate) async fn run(args: &StoreArgs, out: &Output) -> Result {
    let store = StoreLocation::of(args, out)?.open_reading().await?;
    store.check().await?;
    let report = scan(store.as_ref(), out).await?;
    write(&report, out)?;
    Ok(if report.findings.is_empty() { Exit::Success } else { Exit::Other })
}

/// Checks every workflow of a store, and shows the progress.
pub(crate) async fn scan(store: &dyn Store, out: &Output) -> Result<DoctorReport> {
    let progress = progress(out);
    let report = scan::run(store, &|checked| progress.set_position(checked)).await;
    progress.finish_and_clear();
    Ok(report?)
}

fn write(report: &DoctorReport, out: &Output) -> Result<()> {
    let DoctorReport { checked, too_busy, findings } = report;
    if out.structured_list(&json!(report).to_string(), "findings")? {
        return Ok(());
    }
    if out.names_only() {
        for finding in findings {
            out.data(&finding.workflow)?;
        }
        return Ok(());
    }
    if !findings.is_empty() {
        let row = |each: &Violation| vec![each.code.to_owned(), each.workflow.clone(), each.detail.clone()];
        out.table(&["CODE", "WORKFLOW", "FINDING"], findings.iter().map(row).collect())?;
    }
    if !too_busy.is_empty() {
        out.message(&format!("{} workflows changed too often to be checked", too_busy.len()));
    }
    out.data(&format!("workflows checked: {checked}, findings: {}", findings.len()))
}

fn progress(out: &Output) -> indicatif::ProgressBar {
    if !out.shows_progress() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new_spinner();
    match indicatif::ProgressStyle::with_template("{spinner} {pos} workflows checked, {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests;
