//! The consumer of one lane of one service: the executes or the compensations.
//!
//! It receives no more commands than the concurrency limits allow to run.

use crate::attempt::{Received, Runner, to_dead_letter};
use crate::concurrency::{ConcurrencyLimits, Permits};
use crate::stall_detector::StallDetector;
use crate::task::Participant;
use goconductor_queue::{Consumer, Delivery, DeliveryTag, Topic};
use goconductor_store::LedgerRowKey;
use goconductor_transition::Command;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The delay before a new consumer is opened after an error of the queue.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// The timeout of an acknowledgement. It exceeds the time after which each adapter gives up, and bounds the harm of an
/// adapter that does not: a lane whose consumer waits receives nothing.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that one receive of a drained in-process queue may return.
const DRAIN_BATCH: usize = 1000;
/// An in-process queue that returns no message within this time is empty.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1);

/// Acknowledges deliveries. After an error, the consumer is opened again and its messages are delivered again.
async fn acknowledge(
    consumer: &mut dyn Consumer,
    tags: &[DeliveryTag],
) -> Result<Vec<DeliveryTag>, goconductor_queue::Error> {
    let timed_out = || Err(goconductor_queue::Error::unavailable("acknowledgement timed out"));
    tokio::time::timeout(ACKNOWLEDGE_TIMEOUT, consumer.acknowledge(tags))
        .await
        .unwrap_or_else(|_| timed_out())
}

/// The participant of a service. It changes when the transport changes.
pub(crate) type Endpoint = Arc<RwLock<Arc<dyn Participant>>>;

