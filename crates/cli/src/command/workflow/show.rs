//! `goconductor workflow describe`, `history`, `watch` and `result`

use super::identity::status_text;
use crate::command::wait;
use crate::document::JsonDocument;
use crate::error::{Exit, Result};
use crate::event_line::{self, EventLines};
use crate::session::ServerSession;
use crate::{time, timeline};
use goconductor_client::{Error, Event, Outcome, Reply, Status, Workflow};
use std::time::Duration;

/// The page size of a history: the maximum of the API.
const PAGE_SIZE: u32 = 1000;

/// The duration of one long poll. `ERROR` does not end a workflow, so the status is read after each poll.
const POLL_DURATION: Duration = Duration::from_secs(2);

/// Shows a workflow.
pub(super) async fn describe(id: &str, session: &ServerSession) -> Result {
    let out = &session.out;
    let reply = session.client.workflow(id).await?;
    if out.names_only() {
        out.data(&reply.value.id)?;
    } else if !out.structured(&reply.text)? {
        out.data(&picture(session, &reply.value).await?)?;
    }
    Ok(Exit::Success)
}

async fn picture(session: &ServerSession, workflow: &Workflow) -> Result<String> {
    let (events, _) = all_events(session, &workflow.id).await?;
    Ok(timeline::draw(workflow, &events, session.out.terminal, time::now()))
}

/// Returns a whole history, both typed and as the server sent it.
async fn all_events(session: &ServerSession, id: &str) -> Result<(Vec<Event>, Vec<JsonDocument>)> {
    let (mut events, mut members) = (Vec::<Event>::new(), Vec::new());
    loop {
        let after = events.last().map_or(0, |event| event.seq);
        let Reply { value: page, text } = session.client.events(id, after, Some(PAGE_SIZE)).await?;
        if let Ok(document) = JsonDocument::parse(&text) {
            let list = document.field("events").map(JsonDocument::members).unwrap_or_default();
            members.extend(list.iter().cloned());
        }
        let full = page.events.len() >= usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX);
        events.extend(page.events.into_iter().filter(|event| event.seq > after));
        if !full {
            return Ok((events, members));
        }
    }
}

/// Prints a payload of a workflow, as the server sent it.
pub(super) async fn payload(id: &str, sha256: &str, session: &ServerSession) -> Result {
    session.out.data(&session.client.payload(id, sha256).await?.text)?;
    Ok(Exit::Success)
}

/// Shows the history of a workflow.
pub(super) async fn history(id: &str, follow: bool, session: &ServerSession) -> Result {
    let out = &session.out;
    if follow {
        return follow_history(id, session).await;
    }
    let (events, members) = all_events(session, id).await?;
    let text = JsonDocument::Object(vec![("events".to_owned(), JsonDocument::List(members))]).to_line();
    if out.structured_list(&text, "events")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for event in &events {
            out.data(&event.seq.to_string())?;
        }
        return Ok(Exit::Success);
    }
    let began = events.first().and_then(|event| time::parse(&event.time));
    let rows = events.iter().map(|event| {
        let step = event.step.clone().unwrap_or_else(|| "-".to_owned());
        let time = match began {
            Some(began) if !out.exact_times => event_line::since(event, began),
            Some(_) | None => event.time.clone(),
        };
        let details = event_line::details(event, out.exact_times);
        vec![event.seq.to_string(), time, event.kind.clone(), step, details]
    });
    out.table(&["SEQ", "TIME", "EVENT", "STEP", "DETAIL"], rows.collect())?;
    Ok(Exit::Success)
}

async fn follow_history(id: &str, session: &ServerSession) -> Result {
    let out = &session.out;
    let mut lines = EventLines::new(out.terminal);
    let mut follow = session.client.follow(id, 0);
    while let Some(event) = follow.next().await {
        let event = event?;
        if out.is_human_readable() {
            out.stream(&lines.line(&event))?;
        } else if out.names_only() {
            out.stream(&event.seq.to_string())?;
        } else {
            // A followed history is unbounded, so each structured format is written as one JSON object per line.
            out.stream(&json_line(&event))?;
        }
    }
    Ok(Exit::Success)
}

fn json_line(event: &Event) -> String {
    serde_json::json!({
        "seq": event.seq, "time": event.time, "type": event.kind, "step": event.step,
        "attempt": event.attempt, "detail": event.detail, "actor": event.actor,
    })
    .to_string()
}

