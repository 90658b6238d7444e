//! Client of the leader electors.
//!
//! A term lasts as long as its stream to an elector. If the stream breaks because the elector fails, the term is extended
//! until an elector can be reached again. While no elector is reachable, none can elect another leader unnoticed. If
//! another leader is elected by other means, its writes carry a higher fencing token, and the writes of this leader are
//! refused. Leaders therefore keep working while all electors are down.

use crate::endpoints::Endpoints;
use async_trait::async_trait;
use goconductor_election::{Election, Error, Leader, Leadership, Term};
use goconductor_wire::handshake::StateProtocol;
use goconductor_wire::v1::campaign_response::Message;
use goconductor_wire::v1::election_service_client::ElectionServiceClient;
use goconductor_wire::v1::{self as wire, CampaignResponse};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// An elector that sends nothing for this long has failed.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay between attempts to reach an elector.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The stream of a term has no deadline, but the channel has a default timeout, which this one replaces.
const NO_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

type ElectionClient = ElectionServiceClient<InterceptedService<Channel, StateProtocol>>;

/// A client of one or several equivalent leader electors.
#[derive(Debug, Clone)]
pub struct RemoteElection {
    endpoints: Arc<Endpoints>,
    /// Signals the end of the terms of this process, by name and token.
    terms: Arc<Mutex<TermRegistry>>,
}

type TermRegistry = BTreeMap<(String, u64), Arc<watch::Sender<bool>>>;

impl RemoteElection {
    /// Creates a client of the electors at these endpoints.
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints: Arc::new(endpoints), terms: Arc::default() }
    }

    async fn call<T, F>(&self, send: impl Fn(ElectionClient) -> F + Send) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>> + Send,
    {
        let mut reason = "no leader elector is configured".to_owned();
        for _ in 0..=self.endpoints.count() {
            let (index, Some(channel)) = self.endpoints.current() else { break };
            match send(ElectionServiceClient::with_interceptor(channel, StateProtocol)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => reason = format!("the leader elector: {}", status.message()),
            }
            self.endpoints.move_on(index);
        }
        Err(Error::Unavailable { reason })
    }

    /// Waits for the end of a term, or until its holder drops it.
    async fn hold(
        self,
        mut stream: Streaming<CampaignResponse>,
        leader: Leader,
        mut dropped: oneshot::Receiver<()>,
        registration: TermRegistration,
    ) {
        let ended = loop {
            // Safe to cancel: unread messages are irrelevant once the term is dropped.
            let received = tokio::select! {
                _ = &mut dropped => return,
                received = tokio::time::timeout(HEARTBEAT_TIMEOUT, stream.message()) => received,
            };
            match received {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => break true,
                Ok(Err(_)) | Err(_) => break false,
            }
        };
        drop(stream);
        if !ended {
            tracing::info!(election = leader.name, "leader elector failed; term was extended");
            while self.observe(&leader.name).await.is_err() {
                // Safe to cancel: both branches only wait.
                tokio::select! {
                    _ = &mut dropped => return,
                    () = tokio::time::sleep(RETRY_DELAY) => {}
                }
            }
        }
        registration.lost.send_replace(true);
    }
}

#[async_trait]
impl Election for RemoteElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let (name, candidate) = (name.to_owned(), candidate.to_owned());
        let request = wire::CampaignRequest { name, candidate };
        let mut stream = self
            .call(|mut client| {
                let mut request = tonic::Request::new(request.clone());
                request.set_timeout(NO_TIMEOUT);
                async move { client.campaign(request).await }
            })
            .await?;
        let leader = elected(&mut stream).await?;
        let (sender, lost) = watch::channel(false);
        let (holder, dropped) = oneshot::channel();
        let registration = TermRegistration::new(&self.terms, &leader, Arc::new(sender));
        let held = self.clone().hold(stream, leader.clone(), dropped, registration);
        drop(goconductor_supervisor::spawn("remote-term", held));
        let term = RemoteTerm { election: self.clone(), leader: leader.clone(), _holder: holder };
        Ok(Leadership::new(leader, lost, Box::new(term)))
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        let request = wire::ObserveRequest { name: name.to_owned() };
        let response = self
            .call(|mut client| {
                let request = request.clone();
                async move { client.observe(request).await }
            })
            .await?;
        Ok(response.leader.map(Into::into))
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        let response = self
            .call(|mut client| async move { client.list_elections(wire::ListElectionsRequest {}).await })
            .await?;
        Ok(response.leaders.into_iter().map(Into::into).collect())
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let request = wire::StepDownRequest { name: name.to_owned() };
        let response = self
            .call(|mut client| {
                let request = request.clone();
                async move { client.step_down(request).await }
            })
            .await?;
        // A term of this process ends without a message from the elector.
        if response.ended {
            let terms = self.terms.lock();
            for (_, lost) in terms.iter().filter(|((election, _), _)| election == name) {
                lost.send_replace(true);
            }
        }
        Ok(response.ended)
    }
}

/// Registers a term of this process until it is dropped.
struct TermRegistration {
    terms: Arc<Mutex<TermRegistry>>,
    key: (String, u64),
    lost: Arc<watch::Sender<bool>>,
}

impl TermRegistration {
    fn new(terms: &Arc<Mutex<TermRegistry>>, leader: &Leader, lost: Arc<watch::Sender<bool>>) -> Self {
        let key = (leader.name.clone(), leader.token.0);
        terms.lock().insert(key.clone(), Arc::clone(&lost));
        Self { terms: Arc::clone(terms), key, lost }
    }
}

impl Drop for TermRegistration {
    fn drop(&mut self) {
        self.terms.lock().remove(&self.key);
    }
}

/// Waits until the candidate of the stream is elected. Safe to cancel: dropping the stream withdraws the candidate.
async fn elected(stream: &mut Streaming<CampaignResponse>) -> Result<Leader, Error> {
    let failed = |reason: &str| Error::Unavailable { reason: format!("the leader elector {reason}") };
    loop {
        match tokio::time::timeout(HEARTBEAT_TIMEOUT, stream.message()).await {
            Ok(Ok(Some(CampaignResponse { message: Some(Message::Elected(leader)) }))) => {
                return Ok(leader.into());
            }
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Err(failed("ended the candidacy")),
            Ok(Err(status)) => return Err(failed(&format!("failed: {}", status.message()))),
            Err(_) => return Err(failed("stopped responding")),
        }
    }
}

/// A term at an elector. Dropping it closes the stream, which ends the term.
#[derive(Debug)]
struct RemoteTerm {
    election: RemoteElection,
    leader: Leader,
    _holder: oneshot::Sender<()>,
}

#[async_trait]
impl Term for RemoteTerm {
    async fn resign(self: Box<Self>) -> Result<(), Error> {
        let request =
            wire::ResignRequest { name: self.leader.name.clone(), fencing_token: self.leader.token.0 };
        self.election
            .call(|mut client| {
                let request = request.clone();
                async move { client.resign(request).await }
            })
            .await?;
        Ok(())
    }
}
