//! The stream of a worker to one executor.

use crate::context::{Context, HeartbeatSender, HeartbeatSink, Inner};
use crate::error::ActionError;
use crate::service::Service;
use crate::worker::drain::DrainProgress;
use crate::worker::suspension::SuspensionDetector;
use goconductor_inbox::Operation;
use goconductor_telemetry::trace;
use goconductor_tls::{ClientTls, SecureConnector};
use goconductor_wire::v1::connect_request::Message as ToExecutor;
use goconductor_wire::v1::connect_response::Message as FromExecutor;
use goconductor_wire::v1::task_result::Outcome;
use goconductor_wire::v1::worker_service_client::WorkerServiceClient;
use goconductor_wire::v1::{self as wire, ConnectRequest, ConnectResponse};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tracing::{Instrument, Span};

/// The timeout for connecting to an executor.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval and the timeout of HTTP/2 keep-alive pings.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// The timeout for the executor's welcome, which contains the lease. Also the lease if the welcome has none.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// The minimum lease. It has several heartbeats.
const MIN_LEASE: Duration = Duration::from_millis(10);
/// The maximum lease and the maximum time until a deadline, a century. The clock can represent its end.
const MAX_TIMEOUT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The maximum size of a message in bytes. The input of a compensation can contain two large payloads.
const MAX_MESSAGE_BYTES: usize = 192 << 20;
/// The maximum size of an output in bytes, for an executor that does not state it.
const MAX_OUTPUT_BYTES: usize = 512 << 10;
/// The maximum size of a code and of a message in bytes.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// Messages to the executor that may be buffered.
const REQUEST_BUFFER: usize = 256;
/// Heartbeats that are sent within a lease, so that two may be lost.
const HEARTBEATS_PER_LEASE: u32 = 3;
/// How long a lost stream waits for its tasks, which are cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// The reason of a disconnect after a drain.
const DRAINED: &str = "the worker drained";
/// The reason of a disconnect by the network.
const CONNECTION_LOST: &str = "the connection was lost";
/// The reason of a disconnect after a lease without a message.
const LEASE_EXPIRED: &str = "the executor sent nothing within the lease";

/// A stream to one executor that is not open yet.
pub(super) struct WorkerStream {
    pub(super) address: String,
    pub(super) namespace: String,
    /// The value of the metadata `authorization`.
    pub(super) authorization: Option<MetadataValue<Ascii>>,
    pub(super) service: Arc<Service>,
    pub(super) capacity: u32,
    pub(super) drain: CancellationToken,
    pub(super) suspensions: Arc<SuspensionDetector>,
    /// `None` if the executor does not speak TLS.
    pub(super) tls: Option<ClientTls>,
}

/// An open stream.
struct OpenStream {
    service: Arc<Service>,
    requests: mpsc::Sender<ConnectRequest>,
    suspensions: Arc<SuspensionDetector>,
    running: JoinSet<u64>,
    cancels: HashMap<u64, CancellationToken>,
    progress: DrainProgress,
    /// The time of the hello. No task was sent before it.
    hello_at: Instant,
    /// The maximum size of an output in bytes.
    max_output_bytes: usize,
}

/// The terms of a stream, which the executor states in its welcome.
struct Terms {
    lease: Duration,
    max_output_bytes: usize,
    acknowledges_drain: bool,
}

