//! `goconductor queue …`

use crate::args::QueueCommand;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_client::{QueueBacklog, QueueLane, QueueMove, Reply};
use std::time::Duration;

/// The interval at which `--wait` polls the state of a migration.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Runs a command for queues.
pub(super) async fn run(command: QueueCommand, session: &ServerSession) -> Result {
    match command {
        QueueCommand::List => list(session).await,
        QueueCommand::Status => show(&session.client.queue_move().await?, session),
        QueueCommand::Switch { to, wait, timeout } => switch(&to, wait, timeout, session).await,
    }
}

async fn list(session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.queues().await?;
    if out.structured_list(&reply.text, "services")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for service in &reply.value.services {
            out.data(&service.service)?;
        }
        return Ok(Exit::Success);
    }
    out.message(&format!("current queue: {}", reply.value.queue));
    if reply.value.services.is_empty() {
        out.message("no services");
    } else {
        let heads = ["NAMESPACE", "SERVICE", "SERVED", "WAITING", "OLDEST", "UNDO WAITING", "UNDO OLDEST"];
        out.table(&heads, reply.value.services.iter().map(|each| row(each, out)).collect())?;
    }
    Ok(Exit::Success)
}

fn row(of: &QueueBacklog, out: &Output) -> Vec<String> {
    let lane = |lane: &QueueLane| {
        let waiting = lane.waiting.map_or_else(|| "?".to_owned(), |waiting| waiting.to_string());
        [waiting, out.time(lane.oldest_waiting_at.as_deref())]
    };
    let served = if of.served { "yes" } else { "no" };
    let names = [of.namespace.clone(), of.service.clone(), served.to_owned()];
    names.into_iter().chain(lane(&of.execute)).chain(lane(&of.compensate)).collect()
}

fn show(reply: &Reply<QueueMove>, session: &ServerSession) -> Result {
    let out = &session.out;
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&reply.value.queue)?;
        return Ok(Exit::Success);
    }
    let QueueMove { queue, to, phase, since, .. } = &reply.value;
    let text = |of: &Option<String>| of.clone().unwrap_or_else(|| "-".to_owned());
    let row = vec![queue.clone(), text(to), text(phase), out.time(since.as_deref())];
    out.table(&["QUEUE", "TO", "PHASE", "SINCE"], vec![row])?;
    if to.is_some() {
        out.message(&progress(&reply.value));
    }
    Ok(Exit::Success)
}

/// Describes the progress of a migration.
fn progress(of: &QueueMove) -> String {
    let (from, to) = (&of.queue, of.to.as_deref().unwrap_or_default());
    let behind: Vec<String> = of.behind.iter().map(|user| user.instance.clone()).collect();
    let pending =
        if behind.is_empty() { String::new() } else { format!("; waiting for {}", behind.join(", ")) };
    let backlog = of
        .waiting
        .map_or_else(|| "backlog unknown".to_owned(), |waiting| format!("{waiting} messages waiting"));
    match of.phase.as_deref() {
        Some("CONSUMING_BOTH") => {
            format!("{from} → {to}: processes start to consume from both queues{pending}")
        }
        Some("PRODUCING") => format!("{from} → {to}: processes start to publish to {to}{pending}"),
        Some("DRAINING") => format!("{from} → {to}: draining {from}, {backlog}"),
        Some(other) => format!("{from} → {to}: {other}{pending}"),
        None => format!("{from} is the current queue"),
    }
}

async fn switch(to: &str, wait: bool, timeout: Option<Duration>, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let mut reply = client.switch_queue(to).await?;
    if !wait {
        out.message(&format!("migration to {to} started; `goconductor queue status` shows its progress"));
        return show(&reply, session);
    }
    let watching = async {
        let mut shown = String::new();
        while reply.value.to.is_some() {
            let now = progress(&reply.value);
            if now != shown {
                out.message(&now);
                shown = now;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
            reply = client.queue_move().await?;
        }
        Ok::<_, CliError>(reply)
    };
    let timed_out = |limit| {
        let limit = goconductor_service_kit::duration::format(limit);
        CliError::new(Exit::Timeout, format!("the migration to {to} did not finish within {limit}"))
            .hint("the migration continues; `goconductor queue status` shows what it is waiting for")
            .code("GC3002")
    };
    let reply = match timeout {
        Some(limit) => tokio::time::timeout(limit, watching).await.map_err(|_| timed_out(limit))??,
        None => watching.await?,
    };
    if reply.value.queue != to {
        let detail = format!("the migration was reverted: {} is the current queue", reply.value.queue);
        return Err(CliError::new(Exit::Conflict, detail).code("GC2035"));
    }
    out.message(&format!(
        "migration to {to} finished; set queue.backend to {to} in the configuration of all processes"
    ));
    show(&reply, session)
}
