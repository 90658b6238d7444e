//! The leader electors of other processes.
//!
//! A term is held by a stream to an elector. When the stream breaks because the elector went, the term is
//! held over for as long as no elector can be reached: nobody can have been elected through one meanwhile
//! without being seen as soon as one can, and whoever was elected in another way is told from this one by
//! the fencing token, where a write lands. So duties go on while all electors are down.

use crate::endpoints::Endpoints;
use async_trait::async_trait;
use goconductor_election::{Election, Error, Leader, Leadership, Term};
use goconductor_wire::v1::campaign_response::Message;
use goconductor_wire::v1::election_service_client::ElectionServiceClient;
use goconductor_wire::v1::{self as wire, CampaignResponse};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// An elector from which nothing is heard for this long is taken for gone.
const SILENCE: Duration = Duration::from_secs(5);
/// Between looks for an elector that can be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// For as long as it is held.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

type Client = ElectionServiceClient<Channel>;

/// The leader electors of other processes.
#[derive(Debug, Clone)]
pub struct RemoteElection {
    endpoints: Arc<Endpoints>,
    /// What tells the end of the terms of this process, by name and token.
    terms: Arc<Mutex<Terms>>,
}

type Terms = BTreeMap<(String, u64), Arc<watch::Sender<bool>>>;

impl RemoteElection {
    /// The electors at these endpoints.
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Self {
        Self { endpoints: Arc::new(endpoints), terms: Arc::default() }
    }

    async fn ask<T, F>(&self, ask: impl Fn(Client) -> F + Send) -> Result<T, Error>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>> + Send,
    {
        let mut reason = "there is no elector".to_owned();
        for _ in 0..=self.endpoints.count() {
            let (index, Some(channel)) = self.endpoints.current() else { break };
            match ask(Client::new(channel)).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => reason = format!("the elector: {}", status.message()),
            }
            self.endpoints.move_on(index);
        }
        Err(Error::Unavailable { reason })
    }

    /// Waits for the end of the stream's term, or of its holder's wish for it.
    async fn hold(
        self,
        mut stream: Streaming<CampaignResponse>,
        leader: Leader,
        mut wanted: oneshot::Receiver<()>,
        known: Known,
    ) {
        let ended = loop {
            // Safe to cancel: a message that was not read is of no use once the term is given up.
            let heard = tokio::select! {
                _ = &mut wanted => return,
                heard = tokio::time::timeout(SILENCE, stream.message()) => heard,
            };
            match heard {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => break true,
                Ok(Err(_)) | Err(_) => break false,
            }
        };
        drop(stream);
        if !ended {
            tracing::info!(election = leader.name, "the elector has gone: the term is held over");
            while self.observe(&leader.name).await.is_err() {
                tokio::select! {
                    _ = &mut wanted => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
        // Nobody may be asking any more.
        known.lost.send_replace(true);
    }
}

#[async_trait]
impl Election for RemoteElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let (name, candidate) = (name.to_owned(), candidate.to_owned());
        let request = wire::CampaignRequest { name, candidate };
        let mut stream = self
            .ask(|mut to| {
                let mut request = tonic::Request::new(request.clone());
                request.set_timeout(FOR_EVER);
                async move { to.campaign(request).await }
            })
            .await?;
        let leader = elected(&mut stream).await?;
        let (tell, lost) = watch::channel(false);
        let (holder, wanted) = oneshot::channel();
        let known = Known::new(&self.terms, &leader, Arc::new(tell));
        drop(tokio::spawn(self.clone().hold(stream, leader.clone(), wanted, known)));
        let term = RemoteTerm { election: self.clone(), leader: leader.clone(), _holder: holder };
        Ok(Leadership::new(leader, lost, Box::new(term)))
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        let request = wire::ObserveRequest { name: name.to_owned() };
        let answer = self
            .ask(|mut to| {
                let request = request.clone();
                async move { to.observe(request).await }
            })
            .await?;
        Ok(answer.leader.map(Into::into))
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        let answer =
            self.ask(|mut to| async move { to.list_elections(wire::ListElectionsRequest {}).await }).await?;
        Ok(answer.leaders.into_iter().map(Into::into).collect())
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let request = wire::StepDownRequest { name: name.to_owned() };
        let answer = self
            .ask(|mut to| {
                let request = request.clone();
                async move { to.step_down(request).await }
            })
            .await?;
        // One's own term needs no elector to hear of it.
        if answer.ended {
            let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, lost) in terms.iter().filter(|((led, _), _)| led == name) {
                lost.send_replace(true);
            }
        }
        Ok(answer.ended)
    }
}

/// A term that is known to be this process's, for as long as it is held.
struct Known {
    terms: Arc<Mutex<Terms>>,
    key: (String, u64),
    lost: Arc<watch::Sender<bool>>,
}

impl Known {
    fn new(terms: &Arc<Mutex<Terms>>, leader: &Leader, lost: Arc<watch::Sender<bool>>) -> Self {
        let key = (leader.name.clone(), leader.token.0);
        terms.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::clone(&lost));
        Self { terms: Arc::clone(terms), key, lost }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Waits until the stream's candidate is elected. Safe to cancel: without the stream nobody stands.
async fn elected(stream: &mut Streaming<CampaignResponse>) -> Result<Leader, Error> {
    let gone = |reason: &str| Error::Unavailable { reason: format!("the elector: {reason}") };
    loop {
        match tokio::time::timeout(SILENCE, stream.message()).await {
            Ok(Ok(Some(CampaignResponse { message: Some(Message::Elected(leader)) }))) => {
                return Ok(leader.into());
            }
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Err(gone("it ended the candidacy")),
            Ok(Err(status)) => return Err(gone(status.message())),
            Err(_) => return Err(gone("it is silent")),
        }
    }
}

/// A term at an elector. Dropping it ends its stream, and with that the term.
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
            .ask(|mut to| {
                let request = request.clone();
                async move { to.resign(request).await }
            })
            .await?;
        Ok(())
    }
}
