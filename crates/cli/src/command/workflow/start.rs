//! `goconductor workflow start`

use super::identity::status_text;
use crate::args::StartArgs;
use crate::command::wait;
use crate::error::{CliError, Exit, Result};
use crate::event_line;
use crate::json_argument::{self, without_duplicates};
use crate::session::ServerSession;
use goconductor_client::{Error, StartWorkflow, Started};
use std::time::Duration;

/// The maximum time for retries of a start that the server rejects because of overload.
const START_RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// The code of an input that does not match its schema.
const INPUT_CODE: &str = "GC2016";

/// Starts a workflow. With `--wait`, waits for its end.
pub(super) async fn run(args: StartArgs, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let input = args.input.as_deref().map(|text| json_argument::parse("--input", text)).transpose()?;
    let definition = args.definition.clone();
    let start = StartWorkflow {
        definition: args.definition,
        version: args.version,
        input,
        idempotency_key: args.idempotency_key,
        labels: without_duplicates("--label", args.labels)?,
    };
    let timeout = args.timeout.map_or(START_RETRY_TIMEOUT, |timeout| timeout.min(START_RETRY_TIMEOUT));
    let reply = client.start_workflow_within(timeout, &start).await.map_err(|error| {
        let is_input = matches!(&error, Error::Invalid(problem) if problem.code == INPUT_CODE);
        let error = CliError::from(error);
        if !is_input {
            return error;
        }
        error.hint(format!("`goconductor definition get {definition}` shows the schema of its input"))
    })?;
    if args.wait {
        return wait_for_end(&reply.value, args.timeout, session).await;
    }
    if !out.structured(&reply.text)? {
        show(&reply.value, session)?;
    }
    Ok(Exit::Success)
}

fn show(started: &Started, session: &ServerSession) -> Result<()> {
    let Started { workflow, replayed } = started;
    if session.out.names_only() {
        return session.out.data(&workflow.id);
    }
    let done = if *replayed { "already started" } else { "started" };
    let (id, definition, version) = (&workflow.id, &workflow.definition, workflow.version);
    session.out.data(&format!("{id} {done}: {definition} version {version}, {}", workflow.status))
}

async fn wait_for_end(started: &Started, limit: Option<Duration>, session: &ServerSession) -> Result {
    let out = &session.out;
    let id = &started.workflow.id;
    out.message(&format!("workflow {id}"));
    let mut lines = event_line::EventLines::new(out.message_terminal());
    let reply = wait::until_end(session, id, limit, |event| {
        if out.is_human_readable() {
            out.message(&lines.line(event));
        }
    })
    .await?;
    let workflow = &reply.value;
    if out.names_only() {
        out.data(id)?;
    } else if !out.structured(&reply.text)? {
        out.data(&format!("{id} {}", status_text(workflow)))?;
    }
    if let Some(error) = &workflow.error {
        out.message(&format!("{}: {}", error.code, error.message));
    }
    Ok(wait::exit_of(&workflow.status))
}
