//! Workers: streams to executors, over which the actions of a service run.
//!
//! A worker opens a stream to each of several executors. If a stream is lost, only its tasks in flight are affected:
//! they are retried with the same idempotency key.

mod drain;
mod stream;
mod suspension;

use crate::error::Error;
use crate::service::Service;
use goconductor_client::Client;
use goconductor_store::ProcessInfo;
use goconductor_tls::PeerRole;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use stream::WorkerStream;
use suspension::SuspensionDetector;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

/// The maximum number of streams. More would not improve availability.
const MAX_STREAMS: usize = 4;
/// The interval at which new executors are discovered.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How long a shutdown waits for tasks in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long [`ServiceHandle::connected`] waits for the first stream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The delay before a stream that ended is opened again.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// The additional delay after an executor refused the worker.
const REFUSED_DELAY: Duration = Duration::from_millis(400);

/// The state of the worker's connections.
#[derive(Debug, Clone, Default)]
struct ConnectionState {
    /// The number of open streams.
    open: usize,
    /// The reason of the last refusal.
    refusal: String,
}

/// A service that is connected to executors as a worker.
///
/// Dropping the handle disconnects the worker, and tasks in flight are retried elsewhere. Use
/// [`shutdown`](Self::shutdown) to finish them first.
#[derive(Debug)]
pub struct ServiceHandle {
    service: String,
    state: watch::Receiver<ConnectionState>,
    drain: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl ServiceHandle {
    pub(crate) fn start(client: Client, executors: Vec<String>, service: Service) -> Result<Self, Error> {
        for address in &executors {
            if address.starts_with("https://") != client.tls().is_some() {
                let message = format!(
                    "the address {address} of an executor must have the scheme of the gateway, {}",
                    client.address()
                );
                return Err(Error::Misuse(message));
            }
            if address.contains('@') {
                let message =
                    "the address of an executor must not contain credentials, because they are not sent";
                return Err(Error::Misuse(message.to_owned()));
            }
            Endpoint::from_shared(address.clone()).map_err(|error| {
                Error::Misuse(format!("{address:?} is not a valid address of an executor: {error}"))
            })?;
        }
        let (sender, state) = watch::channel(ConnectionState::default());
        let drain = CancellationToken::new();
        let name = service.name.clone();
        let streams = WorkerStreams {
            client,
            executors,
            service: Arc::new(service),
            state: Arc::new(sender),
            drain: drain.clone(),
            suspensions: Arc::new(SuspensionDetector::new()),
        };
        Ok(Self { service: name, state, drain, task: tokio::spawn(streams.run()) })
    }

    /// Waits up to 30 seconds until the worker is connected to at least one executor. Cancel-safe.
    ///
    /// # Errors
    /// Returns [`Error::NoExecutor`] with the reason of the last refusal if no executor accepts the worker in time.
    pub async fn connected(&self) -> Result<(), Error> {
        let mut state = self.state.clone();
        let open = tokio::time::timeout(CONNECT_TIMEOUT, state.wait_for(|state| state.open > 0)).await;
        match open {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let reason = self.state.borrow().refusal.clone();
                Err(Error::NoExecutor { service: self.service.clone(), reason })
            }
        }
    }

    /// Stops accepting tasks, and waits up to 30 seconds for the tasks in flight.
    pub async fn shutdown(mut self) {
        self.drain.cancel();
        if tokio::time::timeout(DRAIN_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!(service = self.service, "worker gave up tasks at the drain timeout");
        }
    }

    /// Runs until SIGTERM or SIGINT, then shuts down.
    ///
    /// # Errors
    /// Returns an I/O error if the signal handlers cannot be registered.
    #[cfg(unix)]
    pub async fn until_signal(self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Cancel-safe: a signal that was not received stays pending.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.shutdown().await;
        Ok(())
    }
}

impl Drop for ServiceHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps streams to executors open.
struct WorkerStreams {
    client: Client,
    executors: Vec<String>,
    service: Arc<Service>,
    state: Arc<watch::Sender<ConnectionState>>,
    drain: CancellationToken,
    suspensions: Arc<SuspensionDetector>,
}

