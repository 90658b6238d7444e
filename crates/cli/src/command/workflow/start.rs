//! `goconductor workflow start`

use super::status_words;
use crate::args::StartArgs;
use crate::command::{Session, json_argument, wait};
use crate::error::{Exit, Result};
use crate::event_line;
use goconductor_client::{StartWorkflow, Started};
use std::time::Duration;

/// How long a start is repeated that the server refuses because too much is going on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a workflow, and waits for its end if that is wanted.
pub(super) async fn run(args: StartArgs, session: &Session) -> Result {
    let Session { client, out } = session;
    let input = args.input.as_deref().map(|text| json_argument("--input", text)).transpose()?;
    let start = StartWorkflow {
        definition: args.definition,
        version: args.version,
        input,
        idempotency_key: args.idempotency_key,
        labels: args.labels.into_iter().collect(),
    };
    let patience = args.timeout.map_or(PATIENCE, |timeout| timeout.min(PATIENCE));
    let reply = client.start_workflow_within(patience, &start).await?;
    if args.wait {
        return ended(&reply.value, args.timeout, session).await;
    }
    if !out.structured(&reply.text)? {
        say(&reply.value, session)?;
    }
    Ok(Exit::Done)
}

fn say(started: &Started, session: &Session) -> Result<()> {
    let Started { workflow, replayed } = started;
    if session.out.names_only() {
        return session.out.data(&workflow.id);
    }
    let what = if *replayed { "was already started" } else { "started" };
    let (id, definition, version) = (&workflow.id, &workflow.definition, workflow.version);
    session.out.data(&format!("{id} {what}: {definition} version {version}, {}", workflow.status))
}

async fn ended(started: &Started, limit: Option<Duration>, session: &Session) -> Result {
    let out = &session.out;
    let id = &started.workflow.id;
    out.message(&format!("workflow {id}"));
    let mut lines = event_line::Lines::new(out.message_terminal());
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
        out.data(&format!("{id} {}", status_words(workflow)))?;
    }
    if let Some(error) = &workflow.error {
        out.message(&format!("{}: {}", error.code, error.message));
    }
    Ok(wait::exit_of(&workflow.status))
}
