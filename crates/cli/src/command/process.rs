//! `goconductor process …` and `goconductor dlq …`

use crate::args::{DlqCommand, ProcessCommand};
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{DeadLetter, Process};
use goconductor_store::{ProcessInfo, ServedService};

/// The number of characters of a payload in a table.
const PAYLOAD_WIDTH: usize = 60;

/// Runs a command for processes.
pub(super) async fn run(ProcessCommand::List: ProcessCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.processes().await?;
    if out.structured_list(&reply.text, "processes")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for process in &reply.value.processes {
            out.data(&process.instance)?;
        }
    } else if reply.value.processes.is_empty() {
        out.message("no processes; `goconductor dev` runs all services in one process");
    } else {
        let rows = reply.value.processes.iter().map(|each| row(each, out)).collect();
        out.table(&["KIND", "RELEASE", "ADDRESS", "INSTANCE", "SINCE", "SERVES"], rows)?;
    }
    Ok(Exit::Success)
}

fn row(process: &Process, out: &Output) -> Vec<String> {
    let info = ProcessInfo::from(process.about.clone());
    let serves: Vec<String> = info.served().map(served).collect();
    let since = out.time(process.since.as_deref());
    let release = info.release.unwrap_or_else(|| "-".to_owned());
    let (kind, address, instance) = (process.kind.clone(), process.address.clone(), process.instance.clone());
    vec![kind, release, address, instance, since, serves.join(", ")]
}

fn served(ServedService { service, by, workers, .. }: &ServedService) -> String {
    match by.as_str() {
        "workers" => format!("{service} (workers: {workers})"),
        "" => service.clone(),
        transport => format!("{service} ({transport})"),
    }
}

/// Runs a command for dead letters.
pub(super) async fn dead_letters(command: DlqCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let (reply, done) = match command {
        DlqCommand::List { limit } => return list(limit, session).await,
        DlqCommand::Get { id } => (client.dead_letter(&id).await?, ""),
        DlqCommand::Requeue { id } => (client.requeue_dead_letter(&id).await?, "requeued"),
        DlqCommand::Delete { id } => {
            client.delete_dead_letter(&id).await?;
            out.message(&format!("dead letter {id} deleted"));
            return Ok(Exit::Success);
        }
    };
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&reply.value.id)?;
    } else {
        out.table(&HEADS, vec![letter(&reply.value, out)])?;
    }
    if !done.is_empty() {
        out.message(&format!("dead letter {} {done}", reply.value.id));
    }
    Ok(Exit::Success)
}

const HEADS: [&str; 5] = ["ID", "TOPIC", "AT", "REASON", "PAYLOAD"];

async fn list(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.dead_letters(Some(limit), None).await?;
    if out.structured_list(&reply.text, "dead_letters")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for letter in &reply.value.dead_letters {
            out.data(&letter.id)?;
        }
    } else if reply.value.dead_letters.is_empty() {
        out.message("no dead letters");
    } else {
        out.table(&HEADS, reply.value.dead_letters.iter().map(|each| letter(each, out)).collect())?;
        if !reply.value.next_page_token.is_empty() {
            out.message("more dead letters exist: increase --limit, up to 1000");
        }
    }
    Ok(Exit::Success)
}

fn letter(letter: &DeadLetter, out: &Output) -> Vec<String> {
    let shown: String = letter.payload.chars().take(PAYLOAD_WIDTH).flat_map(char::escape_debug).collect();
    let at = out.time(Some(&letter.at));
    vec![letter.id.clone(), letter.topic.clone(), at, letter.reason.clone(), shown]
}
