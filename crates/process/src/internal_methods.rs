//! The methods that the services offer to one another, and the roles that may call them.
//!
//! A caller is known by its certificate. One that has another role is refused before its request is read, so that an
//! executor cannot act as a gateway. Without TLS, nothing is checked: the ports are then reachable from this machine only,
//! unless `allow_insecure_bind` is set.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use goconductor_tls::{Peer, PeerRole, PeerRoles, TlsIdentity};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::Status;

const GATEWAY: PeerRoles = PeerRoles::of(&[PeerRole::ApiGateway]);
const EXECUTOR: PeerRoles = PeerRoles::of(&[PeerRole::SagaExecutor]);
const WORKER: PeerRoles = PeerRoles::of(&[PeerRole::Worker]);
const OPERATOR: PeerRoles = PeerRoles::of(&[PeerRole::Operator]);
/// The services that process workflows.
const ENGINES: PeerRoles = PeerRoles::of(&[PeerRole::ApiGateway, PeerRole::SagaExecutor]);
/// The services that are members of the cluster.
const MEMBERS: PeerRoles =
    PeerRoles::of(&[PeerRole::ApiGateway, PeerRole::SagaExecutor, PeerRole::LeaderElector]);

const STATE_STORE: &str = "/goconductor.internal.v1.StateStoreService/";
const ELECTION: &str = "/goconductor.v1.ElectionService/";
const WORKERS: &str = "/goconductor.v1.WorkerService/";

