//! One lane of one service: takes no more commands than it can run soon.

use crate::attempt::{Runner, Taken, dead_letter};
use crate::task::Participant;
use goconductor_queue::{Consumer, Delivery, DeliveryTag, Topic};
use goconductor_saga::Side;
use goconductor_store::LedgerRowKey;
use goconductor_transition::{Command, topic_of};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a queue's error, before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How a service is reached just now.
pub(crate) type Endpoint = Arc<RwLock<Arc<dyn Participant>>>;

/// One lane of one service.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) runner: Arc<Runner>,
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) side: Side,
    pub(crate) endpoint: Endpoint,
    pub(crate) permits: Arc<Semaphore>,
}

impl Lane {
    /// Runs until `stop`, then waits for what is under way.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let topic = topic_of(&self.namespace, &self.service, self.side);
        let tasks = TaskTracker::new();
        while !stop.is_cancelled() {
            let error = match self.runner.conductor.queue().consume(&topic).await {
                Ok(mut consumer) => {
                    // The backlog that the ledger has kept for this service is wanted now.
                    self.runner.conductor.alarm().ring();
                    match self.take_all(&mut *consumer, &topic, &tasks, &stop).await {
                        Ok(()) => {
                            // What a broker holds is taken by the next consumer.
                            if !self.runner.conductor.queue().outlives_processes() {
                                self.give_back(&mut *consumer).await;
                            }
                            consumer.leave().await;
                            break;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            tracing::warn!(%topic, %error, "the queue is asked again");
            tokio::time::sleep(PAUSE).await;
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn take_all(
        &self,
        consumer: &mut dyn Consumer,
        topic: &Topic,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(), goconductor_queue::Error> {
        loop {
            // Safe to cancel: an acquire holds nothing yet, and `take` loses no message.
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                permit = Arc::clone(&self.permits).acquire_owned() => permit,
            };
            let Ok(first) = first else { return Ok(()) };
            let room = 1 + self.permits.available_permits();
            let deliveries = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                deliveries = consumer.take(room) => deliveries?,
            };
            let taken = Taken::now();
            let commands = self.read(topic, &deliveries).await?;
            let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
            let gone = consumer.acknowledge(&tags).await?;
            let mut first = Some(first);
            for (tag, command) in commands {
                if gone.contains(&tag) {
                    continue;
                }
                let permit = match first.take() {
                    Some(permit) => permit,
                    None => match Arc::clone(&self.permits).acquire_owned().await {
                        Ok(permit) => permit,
                        Err(_) => return Ok(()),
                    },
                };
                self.begin(command, topic, taken, permit, tasks);
            }
        }
    }

    /// The commands among the messages; what is none is kept as a dead letter before it is acknowledged.
    async fn read(
        &self,
        topic: &Topic,
        deliveries: &[Delivery],
    ) -> Result<Vec<(DeliveryTag, Command)>, goconductor_queue::Error> {
        let mut commands = Vec::with_capacity(deliveries.len());
        let mut dead = Vec::new();
        for delivery in deliveries {
            match Command::read(&delivery.message) {
                // Another consumer may have sent it already: such a command brings doubt with it.
                Ok(command) if delivery.redelivered => {
                    let redelivery = command.redelivery.max(1);
                    commands.push((delivery.tag, Command { redelivery, ..command }));
                }
                Ok(command) => commands.push((delivery.tag, command)),
                Err(reason) => dead.push(dead_letter(topic, &delivery.message, &reason)),
            }
        }
        if !dead.is_empty() {
            let kept = self.runner.conductor.store().put_dead_letters(&dead).await;
            kept.map_err(|error| goconductor_queue::Error::Unavailable { reason: error.to_string() })?;
        }
        Ok(commands)
    }

    fn begin(
        &self,
        command: Command,
        topic: &Topic,
        taken: Taken,
        permit: OwnedSemaphorePermit,
        tasks: &TaskTracker,
    ) {
        let (runner, topic) = (Arc::clone(&self.runner), topic.clone());
        let participant = Arc::clone(&self.endpoint.read().unwrap_or_else(PoisonError::into_inner));
        tasks.spawn(async move {
            runner.see_through(command, &topic, taken, participant).await;
            drop(permit);
        });
    }

    /// What this process still had in its queue was never sent: the ledger is told so, that it does not
    /// have to be doubted.
    async fn give_back(&self, consumer: &mut dyn Consumer) {
        let mut rows: Vec<LedgerRowKey> = Vec::new();
        while let Ok(Ok(deliveries)) =
            tokio::time::timeout(Duration::from_millis(1), consumer.take(1000)).await
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
        if let Err(error) = self.runner.conductor.store().release(&rows).await {
            tracing::warn!(%error, rows = rows.len(), "commands wait for their redelivery");
        }
    }
}
