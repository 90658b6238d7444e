//! `goconductor queue …`

use super::Session;
use crate::args::QueueCommand;
use crate::error::{CliError, Exit, Result};
use goconductor_client::{QueueBacklog, QueueLane, QueueMove, Reply};
use std::time::Duration;

/// Between looks at how far a move is.
const LOOK: Duration = Duration::from_millis(500);

/// Carries out a command.
pub(super) async fn run(command: QueueCommand, session: &Session) -> Result {
    match command {
        QueueCommand::List => list(session).await,
        QueueCommand::Status => show(&session.client.queue_move().await?, session),
        QueueCommand::Switch { to, wait, timeout } => switch(&to, wait, timeout, session).await,
    }
}

async fn list(session: &Session) -> Result {
    let Session { client, out } = session;
    let reply = client.queues().await?;
    if out.structured_list(&reply.text, "services")? {
        return Ok(Exit::Done);
    }
    if out.names_only() {
        for service in &reply.value.services {
            out.data(&service.service)?;
        }
        return Ok(Exit::Done);
    }
    out.message(&format!("the queue in use is {}", reply.value.queue));
    if reply.value.services.is_empty() {
        out.message("no services");
    } else {
        let heads = ["NAMESPACE", "SERVICE", "SERVED", "WAITING", "OLDEST", "UNDO WAITING", "UNDO OLDEST"];
        out.table(&heads, reply.value.services.iter().map(row).collect())?;
    }
    Ok(Exit::Done)
}

fn row(of: &QueueBacklog) -> Vec<String> {
    let lane = |lane: &QueueLane| {
        let waiting = lane.waiting.map_or_else(|| "?".to_owned(), |waiting| waiting.to_string());
        [waiting, lane.oldest_waiting_at.clone().unwrap_or_default()]
    };
    let served = if of.served { "yes" } else { "no" };
    let names = [of.namespace.clone(), of.service.clone(), served.to_owned()];
    names.into_iter().chain(lane(&of.execute)).chain(lane(&of.compensate)).collect()
}

fn show(reply: &Reply<QueueMove>, session: &Session) -> Result {
    let out = &session.out;
    if out.structured(&reply.text)? {
        return Ok(Exit::Done);
    }
    if out.names_only() {
        out.data(&reply.value.queue)?;
        return Ok(Exit::Done);
    }
    let QueueMove { queue, to, phase, since, .. } = &reply.value;
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    out.table(
        &["QUEUE", "TO", "PHASE", "SINCE"],
        vec![vec![queue.clone(), text(to), text(phase), text(since)]],
    )?;
    if to.is_some() {
        out.message(&progress(&reply.value));
    }
    Ok(Exit::Done)
}

/// What a move waits for, in words.
fn progress(of: &QueueMove) -> String {
    let (from, to) = (&of.queue, of.to.as_deref().unwrap_or_default());
    let behind: Vec<String> = of.behind.iter().map(|user| user.instance.clone()).collect();
    let waits = if behind.is_empty() { String::new() } else { format!("; not yet: {}", behind.join(", ")) };
    let waiting =
        of.waiting.map_or_else(|| "it does not answer".to_owned(), |waiting| format!("{waiting} wait"));
    match of.phase.as_deref() {
        Some("CONSUMING_BOTH") => format!("{from} → {to}: all begin to consume both{waits}"),
        Some("PRODUCING") => format!("{from} → {to}: all begin to publish to {to}{waits}"),
        Some("DRAINING") => format!("{from} → {to}: {from} is emptied: {waiting}"),
        Some(other) => format!("{from} → {to}: {other}{waits}"),
        None => format!("{from} is in use"),
    }
}

async fn switch(to: &str, wait: bool, timeout: Option<Duration>, session: &Session) -> Result {
    let Session { client, out } = session;
    let mut reply = client.switch_queue(to).await?;
    if !wait {
        out.message(&format!("all move to {to}; `goconductor queue status` says how far they are"));
        return show(&reply, session);
    }
    let watching = async {
        let mut said = String::new();
        while reply.value.to.is_some() {
            let now = progress(&reply.value);
            if now != said {
                out.message(&now);
                said = now;
            }
            tokio::time::sleep(LOOK).await;
            reply = client.queue_move().await?;
        }
        Ok::<_, CliError>(reply)
    };
    let late = |limit| {
        let limit = goconductor_service_kit::duration::format(limit);
        CliError::new(Exit::Timeout, format!("not all have moved to {to} within {limit}"))
            .hint("it goes on by itself; `goconductor queue status` says what it waits for")
            .code("GC3002")
    };
    let reply = match timeout {
        Some(limit) => tokio::time::timeout(limit, watching).await.map_err(|_| late(limit))??,
        None => watching.await?,
    };
    if reply.value.queue != to {
        let detail = format!("the move was turned back: {} is in use", reply.value.queue);
        return Err(CliError::new(Exit::Conflict, detail).code("GC2035"));
    }
    out.message(&format!("all have moved to {to}: set queue.backend to {to} in their configuration"));
    show(&reply, session)
}