impl WorkerStream {
    /// Opens the stream, calls `on_open` and serves the stream until it ends. Returns the reason.
    pub(super) async fn run(self, on_open: impl FnOnce()) -> Result<&'static str, Status> {
        let channel = self.connect().await?;
        let (sender, requests) = mpsc::channel(REQUEST_BUFFER);
        let hello = ToExecutor::Hello(wire::Hello {
            service: self.service.name.clone(),
            actions: self.service.handlers.actions(),
            capacity: self.capacity,
            version: self.service.version.clone(),
            identity: format!("{}@{}", std::process::id(), host_name()),
        });
        // Invariant: the buffer is empty.
        drop(sender.try_send(ConnectRequest { message: Some(hello) }));
        let mut request = Request::new(ReceiverStream::new(requests));
        let namespace = MetadataValue::try_from(self.namespace.as_str())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        request.metadata_mut().insert("goconductor-namespace", namespace);
        if let Some(value) = &self.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let hello_at = Instant::now();
        let mut responses = client.connect(request).await?.into_inner();
        let Terms { lease, max_output_bytes, acknowledges_drain } = welcome(&mut responses).await?;
        on_open();
        let mut stream = OpenStream {
            service: Arc::clone(&self.service),
            requests: sender,
            suspensions: Arc::clone(&self.suspensions),
            running: JoinSet::new(),
            cancels: HashMap::new(),
            progress: DrainProgress::new(acknowledges_drain),
            hello_at,
            max_output_bytes,
        };
        let reason = stream.serve(&mut responses, lease, &self.drain).await;
        stream.abandon_tasks().await;
        if reason == DRAINED {
            // The executor ends the stream when it has read the last result. Dropping `responses` earlier would reset
            // the stream, and results that are still in the buffer would be lost.
            let end = async { while let Ok(Some(_)) = responses.message().await {} };
            drop(tokio::time::timeout(lease, end).await);
        }
        Ok(reason)
    }
}

