//! Operations on one workflow, on all workflows that match a filter, and on a step.

use super::identity::{parse_id, status_text};
use super::list;
use crate::args::{BulkArgs, WorkflowCommand};
use crate::error::{CliError, Exit, Result};
use crate::json_argument;
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{Error, Listing, Reply, Workflow};
use std::io::{BufRead, IsTerminal, Write};

/// An operation on a workflow.
#[derive(Debug, Clone, Copy)]
enum BulkOperation<'a> {
    Cancel(Option<&'a str>),
    Terminate(&'a str),
    Pause(Option<&'a str>),
    Resume(Option<&'a str>),
}

impl BulkOperation<'_> {
    /// Returns the past participle for messages: "3 workflows will be …".
    fn participle(self) -> &'static str {
        match self {
            Self::Cancel(_) => "cancelled",
            Self::Terminate(_) => "terminated without compensation",
            Self::Pause(_) => "paused",
            Self::Resume(_) => "resumed",
        }
    }

    async fn apply(self, session: &ServerSession, id: &str) -> Result<Reply<Workflow>, Error> {
        let client = &session.client;
        match self {
            Self::Cancel(reason) => client.cancel(id, reason).await,
            Self::Terminate(reason) => client.terminate(id, reason).await,
            Self::Pause(reason) => client.pause(id, reason).await,
            Self::Resume(reason) => client.resume(id, reason).await,
        }
    }
}

/// Runs an operation. The caller handles all other commands.
pub(super) async fn run(command: WorkflowCommand, session: &ServerSession) -> Result {
    let client = &session.client;
    let reply = match command {
        WorkflowCommand::Cancel(args) => {
            return run_operation(&args.which, BulkOperation::Cancel(args.reason.as_deref()), session).await;
        }
        WorkflowCommand::Terminate(args) => {
            return run_operation(&args.which, BulkOperation::Terminate(&args.reason), session).await;
        }
        WorkflowCommand::Pause(args) => {
            return run_operation(&args.which, BulkOperation::Pause(args.reason.as_deref()), session).await;
        }
        WorkflowCommand::Resume(args) => {
            return run_operation(&args.which, BulkOperation::Resume(args.reason.as_deref()), session).await;
        }
        WorkflowCommand::Compensate { id, reason } => {
            client.compensate(&parse_id(&id)?, reason.as_deref()).await?
        }
        WorkflowCommand::Signal { id, name, data, idempotency_key } => {
            let data = data.as_deref().map(|text| json_argument::parse("--data", text)).transpose()?;
            let (id, data) = (parse_id(&id)?, data.unwrap_or_default());
            client.signal_with_key(&id, &name, &data, idempotency_key.as_deref()).await?
        }
        WorkflowCommand::Retry { step, reason } => {
            client.retry_step(&parse_id(&step.id)?, &step.step, reason.as_deref()).await?
        }
        WorkflowCommand::Skip(args) => {
            client.skip_step(&parse_id(&args.step.id)?, &args.step.step, &args.reason).await?
        }
        WorkflowCommand::Complete { step: args, result } => {
            let result = result.as_deref().map(|text| json_argument::parse("--result", text)).transpose()?;
            let id = parse_id(&args.step.id)?;
            client.complete_step(&id, &args.step.step, &args.reason, result.as_ref()).await?
        }
        WorkflowCommand::Start(_)
        | WorkflowCommand::List(_)
        | WorkflowCommand::Count { .. }
        | WorkflowCommand::Describe { .. }
        | WorkflowCommand::History { .. }
        | WorkflowCommand::Watch { .. }
        | WorkflowCommand::Result { .. } => return Ok(Exit::Success),
    };
    show(&reply, &session.out)?;
    Ok(Exit::Success)
}

fn show(reply: &Reply<Workflow>, out: &Output) -> Result<()> {
    if out.names_only() {
        return out.data(&reply.value.id);
    }
    if !out.structured(&reply.text)? {
        out.data(&format!("{} {}", reply.value.id, status_text(&reply.value)))?;
    }
    Ok(())
}

async fn run_operation(which: &BulkArgs, operation: BulkOperation<'_>, session: &ServerSession) -> Result {
    match (&which.id, &which.filter) {
        (Some(id), _) => {
            let reply = operation.apply(session, &parse_id(id)?).await?;
            show(&reply, &session.out)?;
            Ok(Exit::Success)
        }
        (None, Some(filter)) => apply_to_all(filter, which.yes, operation, session).await,
        (None, None) => Ok(Exit::Success),
    }
}

/// Applies an operation to the workflows that match the filter now. It lists them first, so workflows that match later
/// are unaffected.
async fn apply_to_all(
    filter: &str,
    yes: bool,
    operation: BulkOperation<'_>,
    session: &ServerSession,
) -> Result {
    let out = &session.out;
    let listing = Listing { filter: Some(filter.to_owned()), page_size: Some(1000), page_token: None };
    let (workflows, _) = list::all(&session.client, listing).await?;
    let ids: Vec<String> =
        workflows.into_iter().filter(|each| !each.status.is_final()).map(|each| each.id).collect();
    let count = ids.len();
    if count == 0 {
        out.message("no active workflow matches the filter");
        return Ok(Exit::Success);
    }
    if !yes && !confirmed(count, operation.participle(), filter)? {
        out.message("no workflow was changed");
        return Ok(Exit::Success);
    }
    let progress = progress(out, count);
    let mut rejected = Vec::new();
    for id in &ids {
        match operation.apply(session, id).await {
            Ok(reply) => progress.suspend(|| show(&reply, out))?,
            // The workflow ended, or another operator was first. Continue with the others.
            Err(error @ (Error::Conflict(_) | Error::NotFound(_))) => rejected.push(format!("{id}: {error}")),
            Err(error) => return Err(error.into()),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let done = count - rejected.len();
    out.message(&format!("{done} of {count} workflows {}", operation.participle()));
    if rejected.is_empty() {
        return Ok(Exit::Success);
    }
    Err(CliError::new(
        Exit::Conflict,
        format!("{} of {count} workflows rejected the operation", rejected.len()),
    )
    .details(rejected))
}

fn progress(out: &Output, count: usize) -> indicatif::ProgressBar {
    if !out.shows_progress() {
        return indicatif::ProgressBar::hidden();
    }
    indicatif::ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Asks for confirmation on a terminal.
///
/// # Errors
/// Returns a usage error if standard input is not a terminal.
fn confirmed(count: usize, done: &str, filter: &str) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::new(
            Exit::Usage,
            format!("{count} workflows would be {done}, but standard input is not a terminal to confirm it"),
        )
        .hint("list them with `goconductor workflow list --filter …`, then add --yes")
        .code("GC3007"));
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
