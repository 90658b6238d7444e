//! What operators do: to one workflow, to all that fit a filter, to a step.

use super::workflow::{checked, status_words};
use super::{Session, json_argument};
use crate::args::{BulkArgs, WorkflowCommand};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_client::{Error, Listing, Reply, Workflow};
use std::io::{BufRead, IsTerminal};

/// What is done to a workflow.
#[derive(Debug, Clone, Copy)]
enum Operation<'a> {
    Cancel(Option<&'a str>),
    Terminate(&'a str),
    Pause(Option<&'a str>),
    Resume(Option<&'a str>),
}

impl Operation<'_> {
    /// `N workflows will be …`
    fn participle(self) -> &'static str {
        match self {
            Self::Cancel(_) => "cancelled",
            Self::Terminate(_) => "terminated without a roll-back",
            Self::Pause(_) => "paused",
            Self::Resume(_) => "resumed",
        }
    }

    async fn apply(self, session: &Session, id: &str) -> Result<Reply<Workflow>, Error> {
        let client = &session.client;
        match self {
            Self::Cancel(reason) => client.cancel(id, reason).await,
            Self::Terminate(reason) => client.terminate(id, reason).await,
            Self::Pause(reason) => client.pause(id, reason).await,
            Self::Resume(reason) => client.resume(id, reason).await,
        }
    }
}

/// Carries out one of the operator's verbs; other verbs never come here.
pub(super) async fn run(command: WorkflowCommand, session: &Session) -> Result {
    let client = &session.client;
    let reply = match command {
        WorkflowCommand::Cancel(args) => {
            return run_operation(&args.which, Operation::Cancel(args.reason.as_deref()), session).await;
        }
        WorkflowCommand::Terminate(args) => {
            return run_operation(&args.which, Operation::Terminate(&args.reason), session).await;
        }
        WorkflowCommand::Pause(args) => {
            return run_operation(&args.which, Operation::Pause(args.reason.as_deref()), session).await;
        }
        WorkflowCommand::Resume(args) => {
            return run_operation(&args.which, Operation::Resume(args.reason.as_deref()), session).await;
        }
        WorkflowCommand::Retry { step, reason } => {
            client.retry_step(&checked(&step.id)?, &step.step, reason.as_deref()).await?
        }
        WorkflowCommand::Skip(args) => {
            client.skip_step(&checked(&args.step.id)?, &args.step.step, &args.reason).await?
        }
        WorkflowCommand::Complete { step: args, result } => {
            let result = result.as_deref().map(|text| json_argument("--result", text)).transpose()?;
            let id = checked(&args.step.id)?;
            client.complete_step(&id, &args.step.step, &args.reason, result.as_ref()).await?
        }
        WorkflowCommand::Start(_)
        | WorkflowCommand::List(_)
        | WorkflowCommand::Count { .. }
        | WorkflowCommand::Describe { .. }
        | WorkflowCommand::History { .. }
        | WorkflowCommand::Watch { .. }
        | WorkflowCommand::Result { .. } => return Ok(Exit::Done),
    };
    show(&reply, &session.out)?;
    Ok(Exit::Done)
}

fn show(reply: &Reply<Workflow>, out: &Output) -> Result<()> {
    if out.names_only() {
        return out.data(&reply.value.id);
    }
    if !out.structured(&reply.text)? {
        out.data(&format!("{} {}", reply.value.id, status_words(&reply.value)))?;
    }
    Ok(())
}

async fn run_operation(which: &BulkArgs, operation: Operation<'_>, session: &Session) -> Result {
    match (&which.id, &which.filter) {
        (Some(id), _) => {
            let reply = operation.apply(session, &checked(id)?).await?;
            show(&reply, &session.out)?;
            Ok(Exit::Done)
        }
        (None, Some(filter)) => apply_to_all(filter, which.yes, operation, session).await,
        (None, None) => Ok(Exit::Done),
    }
}

/// Freezes the set first, so that what fits the filter later is left alone.
async fn apply_to_all(filter: &str, yes: bool, operation: Operation<'_>, session: &Session) -> Result {
    let out = &session.out;
    let listing = Listing { filter: Some(filter.to_owned()), page_size: Some(1000), page_token: None };
    let (workflows, _) = super::workflow::all(&session.client, listing).await?;
    let ids: Vec<String> =
        workflows.into_iter().filter(|each| !each.status.is_final()).map(|each| each.id).collect();
    let count = ids.len();
    if count == 0 {
        out.message("no workflow that has not ended fits the filter");
        return Ok(Exit::Done);
    }
    if !yes && !confirmed(count, operation.participle(), filter)? {
        out.message("nothing was done");
        return Ok(Exit::Done);
    }
    let progress = progress(out, count);
    let mut refused = Vec::new();
    for id in &ids {
        match operation.apply(session, id).await {
            Ok(reply) => progress.suspend(|| show(&reply, out))?,
            // Somebody, or the end, was first: the others are not held up by it.
            Err(error @ (Error::Conflict(_) | Error::NotFound(_))) => refused.push(format!("{id}: {error}")),
            Err(error) => return Err(error.into()),
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let done = count - refused.len();
    out.message(&format!("{done} of {count} workflows {}", operation.participle()));
    if refused.is_empty() {
        return Ok(Exit::Done);
    }
    Err(CliError::new(Exit::Conflict, format!("{} of {count} workflows refused", refused.len()))
        .details(refused))
}

fn progress(out: &Output, count: usize) -> indicatif::ProgressBar {
    if !out.shows_progress() {
        return indicatif::ProgressBar::hidden();
    }
    indicatif::ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Asks a person; without one it has to be said beforehand.
#[allow(clippy::print_stderr, reason = "a question is asked where messages go")]
fn confirmed(count: usize, done: &str, filter: &str) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CliError::new(
            Exit::Usage,
            format!("{count} workflows would be {done}, and nobody can confirm it"),
        )
        .hint("look at them by `goconductor workflow list --filter …`, then add --yes")
        .code("GC3007"));
    }
    eprint!("{count} workflows fit {filter:?} and will be {done}. Go on? [y/N] ");
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