impl WorkerStream {
    async fn connect(&self) -> Result<Channel, Status> {
        let invalid = |error: String| Status::invalid_argument(error);
        // The connector adds TLS itself. The library refuses `https` without a TLS configuration of its own.
        let plain = self.address.strip_prefix("https://").map(|rest| format!("http://{rest}"));
        let endpoint = Endpoint::from_shared(plain.unwrap_or_else(|| self.address.clone()))
            .map_err(|error| invalid(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let connected = match &self.tls {
            None => endpoint.connect().await,
            Some(tls) => {
                let connector = SecureConnector::new(tls).map_err(|error| invalid(error.to_string()))?;
                let origin = self.address.parse().map_err(|_| invalid(self.address.clone()))?;
                endpoint.origin(origin).connect_with_connector(connector).await
            }
        };
        connected.map_err(|error| Status::from_error(Box::new(error)))
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "worker".to_owned(), |name| name.trim().to_owned())
}

/// Waits for the executor's welcome.
async fn welcome(responses: &mut Streaming<ConnectResponse>) -> Result<Terms, Status> {
    let first = tokio::time::timeout(WELCOME_TIMEOUT, responses.message())
        .await
        .map_err(|_| Status::deadline_exceeded(format!("no welcome within {WELCOME_TIMEOUT:?}")))??;
    match first {
        Some(ConnectResponse { message: Some(FromExecutor::Welcome(welcome)) }) => {
            let lease = welcome.lease.and_then(|lease| Duration::try_from(lease).ok());
            let max = usize::try_from(welcome.max_output_bytes).unwrap_or(usize::MAX);
            Ok(Terms {
                lease: lease
                    .filter(|lease| !lease.is_zero())
                    .unwrap_or(WELCOME_TIMEOUT)
                    .clamp(MIN_LEASE, MAX_TIMEOUT),
                max_output_bytes: if max == 0 { MAX_OUTPUT_BYTES } else { max },
                acknowledges_drain: welcome.acknowledges_drain,
            })
        }
        Some(_) | None => Err(Status::internal("the executor's first message was not a welcome message")),
    }
}

impl OpenStream {
    async fn serve(
        &mut self,
        responses: &mut Streaming<ConnectResponse>,
        lease: Duration,
        drain: &CancellationToken,
    ) -> &'static str {
        let mut heartbeats = tokio::time::interval(lease / HEARTBEATS_PER_LEASE);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let expired = tokio::time::sleep(lease);
        tokio::pin!(expired);
        let mut received_at = Instant::now();
        loop {
            let drained_at = self.progress.ends_at().filter(|_| self.running.is_empty());
            // Cancel-safe: a message that was not received stays in its stream, a finished task in its set.
            tokio::select! {
                response = responses.message() => {
                    let now = Instant::now();
                    if now.saturating_duration_since(received_at) > lease {
                        // The process was suspended. The executor has given up the stream and its tasks.
                        return LEASE_EXPIRED;
                    }
                    received_at = now;
                    expired.as_mut().reset(now + lease);
                    match response {
                        Ok(Some(ConnectResponse { message })) => self.handle(message, now),
                        Ok(None) => return "the executor closed the stream",
                        Err(_) => return CONNECTION_LOST,
                    }
                }
                Some(ended) = self.running.join_next() => {
                    if let Ok(task) = ended {
                        self.cancels.remove(&task);
                    }
                }
                _ = heartbeats.tick() => {
                    let heartbeat = ToExecutor::Heartbeat(wire::Heartbeat {});
                    let heartbeat = ConnectRequest { message: Some(heartbeat) };
                    if self.requests.try_send(heartbeat).is_err() && self.requests.is_closed() {
                        return CONNECTION_LOST;
                    }
                }
                () = drain.cancelled(), if !self.progress.has_begun() => {
                    let drain = ConnectRequest { message: Some(ToExecutor::Drain(wire::Drain {})) };
                    if self.requests.send(drain).await.is_err() {
                        return CONNECTION_LOST;
                    }
                    self.progress.worker_drains(Instant::now());
                }
                () = tokio::time::sleep_until(drained_at.unwrap_or(received_at)), if drained_at.is_some() => {}
                () = &mut expired => return LEASE_EXPIRED,
            }
            if self.progress.is_complete(Instant::now()) && self.running.is_empty() {
                return DRAINED;
            }
        }
    }

    /// Cancels the tasks that are left, which can no longer report their results, and waits for them. A task that ignores
    /// its cancellation does not keep the worker from connecting again.
    async fn abandon_tasks(mut self) {
        self.cancels.values().for_each(CancellationToken::cancel);
        let ended = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(CANCEL_TIMEOUT, ended).await.is_err() {
            tracing::warn!(service = self.service.name, "tasks ignored their cancellation");
            self.running.detach_all();
        }
    }

    /// Handles a message that was received at `now`.
    fn handle(&mut self, message: Option<FromExecutor>, now: Instant) {
        match message {
            Some(FromExecutor::Task(task)) => self.spawn(task, now),
            Some(FromExecutor::Cancel(cancel)) => {
                if let Some(token) = self.cancels.get(&cancel.task_id) {
                    token.cancel();
                }
            }
            Some(FromExecutor::Drain(wire::Drain {})) => self.progress.executor_drains(now),
            Some(FromExecutor::DrainAck(wire::DrainAck {})) => self.progress.acknowledged(now),
            Some(FromExecutor::Heartbeat(wire::Heartbeat {}) | FromExecutor::Welcome(_)) | None => {}
        }
    }

    fn spawn(&mut self, task: wire::Task, now: Instant) {
        let id = task.task_id;
        // A task that waited in the socket has less time left.
        let waited = self.suspensions.delay(now).min(now.saturating_duration_since(self.hello_at));
        let deadline = now + timeout(&task).saturating_sub(waited);
        let cancelled = CancellationToken::new();
        self.cancels.insert(id, cancelled.clone());
        let (service, requests) = (Arc::clone(&self.service), self.requests.clone());
        let limit = self.max_output_bytes;
        self.running.spawn(async move {
            let result = run_task(&service, task, deadline, cancelled, requests.clone()).await;
            let outcome = to_wire(result, limit);
            let result = wire::TaskResult { task_id: id, outcome: Some(outcome) };
            // If the result is lost, the task is retried with the same key.
            drop(requests.send(ConnectRequest { message: Some(ToExecutor::Result(result)) }).await);
            id
        });
    }
}

/// Returns the time until the deadline of a task. The clock of the executor counts only if it does not state the time.
fn timeout(task: &wire::Task) -> Duration {
    if let Some(timeout) = task.timeout {
        return Duration::try_from(timeout).unwrap_or_default().min(MAX_TIMEOUT);
    }
    let deadline = task.deadline.and_then(|deadline| SystemTime::try_from(deadline).ok());
    #[allow(clippy::disallowed_methods, reason = "the deadline is a time of day")]
    let now = SystemTime::now();
    deadline.and_then(|deadline| deadline.duration_since(now).ok()).unwrap_or_default().min(MAX_TIMEOUT)
}

/// Runs the action of a task. The action is cancelled at the deadline, and its result is awaited in any case.
async fn run_task(
    service: &Service,
    task: wire::Task,
    deadline: Instant,
    cancelled: CancellationToken,
    requests: mpsc::Sender<ConnectRequest>,
) -> Result<Value, ActionError> {
    let operation = match task.operation() {
        wire::Operation::Compensate => Operation::Compensate,
        wire::Operation::Execute | wire::Operation::Unspecified => Operation::Execute,
    };
    let heartbeat_timeout = task.heartbeat_timeout.and_then(|timeout| Duration::try_from(timeout).ok());
    let inner = Inner {
        key: task.idempotency_key,
        workflow_id: task.workflow_id,
        step: task.step,
        action: task.action,
        operation,
        attempt: task.attempt,
        deadline,
        traceparent: task.traceparent,
        tracestate: Some(task.tracestate).filter(|state| !state.is_empty()),
        lock_tokens: task.lock_tokens.into_iter().collect(),
        cancelled: cancelled.clone(),
        heartbeats: HeartbeatSender {
            timeout: heartbeat_timeout,
            sink: HeartbeatSink::Stream(requests, task.task_id),
        },
    };
    let input: Value = match serde_json::from_str(&task.input_json) {
        Ok(input) => input,
        Err(error) => return Err(ActionError::retryable("BAD_TASK", error.to_string())),
    };
    let span = action_span(&inner, &service.name);
    let inner = Arc::new(inner);
    let context = Context { inner: Arc::clone(&inner) };
    let running = service.handlers.run(&inner.action, context, input).instrument(span);
    tokio::pin!(running);
    // Cancel-safe: the action is not dropped.
    tokio::select! {
        result = &mut running => return result,
        () = tokio::time::sleep_until(deadline) => cancelled.cancel(),
    }
    running.await
}

/// Creates the span of an action, a child of the span of its attempt in the executor. It exists if the program exports the
/// spans of its target.
fn action_span(task: &Inner, service: &str) -> Span {
    let span = tracing::debug_span!(
        target: trace::TARGET,
        "action",
        otel.name = format!("{service}/{}", task.action),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = "goconductor.v1.WorkerService",
        rpc.method = "Connect",
        goconductor.workflow.id = task.workflow_id,
        goconductor.step = task.step,
        goconductor.attempt = task.attempt,
    );
    if let Some(parent) = trace::SpanContext::read(Some(&task.traceparent), task.tracestate.as_deref()) {
        trace::set_parent(&span, &parent);
    }
    span
}

/// Cuts a text to the length that is sent. An executor keeps even less.
fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    text.truncate(end);
    text
}