impl WorkerStreams {
    async fn run(self) {
        let suspensions = Arc::clone(&self.suspensions);
        // Cancel-safe: the detector runs until the last stream ends, and never ends by itself.
        tokio::select! {
            () = self.keep_open() => {}
            () = suspensions.run() => {}
        }
    }

    async fn keep_open(self) {
        let mut streams: JoinSet<String> = JoinSet::new();
        let mut connected: BTreeSet<String> = BTreeSet::new();
        // Workers begin with different executors.
        let mut round = usize::try_from(RandomState::new().hash_one(()) >> 33).unwrap_or_default();
        while !self.drain.is_cancelled() {
            // Cancel-safe: a discovery only reads.
            let mut executors = tokio::select! {
                executors = self.discover() => executors,
                () = self.drain.cancelled() => break,
            };
            let count = executors.len().clamp(1, MAX_STREAMS);
            // Another executor is first each time, so that executors that refuse do not exclude the others.
            let first = round.checked_rem(executors.len()).unwrap_or_default();
            executors.rotate_left(first);
            round = round.wrapping_add(1);
            // An executor that is not listed any more drains, and must not exclude its replacement.
            let mut listed = connected.iter().filter(|address| executors.contains(address)).count();
            for address in executors {
                if listed < MAX_STREAMS && connected.insert(address.clone()) {
                    listed += 1;
                    streams.spawn(self.open(address, count));
                }
            }
            // Cancel-safe: a stream that ended stays in the set, and the other arms only wait.
            tokio::select! {
                () = self.drain.cancelled() => {}
                Some(ended) = streams.join_next() => {
                    if let Ok(address) = ended {
                        connected.remove(&address);
                    }
                    tokio::time::sleep(RECONNECT_DELAY).await;
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        while streams.join_next().await.is_some() {}
    }

    /// Returns the addresses of the executors that may accept the worker.
    async fn discover(&self) -> Vec<String> {
        if !self.executors.is_empty() {
            return self.executors.clone();
        }
        let processes = match self.client.processes().await {
            Ok(reply) => reply.value.processes,
            Err(error) => {
                self.state.send_modify(|state| state.refusal = error.to_string());
                return Vec::new();
            }
        };
        let scheme = if self.client.tls().is_some() { "https" } else { "http" };
        let executors = processes.into_iter().filter(|process| process.kind == "saga-executor");
        let found: Vec<String> = executors
            .filter(|process| ProcessInfo::from(process.about.clone()).accepts(&self.service.name))
            .map(|process| format!("{scheme}://{}", process.address))
            .collect();
        if found.is_empty() {
            let refusal = "the gateway lists no executor that serves it";
            self.state.send_modify(|state| refusal.clone_into(&mut state.refusal));
        }
        found
    }

    /// Returns the credential of the client as metadata.
    fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        let value = self.client.authorization()?;
        let mut value = MetadataValue::try_from(value.as_bytes()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Opens a stream and serves it until it ends. Returns the address of the executor.
    fn open(&self, address: String, streams: usize) -> impl Future<Output = String> + 'static {
        let streams = u32::try_from(streams).unwrap_or(1).max(1);
        let stream = WorkerStream {
            address: address.clone(),
            namespace: self.client.namespace().to_owned(),
            authorization: self.authorization(),
            service: Arc::clone(&self.service),
            capacity: self.service.capacity.div_ceil(streams).max(1),
            drain: self.drain.clone(),
            suspensions: Arc::clone(&self.suspensions),
            // An executor announces an address, which its certificate need not contain.
            tls: self.client.tls().map(|tls| tls.expecting(PeerRole::SagaExecutor).by_identity()),
        };
        let state = Arc::clone(&self.state);
        async move {
            let on_open = {
                let state = Arc::clone(&state);
                move || state.send_modify(|state| state.open += 1)
            };
            match stream.run(on_open).await {
                Ok(reason) => {
                    tracing::info!(executor = address, reason, "worker disconnected");
                    state.send_modify(|state| state.open -= 1);
                }
                Err(status) => {
                    tracing::debug!(executor = address, %status, "executor refused the worker");
                    let refusal = format!("{address}: {}", status.message());
                    state.send_modify(|state| state.refusal = refusal);
                    tokio::time::sleep(REFUSED_DELAY).await;
                }
            }
            address
        }
    }
}
