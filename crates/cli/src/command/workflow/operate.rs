//! Operations on one workflow, on all workflows that match a filter, and on a step.

use super::identity::{parse_id, status_text};
use crate::args::{BulkArgs, BulkStepArgs, BulkVerb, WorkflowCommand};
use crate::command::batch::{self, BulkRequest};
use crate::error::{Exit, Result};
use crate::json_argument;
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{Error, Reply, Workflow};

/// An operation on a workflow.
#[derive(Debug, Clone, Copy)]
enum BulkOperation<'a> {
    Cancel(Option<&'a str>),
    Terminate(&'a str),
    Pause(Option<&'a str>),
    Resume(Option<&'a str>),
}

impl BulkOperation<'_> {
    /// Returns the operation of a batch, and the reason.
    fn of_batch(self) -> (BulkVerb, Option<String>) {
        let (verb, reason) = match self {
            Self::Cancel(reason) => (BulkVerb::Cancel, reason),
            Self::Terminate(reason) => (BulkVerb::Terminate, Some(reason)),
            Self::Pause(reason) => (BulkVerb::Pause, reason),
            Self::Resume(reason) => (BulkVerb::Resume, reason),
        };
        (verb, reason.map(str::to_owned))
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
        WorkflowCommand::Retry { which, reason } => match (&which.id, &which.step) {
            (Some(id), Some(step)) => client.retry_step(&parse_id(id)?, step, reason.as_deref()).await?,
            _ => return apply_to_steps(which, BulkVerb::Retry, reason, session).await,
        },
        WorkflowCommand::Skip { which, reason } => match (&which.id, &which.step) {
            (Some(id), Some(step)) => client.skip_step(&parse_id(id)?, step, &reason).await?,
            _ => return apply_to_steps(which, BulkVerb::Skip, Some(reason), session).await,
        },
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
        | WorkflowCommand::Rerun(_)
        | WorkflowCommand::Migrate(_)
        | WorkflowCommand::Result { .. }
        | WorkflowCommand::Payload { .. } => return Ok(Exit::Success),
    };
    show(&reply, &session.out)?;
    Ok(Exit::Success)
}

pub(super) fn show(reply: &Reply<Workflow>, out: &Output) -> Result<()> {
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
        (None, Some(filter)) => {
            let (verb, reason) = operation.of_batch();
            let request = BulkRequest {
                verb,
                filter: filter.clone(),
                step: None,
                reason,
                expected: None,
                rate: None,
                is_confirmed: which.yes,
                waits: true,
            };
            batch::apply(request, session).await
        }
        (None, None) => Ok(Exit::Success),
    }
}

/// Applies an operation to a step of all workflows that match a filter.
async fn apply_to_steps(
    which: BulkStepArgs,
    verb: BulkVerb,
    reason: Option<String>,
    session: &ServerSession,
) -> Result {
    let request = BulkRequest {
        verb,
        // Without a filter, the command line requires an id and a step.
        filter: which.filter.unwrap_or_default(),
        step: which.of_step,
        reason,
        expected: None,
        rate: None,
        is_confirmed: which.yes,
        waits: true,
    };
    batch::apply(request, session).await
}
