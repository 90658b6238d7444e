//! The gRPC method `WorkerService.Connect`: the stream of a worker, from its hello to its end.

mod access;

use crate::connection_log::{ConnectingWorker, ConnectionLog, RecordedConnection};
use crate::failure as failures;
use crate::settings::Settings;
use crate::stated_outcome::retry_at;
use crate::task::Task;
use crate::workers::{ServiceKey, Worker, WorkerMessage, WorkerSession, Workers};
use access::{WorkerCredential, WorkerOrigin, authorise};
use futures::stream::BoxStream;
use goconductor_access::AccessControl;
use goconductor_process::PeerAddress;
use goconductor_saga::{
    Failure, Json, NameError, NameKind, Namespace, Outcome, ServiceName, Side, Timestamp, parse_json,
};
use goconductor_tls::Peer;
use goconductor_transition::clock;
use goconductor_wire::v1::connect_request::Message as FromWorker;
use goconductor_wire::v1::connect_response::Message as ToWorker;
use goconductor_wire::v1::task_result::Outcome as WireOutcome;
use goconductor_wire::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use goconductor_wire::v1::{self as wire, ConnectRequest, ConnectResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

/// The maximum number of actions of a worker.
const MAX_ACTIONS: usize = 10_000;
/// The maximum size in bytes of the texts by which a worker names itself and its version.
const MAX_IDENTITY_BYTES: usize = 256;
/// The maximum capacity of a worker.
const MAX_CAPACITY: u32 = 100_000;
/// The maximum size of a message in bytes. It exceeds the limit of an output by far: a result that is too large is
/// refused for its own task, and the stream with the other tasks lives on.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The maximum size of the details of a failure in bytes.
const MAX_DETAIL_BYTES: usize = 64 << 10;
/// Messages to a worker that may be buffered.
const RESPONSE_BUFFER: usize = 64;
/// Heartbeats that are sent within a lease, so that two may be lost.
const HEARTBEATS_PER_LEASE: u32 = 3;

/// The gRPC service that workers connect to.
#[derive(Debug)]
pub struct WorkerAcceptor {
    workers: Arc<Workers>,
    settings: Arc<Settings>,
    /// The check of workers. `None` if all workers may serve everything.
    access: Option<AccessControl>,
    log: Arc<ConnectionLog>,
    stop: CancellationToken,
}

/// Creates the service. After `stop`, it drains the connected workers and refuses new ones.
pub(crate) fn service(
    workers: Arc<Workers>,
    settings: Arc<Settings>,
    access: Option<AccessControl>,
    log: Arc<ConnectionLog>,
    stop: CancellationToken,
) -> WorkerServiceServer<WorkerAcceptor> {
    let bytes = settings.output_bytes.saturating_mul(2).max(MAX_MESSAGE_BYTES);
    WorkerServiceServer::new(WorkerAcceptor { workers, settings, access, log, stop })
        .max_decoding_message_size(bytes)
}

type ResponseSender = mpsc::Sender<Result<ConnectResponse, Status>>;

#[tonic::async_trait]
impl WorkerService for WorkerAcceptor {
    type ConnectStream = BoxStream<'static, Result<ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the executor is draining; connect to another executor"));
        }
        let (metadata, extensions, mut requests) = request.into_parts();
        let origin = WorkerOrigin {
            metadata: &metadata,
            peer: extensions.get::<Peer>(),
            address: extensions.get::<PeerAddress>().copied(),
        };
        let credential = self.authenticate(origin).await?;
        let namespace = namespace(&metadata)?;
        let lease = self.settings.worker_lease;
        let first = tokio::time::timeout(lease, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello was received within the lease"))??;
        let Some(ConnectRequest { message: Some(FromWorker::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be hello"));
        };
        let (key, worker) = self.worker(namespace, hello)?;
        let principal = credential.as_ref().map(|credential| &*credential.principal);
        let connecting = ConnectingWorker {
            principal,
            source: origin.source(),
            namespace: Some(&key.0),
            service: Some(&key.1),
        };
        authorise(origin.peer, credential.as_ref(), &key)
            .map_err(|refusal| self.refuse(connecting, refusal))?;
        let record = self.log.begin(connecting);
        let (sender, responses) = mpsc::channel(RESPONSE_BUFFER);
        let welcome = wire::Welcome {
            executor: self.settings.identity.clone(),
            lease: Some(to_proto(lease)),
            max_output_bytes: u64::try_from(self.settings.output_bytes).unwrap_or(u64::MAX),
            acknowledges_drain: true,
        };
        // Invariant: the buffer is empty.
        drop(sender.try_send(Ok(ConnectResponse { message: Some(ToWorker::Welcome(welcome)) })));
        let (session, messages) = self.workers.register(&key, worker);
        let Worker { identity, version, .. } = session.worker();
        let span = tracing::info_span!("worker", service = key.1, namespace = key.0, worker = identity);
        span.in_scope(|| tracing::info!(version, "worker connected"));
        let stream = SessionStream {
            workers: Arc::clone(&self.workers),
            settings: Arc::clone(&self.settings),
            stop: self.stop.clone(),
            credential,
            key,
            session,
            responses: sender,
            record,
        };
        drop(tokio::spawn(stream.run(requests, messages).instrument(span)));
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

impl WorkerAcceptor {
    /// Validates the hello of a worker.
    fn worker(&self, namespace: Namespace, hello: wire::Hello) -> Result<(ServiceKey, Worker), Status> {
        let wire::Hello { service, actions, capacity, version, identity } = hello;
        let service = ServiceName::try_from(service).map_err(invalid_name)?;
        let served = &self.settings.services;
        if !served.is_empty() && !served.iter().any(|each| each == service.as_str()) {
            return Err(Status::failed_precondition(format!(
                "this executor serves {}, not {service}; connect to an executor that serves it",
                served.join(", ")
            )));
        }
        if actions.is_empty() || actions.len() > MAX_ACTIONS {
            return Err(Status::invalid_argument(format!(
                "a worker must have 1 to {MAX_ACTIONS} actions, not {}",
                actions.len()
            )));
        }
        actions.iter().try_for_each(|name| NameKind::Action.check(name)).map_err(invalid_name)?;
        for (field, text) in [("identity", &identity), ("version", &version)] {
            if text.len() > MAX_IDENTITY_BYTES || text.contains(char::is_control) {
                return Err(Status::invalid_argument(format!(
                    "invalid {field} of a worker: use at most {MAX_IDENTITY_BYTES} bytes without control characters"
                )));
            }
        }
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(Status::invalid_argument(format!(
                "the capacity of a worker must be from 1 to {MAX_CAPACITY}, not {capacity}"
            )));
        }
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let actions = actions.into_iter().collect();
        let key = (namespace.into(), service.into());
        Ok((key, Worker { actions, capacity, version, identity }))
    }
}

fn invalid_name(error: NameError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn namespace(metadata: &MetadataMap) -> Result<Namespace, Status> {
    let Some(value) = metadata.get("goconductor-namespace") else { return Ok(Namespace::default()) };
    let text = value.to_str().unwrap_or_default();
    text.parse()
        .map_err(|error: NameError| Status::invalid_argument(format!("goconductor-namespace: {error}")))
}

/// The stream of one worker.
struct SessionStream {
    workers: Arc<Workers>,
    settings: Arc<Settings>,
    stop: CancellationToken,
    credential: Option<WorkerCredential>,
    key: ServiceKey,
    session: Arc<WorkerSession>,
    responses: ResponseSender,
    record: RecordedConnection,
}

impl SessionStream {
    async fn run(
        self,
        mut requests: Streaming<ConnectRequest>,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
    ) {
        let reason = self.serve(&mut requests, &mut messages).await;
        self.workers.deregister(&self.key, &self.session, messages);
        self.record.end(reason);
        tracing::info!(reason, "worker disconnected");
    }

    /// Serves the stream until it ends. Returns the reason.
    async fn serve(
        &self,
        requests: &mut Streaming<ConnectRequest>,
        messages: &mut mpsc::UnboundedReceiver<WorkerMessage>,
    ) -> &'static str {
        let lease = self.settings.worker_lease;
        let mut heartbeats = tokio::time::interval(lease / HEARTBEATS_PER_LEASE);
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let expired = tokio::time::sleep(lease);
        tokio::pin!(expired);
        let credential_ended = self.credential_ended();
        tokio::pin!(credential_ended);
        let (mut draining, mut drain_sent) = (false, false);
        loop {
            // Cancel-safe: messages that were not received stay in their streams.
            let response = tokio::select! {
                request = requests.message() => {
                    expired.as_mut().reset(tokio::time::Instant::now() + lease);
                    match request {
                        Ok(Some(ConnectRequest { message: Some(message) })) => match self.handle(message) {
                            Ok(()) => None,
                            Err(status) => {
                                drop(self.responses.send(Err(status)).await);
                                return "the worker broke the protocol";
                            }
                        },
                        Ok(Some(ConnectRequest { message: None })) => None,
                        Ok(None) => return "the worker closed the stream",
                        Err(_) => return "the connection was lost",
                    }
                }
                message = messages.recv() => message.map(to_wire),
                _ = heartbeats.tick() => Some(ToWorker::Heartbeat(wire::Heartbeat {})),
                () = self.stop.cancelled(), if !draining => {
                    draining = true;
                    // The message follows the tasks that are assigned, like all messages of the session.
                    self.workers.drain(&self.session);
                    None
                }
                () = &mut expired => return "the worker's lease expired",
                () = &mut credential_ended => {
                    let status = Status::unauthenticated("the credential of the worker has ended");
                    drop(self.responses.try_send(Err(status)));
                    return "the worker's credential ended";
                }
            };
            if let Some(message) = response {
                drain_sent |= matches!(message, ToWorker::Drain(_));
                // A worker that does not read its stream is disconnected like one that sends nothing.
                if !self.send(message, lease).await {
                    return "the worker did not read its stream within the lease";
                }
            }
            if drain_sent && self.session.is_idle() {
                return "the executor drained";
            }
        }
    }

    /// Sends a message. Returns `false` if the worker does not read its stream.
    async fn send(&self, message: ToWorker, timeout: Duration) -> bool {
        let task = if let ToWorker::Task(task) = &message { Some(task.task_id) } else { None };
        let sent = self.responses.send(Ok(ConnectResponse { message: Some(message) }));
        if matches!(tokio::time::timeout(timeout, sent).await, Ok(Ok(()))) {
            return true;
        }
        if let Some(task) = task {
            self.session.withdraw(task);
        }
        false
    }

    /// Completes when the credential of the worker has expired or was revoked.
    async fn credential_ended(&self) {
        match &self.credential {
            Some(WorkerCredential { access, principal }) => access.ended(Arc::clone(principal)).await,
            None => std::future::pending().await,
        }
    }

    fn handle(&self, message: FromWorker) -> Result<(), Status> {
        match message {
            FromWorker::Hello(_) => return Err(Status::invalid_argument("hello must be sent only once")),
            FromWorker::Heartbeat(wire::Heartbeat {}) => {}
            FromWorker::TaskHeartbeat(wire::TaskHeartbeat { task_id }) => self.session.beat(task_id),
            FromWorker::Drain(wire::Drain {}) => self.workers.acknowledge_drain(&self.session),
            FromWorker::Result(result) => {
                let outcome = self.outcome(result.outcome);
                self.session.complete(result.task_id, outcome);
            }
        }
        Ok(())
    }

    fn outcome(&self, outcome: Option<WireOutcome>) -> Outcome {
        match outcome {
            Some(WireOutcome::Done(done)) => output(&done.output_json, self.settings.output_bytes),
            Some(WireOutcome::Retryable(retryable)) => {
                let delay = retryable.retry_after.and_then(|delay| Duration::try_from(delay).ok());
                let not_before = delay.map(|delay| retry_at(clock::now(), delay));
                Outcome::Retryable { failure: failure(retryable.failure), not_before }
            }
            Some(WireOutcome::Refused(refused)) => Outcome::Refused { failure: failure(refused.failure) },
            Some(WireOutcome::Unknown(unknown)) => answered(failure(unknown.failure)),
            None => bad_result("the result has no outcome"),
        }
    }
}

/// Returns the outcome of a task that the worker ended without a known outcome.
fn answered(failure: Failure) -> Outcome {
    Outcome::Unknown { failure, not_before: None, answered: true }
}

fn bad_result(reason: impl Into<String>) -> Outcome {
    answered(Failure::of("BAD_RESPONSE", reason.into()))
}

fn output(text: &str, limit: usize) -> Outcome {
    if text.len() > limit {
        let reason = format!("the output has {} bytes; the limit is {limit}", text.len());
        return answered(Failure::of("OUTPUT_TOO_LARGE", reason));
    }
    if text.is_empty() {
        return Outcome::Done { output: Json::Null };
    }
    match parse_json(text.as_bytes()) {
        Ok(output) => Outcome::Done { output },
        Err(error) => match error.kind.failure_code() {
            Some(code) => answered(Failure::of(code, format!("the output cannot be kept: {error}"))),
            None => bad_result(format!("the output is not valid JSON: {error}")),
        },
    }
}

fn failure(failure: Option<wire::Failure>) -> Failure {
    let wire::Failure { code, message, detail_json } = failure.unwrap_or_default();
    let code = if code.is_empty() { "FAILED".to_owned() } else { code };
    let (code, message) = (code.as_str(), message.as_str());
    if detail_json.is_empty() {
        return failures::limited(code, message, None);
    }
    if detail_json.len() > MAX_DETAIL_BYTES {
        let cut = format!("{message}… [cut: details of {} bytes]", detail_json.len());
        return failures::limited(code, &cut, None);
    }
    // Details that are not JSON are kept as text.
    let detail = parse_json(detail_json.as_bytes()).unwrap_or(Json::String(detail_json));
    failures::limited(code, message, Some(detail))
}

fn to_wire(message: WorkerMessage) -> ToWorker {
    match message {
        WorkerMessage::Cancel(task_id, reason) => {
            ToWorker::Cancel(wire::Cancel { task_id, reason: reason.to_owned() })
        }
        WorkerMessage::Task(task_id, task) => ToWorker::Task(task_to_wire(task_id, &task)),
        WorkerMessage::Drain => ToWorker::Drain(wire::Drain {}),
        WorkerMessage::DrainAck => ToWorker::DrainAck(wire::DrainAck {}),
    }
}

fn task_to_wire(task_id: u64, task: &Task) -> wire::Task {
    let operation = match task.side {
        Side::Execute => wire::Operation::Execute,
        Side::Compensate => wire::Operation::Compensate,
    };
    let Timestamp(micros) = clock::to_wall(task.deadline);
    let deadline = prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1000).unwrap_or(0),
    };
    wire::Task {
        task_id,
        workflow_id: task.workflow.to_string(),
        step: task.step.clone(),
        operation: operation.into(),
        action: task.action.clone(),
        attempt: task.attempt,
        idempotency_key: task.idempotency_key.clone(),
        input_json: task.input.to_string(),
        deadline: Some(deadline),
        timeout: Some(to_proto(task.timeout)),
        traceparent: task.traceparent(),
        tracestate: task.tracestate().unwrap_or_default().to_owned(),
        lock_tokens: task.lock_tokens.clone().into_iter().collect(),
        heartbeat_timeout: task.heartbeat.as_ref().map(|heartbeat| to_proto(heartbeat.timeout())),
    }
}

fn to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
