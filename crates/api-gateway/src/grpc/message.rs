//! Views as messages.

use crate::api::access_keys::AccessKeyView;
use crate::api::audit::{self, AuditRecordView};
use crate::api::config::{ChangeView, ConfigProcessView, ConfigVersionView, ConfigView, PendingView};
use crate::api::definitions::DefinitionView;
use crate::api::elections::{ElectionProcessView, LeaderView};
use crate::api::locks::LockView;
use crate::api::processes::ProcessView;
use crate::api::queues::{BacklogView, LaneView, QueueUserView, SwitchView};
use crate::api::repair::MigrationView;
use crate::api::secrets::SecretView;
use crate::api::services::{DeletedServiceView, ServiceView};
use crate::error::Location;
use crate::time::Time;
use crate::view::{
    EventView, FailureView, SummaryView, Waiting, WaitingKind, WorkflowStepView, WorkflowView,
};
use goconductor_queue_migration::MigrationPhase;
use goconductor_saga::{Failure, Json, RollbackCause, Status, StepStatus};
use goconductor_store::AuditReport;
use goconductor_wire::v1 as wire;
use prost_types::Timestamp;

pub(super) fn workflow(view: WorkflowView) -> wire::Workflow {
    wire::Workflow {
        id: view.id.to_string(),
        namespace: view.namespace,
        definition: view.definition,
        version: view.version,
        status: status(view.status).into(),
        cause: cause(view.cause).into(),
        labels: view.labels.into_iter().collect(),
        idempotency_key: view.idempotency_key.unwrap_or_default(),
        input_json: json_text(&view.input),
        output_json: view.output.as_deref().map(json_text).unwrap_or_default(),
        error: view.error.map(failure),
        seq: view.seq,
        created_at: Some(timestamp(view.created_at)),
        ended_at: view.ended_at.map(timestamp),
        deadline: view.deadline.map(timestamp),
        steps: view.steps.into_iter().map(step).collect(),
        waiting_on: view.waiting_on.into_iter().map(waiting).collect(),
        parent: view.parent.map(|parent| wire::ParentWorkflow {
            id: parent.id.to_string(),
            step: parent.step.unwrap_or_default(),
        }),
        children: view
            .children
            .into_iter()
            .map(|child| wire::ChildWorkflow { id: child.id.to_string(), step: child.step })
            .collect(),
    }
}

/// A workflow of a list has no input, output, steps and reasons.
pub(super) fn summary(view: SummaryView) -> wire::Workflow {
    let stored = view.error.and_then(|error| serde_json::from_value::<Failure>(error).ok());
    wire::Workflow {
        id: view.id.to_string(),
        definition: view.definition,
        version: view.version,
        status: status(view.status).into(),
        cause: cause(view.cause).into(),
        labels: view.labels.into_iter().collect(),
        idempotency_key: view.idempotency_key.unwrap_or_default(),
        error: stored.map(|Failure { code, message, detail }| failure(FailureView { code, message, detail })),
        seq: view.seq,
        created_at: Some(timestamp(view.created_at)),
        ended_at: view.ended_at.map(timestamp),
        ..wire::Workflow::default()
    }
}

pub(super) fn config(view: ConfigView) -> wire::Config {
    let change =
        |change: ChangeView| wire::ConfigChange { setting: change.setting, apply: change.apply.to_owned() };
    let pending = |pending: PendingView| wire::PendingSetting {
        setting: pending.setting,
        process: pending.process,
        kind: pending.kind,
        since: Some(timestamp(pending.since)),
    };
    let process = |process: ConfigProcessView| wire::ConfigProcess {
        process: process.process,
        kind: process.kind,
        version: process.version,
        error: process.error.unwrap_or_default(),
    };
    wire::Config {
        newest: Some(wire::ConfigVersion {
            version: view.version,
            digest: view.digest,
            time: view.time.map(timestamp),
            actor: view.actor.unwrap_or_default(),
            reason: view.reason.unwrap_or_default(),
            settings_json: json_text(&view.settings),
        }),
        changes: view.changes.into_iter().map(change).collect(),
        pending: view.pending.into_iter().map(pending).collect(),
        processes: view.processes.into_iter().map(process).collect(),
    }
}

