//! The table of rules: one row for each REST route and each gRPC method.
//!
//! A route is the template that the router matched, and a gRPC method is its whole path, so the text of a path decides
//! nothing. A request without a row is denied. A test compares the rows with the routers.

use axum::http::Method;
use goconductor_service_kit::permission::Permission as P;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The permission that a request needs, and its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The permission. `None` if the request needs no credential.
    pub(crate) permission: Option<P>,
    /// Whether the request may change something.
    pub(crate) changes: bool,
    /// Whether the request may wait before its response begins. It ends with the credential of its caller.
    pub(crate) waits: bool,
    /// Whether the response may be a stream. It ends with the credential of its caller.
    pub(crate) streams: bool,
}

const PUBLIC: Rule = Rule { permission: None, changes: false, waits: false, streams: false };

const fn read(permission: P) -> Rule {
    Rule { permission: Some(permission), ..PUBLIC }
}

const fn change(permission: P) -> Rule {
    Rule { changes: true, ..read(permission) }
}

impl Rule {
    const fn waits(self) -> Self {
        Self { waits: true, ..self }
    }

    const fn streams(self) -> Self {
        Self { streams: true, ..self }
    }
}

/// A method of any name, for a route that accepts all.
pub(super) const ANY: &str = "*";

/// The rules of REST: method, route, rule. `GET` includes `HEAD`.
pub(super) const REST: &[(&str, &str, Rule)] = &[
    ("GET", "/", PUBLIC),
    ("GET", "/api/v1/access/keys", read(P::AccessRead)),
    ("POST", "/api/v1/access/keys", change(P::AccessWrite)),
    ("GET", "/api/v1/access/keys/{id}", read(P::AccessRead)),
    ("DELETE", "/api/v1/access/keys/{id}", change(P::AccessWrite)),
    ("POST", "/api/v1/access/keys/{id}/rotate", change(P::AccessWrite)),
    ("GET", "/api/v1/audit", read(P::AuditRead)),
    ("GET", "/api/v1/audit/head", read(P::AuditRead)),
    ("GET", "/api/v1/batches", read(P::BatchesRead)),
    ("POST", "/api/v1/batches", change(P::BatchesOperate)),
    ("GET", "/api/v1/batches/{id}", read(P::BatchesRead)),
    ("POST", "/api/v1/batches/{id}/cancel", change(P::BatchesOperate)),
    ("GET", "/api/v1/batches/{id}/items", read(P::BatchesRead)),
    ("POST", "/api/v1/batches/{id}/pause", change(P::BatchesOperate)),
    ("POST", "/api/v1/batches/{id}/resume", change(P::BatchesOperate)),
    ("GET", "/api/v1/config", read(P::ConfigRead)),
    ("PATCH", "/api/v1/config", change(P::ConfigWrite)),
    ("PUT", "/api/v1/config", change(P::ConfigWrite)),
    ("GET", "/api/v1/config/history", read(P::ConfigRead)),
    ("GET", "/api/v1/config/history/{version}", read(P::ConfigRead)),
    ("POST", "/api/v1/config/rollback", change(P::ConfigWrite)),
    ("GET", "/api/v1/config/schema", read(P::ConfigRead)),
    ("GET", "/api/v1/dead-letters", read(P::DeadLettersRead)),
    ("GET", "/api/v1/dead-letters/{id}", read(P::DeadLettersRead)),
    ("DELETE", "/api/v1/dead-letters/{id}", change(P::DeadLettersOperate)),
    ("POST", "/api/v1/dead-letters/{id}/requeue", change(P::DeadLettersOperate)),
    ("GET", "/api/v1/definitions", read(P::DefinitionsRead)),
    ("GET", "/api/v1/definitions/{name}", read(P::DefinitionsRead)),
    ("PUT", "/api/v1/definitions/{name}", change(P::DefinitionsWrite)),
    ("DELETE", "/api/v1/definitions/{name}", change(P::DefinitionsWrite)),
    ("GET", "/api/v1/definitions/{name}/graph", read(P::DefinitionsRead)),
    ("POST", "/api/v1/definitions/{name}/simulate", read(P::DefinitionsRead)),
    ("GET", "/api/v1/definitions/{name}/versions", read(P::DefinitionsRead)),
    ("GET", "/api/v1/definitions/{name}/versions/{version}", read(P::DefinitionsRead)),
    ("GET", "/api/v1/definitions/{name}/versions/{version}/graph", read(P::DefinitionsRead)),
    ("GET", "/api/v1/elections", read(P::ElectionsRead)),
    ("GET", "/api/v1/elections/{name}", read(P::ElectionsRead)),
    ("POST", "/api/v1/elections/{name}/step-down", change(P::ElectionsOperate)),
    ("GET", "/api/v1/locks", read(P::LocksRead)),
    ("POST", "/api/v1/locks/{key}/acquire", change(P::LocksWrite)),
    ("POST", "/api/v1/locks/{key}/release", change(P::LocksWrite)),
    ("POST", "/api/v1/locks/{key}/renew", change(P::LocksWrite)),
    ("GET", "/api/v1/overview", read(P::WorkflowsRead)),
    ("GET", "/api/v1/processes", read(P::ProcessesRead)),
    ("GET", "/api/v1/queues", read(P::QueuesRead)),
    ("GET", "/api/v1/queues/switch", read(P::QueuesRead)),
    ("POST", "/api/v1/queues/switch", change(P::QueuesOperate)),
    ("GET", "/api/v1/schedules", read(P::SchedulesRead)),
    ("GET", "/api/v1/schedules/{name}", read(P::SchedulesRead)),
    ("PUT", "/api/v1/schedules/{name}", change(P::SchedulesWrite)),
    ("DELETE", "/api/v1/schedules/{name}", change(P::SchedulesWrite)),
    ("POST", "/api/v1/schedules/{name}/backfill", change(P::SchedulesOperate)),
    ("GET", "/api/v1/schedules/{name}/next", read(P::SchedulesRead)),
    ("POST", "/api/v1/schedules/{name}/pause", change(P::SchedulesOperate)),
    ("POST", "/api/v1/schedules/{name}/resume", change(P::SchedulesOperate)),
    ("POST", "/api/v1/schedules/{name}/trigger", change(P::SchedulesOperate)),
    ("GET", "/api/v1/secrets", read(P::SecretsRead)),
    ("POST", "/api/v1/secrets/rotate-key", change(P::SecretsWrite)),
    ("POST", "/api/v1/secrets/rotate-payload-key", change(P::SecretsWrite)),
    ("GET", "/api/v1/secrets/{name}", read(P::SecretsRead)),
    ("PUT", "/api/v1/secrets/{name}", change(P::SecretsWrite)),
    ("DELETE", "/api/v1/secrets/{name}", change(P::SecretsWrite)),
    ("GET", "/api/v1/services", read(P::ServicesRead)),
    ("GET", "/api/v1/services/{name}", read(P::ServicesRead)),
    ("PUT", "/api/v1/services/{name}", change(P::ServicesWrite)),
    ("DELETE", "/api/v1/services/{name}", change(P::ServicesWrite)),
    ("DELETE", "/api/v1/session", PUBLIC),
    ("GET", "/api/v1/session", PUBLIC),
    ("POST", "/api/v1/session", PUBLIC),
    ("GET", "/api/v1/session/oidc/callback", PUBLIC),
    ("GET", "/api/v1/session/oidc/start", PUBLIC),
    ("GET", "/api/v1/watch", read(P::WorkflowsRead).streams()),
    ("GET", "/api/v1/workflow-counts", read(P::WorkflowsRead)),
    ("GET", "/api/v1/workflows", read(P::WorkflowsRead)),
    ("POST", "/api/v1/workflows", change(P::WorkflowsStart).waits()),
    ("GET", "/api/v1/workflows/{id}", read(P::WorkflowsRead)),
    ("POST", "/api/v1/workflows/{id}/cancel", change(P::WorkflowsOperate)),
    ("POST", "/api/v1/workflows/{id}/compensate", change(P::WorkflowsOperate)),
    ("GET", "/api/v1/workflows/{id}/events", read(P::WorkflowsRead).streams()),
    ("GET", "/api/v1/workflows/{id}/graph", read(P::WorkflowsRead)),
    ("POST", "/api/v1/workflows/{id}/migrate", change(P::WorkflowsOperate)),
    ("POST", "/api/v1/workflows/{id}/pause", change(P::WorkflowsOperate)),
    ("GET", "/api/v1/workflows/{id}/payloads/{sha256}", read(P::WorkflowsRead).streams()),
    ("GET", "/api/v1/workflows/{id}/relations", read(P::WorkflowsRead)),
    ("POST", "/api/v1/workflows/{id}/rerun", change(P::WorkflowsOperate)),
    ("GET", "/api/v1/workflows/{id}/result", read(P::WorkflowsRead).waits()),
    ("POST", "/api/v1/workflows/{id}/resume", change(P::WorkflowsOperate)),
    ("POST", "/api/v1/workflows/{id}/signals/{name}", change(P::WorkflowsOperate)),
    ("GET", "/api/v1/workflows/{id}/steps/{step}", read(P::WorkflowsRead)),
    ("POST", "/api/v1/workflows/{id}/steps/{step}/complete", change(P::WorkflowsOperate)),
    ("POST", "/api/v1/workflows/{id}/steps/{step}/retry", change(P::WorkflowsOperate)),
    ("POST", "/api/v1/workflows/{id}/steps/{step}/skip", change(P::WorkflowsOperate)),
    ("POST", "/api/v1/workflows/{id}/terminate", change(P::WorkflowsOperate)),
    ("GET", "/dev/clock", read(P::ConfigRead)),
    ("POST", "/dev/clock/advance", change(P::ConfigWrite)),
    ("GET", "/errors/{code}", read(P::DocsRead)),
    ("GET", "/healthz", PUBLIC),
    ("GET", "/metrics", read(P::MetricsRead)),
    ("GET", "/openapi.json", read(P::DocsRead)),
    ("GET", "/readyz", PUBLIC),
    ("GET", "/schema/v1/workflow.json", read(P::DocsRead)),
    ("GET", "/ui", PUBLIC),
    ("GET", "/ui/", PUBLIC),
    ("GET", "/ui/{*path}", PUBLIC),
    ("GET", "/version", PUBLIC),
];

