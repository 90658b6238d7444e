//! Streams to executors, over which a service's actions are carried out.
//!
//! A stream is held to each executor that takes the service, so that the loss of one costs no more than what
//! was under way there. What is lost with a stream is asked for again with the same key.

mod stream;

use crate::{Error, Service};
use goconductor_client::Client;
use goconductor_store::ProcessInfo;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

/// Streams at once, at most: more would not be safer.
const STREAMS: usize = 4;
/// Executors that came are found after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How long an orderly end waits for what is under way.
const DRAIN: Duration = Duration::from_secs(30);
/// A first stream that is not there after this long won't be soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// How things stand.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// Streams that are open, by executor.
    open: usize,
    /// What the last executor that was asked in vain said.
    refused: String,
}

/// A service that is being carried out. Ends when it is dropped: what is under way is then asked for again
/// elsewhere. [`Serving::shutdown`] waits for it.
#[derive(Debug)]
pub struct Serving {
    service: String,
    standing: watch::Receiver<Standing>,
    drain: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    pub(crate) fn begin(client: Client, executors: Vec<String>, service: Service) -> Result<Self, Error> {
        for address in &executors {
            Endpoint::from_shared(address.clone()).map_err(|error| {
                Error::Misuse(format!("{address:?} is no address of an executor: {error}"))
            })?;
        }
        let (tell, standing) = watch::channel(Standing::default());
        let drain = CancellationToken::new();
        let name = service.name.clone();
        let crew = Crew {
            client,
            executors,
            service: Arc::new(service),
            tell: Arc::new(tell),
            drain: drain.clone(),
        };
        Ok(Self { service: name, standing, drain, task: tokio::spawn(crew.run()) })
    }

    /// Waits until there is a stream to at least one executor. Safe to cancel.
    ///
    /// # Errors
    /// When there is none after half a minute, with what the executors said.
    pub async fn connected(&self) -> Result<(), Error> {
        let mut standing = self.standing.clone();
        let open = tokio::time::timeout(PATIENCE, standing.wait_for(|standing| standing.open > 0)).await;
        match open {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let reason = self.standing.borrow().refused.clone();
                Err(Error::NoExecutor { service: self.service.clone(), reason })
            }
        }
    }

    /// Takes no more tasks, and waits for those under way, for half a minute at most.
    pub async fn shutdown(mut self) {
        self.drain.cancel();
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            tracing::warn!(service = self.service, "tasks were under way for longer than the drain");
        }
    }

    /// Carries on until SIGTERM or SIGINT, then shuts down.
    ///
    /// # Errors
    /// When the signals can't be listened to.
    #[cfg(unix)]
    pub async fn until_signal(self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Both are safe to cancel: a signal that was not received stays pending.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.shutdown().await;
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps streams to executors.
struct Crew {
    client: Client,
    executors: Vec<String>,
    service: Arc<Service>,
    tell: Arc<watch::Sender<Standing>>,
    drain: CancellationToken,
}

impl Crew {
    async fn run(self) {
        let mut streams: JoinSet<String> = JoinSet::new();
        let mut held: BTreeMap<String, ()> = BTreeMap::new();
        while !self.drain.is_cancelled() {
            let known = self.known().await;
            let count = known.len().clamp(1, STREAMS);
            for address in known.into_iter().take(STREAMS) {
                if held.insert(address.clone(), ()).is_none() {
                    streams.spawn(self.hold(address, count));
                }
            }
            // Safe to cancel: a stream that ended stays in the set, a sleep holds nothing.
            tokio::select! {
                () = self.drain.cancelled() => {}
                Some(ended) = streams.join_next() => {
                    if let Ok(address) = ended {
                        held.remove(&address);
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        while streams.join_next().await.is_some() {}
    }

    /// The executors that might take the service.
    async fn known(&self) -> Vec<String> {
        if !self.executors.is_empty() {
            return self.executors.clone();
        }
        let processes = match self.client.processes().await {
            Ok(reply) => reply.value.processes,
            Err(error) => {
                self.tell.send_modify(|standing| standing.refused = error.to_string());
                return Vec::new();
            }
        };
        let executors = processes.into_iter().filter(|process| process.kind == "saga-executor");
        let found: Vec<String> = executors
            .filter(|process| ProcessInfo::from(process.about.clone()).accepts(&self.service.name))
            .map(|process| format!("http://{}", process.address))
            .collect();
        if found.is_empty() {
            self.tell.send_modify(|standing| "no executor is there".clone_into(&mut standing.refused));
        }
        found
    }

    /// Holds one stream until it ends, and says whose it was.
    fn hold(&self, address: String, streams: usize) -> impl Future<Output = String> + 'static {
        let share = u32::try_from(streams).unwrap_or(1).max(1);
        let capacity = self.service.capacity.div_ceil(share).max(1);
        let namespace = self.client.namespace().to_owned();
        let service = Arc::clone(&self.service);
        let stream =
            Stream { address: address.clone(), namespace, service, capacity, drain: self.drain.clone() };
        let tell = Arc::clone(&self.tell);
        async move {
            let opened = {
                let tell = Arc::clone(&tell);
                move || tell.send_modify(|standing| standing.open += 1)
            };
            match stream.run(opened).await {
                Ok(why) => {
                    tracing::info!(executor = address, why, "a worker's stream ended");
                    tell.send_modify(|standing| standing.open -= 1);
                }
                Err(status) => {
                    tracing::debug!(executor = address, %status, "the executor does not take the worker");
                    let said = format!("{address}: {}", status.message());
                    tell.send_modify(|standing| standing.refused = said);
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
            }
            address
        }
    }
}