pub(super) fn config_version(view: ConfigVersionView) -> wire::ConfigVersion {
    wire::ConfigVersion {
        version: view.version,
        digest: view.digest,
        time: Some(timestamp(view.time)),
        actor: view.actor.unwrap_or_default(),
        reason: view.reason.unwrap_or_default(),
        settings_json: view.settings.as_ref().map(json_text).unwrap_or_default(),
    }
}

pub(super) fn migrated(view: MigrationView) -> wire::MigrateWorkflowResponse {
    wire::MigrateWorkflowResponse {
        id: view.id.to_string(),
        definition: view.definition,
        status: status(view.status).into(),
        from_version: view.from_version,
        to_version: view.to_version,
        dry_run: view.dry_run,
        added: view.added,
        removed: view.removed,
        changed: view.changed,
    }
}

fn step(view: WorkflowStepView) -> wire::Step {
    wire::Step {
        name: view.name,
        title: view.title.unwrap_or_default(),
        kind: view.kind.to_owned(),
        action: view.action,
        compensate: view.compensate.unwrap_or_default(),
        status: step_status(view.status).into(),
        attempts: view.attempts,
        compensation_attempts: view.compensation_attempts,
        queued_at: view.queued_at.map(timestamp),
        started_at: view.started_at.map(timestamp),
        ended_at: view.ended_at.map(timestamp),
        output_json: view.output.as_deref().map(json_text).unwrap_or_default(),
        error: view.error.map(failure),
        generation: view.generation.unwrap_or(1),
    }
}

fn waiting(waiting: Waiting) -> wire::Waiting {
    let kind = match waiting.kind {
        WaitingKind::NoWorker => wire::WaitingKind::NoWorker,
        WaitingKind::InFlight => wire::WaitingKind::InFlight,
        WaitingKind::Backoff => wire::WaitingKind::Backoff,
        WaitingKind::Signal => wire::WaitingKind::Signal,
        WaitingKind::Timer => wire::WaitingKind::Timer,
        WaitingKind::Lock => wire::WaitingKind::Lock,
        WaitingKind::Capacity => wire::WaitingKind::Capacity,
        WaitingKind::Child => wire::WaitingKind::Child,
        WaitingKind::Operator => wire::WaitingKind::Operator,
    };
    wire::Waiting {
        kind: kind.into(),
        step: waiting.step.unwrap_or_default(),
        since: waiting.since.map(timestamp),
        until: waiting.until.map(timestamp),
        detail: waiting.detail,
    }
}

pub(super) fn event(view: EventView) -> wire::Event {
    wire::Event {
        seq: view.seq,
        time: Some(timestamp(view.time)),
        r#type: view.kind,
        step: view.step.unwrap_or_default(),
        attempt: view.attempt.map(clamp).unwrap_or_default(),
        detail_json: json_text(&view.detail),
        actor: view.actor.unwrap_or_default(),
    }
}

pub(super) fn definition(view: DefinitionView) -> wire::Definition {
    let format = match view.source_format.as_str() {
        "yaml" => wire::DefinitionFormat::Yaml,
        "json" => wire::DefinitionFormat::Json,
        _ => wire::DefinitionFormat::Unspecified,
    };
    wire::Definition {
        name: view.name,
        version: view.version,
        digest: view.digest,
        title: view.title.unwrap_or_default(),
        description: view.description.unwrap_or_default(),
        created_at: Some(timestamp(view.created_at)),
        actor: view.actor.unwrap_or_default(),
        source_format: format.into(),
        source: view.source.unwrap_or_default(),
    }
}

pub(super) fn warning(location: Location) -> wire::DefinitionWarning {
    wire::DefinitionWarning {
        code: location.code.to_owned(),
        pointer: location.pointer,
        line: location.line.unwrap_or_default(),
        column: location.column.unwrap_or_default(),
        detail: location.detail,
    }
}

pub(super) fn service(view: ServiceView) -> wire::Service {
    let limits = view.actions.into_iter().map(|(name, action)| (name, clamp(action.max_in_flight)));
    let (http_url, http_headers) =
        view.http.map(|http| (http.url, http.headers.into_iter().collect())).unwrap_or_default();
    wire::Service {
        name: view.name,
        http_url,
        http_headers,
        max_in_flight: view.max_in_flight.unwrap_or_default(),
        served: view.served,
        backlog: view.backlog,
        updated_at: view.updated_at.map(timestamp),
        max_in_flight_by_action: limits.collect(),
        workers: number(view.workers),
    }
}

