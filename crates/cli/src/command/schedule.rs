//! `goconductor schedule …`

use crate::args::{ScheduleApplyArgs, ScheduleCommand};
use crate::error::{Exit, Result};
use crate::json_argument::{self, without_duplicates};
use crate::output::{Output, PrintedPage};
use crate::session::ServerSession;
use goconductor_client::{Reply, Schedule, ScheduleSpec};

const HEADS: [&str; 8] = ["NAME", "DEFINITION", "WHEN", "OVERLAP", "NEXT", "LAST", "STARTED", "MISSED"];
const RUN_HEADS: [&str; 4] = ["WORKFLOW", "DUE", "KIND", "STATUS"];

/// Runs a command for schedules.
pub(super) async fn run(command: ScheduleCommand, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    match command {
        ScheduleCommand::Apply(args) => apply(*args, session).await,
        ScheduleCommand::List { limit } => list(limit, session).await,
        ScheduleCommand::Get { name } => get(&client.schedule(&name).await?, session),
        ScheduleCommand::Delete { name } => {
            client.delete_schedule(&name).await?;
            out.message(&format!("schedule {name} deleted"));
            Ok(Exit::Success)
        }
        ScheduleCommand::Pause { name, reason } => {
            let reply = client.pause_schedule(&name, reason.as_deref()).await?;
            show(&reply, &format!("schedule {name} paused"), session)
        }
        ScheduleCommand::Resume { name, reason } => {
            let reply = client.resume_schedule(&name, reason.as_deref()).await?;
            show(&reply, &format!("schedule {name} resumed"), session)
        }
        ScheduleCommand::Trigger { name } => {
            let reply = client.trigger_schedule(&name).await?;
            if !out.structured(&reply.text)? {
                out.data(&reply.value.workflow)?;
            }
            Ok(Exit::Success)
        }
        ScheduleCommand::Backfill { name, from, until } => {
            let reply = client.backfill_schedule(&name, &from, &until).await?;
            show(&reply, &format!("schedule {name} starts its due times from {from} until {until}"), session)
        }
        ScheduleCommand::Next { name, count } => {
            let reply = client.next_due_times(&name, count).await?;
            if !out.structured_list(&reply.text, "due_times")? {
                for due in &reply.value.due_times {
                    out.data(due)?;
                }
            }
            Ok(Exit::Success)
        }
    }
}

async fn apply(args: ScheduleApplyArgs, session: &ServerSession) -> Result {
    let input = args.input.as_deref().map(|text| json_argument::parse("--input", text)).transpose()?;
    let spec = ScheduleSpec {
        definition: args.definition.unwrap_or_else(|| args.name.clone()),
        version: args.version,
        cron: args.cron,
        timezone: args.timezone,
        every: args.every,
        anchor: args.anchor,
        overlap: args.overlap,
        catch_up: args.catch_up,
        input,
        labels: without_duplicates("--label", args.labels)?,
    };
    let reply = session.client.put_schedule(&args.name, &spec, args.if_generation).await?;
    let done = format!("schedule {} has generation {}", args.name, reply.value.generation);
    show(&reply, &done, session)
}

fn show(reply: &Reply<Schedule>, done: &str, session: &ServerSession) -> Result {
    let out = &session.out;
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&reply.value.name)?;
    } else {
        out.table(&HEADS, vec![row(&reply.value, out)])?;
    }
    out.message(done);
    Ok(Exit::Success)
}

fn get(reply: &Reply<Schedule>, session: &ServerSession) -> Result {
    let (out, schedule) = (&session.out, &reply.value);
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&schedule.name)?;
        return Ok(Exit::Success);
    }
    out.table(&HEADS, vec![row(schedule, out)])?;
    if let Some(paused) = &schedule.paused {
        let reason = paused.reason.as_deref().unwrap_or("no reason was given");
        out.message(&format!("paused since {}: {reason}", paused.since));
    }
    if !schedule.recent.is_empty() {
        let rows = schedule.recent.iter().map(|run| {
            let status = run.status.clone().unwrap_or_else(|| "not retained".to_owned());
            vec![run.workflow.clone(), run.due.clone(), run.kind.clone(), status]
        });
        out.table(&RUN_HEADS, rows.collect())?;
    }
    Ok(Exit::Success)
}

async fn list(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.schedules(Some(limit), None).await?;
    out.page(&PrintedPage {
        text: &reply.text,
        kind: "schedules",
        items: &reply.value.schedules,
        next_page_token: &reply.value.next_page_token,
        heads: &HEADS,
        name: |schedule| &schedule.name,
        row,
    })
}

fn row(schedule: &Schedule, out: &Output) -> Vec<String> {
    let when = match (&schedule.cron, &schedule.every) {
        (Some(cron), _) => {
            format!("{cron} {}", schedule.timezone.as_deref().unwrap_or("UTC"))
        }
        (None, Some(every)) => format!("every {every}"),
        (None, None) => String::new(),
    };
    let next = match &schedule.paused {
        Some(_) => "paused".to_owned(),
        // A time in the future has no age.
        None => schedule.next_due.clone().unwrap_or_default(),
    };
    vec![
        schedule.name.clone(),
        schedule.definition.clone(),
        when,
        schedule.overlap.clone(),
        next,
        out.time(schedule.last_due.as_deref()),
        schedule.started.to_string(),
        schedule.missed.to_string(),
    ]
}