/// The rules of gRPC: the path of the method, rule.
pub(super) const GRPC: &[(&str, Rule)] = &[
    ("/goconductor.v1.AccessService/CreateAccessKey", change(P::AccessWrite)),
    ("/goconductor.v1.AccessService/GetAccessKey", read(P::AccessRead)),
    ("/goconductor.v1.AccessService/ListAccessKeys", read(P::AccessRead)),
    ("/goconductor.v1.AccessService/RevokeAccessKey", change(P::AccessWrite)),
    ("/goconductor.v1.AccessService/RotateAccessKey", change(P::AccessWrite)),
    ("/goconductor.v1.AuditService/GetAuditHead", read(P::AuditRead)),
    ("/goconductor.v1.AuditService/ListAuditRecords", read(P::AuditRead)),
    ("/goconductor.v1.AuditService/VerifyAudit", read(P::AuditRead).waits()),
    ("/goconductor.v1.BatchService/CancelBatch", change(P::BatchesOperate)),
    ("/goconductor.v1.BatchService/CreateBatch", change(P::BatchesOperate)),
    ("/goconductor.v1.BatchService/GetBatch", read(P::BatchesRead)),
    ("/goconductor.v1.BatchService/ListBatches", read(P::BatchesRead)),
    ("/goconductor.v1.BatchService/ListBatchItems", read(P::BatchesRead)),
    ("/goconductor.v1.BatchService/PauseBatch", change(P::BatchesOperate)),
    ("/goconductor.v1.BatchService/ResumeBatch", change(P::BatchesOperate)),
    ("/goconductor.v1.ConfigService/GetConfig", read(P::ConfigRead)),
    ("/goconductor.v1.ConfigService/GetConfigSchema", read(P::ConfigRead)),
    ("/goconductor.v1.ConfigService/GetConfigVersion", read(P::ConfigRead)),
    ("/goconductor.v1.ConfigService/ListConfigVersions", read(P::ConfigRead)),
    ("/goconductor.v1.ConfigService/PatchConfig", change(P::ConfigWrite)),
    ("/goconductor.v1.ConfigService/PutConfig", change(P::ConfigWrite)),
    ("/goconductor.v1.ConfigService/RollbackConfig", change(P::ConfigWrite)),
    ("/goconductor.v1.DefinitionService/ApplyDefinition", change(P::DefinitionsWrite)),
    ("/goconductor.v1.DefinitionService/DeleteDefinition", change(P::DefinitionsWrite)),
    ("/goconductor.v1.DefinitionService/GetDefinition", read(P::DefinitionsRead)),
    ("/goconductor.v1.DefinitionService/ListDefinitions", read(P::DefinitionsRead)),
    ("/goconductor.v1.DefinitionService/ListDefinitionVersions", read(P::DefinitionsRead)),
    ("/goconductor.v1.ElectionService/Campaign", change(P::ElectionsCampaign).streams()),
    ("/goconductor.v1.ElectionService/ListElections", read(P::ElectionsRead)),
    ("/goconductor.v1.ElectionService/Observe", read(P::ElectionsRead)),
    ("/goconductor.v1.ElectionService/Resign", change(P::ElectionsCampaign)),
    ("/goconductor.v1.ElectionService/StepDown", change(P::ElectionsOperate)),
    ("/goconductor.v1.LockService/AcquireLock", change(P::LocksWrite)),
    ("/goconductor.v1.LockService/ListLocks", read(P::LocksRead)),
    ("/goconductor.v1.LockService/ReleaseLock", change(P::LocksWrite)),
    ("/goconductor.v1.LockService/RenewLock", change(P::LocksWrite)),
    ("/goconductor.v1.QueueService/GetQueueMove", read(P::QueuesRead)),
    ("/goconductor.v1.QueueService/ListQueues", read(P::QueuesRead)),
    ("/goconductor.v1.QueueService/SwitchQueue", change(P::QueuesOperate)),
    ("/goconductor.v1.ScheduleService/BackfillSchedule", change(P::SchedulesOperate)),
    ("/goconductor.v1.ScheduleService/DeleteSchedule", change(P::SchedulesWrite)),
    ("/goconductor.v1.ScheduleService/GetSchedule", read(P::SchedulesRead)),
    ("/goconductor.v1.ScheduleService/ListDueTimes", read(P::SchedulesRead)),
    ("/goconductor.v1.ScheduleService/ListSchedules", read(P::SchedulesRead)),
    ("/goconductor.v1.ScheduleService/PauseSchedule", change(P::SchedulesOperate)),
    ("/goconductor.v1.ScheduleService/PutSchedule", change(P::SchedulesWrite)),
    ("/goconductor.v1.ScheduleService/ResumeSchedule", change(P::SchedulesOperate)),
    ("/goconductor.v1.ScheduleService/TriggerSchedule", change(P::SchedulesOperate)),
    ("/goconductor.v1.SecretService/DeleteSecret", change(P::SecretsWrite)),
    ("/goconductor.v1.SecretService/GetSecret", read(P::SecretsRead)),
    ("/goconductor.v1.SecretService/ListSecrets", read(P::SecretsRead)),
    ("/goconductor.v1.SecretService/PutSecret", change(P::SecretsWrite)),
    ("/goconductor.v1.SecretService/RotateKey", change(P::SecretsWrite)),
    ("/goconductor.v1.SecretService/RotatePayloadKey", change(P::SecretsWrite)),
    ("/goconductor.v1.ServiceService/DeleteService", change(P::ServicesWrite)),
    ("/goconductor.v1.ServiceService/GetService", read(P::ServicesRead)),
    ("/goconductor.v1.ServiceService/ListProcesses", read(P::ProcessesRead)),
    ("/goconductor.v1.ServiceService/ListServices", read(P::ServicesRead)),
    ("/goconductor.v1.ServiceService/PutService", change(P::ServicesWrite)),
    ("/goconductor.v1.WorkerService/Connect", change(P::ServicesServe).streams()),
    ("/goconductor.v1.WorkflowService/CancelWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/CompensateWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/CompleteStep", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/CountWorkflows", read(P::WorkflowsRead)),
    ("/goconductor.v1.WorkflowService/FollowEvents", read(P::WorkflowsRead).streams()),
    ("/goconductor.v1.WorkflowService/GetResult", read(P::WorkflowsRead).waits()),
    ("/goconductor.v1.WorkflowService/GetWorkflow", read(P::WorkflowsRead)),
    ("/goconductor.v1.WorkflowService/ListEvents", read(P::WorkflowsRead)),
    ("/goconductor.v1.WorkflowService/ListWorkflows", read(P::WorkflowsRead)),
    ("/goconductor.v1.WorkflowService/MigrateWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/PauseWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/ReadPayload", read(P::WorkflowsRead).streams()),
    ("/goconductor.v1.WorkflowService/RerunWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/ResumeWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/RetryStep", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/SignalWorkflow", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/SkipStep", change(P::WorkflowsOperate)),
    ("/goconductor.v1.WorkflowService/StartWorkflow", change(P::WorkflowsStart).waits()),
    ("/goconductor.v1.WorkflowService/TerminateWorkflow", change(P::WorkflowsOperate)),
    // The gRPC form of /readyz, which probes call without a credential.
    ("/grpc.health.v1.Health/Check", PUBLIC),
    ("/grpc.health.v1.Health/Watch", read(P::DocsRead).streams()),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", read(P::DocsRead).streams()),
];

static REST_BY_ROUTE: LazyLock<HashMap<&'static str, Vec<(&'static str, Rule)>>> = LazyLock::new(|| {
    let mut rules: HashMap<&'static str, Vec<(&'static str, Rule)>> = HashMap::new();
    for (method, route, rule) in REST {
        rules.entry(*route).or_default().push((*method, *rule));
    }
    rules
});

static GRPC_BY_PATH: LazyLock<HashMap<&'static str, Rule>> = LazyLock::new(|| GRPC.iter().copied().collect());

/// Returns the rule of a matched REST route.
pub(super) fn of_route(method: &Method, route: &str) -> Option<Rule> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let rules = REST_BY_ROUTE.get(route)?;
    rules.iter().find(|(known, _)| *known == method || *known == ANY).map(|(_, rule)| *rule)
}

/// Returns the rule of a gRPC method by its whole path.
pub(super) fn of_grpc(path: &str) -> Option<Rule> {
    GRPC_BY_PATH.get(path).copied()
}

/// Whether the response of a gRPC method may be a stream, whose body has no end that can be awaited.
pub(crate) fn is_stream(path: &str) -> bool {
    of_grpc(path).is_some_and(|rule| rule.streams)
}
