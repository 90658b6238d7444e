//! Elections over gRPC: a campaign is a stream, and as long as the stream is held the candidacy goes on, and
//! then the term.

use futures::StreamExt;
use futures::stream::BoxStream;
use goconductor_election::{Election, Error, Hosted, Refusal};
use goconductor_wire::v1::election_service_server::{ElectionService, ElectionServiceServer};
use goconductor_wire::v1::{self as wire, CampaignResponse};
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Bytes of a name.
const NAME: usize = 256;

type Answer<T> = Result<Response<T>, Status>;

/// Serves an election.
#[derive(Debug)]
pub struct Service {
    /// The candidacies and terms that are held through this process.
    hosted: Arc<Hosted>,
    stop: CancellationToken,
}

/// A service over an election. At `stop` every term that is held through it is given up.
#[must_use]
pub fn service(election: Arc<dyn Election>, stop: CancellationToken) -> ElectionServiceServer<Service> {
    ElectionServiceServer::new(Service { hosted: Hosted::new(election), stop })
}

fn refused(error: &Error) -> Status {
    if error.retryable() {
        Status::unavailable(error.to_string())
    } else {
        Status::failed_precondition(error.to_string())
    }
}

fn ended(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Ending => Status::unavailable("the elector is draining"),
        Refusal::Failed(error) => refused(error),
    }
}

fn checked(name: String, what: &str) -> Result<String, Status> {
    if name.is_empty() || name.len() > NAME || name.contains(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "{what} has 1 to {NAME} bytes without control characters"
        )));
    }
    Ok(name)
}

#[tonic::async_trait]
impl ElectionService for Service {
    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    async fn campaign(&self, request: Request<wire::CampaignRequest>) -> Answer<Self::CampaignStream> {
        let wire::CampaignRequest { name, candidate } = request.into_inner();
        let (name, candidate) = (checked(name, "a name")?, checked(candidate, "a candidate")?);
        if self.stop.is_cancelled() {
            return Err(ended(&Refusal::Ending));
        }
        let told = self.hosted.stand(name, candidate, self.stop.clone().cancelled_owned());
        let told = ReceiverStream::new(told);
        Ok(Response::new(told.map(|told| told.map(Into::into).map_err(|refusal| ended(&refusal))).boxed()))
    }

    async fn resign(&self, request: Request<wire::ResignRequest>) -> Answer<wire::ResignResponse> {
        let wire::ResignRequest { name, fencing_token } = request.into_inner();
        let resigned = self.hosted.resign(name, fencing_token).await;
        Ok(Response::new(wire::ResignResponse { resigned }))
    }

    async fn observe(&self, request: Request<wire::ObserveRequest>) -> Answer<wire::ObserveResponse> {
        let leader = self.hosted.election().observe(&request.get_ref().name).await;
        let leader = leader.map_err(|error| refused(&error))?;
        Ok(Response::new(wire::ObserveResponse { leader: leader.as_ref().map(Into::into) }))
    }

    async fn list_elections(
        &self,
        _: Request<wire::ListElectionsRequest>,
    ) -> Answer<wire::ListElectionsResponse> {
        let leaders = self.hosted.election().list().await.map_err(|error| refused(&error))?;
        let leaders = leaders.iter().map(Into::into).collect();
        Ok(Response::new(wire::ListElectionsResponse { leaders }))
    }

    async fn step_down(&self, request: Request<wire::StepDownRequest>) -> Answer<wire::StepDownResponse> {
        let ended = self.hosted.election().step_down(&request.get_ref().name).await;
        Ok(Response::new(wire::StepDownResponse { ended: ended.map_err(|error| refused(&error))? }))
    }
}
