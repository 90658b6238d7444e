//! Elections over gRPC: a campaign is a stream, and as long as the stream is held the candidacy goes on, and
//! then the term.

use futures::stream::BoxStream;
use goconductor_election::{Election, Error, Leadership};
use goconductor_wire::v1::campaign_response::Message;
use goconductor_wire::v1::election_service_server::{ElectionService, ElectionServiceServer};
use goconductor_wire::v1::{self as wire, CampaignResponse};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How often a candidate is told that the elector lives.
const BEAT: Duration = Duration::from_secs(1);
/// Bytes of a name.
const NAME: usize = 256;

type Answer<T> = Result<Response<T>, Status>;
/// Tells a term's task to give it up; it answers when that is done.
type Resign = oneshot::Sender<oneshot::Sender<()>>;

/// Serves an election.
#[derive(Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    election: Arc<dyn Election>,
    stop: CancellationToken,
    /// The terms that are held through this process.
    terms: Mutex<BTreeMap<(String, u64), Resign>>,
}

/// A service over an election. At `stop` every term that is held through it is given up.
#[must_use]
pub fn service(election: Arc<dyn Election>, stop: CancellationToken) -> ElectionServiceServer<Service> {
    ElectionServiceServer::new(Service { inner: Arc::new(Inner { election, stop, terms: Mutex::default() }) })
}

fn refused(error: &Error) -> Status {
    if error.retryable() {
        Status::unavailable(error.to_string())
    } else {
        Status::failed_precondition(error.to_string())
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
        if self.inner.stop.is_cancelled() {
            return Err(Status::unavailable("the elector is draining"));
        }
        let (tell, told) = mpsc::channel(4);
        drop(tokio::spawn(Arc::clone(&self.inner).stand(name, candidate, tell)));
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn resign(&self, request: Request<wire::ResignRequest>) -> Answer<wire::ResignResponse> {
        let wire::ResignRequest { name, fencing_token } = request.into_inner();
        let resigned = self.inner.resign(name, fencing_token).await;
        Ok(Response::new(wire::ResignResponse { resigned }))
    }

    async fn observe(&self, request: Request<wire::ObserveRequest>) -> Answer<wire::ObserveResponse> {
        let leader = self.inner.election.observe(&request.get_ref().name).await;
        let leader = leader.map_err(|error| refused(&error))?;
        Ok(Response::new(wire::ObserveResponse { leader: leader.as_ref().map(Into::into) }))
    }

    async fn list_elections(
        &self,
        _: Request<wire::ListElectionsRequest>,
    ) -> Answer<wire::ListElectionsResponse> {
        let leaders = self.inner.election.list().await.map_err(|error| refused(&error))?;
        let leaders = leaders.iter().map(Into::into).collect();
        Ok(Response::new(wire::ListElectionsResponse { leaders }))
    }

    async fn step_down(&self, request: Request<wire::StepDownRequest>) -> Answer<wire::StepDownResponse> {
        let ended = self.inner.election.step_down(&request.get_ref().name).await;
        Ok(Response::new(wire::StepDownResponse { ended: ended.map_err(|error| refused(&error))? }))
    }
}

type Tell = mpsc::Sender<Result<CampaignResponse, Status>>;

fn beat() -> Result<CampaignResponse, Status> {
    Ok(CampaignResponse { message: Some(Message::Beat(wire::Beat {})) })
}

impl Inner {
    /// One candidacy, from its beginning to the end of its term.
    async fn stand(self: Arc<Self>, name: String, candidate: String, tell: Tell) {
        let Some(leadership) = self.win(&name, &candidate, &tell).await else { return };
        let token = leadership.token();
        let elected = Message::Elected(leadership.leader().into());
        let (resign, asked) = oneshot::channel();
        self.terms().insert((name.clone(), token.0), resign);
        if tell.send(Ok(CampaignResponse { message: Some(elected) })).await.is_ok() {
            self.hold(leadership, asked, &tell).await;
        } else {
            drop(leadership);
        }
        self.terms().remove(&(name, token.0));
    }

    /// Waits until the candidate leads; none: it does not want to any more, or can't.
    async fn win(&self, name: &str, candidate: &str, tell: &Tell) -> Option<Leadership> {
        let campaign = self.election.campaign(name, candidate);
        tokio::pin!(campaign);
        let mut beats = tokio::time::interval(BEAT);
        loop {
            // Safe to cancel: a campaign that is dropped leaves nothing behind.
            let won = tokio::select! {
                won = &mut campaign => won,
                () = tell.closed() => return None,
                () = self.stop.cancelled() => {
                    drop(tell.send(Err(Status::unavailable("the elector is draining"))).await);
                    return None;
                }
                _ = beats.tick() => {
                    tell.send(beat()).await.ok()?;
                    continue;
                }
            };
            match won {
                Ok(leadership) => return Some(leadership),
                Err(error) => {
                    drop(tell.send(Err(refused(&error))).await);
                    return None;
                }
            }
        }
    }

    /// Until the term ends, in any way.
    async fn hold(&self, leadership: Leadership, asked: oneshot::Receiver<oneshot::Sender<()>>, tell: &Tell) {
        let lost = leadership.lost();
        tokio::pin!(lost, asked);
        let mut beats = tokio::time::interval(BEAT);
        let answer = loop {
            // Safe to cancel: what is waited for stays as it is.
            tokio::select! {
                // The stream ends without an error: the term has ended.
                () = &mut lost => return,
                () = tell.closed() => break None,
                () = self.stop.cancelled() => {
                    drop(tell.send(Err(Status::unavailable("the elector is draining"))).await);
                    break None;
                }
                answer = &mut asked => break answer.ok(),
                _ = beats.tick() => {
                    if tell.send(beat()).await.is_err() {
                        break None;
                    }
                }
            }
        };
        if let Err(error) = leadership.resign().await {
            tracing::debug!(%error, "the lease runs out by itself");
        }
        if answer.is_some_and(|answer| answer.send(()).is_err()) {
            tracing::trace!("who asked for the end of the term has gone");
        }
    }

    async fn resign(&self, name: String, token: u64) -> bool {
        let Some(resign) = self.terms().remove(&(name, token)) else { return false };
        let (answer, answered) = oneshot::channel();
        resign.send(answer).is_ok() && answered.await.is_ok()
    }

    fn terms(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, u64), Resign>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