/// Each method of the services behind the gateway, and the roles that may call it.
const METHODS: &[(&str, &str, PeerRoles)] = &[
    (STATE_STORE, "Write", ENGINES),
    (STATE_STORE, "Load", ENGINES),
    (STATE_STORE, "History", ENGINES),
    (STATE_STORE, "Seen", ENGINES),
    (STATE_STORE, "Changes", ENGINES),
    // An executor finds the child of a step by its key, if the definition of the child was deleted.
    (STATE_STORE, "List", ENGINES),
    (STATE_STORE, "Counts", GATEWAY),
    (STATE_STORE, "PutDefinition", GATEWAY),
    (STATE_STORE, "ArchiveDefinition", GATEWAY),
    (STATE_STORE, "NewestVersions", ENGINES),
    (STATE_STORE, "GetDefinition", ENGINES),
    (STATE_STORE, "ListDefinitions", GATEWAY),
    (STATE_STORE, "PutService", GATEWAY),
    (STATE_STORE, "DeleteService", GATEWAY),
    (STATE_STORE, "ListServices", ENGINES),
    (STATE_STORE, "Claim", EXECUTOR),
    (STATE_STORE, "Extend", EXECUTOR),
    // An engine releases the commands that it could not publish.
    (STATE_STORE, "Release", ENGINES),
    (STATE_STORE, "ExpireDeliveries", EXECUTOR),
    (STATE_STORE, "Ledger", EXECUTOR),
    (STATE_STORE, "Backlog", ENGINES),
    (STATE_STORE, "Ids", OPERATOR),
    (STATE_STORE, "Orphans", OPERATOR),
    (STATE_STORE, "RaiseEpoch", ENGINES),
    // All processes read the settings of the API.
    (STATE_STORE, "Agreement", MEMBERS),
    (STATE_STORE, "Agree", ENGINES),
    (STATE_STORE, "Announce", MEMBERS),
    (STATE_STORE, "Members", MEMBERS),
    (STATE_STORE, "PutDeadLetters", EXECUTOR),
    (STATE_STORE, "ListDeadLetters", GATEWAY),
    (STATE_STORE, "GetDeadLetter", GATEWAY),
    (STATE_STORE, "DeleteDeadLetter", GATEWAY),
    (STATE_STORE, "CreateAccessKey", GATEWAY),
    // An executor checks the credentials of workers.
    (STATE_STORE, "GetAccessKey", ENGINES),
    (STATE_STORE, "ListAccessKeys", GATEWAY),
    (STATE_STORE, "EndAccessKey", GATEWAY),
    (STATE_STORE, "AccessRevision", ENGINES),
    // The state store accepts only connections of workers from an executor.
    (STATE_STORE, "AppendAudit", ENGINES),
    (STATE_STORE, "ListAuditRecords", GATEWAY),
    (STATE_STORE, "GetAuditHead", GATEWAY),
    (STATE_STORE, "NoteAuditIntents", GATEWAY),
    (STATE_STORE, "SettleAuditIntents", GATEWAY),
    (STATE_STORE, "AcquireLock", GATEWAY),
    (STATE_STORE, "RenewLock", GATEWAY),
    (STATE_STORE, "ReleaseLock", GATEWAY),
    (STATE_STORE, "AcquireWorkflowLocks", EXECUTOR),
    (STATE_STORE, "GetLockHolder", GATEWAY),
    (STATE_STORE, "ListLocks", GATEWAY),
    // Both consume the streams of Kinesis.
    (STATE_STORE, "ListLeases", ENGINES),
    (STATE_STORE, "SyncLeases", ENGINES),
    (STATE_STORE, "TakeLeases", ENGINES),
    (STATE_STORE, "MarkLeases", ENGINES),
    // Both create keys of payloads, and wrap data keys again.
    (STATE_STORE, "PutSecret", ENGINES),
    (STATE_STORE, "GetSecretHead", ENGINES),
    (STATE_STORE, "RewrapSecret", ENGINES),
    // All processes read the secrets that their settings refer to.
    (STATE_STORE, "GetSecretVersion", MEMBERS),
    (STATE_STORE, "ListSecretsOfOtherKeys", MEMBERS),
    (STATE_STORE, "ListSecretHeads", GATEWAY),
    (STATE_STORE, "DeleteStoredSecret", GATEWAY),
    // The gateways select the workflows of batches, and apply the operations.
    (STATE_STORE, "CreateBatch", GATEWAY),
    (STATE_STORE, "SelectBatchItems", GATEWAY),
    (STATE_STORE, "ChangeBatch", GATEWAY),
    (STATE_STORE, "GetStoredBatch", GATEWAY),
    (STATE_STORE, "ListStoredBatches", GATEWAY),
    (STATE_STORE, "ListStoredBatchItems", GATEWAY),
    (STATE_STORE, "LeaseBatch", GATEWAY),
    (STATE_STORE, "TakeBatchItems", GATEWAY),
    (STATE_STORE, "FinishBatchItems", GATEWAY),
    // The API changes schedules, and the elected executor records their progress.
    (STATE_STORE, "PutStoredSchedule", ENGINES),
    (STATE_STORE, "GetStoredSchedule", ENGINES),
    (STATE_STORE, "ListStoredSchedules", GATEWAY),
    (STATE_STORE, "ListDueSchedules", EXECUTOR),
    (STATE_STORE, "DeleteStoredSchedule", GATEWAY),
    (STATE_STORE, "CountStoredSchedules", GATEWAY),
    (STATE_STORE, "LinkPayload", ENGINES),
    (STATE_STORE, "PutPayloadChunk", ENGINES),
    (STATE_STORE, "GetPayloadChunk", ENGINES),
    (STATE_STORE, "Upkeep", OPERATOR),
    (STATE_STORE, "Now", MEMBERS),
    (STATE_STORE, "Check", MEMBERS),
    // A gateway campaigns on behalf of the callers of the API.
    (ELECTION, "Campaign", ENGINES),
    (ELECTION, "Resign", ENGINES),
    (ELECTION, "Observe", ENGINES),
    (ELECTION, "ListElections", ENGINES),
    (ELECTION, "StepDown", GATEWAY),
    (WORKERS, "Connect", WORKER),
];

/// The roles by path.
type AllowedRoles = Arc<HashMap<String, PeerRoles>>;

/// Refuses callers of a service behind the gateway whose certificate does not have an allowed role. Methods that are not
/// listed are refused to all. Without TLS, the router is returned as it is.
pub fn guard(router: Router, tls: Option<&TlsIdentity>) -> Router {
    if tls.is_none() {
        return router;
    }
    let allowed = METHODS.iter().map(|(service, method, roles)| (format!("{service}{method}"), *roles));
    let allowed: AllowedRoles = Arc::new(allowed.collect());
    router.layer(from_fn_with_state(allowed, check))
}

/// Checks that the caller of a method of workers has the role, for a server whose other methods have other callers.
///
/// # Errors
/// Returns `Unauthenticated` without a certificate, and `PermissionDenied` with another role.
pub fn check_worker(peer: Option<&Peer>) -> Result<(), Box<Status>> {
    check_roles(peer, WORKER, "WorkerService").map_err(Box::new)
}

