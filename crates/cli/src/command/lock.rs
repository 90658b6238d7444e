//! `goconductor lock …` and `goconductor election …`

use crate::args::{ElectionCommand, HoldArgs, LockCommand};
use crate::error::{CliError, Exit, Result};
use crate::output::{Output, PrintedPage};
use crate::session::ServerSession;
use goconductor_client::{ElectionList, ElectionProcess, Leader, Lock, Reply};

const LOCK_HEADS: [&str; 5] = ["KEY", "OWNER", "TOKEN", "ACQUIRED", "EXPIRES"];
const LEADER_HEADS: [&str; 4] = ["ELECTION", "LEADER", "TOKEN", "SINCE"];

/// Runs a command for locks.
pub(super) async fn run(command: LockCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    match command {
        LockCommand::List { limit } => list(limit, session).await,
        LockCommand::Acquire { key, owner, ttl } => {
            show(&client.acquire_lock(&key, &owner, ttl).await?, "acquired", session)
        }
        LockCommand::Renew { hold: HoldArgs { key, owner, token }, ttl } => {
            show(&client.renew_lock(&key, &owner, token, ttl).await?, "renewed", session)
        }
        LockCommand::Release { hold: HoldArgs { key, owner, token } } => {
            let reply = client.release_lock(&key, &owner, token).await?;
            if out.structured(&reply.text)? {
                return Ok(Exit::Success);
            }
            let done = if reply.value.released { "released" } else { "was not held, so it is free" };
            out.message(&format!("lock {key:?} {done}"));
            Ok(Exit::Success)
        }
    }
}

fn show(reply: &Reply<Lock>, done: &str, session: &ServerSession) -> Result {
    let out = &session.out;
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&reply.value.fencing_token.to_string())?;
    } else {
        out.table(&LOCK_HEADS, vec![lock(&reply.value, out)])?;
    }
    out.message(&format!("lock {:?} {done}", reply.value.key));
    Ok(Exit::Success)
}

async fn list(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.locks(Some(limit), None).await?;
    out.page(&PrintedPage {
        text: &reply.text,
        kind: "locks",
        items: &reply.value.locks,
        next_page_token: &reply.value.next_page_token,
        heads: &LOCK_HEADS,
        name: |lock| &lock.key,
        row: lock,
    })
}

fn lock(lock: &Lock, out: &Output) -> Vec<String> {
    let [acquired, until] = [&lock.acquired_at, &lock.expires_at].map(|time| out.time(Some(time)));
    vec![lock.key.clone(), lock.owner.clone(), lock.fencing_token.to_string(), acquired, until]
}

/// Runs a command for elections.
pub(super) async fn elections(command: ElectionCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let (text, leaders, key) = match command {
        ElectionCommand::List => {
            let reply = client.elections().await?;
            report_move(&reply.value, out);
            (reply.text, reply.value.elections, Some("elections"))
        }
        ElectionCommand::Describe { name } => {
            let reply = client.election(&name).await?;
            (reply.text, vec![reply.value], None)
        }
        ElectionCommand::StepDown { name } => return step_down(&name, session).await,
    };
    let is_written = match key {
        Some(key) => out.structured_list(&text, key)?,
        None => out.structured(&text)?,
    };
    if is_written {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for leader in &leaders {
            out.data(&leader.name)?;
        }
    } else if leaders.is_empty() {
        out.message("no elections have a leader");
    } else {
        out.table(&LEADER_HEADS, leaders.iter().map(|each| leader(each, out)).collect())?;
    }
    Ok(Exit::Success)
}

/// Reports a move to another backend, and what it waits for.
fn report_move(list: &ElectionList, out: &Output) {
    for process in &list.processes {
        if let Some(error) = &process.error {
            let ElectionProcess { process, backend, era, .. } = process;
            out.message(&format!("{process} stays at {backend} in era {era}: {error}"));
        }
    }
    let Some(newest) = list.processes.iter().max_by_key(|process| process.era).filter(|_| list.moving) else {
        return;
    };
    let waits_for: Vec<&str> = list
        .processes
        .iter()
        .filter(|process| process.era < newest.era)
        .map(|process| process.process.as_str())
        .collect();
    let (backend, era, waits_for) = (&newest.backend, newest.era, waits_for.join(", "));
    out.message(&format!("the election moves to {backend} in era {era}, and waits for {waits_for}"));
}

fn leader(leader: &Leader, out: &Output) -> Vec<String> {
    vec![
        leader.name.clone(),
        leader.candidate.clone(),
        leader.fencing_token.to_string(),
        out.time(Some(&leader.since)),
    ]
}

async fn step_down(name: &str, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.step_down(name).await?;
    if !reply.value.ended {
        let error = CliError::new(Exit::NotFound, format!("election {name:?} has no leader")).code("GC2025");
        return Err(error.hint("`goconductor election list` shows all elections that have a leader"));
    }
    if !out.structured(&reply.text)? {
        out.message(&format!("the leader of {name} has stepped down"));
    }
    Ok(Exit::Success)
}
