//! `WorkerService.Connect`: a worker's stream, from its hello to its end.

use crate::Settings;
use crate::task::Task;
use crate::workers::{Order, Seat, ServiceKey, Worker, Workers};
use futures::stream::BoxStream;
use goconductor_saga::{Failure, Json, Outcome, Side, Timestamp};
use goconductor_transition::clock;
use goconductor_wire::v1::connect_request::Message as From;
use goconductor_wire::v1::connect_response::Message as To;
use goconductor_wire::v1::task_result::Outcome as Told;
use goconductor_wire::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use goconductor_wire::v1::{self as wire, ConnectRequest, ConnectResponse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

/// A worker's `retry_after` is honoured up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Actions of a worker, and bytes of a name.
const ACTIONS: usize = 10_000;
const NAME: usize = 256;
/// Tasks of a worker at once, at most.
const CAPACITY: u32 = 100_000;

/// Serves workers.
#[derive(Debug)]
pub struct Service {
    workers: Arc<Workers>,
    settings: Arc<Settings>,
    stop: CancellationToken,
}

/// A service that seats workers; at `stop` they are told to go elsewhere.
pub(crate) fn service(
    workers: Arc<Workers>,
    settings: Arc<Settings>,
    stop: CancellationToken,
) -> WorkerServiceServer<Service> {
    let bytes = settings.output_bytes.saturating_add(64 << 10);
    WorkerServiceServer::new(Service { workers, settings, stop }).max_decoding_message_size(bytes)
}

type Tell = mpsc::Sender<Result<ConnectResponse, Status>>;

#[tonic::async_trait]
impl WorkerService for Service {
    type ConnectStream = BoxStream<'static, Result<ConnectResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable("the executor is draining: connect to another one"));
        }
        let namespace = namespace(request.metadata())?;
        let mut from = request.into_inner();
        let lease = self.settings.worker_lease;
        let first = tokio::time::timeout(lease, from.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello came within the lease"))??;
        let Some(ConnectRequest { message: Some(From::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message is hello"));
        };
        let (key, worker) = self.read(namespace, hello)?;
        let (tell, told) = mpsc::channel(64);
        let welcome = wire::Welcome { executor: self.settings.identity.clone(), lease: Some(span(lease)) };
        // There is room: it is the first.
        drop(tell.try_send(Ok(ConnectResponse { message: Some(To::Welcome(welcome)) })));
        let (seat, orders) = self.workers.sit(&key, worker);
        let Worker { identity, version, .. } = seat.worker();
        tracing::info!(service = key.1, namespace = key.0, worker = identity, version, "a worker came");
        let stream = Stream {
            workers: Arc::clone(&self.workers),
            settings: Arc::clone(&self.settings),
            stop: self.stop.clone(),
            key,
            seat,
            tell,
        };
        drop(tokio::spawn(stream.run(from, orders)));
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

impl Service {
    fn read(&self, namespace: String, hello: wire::Hello) -> Result<(ServiceKey, Worker), Status> {
        let wire::Hello { service, actions, capacity, version, identity } = hello;
        if service.is_empty() || service.len() > 63 {
            return Err(Status::invalid_argument("hello names no service"));
        }
        let served = &self.settings.services;
        if !served.is_empty() && !served.contains(&service) {
            return Err(Status::failed_precondition(format!(
                "this executor serves {}, not {service}: connect to one that does",
                served.join(", ")
            )));
        }
        if actions.is_empty() || actions.len() > ACTIONS || actions.iter().any(|name| name.len() > NAME) {
            return Err(Status::invalid_argument(format!(
                "hello names 1 to {ACTIONS} actions of at most {NAME} bytes"
            )));
        }
        if !(1..=CAPACITY).contains(&capacity) {
            return Err(Status::invalid_argument(format!("a worker's capacity is from 1 to {CAPACITY}")));
        }
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let actions = actions.into_iter().collect();
        Ok(((namespace, service), Worker { actions, capacity, version, identity }))
    }
}

fn namespace(metadata: &MetadataMap) -> Result<String, Status> {
    let Some(value) = metadata.get("goconductor-namespace") else { return Ok("default".to_owned()) };
    let text = value.to_str().unwrap_or_default();
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&text.len()) && text.bytes().all(inside) && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err(Status::invalid_argument("goconductor-namespace has up to 63 lower-case letters, digits and hyphens"))
}

/// One worker's stream.
struct Stream {
    workers: Arc<Workers>,
    settings: Arc<Settings>,
    stop: CancellationToken,
    key: ServiceKey,
    seat: Arc<Seat>,
    tell: Tell,
}

impl Stream {
    async fn run(self, mut from: Streaming<ConnectRequest>, mut orders: mpsc::UnboundedReceiver<Order>) {
        let why = self.serve(&mut from, &mut orders).await;
        self.workers.leave(&self.key, &self.seat);
        let worker = &self.seat.worker().identity;
        tracing::info!(service = self.key.1, worker, why, "a worker went");
    }

    /// Until the stream ends; why it did.
    async fn serve(
        &self,
        from: &mut Streaming<ConnectRequest>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> &'static str {
        let lease = self.settings.worker_lease;
        let mut beats = tokio::time::interval(lease / 3);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silent = tokio::time::sleep(lease);
        tokio::pin!(silent);
        let mut draining = false;
        loop {
            // Safe to cancel: messages and orders that were not taken stay where they are.
            let message = tokio::select! {
                heard = from.message() => {
                    silent.as_mut().reset(tokio::time::Instant::now() + lease);
                    match heard {
                        Ok(Some(ConnectRequest { message: Some(message) })) => match self.hear(message) {
                            Ok(()) => None,
                            Err(status) => {
                                drop(self.tell.send(Err(status)).await);
                                return "it said something that it may not";
                            }
                        },
                        Ok(Some(ConnectRequest { message: None })) => None,
                        Ok(None) => return "it closed its stream",
                        Err(_) => return "its stream broke",
                    }
                }
                order = orders.recv() => order.map(encoded),
                _ = beats.tick() => Some(To::Heartbeat(wire::Heartbeat {})),
                () = self.stop.cancelled(), if !draining => {
                    draining = true;
                    self.workers.leaving(&self.seat);
                    Some(To::Drain(wire::Drain {}))
                }
                () = &mut silent => return "nothing was heard of it within its lease",
            };
            if let Some(message) = message {
                let sent = self.tell.send(Ok(ConnectResponse { message: Some(message) }));
                // One who does not read is as lost as one who does not speak.
                if !matches!(tokio::time::timeout(lease, sent).await, Ok(Ok(()))) {
                    return "it does not read";
                }
            }
            if draining && self.seat.is_idle() {
                return "the executor is draining";
            }
        }
    }

    fn hear(&self, message: From) -> Result<(), Status> {
        match message {
            From::Hello(_) => return Err(Status::invalid_argument("hello is said once")),
            From::Heartbeat(wire::Heartbeat {}) => {}
            From::TaskHeartbeat(wire::TaskHeartbeat { task_id }) => self.seat.beat(task_id),
            From::Drain(wire::Drain {}) => self.workers.leaving(&self.seat),
            From::Result(result) => {
                let outcome = self.outcome(result.outcome);
                self.seat.answer(result.task_id, outcome);
            }
        }
        Ok(())
    }

    fn outcome(&self, told: Option<Told>) -> Outcome {
        match told {
            Some(Told::Done(done)) => output(&done.output_json, self.settings.output_bytes),
            Some(Told::Retryable(retryable)) => {
                let wait = retryable.retry_after.and_then(|wait| Duration::try_from(wait).ok());
                let not_before = wait.map(|wait| clock::now().after(wait.min(LONGEST_WAIT)));
                Outcome::Retryable { failure: failure(retryable.failure), not_before }
            }
            Some(Told::Refused(refused)) => Outcome::Refused { failure: failure(refused.failure) },
            Some(Told::Unknown(unknown)) => {
                Outcome::Unknown { failure: failure(unknown.failure), not_before: None }
            }
            None => unread("the result says no outcome"),
        }
    }
}

fn unread(reason: impl Into<String>) -> Outcome {
    Outcome::Unknown { failure: Failure::of("BAD_ANSWER", reason.into()), not_before: None }
}

fn output(text: &str, limit: usize) -> Outcome {
    if text.len() > limit {
        return unread(format!("an output of {} bytes; at most {limit} are taken", text.len()));
    }
    if text.is_empty() {
        return Outcome::Done { output: Json::Null };
    }
    match serde_json::from_str(text) {
        Ok(output) => Outcome::Done { output },
        Err(error) => unread(format!("the output is no JSON: {error}")),
    }
}

fn failure(failure: Option<wire::Failure>) -> Failure {
    let wire::Failure { code, message, detail_json } = failure.unwrap_or_default();
    let code = if code.is_empty() { "FAILED".to_owned() } else { code };
    Failure { code, message, detail: serde_json::from_str(&detail_json).ok() }
}

fn encoded(order: Order) -> To {
    match order {
        Order::Cancel(task_id, reason) => To::Cancel(wire::Cancel { task_id, reason: reason.to_owned() }),
        Order::Task(task_id, task) => To::Task(encoded_task(task_id, &task)),
    }
}

fn encoded_task(task_id: u64, task: &Task) -> wire::Task {
    let operation = match task.side {
        Side::Execute => wire::Operation::Execute,
        Side::Compensate => wire::Operation::Compensate,
    };
    let Timestamp(micros) = task.deadline;
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
        timeout: Some(span(task.timeout)),
        traceparent: task.traceparent(),
        lock_tokens: HashMap::new(),
        heartbeat_timeout: task.pulse.as_ref().map(|pulse| span(pulse.limit())),
    }
}

fn span(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}