pub(super) fn deleted_service(view: DeletedServiceView) -> wire::DeleteServiceResponse {
    let DeletedServiceView { name: _, definitions, backlog, workers } = view;
    wire::DeleteServiceResponse { definitions, backlog, workers: number(workers) }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

pub(super) fn leader(view: LeaderView) -> wire::Leader {
    wire::Leader {
        name: view.name,
        candidate: view.candidate,
        fencing_token: view.fencing_token,
        since: Some(timestamp(view.since)),
    }
}

pub(super) fn election_process(view: ElectionProcessView) -> wire::ElectionProcess {
    let ElectionProcessView { process, kind, backend, era, error } = view;
    wire::ElectionProcess { process, kind, backend, era: era.into(), error: error.unwrap_or_default() }
}

pub(super) fn audit_record(view: AuditRecordView) -> wire::AuditRecord {
    wire::AuditRecord {
        seq: view.seq,
        time: Some(timestamp(view.time)),
        id: view.id,
        actor: view.actor,
        credential: view.credential,
        source: view.source,
        action: view.action,
        namespace: view.namespace,
        target_kind: view.target_kind,
        target_name: view.target_name,
        outcome: view.outcome,
        code: view.code,
        count: view.count,
        before: view.before,
        after: view.after,
        trace_id: view.trace_id,
        prev_hash: view.prev_hash,
        hash: view.hash,
    }
}

pub(super) fn audit_report(report: AuditReport) -> wire::VerifyAuditResponse {
    let AuditReport { records, head, problems } = report;
    let problem = |problem| {
        let (seq, kind, detail) = audit::describe(problem);
        wire::AuditProblem { seq, kind: kind.to_owned(), detail }
    };
    let head = wire::AuditHead { seq: head.seq, hash: head.hash };
    wire::VerifyAuditResponse {
        records,
        head: Some(head),
        problems: problems.into_iter().map(problem).collect(),
    }
}

pub(super) fn lock(view: LockView) -> wire::Lock {
    wire::Lock {
        key: view.key,
        owner: view.owner,
        fencing_token: view.fencing_token,
        acquired_at: Some(timestamp(view.acquired_at)),
        expires_at: Some(timestamp(view.expires_at)),
    }
}

pub(super) fn secret(view: SecretView) -> wire::Secret {
    wire::Secret {
        name: view.name,
        version: view.version,
        created_at: Some(timestamp(view.created_at)),
        updated_at: Some(timestamp(view.updated_at)),
    }
}

pub(super) fn access_key(view: AccessKeyView) -> wire::AccessKey {
    wire::AccessKey {
        id: view.id,
        name: view.name,
        roles: view.roles,
        namespaces: view.namespaces,
        services: view.services,
        created_by: view.created_by,
        created_at: Some(timestamp(view.created_at)),
        expires_at: view.expires_at.map(timestamp),
        revoked_at: view.revoked_at.map(timestamp),
    }
}

pub(super) fn backlog(view: BacklogView) -> wire::QueueBacklog {
    let lane = |lane: LaneView| wire::QueueLane {
        waiting: lane.waiting,
        oldest_waiting_at: lane.oldest_waiting_at.map(timestamp),
    };
    wire::QueueBacklog {
        namespace: view.namespace,
        service: view.service,
        served: view.served,
        execute: Some(lane(view.execute)),
        compensate: Some(lane(view.compensate)),
    }
}

pub(super) fn queue_move(view: SwitchView) -> wire::QueueMove {
    let phase = match view.phase {
        None => wire::QueuePhase::Unspecified,
        Some(MigrationPhase::ConsumingBoth) => wire::QueuePhase::ConsumingBoth,
        Some(MigrationPhase::Producing) => wire::QueuePhase::Producing,
        Some(MigrationPhase::Draining) => wire::QueuePhase::Draining,
    };
    let user = |user: QueueUserView| wire::QueueUser { instance: user.instance, kind: user.kind };
    wire::QueueMove {
        queue: view.queue,
        to: view.to.unwrap_or_default(),
        phase: phase.into(),
        since: view.since.map(timestamp),
        revision: view.revision,
        actor: view.actor.unwrap_or_default(),
        behind: view.behind.into_iter().map(user).collect(),
        waiting: view.waiting,
    }
}

pub(super) fn process(view: ProcessView) -> wire::Process {
    wire::Process {
        instance: view.instance,
        kind: view.kind,
        address: view.address,
        since: Some(timestamp(view.since)),
        seen_at: Some(timestamp(view.seen_at)),
        about_json: json_text(&view.about),
    }
}

fn failure(view: FailureView) -> wire::Failure {
    wire::Failure {
        code: view.code,
        message: view.message,
        detail_json: view.detail.as_ref().map(json_text).unwrap_or_default(),
    }
}

fn status(status: Status) -> wire::WorkflowStatus {
    match status {
        Status::Queued => wire::WorkflowStatus::Queued,
        Status::InProgress => wire::WorkflowStatus::InProgress,
        Status::RollingBack => wire::WorkflowStatus::RollingBack,
        Status::Paused => wire::WorkflowStatus::Paused,
        Status::Error => wire::WorkflowStatus::Error,
        Status::Completed => wire::WorkflowStatus::Completed,
        Status::RolledBack => wire::WorkflowStatus::RolledBack,
        Status::Terminated => wire::WorkflowStatus::Terminated,
    }
}

fn cause(cause: Option<RollbackCause>) -> wire::RollbackCause {
    match cause {
        None => wire::RollbackCause::Unspecified,
        Some(RollbackCause::StepFailed) => wire::RollbackCause::StepFailed,
        Some(RollbackCause::Cancelled) => wire::RollbackCause::Cancelled,
        Some(RollbackCause::TimedOut) => wire::RollbackCause::TimedOut,
        Some(RollbackCause::Operator) => wire::RollbackCause::Operator,
        Some(RollbackCause::Parent) => wire::RollbackCause::Parent,
    }
}

fn step_status(status: StepStatus) -> wire::StepStatus {
    match status {
        StepStatus::Pending => wire::StepStatus::Pending,
        StepStatus::Queued => wire::StepStatus::Queued,
        StepStatus::InProgress => wire::StepStatus::InProgress,
        StepStatus::Retrying => wire::StepStatus::Retrying,
        StepStatus::Completed => wire::StepStatus::Completed,
        StepStatus::Failed => wire::StepStatus::Failed,
        StepStatus::Unknown => wire::StepStatus::Unknown,
        StepStatus::Skipped => wire::StepStatus::Skipped,
        StepStatus::CompensationQueued => wire::StepStatus::CompensationQueued,
        StepStatus::Compensating => wire::StepStatus::Compensating,
        StepStatus::CompensationRetrying => wire::StepStatus::CompensationRetrying,
        StepStatus::Compensated => wire::StepStatus::Compensated,
        StepStatus::CompensationFailed => wire::StepStatus::CompensationFailed,
    }
}

/// Formats a JSON value of a field. `null` is the empty text.
pub(super) fn json_text(value: &Json) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

pub(super) fn timestamp(time: Time) -> Timestamp {
    let micros = time.0.0;
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or_default();
    Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn status_has_the_same_name_in_rest_and_grpc() {
        for each in Status::ALL {
            assert_eq!(status(each).as_str_name(), format!("WORKFLOW_STATUS_{}", each.as_str()));
        }
    }

    #[test]
    fn time_keeps_its_microseconds() {
        let time = Time(goconductor_saga::Timestamp(1_700_000_000_000_001));
        assert_eq!(timestamp(time), Timestamp { seconds: 1_700_000_000, nanos: 1_000 });
        let before_1970 = Time(goconductor_saga::Timestamp(-1));
        assert_eq!(timestamp(before_1970), Timestamp { seconds: -1, nanos: 999_999_000 });
    }

    #[test]
    fn json_null_is_empty_text() {
        assert_eq!(json_text(&Json::Null), "");
        assert_eq!(json_text(&json!({"a": 12_345_678_901_234_567_u64})), r#"{"a":12345678901234567}"#);
    }
}
