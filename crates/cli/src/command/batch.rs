//! `goconductor batch …`, and the operations of `goconductor workflow` on all workflows that match a filter.

use crate::args::{BatchCommand, BulkVerb, CreateBatchArgs, ItemStatus};
use crate::document::JsonDocument;
use crate::error::{CliError, Exit, Result};
use crate::output::{Output, PrintedPage};
use crate::session::ServerSession;
use goconductor_client::{Batch, BatchItem, BatchPreview, NewBatch, Reply, Workflow};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

/// Interval between two reads of a watched batch.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The most refused workflows that an error message shows.
const SHOWN: u32 = 20;
/// The page size of `--all`: the maximum of the API.
const PAGE_SIZE: u32 = 1000;

const HEADS: [&str; 9] =
    ["ID", "OPERATION", "STATUS", "TOTAL", "DONE", "REFUSED", "FAILED", "CREATED", "ENDED"];
const ITEM_HEADS: [&str; 5] = ["WORKFLOW", "STATUS", "CODE", "DETAIL", "ENDED"];

/// Which workflows to operate on, and how.
#[derive(Debug)]
pub(super) struct BulkRequest {
    pub(super) verb: BulkVerb,
    pub(super) filter: String,
    pub(super) step: Option<String>,
    /// `None` for a reason that names the command.
    pub(super) reason: Option<String>,
    /// The number of workflows, if the caller states it.
    pub(super) expected: Option<u64>,
    pub(super) rate: Option<u32>,
    /// Whether the caller confirms the operation in advance.
    pub(super) is_confirmed: bool,
    /// Whether to wait for the end.
    pub(super) waits: bool,
}

/// Runs a command for batches.
pub(super) async fn run(command: BatchCommand, session: &ServerSession) -> Result {
    let client = &session.client;
    match command {
        BatchCommand::Create(args) => apply(request_of(args), session).await,
        BatchCommand::List { limit } => list(limit, session).await,
        BatchCommand::Get { id } => show(&client.batch(&id).await?, &session.out),
        BatchCommand::Items { id, status, page_size, page_token, all } => {
            let size = if all { PAGE_SIZE } else { page_size };
            items(&id, status, size, page_token, all, session).await
        }
        BatchCommand::Pause(args) => {
            show(&client.pause_batch(&args.id, args.reason.as_deref()).await?, &session.out)
        }
        BatchCommand::Resume(args) => {
            show(&client.resume_batch(&args.id, args.reason.as_deref()).await?, &session.out)
        }
        BatchCommand::Cancel(args) => {
            show(&client.cancel_batch(&args.id, args.reason.as_deref()).await?, &session.out)
        }
        BatchCommand::Watch { id } => {
            let reply = client.batch(&id).await?;
            let reply = watch(reply, session).await?;
            show(&reply, &session.out)?;
            result(&reply.value, session).await
        }
    }
}

fn request_of(args: CreateBatchArgs) -> BulkRequest {
    BulkRequest {
        verb: args.operation,
        filter: args.filter,
        step: args.step,
        reason: Some(args.reason),
        expected: args.expect,
        rate: args.rate,
        is_confirmed: args.yes,
        waits: !args.no_wait,
    }
}

/// Creates a batch after a confirmation, and waits for its end. The number of workflows that was confirmed is the expected
/// one, so that the batch has no other workflows.
pub(super) async fn apply(request: BulkRequest, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let verb = request.verb;
    let reason = request.reason.unwrap_or_else(|| format!("goconductor workflow {} --filter", verb.name()));
    let mut batch = NewBatch {
        operation: verb.name().to_owned(),
        filter: request.filter,
        step: request.step,
        reason,
        expected_count: None,
        rate: request.rate,
    };
    let preview = client.preview_batch(&batch).await?.value;
    if preview.count == 0 && request.expected.is_none_or(|expected| expected == 0) {
        out.message("no active workflow matches the filter");
        return Ok(Exit::Success);
    }
    if !request.is_confirmed && !confirmed(&preview, verb, &batch.filter, out)? {
        out.message("no workflow was changed");
        return Ok(Exit::Success);
    }
    batch.expected_count = Some(request.expected.unwrap_or(preview.count));
    let created = client.create_batch(&batch).await?;
    out.message(&format!("batch {} was created", created.value.id));
    if !request.waits {
        return show(&created, out);
    }
    let ended = watch(created, session).await?;
    show(&ended, out)?;
    let Batch { done, total, .. } = ended.value;
    out.message(&format!("{done} of {total} workflows {}", verb.participle()));
    result(&ended.value, session).await
}

/// Asks for confirmation on a terminal.
///
/// # Errors
/// Returns a usage error if standard input is not a terminal.
fn confirmed(preview: &BatchPreview, verb: BulkVerb, filter: &str, out: &Output) -> Result<bool> {
    let (count, done) = (preview.count, verb.participle());
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::new(
            Exit::Usage,
            format!("{count} workflows would be {done}, but standard input is not a terminal to confirm it"),
        )
        .hint("list them with `goconductor workflow list --filter …`, then add --yes")
        .code("GC3007"));
    }
    for workflow in &preview.sample {
        out.message(&sample_line(workflow));
    }
    let shown = u64::try_from(preview.sample.len()).unwrap_or(u64::MAX);
    if count > shown {
        out.message(&format!("… and {} more", count - shown));
    }
    // Without a question, the command still waits for the answer of the terminal.
    drop(write!(
        std::io::stderr(),
        "{count} workflows match {filter:?} and will be {done}. Continue? [y/N] "
    ));
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn sample_line(workflow: &Workflow) -> String {
    format!("{}  {}  {}", workflow.id, workflow.definition, workflow.status)
}