/// The consumer of one lane of one service.
#[derive(Debug)]
pub(crate) struct LaneConsumer {
    pub(crate) runner: Arc<Runner>,
    pub(crate) topic: Topic,
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: ConcurrencyLimits,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl LaneConsumer {
    /// Runs until it is stopped, then waits for the commands in flight.
    pub(crate) async fn run(self: Arc<Self>) {
        let Self { topic, tasks, stop, .. } = &*self;
        let mut detector = StallDetector::new();
        while !stop.is_cancelled() {
            let error = match self.runner.engine.queue().consume(topic).await {
                Ok(mut consumer) => {
                    // The dispatcher skips topics without a consumer, so the ledger may hold due commands.
                    self.runner.engine.timer_notifier().notify();
                    match self.consume(&mut *consumer, &mut detector).await {
                        Ok(()) => {
                            // A broker delivers its backlog to the next consumer; an in-process queue ends here.
                            if !self.runner.engine.queue().is_durable() {
                                self.release_backlog(&mut *consumer).await;
                            }
                            consumer.close().await;
                            break;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%topic, error = error.report(), "consumer failed; retrying");
            tokio::time::sleep(RETRY_DELAY).await;
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Accepts a command that this process issued if all permits are free now. Returns it otherwise.
    pub(crate) fn try_accept(&self, command: Command) -> Option<Command> {
        // The token must come before the check: once stopped, `run` waits for all tokens.
        let token = self.tasks.token();
        if self.stop.is_cancelled() {
            return Some(command);
        }
        let limits = &self.limits;
        let (true, Ok(lane)) =
            (limits.actions.can_park(limits.side), Arc::clone(&limits.lane).try_acquire_owned())
        else {
            return Some(command);
        };
        let Some(executor) = limits.executor.try_acquire(&limits.namespace) else { return Some(command) };
        self.spawn(command, Received::now(), self.permits(lane, executor));
        drop(token);
        None
    }

    async fn consume(
        &self,
        consumer: &mut dyn Consumer,
        detector: &mut StallDetector,
    ) -> Result<(), goconductor_queue::Error> {
        let Self { topic, stop, .. } = self;
        let queue = &**self.runner.engine.queue();
        loop {
            // Cancel-safe: a dropped acquire owns no permit.
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                permit = self.acquire_lane() => permit,
            };
            let Ok(first) = first else { return Ok(()) };
            let free = 1 + self.limits.lane.available_permits();
            // Cancel-safe: a dropped `receive` loses no message.
            let mut deliveries = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                deliveries = consumer.receive(free) => deliveries?,
                () = detector.stalled(queue, topic) => {
                    let reason = "the topic has a backlog but the consumer receives nothing";
                    return Err(goconductor_queue::Error::unavailable(reason));
                }
            };
            detector.progressed();
            let mut first = Some(first);
            // Acquires fewer permits than deliveries while other namespaces wait for theirs.
            while !deliveries.is_empty()
                && let Ok(mut executor_permits) =
                    self.limits.executor.acquire_up_to(&self.limits.namespace, deliveries.len()).await
            {
                let batch: Vec<_> = deliveries.drain(..executor_permits.len()).collect();
                let received = Received::now();
                let commands = self.decode(&batch).await?;
                let tags: Vec<_> = batch.iter().map(|delivery| delivery.tag).collect();
                let lost = acknowledge(consumer, &tags).await?;
                for (tag, command) in commands {
                    let (false, Some(executor)) = (lost.contains(&tag), executor_permits.pop()) else {
                        continue;
                    };
                    let lane = match first.take() {
                        Some(permit) => permit,
                        None => match Arc::clone(&self.limits.lane).acquire_owned().await {
                            Ok(permit) => permit,
                            Err(_) => return Ok(()),
                        },
                    };
                    self.spawn(command, received, self.permits(lane, executor));
                }
            }
        }
    }

    /// Acquires a lane permit once a further command may be parked.
    async fn acquire_lane(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.limits.actions.until_can_park(self.limits.side).await;
        Arc::clone(&self.limits.lane).acquire_owned().await
    }

    fn permits(
        &self,
        lane: OwnedSemaphorePermit,
        executor: goconductor_service_kit::fair::Permit,
    ) -> Permits {
        Permits::new(self.limits.clone(), lane, executor, self.stop.clone())
    }

    /// Decodes the commands of a batch. Stores invalid messages as dead letters before they are acknowledged.
    async fn decode(
        &self,
        deliveries: &[Delivery],
    ) -> Result<Vec<(DeliveryTag, Command)>, goconductor_queue::Error> {
        let mut commands = Vec::with_capacity(deliveries.len());
        let mut letters = Vec::new();
        for delivery in deliveries {
            match Command::read(&delivery.message) {
                // Another consumer may have sent the command, so its outcome is unknown.
                Ok(command) if delivery.redelivered => {
                    let redelivery = command.redelivery.max(1);
                    commands.push((delivery.tag, Command { redelivery, ..command }));
                }
                Ok(command) => commands.push((delivery.tag, command)),
                Err(reason) => letters.push(to_dead_letter(&self.topic, &delivery.message, &reason)),
            }
        }
        if !letters.is_empty() {
            let stored = self.runner.engine.store().put_dead_letters(&letters).await;
            stored.map_err(|error| {
                goconductor_queue::Error::unavailable("failed to store a dead letter").with_source(error)
            })?;
        }
        Ok(commands)
    }

    fn spawn(&self, command: Command, received: Received, permits: Permits) {
        let (runner, topic) = (Arc::clone(&self.runner), self.topic.clone());
        let participant = Arc::clone(&self.endpoint.read());
        self.tasks.spawn(async move {
            runner.handle(command, &topic, received, participant, permits).await;
        });
    }

    /// Releases the commands that are left in an in-process queue. They were never sent, so the ledger can deliver
    /// them again without doubt.
    async fn release_backlog(&self, consumer: &mut dyn Consumer) {
        let mut rows: Vec<LedgerRowKey> = Vec::new();
        while let Ok(Ok(deliveries)) =
            tokio::time::timeout(DRAIN_TIMEOUT, consumer.receive(DRAIN_BATCH)).await
        {
            rows.extend(
                deliveries.iter().filter_map(|each| Command::read(&each.message).ok()).map(|each| each.row()),
            );
            let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
            if consumer.acknowledge(&tags).await.is_err() {
                break;
            }
        }
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.runner.engine.store().release(&rows).await {
            tracing::warn!(%error, rows = rows.len(), "executor failed to release its backlog; redelivery times must expire first");
        }
    }
}
