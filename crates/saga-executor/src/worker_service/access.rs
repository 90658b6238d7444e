//! Access control of workers. Refusals are recorded in the audit log.

use super::{WorkerAcceptor, namespace};
use crate::connection_log::ConnectingWorker;
use crate::workers::ServiceKey;
use goconductor_access::{AccessControl, Principal, Rejection, metrics};
use goconductor_process::{PeerAddress, check_worker};
use goconductor_saga::Namespace;
use goconductor_tls::Peer;
use std::net::IpAddr;
use std::sync::Arc;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The codes of refusals, which have the pages of the gateway's refusals.
const UNAUTHENTICATED: &str = "GC2061";
const INVALID_CREDENTIAL: &str = "GC2062";
const FORBIDDEN: &str = "GC2063";
/// The code of a certificate without the identity that is required.
const WRONG_IDENTITY: &str = "GC3031";

/// The origin of a request to connect.
#[derive(Clone, Copy)]
pub(super) struct WorkerOrigin<'c> {
    pub(super) metadata: &'c MetadataMap,
    pub(super) peer: Option<&'c Peer>,
    pub(super) address: Option<PeerAddress>,
}

impl WorkerOrigin<'_> {
    pub(super) fn source(self) -> Option<IpAddr> {
        self.address.map(|address| address.0)
    }
}

/// A refusal by access control, with the code of its record in the audit log.
pub(super) struct WorkerRefusal {
    code: &'static str,
    status: Status,
}

/// The credential of a worker.
pub(super) struct WorkerCredential {
    pub(super) access: AccessControl,
    pub(super) principal: Arc<Principal>,
}

impl WorkerCredential {
    /// Checks that the worker may serve a service.
    fn check(&self, (namespace, service): &ServiceKey) -> Result<(), WorkerRefusal> {
        if self.principal.grants.may_serve(namespace, service) {
            return Ok(());
        }
        metrics::record_denied();
        tracing::warn!(actor = self.principal.actor, service, namespace, "worker was refused");
        let status = Status::permission_denied(format!(
            "{FORBIDDEN}: the credential of the worker must not serve {service} in the namespace {namespace}: use a key \
             with the role worker for this service"
        ));
        Err(WorkerRefusal { code: FORBIDDEN, status })
    }
}

/// Checks that a worker may serve a service, by its certificate and by its credential.
pub(super) fn authorise(
    peer: Option<&Peer>,
    credential: Option<&WorkerCredential>,
    key: &ServiceKey,
) -> Result<(), WorkerRefusal> {
    if let Some(peer) = peer.filter(|peer| !peer.may_serve(&key.1)) {
        let status = Status::permission_denied(format!("{peer} may not serve {} ({WRONG_IDENTITY})", key.1));
        return Err(WorkerRefusal { code: WRONG_IDENTITY, status });
    }
    credential.map_or(Ok(()), |credential| credential.check(key))
}

impl WorkerAcceptor {
    /// Authenticates a worker. Returns `None` if all workers may serve everything.
    pub(super) async fn authenticate(
        &self,
        origin: WorkerOrigin<'_>,
    ) -> Result<Option<WorkerCredential>, Status> {
        let authenticated = match self.check_certificate(origin) {
            Ok(()) => self.check_credential(origin).await?,
            Err(refusal) => Err(refusal),
        };
        authenticated.map_err(|refusal| {
            let namespace = namespace(origin.metadata).ok();
            let namespace = namespace.as_ref().map(Namespace::as_str);
            let connecting =
                ConnectingWorker { source: origin.source(), namespace, ..ConnectingWorker::default() };
            self.refuse(connecting, refusal)
        })
    }

    fn check_certificate(&self, origin: WorkerOrigin<'_>) -> Result<(), WorkerRefusal> {
        if !self.settings.authenticates_workers {
            return Ok(());
        }
        check_worker(origin.peer).map_err(|status| WorkerRefusal { code: WRONG_IDENTITY, status: *status })
    }

    /// Checks the credential of a worker. The outer error says nothing about the credential.
    async fn check_credential(
        &self,
        origin: WorkerOrigin<'_>,
    ) -> Result<Result<Option<WorkerCredential>, WorkerRefusal>, Status> {
        let Some(access) = &self.access else { return Ok(Ok(None)) };
        let network = origin.address.map(PeerAddress::network);
        let rejection = match access.authenticate(origin.metadata.as_ref(), origin.peer, network).await {
            Ok(principal) => return Ok(Ok(Some(WorkerCredential { access: access.clone(), principal }))),
            Err(rejection) => rejection,
        };
        let (code, text) = match rejection {
            Rejection::Unavailable(_) | Rejection::ProviderUnavailable | Rejection::Busy => {
                return Err(Status::unavailable(format!("{rejection}; retry later")));
            }
            Rejection::Missing => {
                let text = format!(
                    "{rejection}: send an access key or a token in the metadata authorization, or connect with a client \
                     certificate that contains a URI"
                );
                (UNAUTHENTICATED, text)
            }
            Rejection::Malformed
            | Rejection::Unknown
            | Rejection::Token(_)
            | Rejection::Expired
            | Rejection::Revoked => (INVALID_CREDENTIAL, rejection.to_string()),
        };
        Ok(Err(WorkerRefusal { code, status: Status::unauthenticated(format!("{code}: {text}")) }))
    }

    /// Records a refusal, and returns its status.
    pub(super) fn refuse(&self, connecting: ConnectingWorker<'_>, refusal: WorkerRefusal) -> Status {
        self.log.refused(connecting, refusal.code);
        refusal.status
    }
}
