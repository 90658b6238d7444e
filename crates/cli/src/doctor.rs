//! `goconductor doctor`: reads a store and says where histories, states and ledger do not agree.
//!
//! It opens the store itself, only reads, and may do so beside a running server: a workflow that looks
//! wrong is looked at again before it is reported, as load, history and ledger are separate reads.

mod check;
mod open;
mod scan;

use crate::args::DoctorArgs;
use crate::error::{Exit, Result};
use crate::output::Output;
use serde::Serialize;
use serde_json::json;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Its page.
    pub(crate) code: &'static str,
    /// The workflow that it is about.
    pub(crate) workflow: String,
    /// What was found.
    pub(crate) detail: String,
}

/// What a sweep over all workflows came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DoctorReport {
    /// How many workflows were checked.
    pub(crate) checked: u64,
    /// Workflows that changed each time they were looked at, and so could not be judged.
    pub(crate) too_busy: Vec<String>,
    /// What does not hold.
    pub(crate) findings: Vec<Finding>,
}

/// Checks a store.
pub(crate) async fn run(args: &DoctorArgs, out: &Output) -> Result {
    let store = open::store(args).await?;
    store.check().await?;
    let progress = progress(out);
    let report = scan::run(store.as_ref(), &|checked| progress.set_position(checked)).await;
    progress.finish_and_clear();
    let report = report?;
    write(&report, out)?;
    Ok(if report.findings.is_empty() { Exit::Done } else { Exit::Other })
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
        let row = |each: &Finding| vec![each.code.to_owned(), each.workflow.clone(), each.detail.clone()];
        out.table(&["CODE", "WORKFLOW", "FINDING"], findings.iter().map(row).collect())?;
    }
    if !too_busy.is_empty() {
        out.message(&format!("{} workflows changed too fast to be judged", too_busy.len()));
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