/// Shows the progress of a batch until it ends or is paused.
async fn watch(mut reply: Reply<Batch>, session: &ServerSession) -> Result<Reply<Batch>> {
    let bar = progress(&session.out, reply.value.total);
    loop {
        let batch = &reply.value;
        bar.set_position(batch.total.saturating_sub(batch.pending));
        bar.set_message(format!("{} refused, {} failed", batch.refused, batch.failed));
        if batch.has_ended() || batch.status == "PAUSED" {
            bar.finish_and_clear();
            return Ok(reply);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        reply = session.client.batch(&reply.value.id).await?;
    }
}

fn progress(out: &Output, total: u64) -> indicatif::ProgressBar {
    if !out.shows_progress() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(total);
    match indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec}, {eta} left, {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Returns the exit code of a batch that is no longer watched.
async fn result(batch: &Batch, session: &ServerSession) -> Result {
    if batch.status == "PAUSED" {
        session
            .out
            .message(&format!("batch {0} is paused; `goconductor batch resume {0}` continues it", batch.id));
        return Ok(Exit::Success);
    }
    let rejected = batch.refused + batch.failed;
    if rejected == 0 {
        return Ok(Exit::Success);
    }
    let mut details = Vec::new();
    for status in [ItemStatus::Refused, ItemStatus::Failed] {
        let page = session.client.batch_items(&batch.id, Some(status.name()), Some(SHOWN), None).await?;
        details.extend(page.value.items.iter().map(describe));
    }
    let error = CliError::new(
        Exit::Conflict,
        format!("{rejected} of {} workflows rejected the operation", batch.total),
    );
    let hint = format!("`goconductor batch items {} --status refused --all` lists all of them", batch.id);
    Err(error.details(details).hint(hint))
}

fn describe(item: &BatchItem) -> String {
    let detail = item.detail.as_deref().unwrap_or(&item.status);
    format!("{}: {}: {detail}", item.workflow_id, item.code.as_deref().unwrap_or("-"))
}

fn show(reply: &Reply<Batch>, out: &Output) -> Result {
    if out.names_only() {
        out.data(&reply.value.id)?;
    } else if !out.structured(&reply.text)? {
        out.table(&HEADS, vec![row(&reply.value, out)])?;
    }
    Ok(Exit::Success)
}

async fn list(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.batches(Some(limit), None).await?;
    out.page(&PrintedPage {
        text: &reply.text,
        kind: "batches",
        items: &reply.value.batches,
        next_page_token: &reply.value.next_page_token,
        heads: &HEADS,
        name: |batch| &batch.id,
        row,
    })
}

fn row(batch: &Batch, out: &Output) -> Vec<String> {
    let operation = match &batch.step {
        Some(step) => format!("{} {step}", batch.operation),
        None => batch.operation.clone(),
    };
    vec![
        batch.id.clone(),
        operation,
        batch.status.clone(),
        batch.total.to_string(),
        batch.done.to_string(),
        batch.refused.to_string(),
        batch.failed.to_string(),
        out.time(Some(&batch.created_at)),
        out.time(batch.ended_at.as_deref()),
    ]
}

async fn items(
    id: &str,
    status: Option<ItemStatus>,
    size: u32,
    mut token: Option<String>,
    all: bool,
    session: &ServerSession,
) -> Result {
    let ServerSession { client, out } = session;
    let (mut found, mut members) = (Vec::new(), Vec::new());
    loop {
        let Reply { value: page, text } =
            client.batch_items(id, status.map(ItemStatus::name), Some(size), token.as_deref()).await?;
        found.extend(page.items);
        if let Ok(document) = JsonDocument::parse(&text) {
            let list = document.field("items").map(JsonDocument::members).unwrap_or_default();
            members.extend(list.iter().cloned());
        }
        token = Some(page.next_page_token).filter(|token| !token.is_empty());
        if token.is_none() || !all {
            break;
        }
    }
    let text = JsonDocument::Object(vec![("items".to_owned(), JsonDocument::List(members))]).to_line();
    if out.structured_list(&text, "items")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for item in &found {
            out.data(&item.workflow_id)?;
        }
    } else if found.is_empty() {
        out.message("no workflows");
    } else {
        out.table(&ITEM_HEADS, found.iter().map(|each| item_row(each, out)).collect())?;
    }
    if let Some(token) = token {
        out.message(&format!("more workflows exist: use --all, or --page-token {token}"));
    }
    Ok(Exit::Success)
}

fn item_row(item: &BatchItem, out: &Output) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        item.workflow_id.clone(),
        item.status.clone(),
        text(&item.code),
        text(&item.detail),
        out.time(item.ended_at.as_deref()),
    ]
}
