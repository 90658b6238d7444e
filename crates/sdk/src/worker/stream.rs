//! One stream to one executor.

use crate::context::{Heart, Inner, Way};
use crate::{Context, Failure, Operation, Service};
use goconductor_wire::v1::connect_request::Message as From;
use goconductor_wire::v1::connect_response::Message as To;
use goconductor_wire::v1::task_result::Outcome;
use goconductor_wire::v1::worker_service_client::WorkerServiceClient;
use goconductor_wire::v1::{self as wire, ConnectRequest, ConnectResponse};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Status, Streaming};

/// A connection that is not there after this long is taken for refused.
const CONNECT: Duration = Duration::from_secs(2);
/// Until the executor says what the lease is.
const FIRST_LEASE: Duration = Duration::from_secs(5);
/// What a message may hold.
const MESSAGE_BYTES: usize = 64 << 20;

/// One stream to one executor.
pub(super) struct Stream {
    pub(super) address: String,
    pub(super) namespace: String,
    pub(super) service: Arc<Service>,
    pub(super) capacity: u32,
    pub(super) drain: CancellationToken,
}

/// A stream that is open.
struct Open {
    service: Arc<Service>,
    say: mpsc::Sender<ConnectRequest>,
    running: JoinSet<u64>,
    cancels: HashMap<u64, CancellationToken>,
}

impl Stream {
    /// Holds the stream until it ends; why it did.
    pub(super) async fn run(self, opened: impl FnOnce()) -> Result<&'static str, Status> {
        let endpoint = Endpoint::from_shared(self.address.clone())
            .map_err(|error| Status::invalid_argument(error.to_string()))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2));
        let channel = endpoint.connect().await.map_err(|error| Status::from_error(Box::new(error)))?;
        let (say, said) = mpsc::channel(256);
        let hello = From::Hello(wire::Hello {
            service: self.service.name.clone(),
            actions: self.service.handlers.actions(),
            capacity: self.capacity,
            version: self.service.version.clone(),
            identity: format!("{}@{}", std::process::id(), host_name()),
        });
        // There is room: it is the first.
        drop(say.try_send(ConnectRequest { message: Some(hello) }));
        let mut request = Request::new(ReceiverStream::new(said));
        let namespace = MetadataValue::try_from(self.namespace.as_str())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        request.metadata_mut().insert("goconductor-namespace", namespace);
        let client = WorkerServiceClient::new(channel);
        let mut client =
            client.max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES);
        let mut heard = client.connect(request).await?.into_inner();
        let lease = welcome(&mut heard).await?;
        opened();
        let service = Arc::clone(&self.service);
        let mut open = Open { service, say, running: JoinSet::new(), cancels: HashMap::new() };
        let why = open.serve(&mut heard, lease, &self.drain).await;
        // Nobody hears their results any more.
        open.cancels.values().for_each(CancellationToken::cancel);
        while open.running.join_next().await.is_some() {}
        Ok(why)
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "worker".to_owned(), |name| name.trim().to_owned())
}