/// Shows a workflow until it ends: as a picture on a terminal, otherwise as lines.
pub(super) async fn watch(id: &str, session: &ServerSession) -> Result {
    let out = &session.out;
    let reply = if out.terminal.interactive && out.is_human_readable() {
        watch_picture(id, session).await?
    } else {
        watch_lines(id, session).await?
    };
    Ok(wait::exit_of(&reply.value.status))
}

async fn watch_lines(id: &str, session: &ServerSession) -> Result<Reply<Workflow>> {
    let out = &session.out;
    let mut lines = EventLines::new(out.terminal);
    let mut written = Ok(());
    let reply = wait::until_end(session, id, None, |event| {
        if written.is_ok() {
            written = out.stream(&if out.is_human_readable() { lines.line(event) } else { json_line(event) });
        }
    })
    .await?;
    written?;
    if out.is_human_readable() {
        out.data(&format!("{id} {}", status_text(&reply.value)))?;
    }
    Ok(reply)
}

/// The interval at which a picture without new events is redrawn, so that its bars grow.
const REDRAW_INTERVAL: Duration = Duration::from_millis(500);

async fn watch_picture(id: &str, session: &ServerSession) -> Result<Reply<Workflow>> {
    let mut drawn = 0;
    let mut events = Vec::new();
    let mut follow = session.client.follow(id, 0);
    let mut open = true;
    loop {
        let reply = session.client.workflow(id).await?;
        // Events that arrive after the state was read are drawn with the next picture.
        let picture = timeline::draw(&reply.value, &events, session.out.terminal, time::now());
        drawn = redraw(&picture, drawn, session)?;
        let ended = reply.value.status.is_final() && !open;
        if ended || reply.value.status == Status::Error {
            return Ok(reply);
        }
        // Safe to cancel: the stream keeps an event that was not yet returned.
        match tokio::time::timeout(REDRAW_INTERVAL, follow.next()).await {
            Ok(Some(event)) => events.push(event?),
            Ok(None) => open = false,
            Err(_) => {}
        }
    }
}

/// Replaces the previous picture on the terminal and returns the number of lines of the new one.
fn redraw(picture: &str, lines_before: usize, session: &ServerSession) -> Result<usize> {
    let mut text = String::new();
    if lines_before > 0 {
        text.push_str(&format!("\u{1b}[{lines_before}A\r"));
    }
    text.push_str("\u{1b}[J");
    text.push_str(picture);
    text.push('\n');
    session.out.raw(&text)?;
    Ok(picture.lines().count())
}

/// Shows the result of a workflow, after waiting for at most `wait`.
pub(super) async fn result(id: &str, wait: Option<Duration>, session: &ServerSession) -> Result {
    let out = &session.out;
    let limit = wait.unwrap_or_default();
    let ended =
        match tokio::time::timeout(limit.saturating_add(POLL_DURATION), poll(id, limit, session)).await {
            Ok(ended) => ended?,
            Err(_) => None,
        };
    let Some(reply) = ended else {
        return Err(wait.map_or_else(|| wait::not_ended_error(id), |limit| wait::timeout_error(id, limit)));
    };
    let workflow = &reply.value;
    if out.names_only() {
        out.data(id)?;
    } else if !out.structured(&reply.text)? {
        if let Some(output) = &workflow.output {
            let text = serde_json::to_string(output).unwrap_or_default();
            out.data(&JsonDocument::parse(&text).map_or(text, |document| document.to_json()))?;
        }
        out.message(&format!("{id} {}", status_text(workflow)));
    }
    if let Some(error) = &workflow.error {
        out.message(&format!("{}: {}", error.code, error.message));
    }
    Ok(wait::exit_of(&workflow.status))
}

/// Polls until the workflow ends or is in error. Returns `None` after `limit`.
async fn poll(id: &str, limit: Duration, session: &ServerSession) -> Result<Option<Reply<Workflow>>, Error> {
    let mut left = limit;
    loop {
        let duration = left.min(POLL_DURATION);
        match session.client.result(id, duration).await? {
            Outcome::Ended(reply) => return Ok(Some(reply)),
            Outcome::NotYet(_) => {}
        }
        let reply = session.client.workflow(id).await?;
        if reply.value.status == Status::Error {
            return Ok(Some(reply));
        }
        left = left.saturating_sub(duration);
        if left.is_zero() {
            return Ok(None);
        }
    }
}