/// Converts a result to the form of the stream. An output of more than `limit` bytes is not sent, because a message
/// that the executor does not accept would end the stream with all its tasks. Texts are cut for the same reason.
fn to_wire(result: Result<Value, ActionError>, limit: usize) -> Outcome {
    let failure = |code: String, message: String, detail: Option<Value>| {
        let (code, message) = (cut(code), cut(message));
        let detail_json = detail.map(|detail| detail.to_string()).unwrap_or_default();
        if detail_json.len() > limit {
            let message = format!("{message} [cut: details of {} bytes]", detail_json.len());
            return Some(wire::Failure { code, message, detail_json: String::new() });
        }
        Some(wire::Failure { code, message, detail_json })
    };
    match result {
        Ok(output) => {
            let output_json = output.to_string();
            if output_json.len() <= limit {
                return Outcome::Done(wire::Done { output_json });
            }
            let reason = format!("the output has {} bytes; the limit is {limit}", output_json.len());
            let failure = failure("OUTPUT_TOO_LARGE".to_owned(), reason, None);
            Outcome::Unknown(wire::Unknown { failure })
        }
        Err(ActionError::Retryable { code, message, after }) => Outcome::Retryable(wire::Retryable {
            failure: failure(code, message, None),
            retry_after: after.and_then(|after| after.try_into().ok()),
        }),
        Err(ActionError::Refused { code, message, detail }) => {
            Outcome::Refused(wire::Refused { failure: failure(code, message, detail) })
        }
        Err(ActionError::Unknown { code, message }) => {
            Outcome::Unknown(wire::Unknown { failure: failure(code, message, None) })
        }
    }
}

#[cfg(test)]
mod tests;