async fn welcome(heard: &mut Streaming<ConnectResponse>) -> Result<Duration, Status> {
    let first = tokio::time::timeout(FIRST_LEASE, heard.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the executor did not say welcome"))??;
    match first {
        Some(ConnectResponse { message: Some(To::Welcome(welcome)) }) => {
            let lease = welcome.lease.and_then(|lease| Duration::try_from(lease).ok());
            Ok(lease.filter(|lease| !lease.is_zero()).unwrap_or(FIRST_LEASE))
        }
        Some(_) | None => Err(Status::internal("the executor did not say welcome")),
    }
}

impl Open {
    async fn serve(
        &mut self,
        heard: &mut Streaming<ConnectResponse>,
        lease: Duration,
        drain: &CancellationToken,
    ) -> &'static str {
        let mut beats = tokio::time::interval(lease / 3);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silent = tokio::time::sleep(lease);
        tokio::pin!(silent);
        let mut draining = false;
        loop {
            // Safe to cancel: messages that were not taken stay where they are, and so do tasks.
            tokio::select! {
                message = heard.message() => {
                    silent.as_mut().reset(Instant::now() + lease);
                    match message {
                        Ok(Some(ConnectResponse { message })) => {
                            draining |= self.hear(message);
                        }
                        Ok(None) => return "the executor closed it",
                        Err(_) => return "it broke",
                    }
                }
                Some(ended) = self.running.join_next() => {
                    if let Ok(task) = ended {
                        self.cancels.remove(&task);
                    }
                }
                _ = beats.tick() => {
                    let beat = ConnectRequest { message: Some(From::Heartbeat(wire::Heartbeat {})) };
                    if self.say.try_send(beat).is_err() && self.say.is_closed() {
                        return "it broke";
                    }
                }
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    let bye = ConnectRequest { message: Some(From::Drain(wire::Drain {})) };
                    if self.say.send(bye).await.is_err() {
                        return "it broke";
                    }
                }
                () = &mut silent => return "nothing was heard of the executor within the lease",
            }
            if draining && self.running.is_empty() {
                return "it was drained";
            }
        }
    }

    /// Acts on a message; whether the executor drains.
    fn hear(&mut self, message: Option<To>) -> bool {
        match message {
            Some(To::Task(task)) => self.begin(task),
            Some(To::Cancel(cancel)) => {
                if let Some(token) = self.cancels.get(&cancel.task_id) {
                    token.cancel();
                }
            }
            Some(To::Drain(wire::Drain {})) => return true,
            Some(To::Heartbeat(wire::Heartbeat {}) | To::Welcome(_)) | None => {}
        }
        false
    }

    fn begin(&mut self, task: wire::Task) {
        let id = task.task_id;
        let cancelled = CancellationToken::new();
        self.cancels.insert(id, cancelled.clone());
        let (service, say) = (Arc::clone(&self.service), self.say.clone());
        self.running.spawn(async move {
            let outcome = carry_out(&service, task, cancelled, say.clone()).await;
            let result = wire::TaskResult { task_id: id, outcome: Some(outcome) };
            // Where nobody hears it, it is asked for again.
            drop(say.send(ConnectRequest { message: Some(From::Result(result)) }).await);
            id
        });
    }
}

async fn carry_out(
    service: &Service,
    task: wire::Task,
    cancelled: CancellationToken,
    say: mpsc::Sender<ConnectRequest>,
) -> Outcome {
    let operation = match task.operation() {
        wire::Operation::Compensate => Operation::Compensate,
        wire::Operation::Execute | wire::Operation::Unspecified => Operation::Execute,
    };
    let left = task.timeout.and_then(|timeout| Duration::try_from(timeout).ok()).unwrap_or_default();
    let inner = Inner {
        key: task.idempotency_key,
        workflow_id: task.workflow_id,
        step: task.step,
        operation,
        attempt: task.attempt,
        deadline: Instant::now() + left,
        traceparent: task.traceparent,
        lock_tokens: task.lock_tokens.into_iter().collect(),
        cancelled,
        heart: Heart {
            timeout: task.heartbeat_timeout.and_then(|timeout| Duration::try_from(timeout).ok()),
            way: Way::Stream(say, task.task_id),
        },
    };
    let input: Value = match serde_json::from_str(&task.input_json) {
        Ok(input) => input,
        Err(error) => return outcome(Err(Failure::retryable("BAD_TASK", error.to_string()))),
    };
    let context = Context { inner: Arc::new(inner) };
    outcome(service.handlers.carry_out(&task.action, context, input).await)
}

fn outcome(result: Result<Value, Failure>) -> Outcome {
    let failed = |code: String, message: String, detail: Option<Value>| {
        let detail_json = detail.map(|detail| detail.to_string()).unwrap_or_default();
        Some(wire::Failure { code, message, detail_json })
    };
    match result {
        Ok(output) => Outcome::Done(wire::Done { output_json: output.to_string() }),
        Err(Failure::Retryable { code, message, after }) => Outcome::Retryable(wire::Retryable {
            failure: failed(code, message, None),
            retry_after: after.and_then(|after| after.try_into().ok()),
        }),
        Err(Failure::Refused { code, message, detail }) => {
            Outcome::Refused(wire::Refused { failure: failed(code, message, detail) })
        }
        Err(Failure::Unknown { code, message }) => {
            Outcome::Unknown(wire::Unknown { failure: failed(code, message, None) })
        }
    }
}
