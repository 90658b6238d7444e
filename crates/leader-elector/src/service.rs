//! Elections over gRPC. A campaign is a stream. The candidacy, and then the term, last as long as the stream is open.

use futures::StreamExt;
use futures::stream::BoxStream;
use goconductor_election::{CampaignError, Election, Error, Hosted, ResignScope, Resignation};
use goconductor_saga::NameKind;
use goconductor_wire::handshake::CheckProtocol;
use goconductor_wire::v1::election_service_server::{ElectionService, ElectionServiceServer};
use goconductor_wire::v1::{self as wire, CampaignResponse};
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

type RpcResult<T> = Result<Response<T>, Status>;

/// The gRPC service of an election.
#[derive(Debug)]
pub struct ElectionServer {
    /// The campaigns and terms of the clients.
    hosted: Arc<Hosted>,
    stop: CancellationToken,
}

/// Creates the service. It refuses peers whose protocol it does not speak. When `stop` is cancelled, it ends all of its
/// terms.
#[must_use]
pub fn service(
    election: Arc<dyn Election>,
    stop: CancellationToken,
) -> InterceptedService<ElectionServiceServer<ElectionServer>, CheckProtocol> {
    let server = ElectionServiceServer::new(ElectionServer { hosted: Hosted::new(election), stop });
    InterceptedService::new(server, CheckProtocol::new("leader elector"))
}

fn backend_status(error: &Error) -> Status {
    if error.is_retryable() {
        Status::unavailable(error.to_string())
    } else {
        Status::failed_precondition(error.to_string())
    }
}

fn campaign_status(refusal: &CampaignError) -> Status {
    match refusal {
        CampaignError::ShuttingDown => Status::unavailable("the elector is draining"),
        CampaignError::Failed(error) => backend_status(error),
    }
}

/// Checks a name by the rule that the gateway applies too.
fn checked(name: String, kind: NameKind) -> Result<String, Status> {
    kind.check(&name).map_err(|error| Status::invalid_argument(error.to_string()))?;
    Ok(name)
}

#[tonic::async_trait]
impl ElectionService for ElectionServer {
    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    async fn campaign(&self, request: Request<wire::CampaignRequest>) -> RpcResult<Self::CampaignStream> {
        let wire::CampaignRequest { name, candidate } = request.into_inner();
        let (name, candidate) =
            (checked(name, NameKind::Election)?, checked(candidate, NameKind::Candidate)?);
        if self.stop.is_cancelled() {
            return Err(campaign_status(&CampaignError::ShuttingDown));
        }
        // The callers are processes of this system, which do not resign for one another.
        let owner = None;
        let updates = self.hosted.campaign(name, candidate, owner, self.stop.clone().cancelled_owned());
        let updates = ReceiverStream::new(updates);
        Ok(Response::new(
            updates
                .map(|updates| updates.map(Into::into).map_err(|refusal| campaign_status(&refusal)))
                .boxed(),
        ))
    }

    async fn resign(&self, request: Request<wire::ResignRequest>) -> RpcResult<wire::ResignResponse> {
        let wire::ResignRequest { name, fencing_token } = request.into_inner();
        let resignation = self.hosted.resign(name, fencing_token, ResignScope::All).await;
        Ok(Response::new(wire::ResignResponse { resigned: resignation == Resignation::Ended }))
    }

    async fn observe(&self, request: Request<wire::ObserveRequest>) -> RpcResult<wire::ObserveResponse> {
        let leader = self.hosted.election().observe(&request.get_ref().name).await;
        let leader = leader.map_err(|error| backend_status(&error))?;
        Ok(Response::new(wire::ObserveResponse { leader: leader.as_ref().map(Into::into) }))
    }

    async fn list_elections(
        &self,
        _: Request<wire::ListElectionsRequest>,
    ) -> RpcResult<wire::ListElectionsResponse> {
        let leaders = self.hosted.election().list().await.map_err(|error| backend_status(&error))?;
        let leaders = leaders.iter().map(Into::into).collect();
        Ok(Response::new(wire::ListElectionsResponse { leaders, ..wire::ListElectionsResponse::default() }))
    }

    async fn step_down(&self, request: Request<wire::StepDownRequest>) -> RpcResult<wire::StepDownResponse> {
        let ended = self.hosted.election().step_down(&request.get_ref().name).await;
        Ok(Response::new(wire::StepDownResponse { ended: ended.map_err(|error| backend_status(&error))? }))
    }
}