async fn check(State(allowed): State<AllowedRoles>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let roles = allowed.get(path).copied().unwrap_or_default();
    match check_roles(request.extensions().get::<Peer>(), roles, path) {
        Ok(()) => next.run(request).await,
        Err(status) => {
            tracing::debug!(path, %status, "request of another process was refused");
            status.into_http()
        }
    }
}

fn check_roles(peer: Option<&Peer>, allowed: PeerRoles, path: &str) -> Result<(), Status> {
    match peer {
        Some(peer) if peer.roles().intersects(allowed) => Ok(()),
        Some(peer) => Err(Status::permission_denied(format!(
            "{peer} has {}, but {path} is allowed to {allowed} (GC3031)",
            peer.roles()
        ))),
        None => Err(Status::unauthenticated(format!(
            "{path} requires a certificate with the identity of {allowed} (GC3031)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Returns the methods of the services in a proto file.
    fn declared(text: &str) -> BTreeSet<String> {
        let package = text.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';')).unwrap();
        let mut service = "";
        let mut methods = BTreeSet::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("service ") {
                service = name.trim_end_matches(" {");
            } else if let Some((name, _)) =
                line.trim().strip_prefix("rpc ").and_then(|rest| rest.split_once('('))
            {
                methods.insert(format!("/{package}.{service}/{name}"));
            }
        }
        methods
    }

    #[test]
    fn each_internal_method_has_exactly_one_row() {
        let expected: BTreeSet<String> = [
            include_str!("../../../proto/goconductor/internal/v1/state_store.proto"),
            include_str!("../../../proto/goconductor/v1/election.proto"),
            include_str!("../../../proto/goconductor/v1/worker.proto"),
        ]
        .into_iter()
        .flat_map(declared)
        .collect();
        let rows: Vec<String> =
            METHODS.iter().map(|(service, method, _)| format!("{service}{method}")).collect();
        let listed: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(listed, expected);
        assert_eq!(listed.len(), rows.len(), "a method has two rows");
        assert!(METHODS.iter().all(|(_, _, roles)| !roles.is_empty()));
        let files = std::fs::read_dir("../../proto/goconductor/internal/v1").unwrap().count();
        assert_eq!(files, 1, "a new internal proto file must be added to this test");
    }

    fn peer(role: &str) -> Peer {
        Peer::new(vec![format!("spiffe://shop/{role}")], None, Some("shop"))
    }

    #[test]
    fn each_method_is_refused_to_all_other_roles_and_without_a_certificate() {
        for (service, method, allowed) in METHODS {
            let path = format!("{service}{method}");
            for role in PeerRole::ALL {
                let refused = check_roles(Some(&peer(role.name())), *allowed, &path).err();
                assert_eq!(refused.is_none(), allowed.contains(role), "{path} by {role}");
                assert!(refused.is_none_or(|status| status.code() == tonic::Code::PermissionDenied));
            }
            for none in [Some(&peer("nothing")), None] {
                let status = check_roles(none, *allowed, &path).unwrap_err();
                assert!(status.message().contains("GC3031"), "{status}");
            }
        }
    }

    #[test]
    fn executor_may_call_what_children_and_locks_need() {
        let needed =
            ["Write", "Load", "List", "NewestVersions", "GetDefinition", "Extend", "AcquireWorkflowLocks"];
        for method in needed {
            let row = METHODS.iter().find(|(_, name, _)| *name == method).unwrap();
            assert!(row.2.contains(PeerRole::SagaExecutor), "{method}");
        }
    }

    #[test]
    fn message_names_the_identity_and_the_allowed_roles() {
        let status = check_roles(Some(&peer("saga-executor")), GATEWAY, "/x/PutService").unwrap_err();
        assert_eq!(
            status.message(),
            "spiffe://shop/saga-executor has saga-executor, but /x/PutService is allowed to api-gateway (GC3031)"
        );
        let status = check_roles(None, ENGINES, "/x/Write").unwrap_err();
        assert_eq!(
            status.message(),
            "/x/Write requires a certificate with the identity of api-gateway or saga-executor (GC3031)"
        );
    }
}
