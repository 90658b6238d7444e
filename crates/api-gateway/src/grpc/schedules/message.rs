//! Views of schedules as messages.

use crate::api::schedules::{PauseView, RunView, ScheduleView};
use crate::grpc::message::{json_text, timestamp};
use goconductor_schedule::Overlap;
use goconductor_service_kit::duration;
use goconductor_wire::v1 as wire;

pub(super) fn schedule(view: ScheduleView) -> wire::Schedule {
    let spec = spec(&view);
    wire::Schedule {
        name: view.name,
        spec: Some(spec),
        origin: view.origin.to_owned(),
        generation: view.generation,
        created_at: Some(timestamp(view.created_at)),
        updated_at: Some(timestamp(view.updated_at)),
        actor: view.actor.unwrap_or_default(),
        paused: view.paused.map(pause),
        next_due: view.next_due.map(timestamp),
        last_due: view.last_due.map(timestamp),
        buffered: view.buffered.map(timestamp),
        backfill: view.backfill.map(|backfill| wire::ScheduleBackfill {
            done_until: Some(timestamp(backfill.done_until)),
            until: Some(timestamp(backfill.until)),
        }),
        started: view.started,
        skipped: view.skipped,
        missed: view.missed,
        failed: view.failed,
        last_failure: view.last_failure.map(|failure| wire::ScheduleStartFailure {
            due: Some(timestamp(failure.due)),
            reason: failure.reason,
        }),
        recent: view.recent.into_iter().map(run).collect(),
    }
}

fn spec(view: &ScheduleView) -> wire::ScheduleSpec {
    let overlap = match Overlap::parse(view.overlap).unwrap_or_default() {
        Overlap::Skip => wire::ScheduleOverlap::Skip,
        Overlap::BufferOne => wire::ScheduleOverlap::BufferOne,
        Overlap::Allow => wire::ScheduleOverlap::Allow,
        Overlap::CancelOther => wire::ScheduleOverlap::CancelOther,
    };
    let duration = |text: &str| duration::parse(text).ok().and_then(|duration| duration.try_into().ok());
    wire::ScheduleSpec {
        definition: view.definition.clone(),
        version: view.version.unwrap_or_default(),
        cron: view.cron.clone().unwrap_or_default(),
        timezone: view.timezone.clone().unwrap_or_default(),
        every: view.every.as_deref().and_then(duration),
        anchor: view.anchor.map(timestamp),
        overlap: overlap.into(),
        catch_up: duration(&view.catch_up),
        input_json: json_text(&view.input),
        labels: view.labels.clone().into_iter().collect(),
    }
}

fn pause(view: PauseView) -> wire::SchedulePause {
    wire::SchedulePause {
        reason: view.reason.unwrap_or_default(),
        actor: view.actor.unwrap_or_default(),
        since: Some(timestamp(view.since)),
    }
}

fn run(view: RunView) -> wire::ScheduleRun {
    wire::ScheduleRun {
        workflow_id: view.workflow,
        due: Some(timestamp(view.due)),
        kind: view.kind.to_owned(),
        status: view.status.unwrap_or_default().to_owned(),
    }
}
