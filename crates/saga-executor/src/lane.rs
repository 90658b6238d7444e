//! One lane of one service: takes no more commands than it can run soon.

use crate::attempt::{Runner, Taken, dead_letter};
use crate::room::{Room, Rooms};
use crate::task::Participant;
use crate::vigil::Vigil;
use goconductor_queue::{Consumer, Delivery, DeliveryTag, Topic};
use goconductor_store::LedgerRowKey;
use goconductor_transition::Command;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
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
    pub(crate) topic: Topic,
    pub(crate) endpoint: Endpoint,
    pub(crate) rooms: Rooms,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Lane {
    /// Runs until it is stopped, then waits for what is under way.
    pub(crate) async fn run(self: Arc<Self>) {
        let Self { topic, tasks, stop, .. } = &*self;
        let mut vigil = Vigil::new();
        while !stop.is_cancelled() {
            let error = match self.runner.engine.queue().consume(topic).await {
                Ok(mut consumer) => {
                    // The backlog that the ledger has kept for this service is wanted now.
                    self.runner.engine.timer_notifier().notify();
                    match self.take_all(&mut *consumer, &mut vigil).await {
                        Ok(()) => {
                            // What a broker holds is taken by the next consumer.
                            if !self.runner.engine.queue().outlives_processes() {
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

    /// Accepts a command that this process issued if a slot for it is free now. Returns it otherwise.
    pub(crate) fn try_accept(&self, command: Command) -> Option<Command> {
        // In this order: once it is stopped, the lane waits for whoever has a token.
        let under_way = self.tasks.token();
        if self.stop.is_cancelled() {
            return Some(command);
        }
        let rooms = &self.rooms;
        let (true, Ok(permit)) =
            (rooms.actions.has_room_beside(rooms.side), Arc::clone(&rooms.lane).try_acquire_owned())
        else {
            return Some(command);
        };
        let Some(place) = rooms.executor.try_acquire(&rooms.namespace) else { return Some(command) };
        self.begin(command, Taken::now(), Room::new(rooms.clone(), permit, place, self.stop.clone()));
        drop(under_way);
        None
    }

    async fn take_all(
        &self,
        consumer: &mut dyn Consumer,
        vigil: &mut Vigil,
    ) -> Result<(), goconductor_queue::Error> {
        let Self { topic, stop, .. } = self;
        let queue = &**self.runner.engine.queue();
        loop {
            // Safe to cancel: an acquire holds nothing yet, and `take` loses no message.
            let first = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                permit = self.permit() => permit,
            };
            let Ok(first) = first else { return Ok(()) };
            let room = 1 + self.rooms.lane.available_permits();
            let mut deliveries = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                deliveries = consumer.take(room) => deliveries?,
                () = vigil.stands_still(queue, topic) => {
                    let reason = "messages wait, and none comes: the consumer begins anew".to_owned();
                    return Err(goconductor_queue::Error::Unavailable { reason });
                }
            };
            vigil.came();
            let mut first = Some(first);
            // By turns with other namespaces, if there is not room for all.
            while !deliveries.is_empty()
                && let Ok(mut places) =
                    self.rooms.executor.acquire_up_to(&self.rooms.namespace, deliveries.len()).await
            {
                let some: Vec<_> = deliveries.drain(..places.len()).collect();
                let taken = Taken::now();
                let commands = self.read(&some).await?;
                let tags: Vec<_> = some.iter().map(|delivery| delivery.tag).collect();
                let gone = consumer.acknowledge(&tags).await?;
                for (tag, command) in commands {
                    let (false, Some(place)) = (gone.contains(&tag), places.pop()) else { continue };
                    let permit = match first.take() {
                        Some(permit) => permit,
                        None => match Arc::clone(&self.rooms.lane).acquire_owned().await {
                            Ok(permit) => permit,
                            Err(_) => return Ok(()),
                        },
                    };
                    self.begin(command, taken, Room::new(self.rooms.clone(), permit, place, stop.clone()));
                }
            }
        }
    }

    /// A place, once not too many of limited actions wait beside the lane.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.rooms.actions.room_beside(self.rooms.side).await;
        Arc::clone(&self.rooms.lane).acquire_owned().await
    }

    /// The commands among the messages; what is none is kept as a dead letter before it is acknowledged.
    async fn read(
        &self,
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
                Err(reason) => dead.push(dead_letter(&self.topic, &delivery.message, &reason)),
            }
        }
        if !dead.is_empty() {
            let kept = self.runner.engine.store().put_dead_letters(&dead).await;
            kept.map_err(|error| goconductor_queue::Error::Unavailable { reason: error.to_string() })?;
        }
        Ok(commands)
    }

    fn begin(&self, command: Command, taken: Taken, room: Room) {
        let (runner, topic) = (Arc::clone(&self.runner), self.topic.clone());
        let participant = Arc::clone(&self.endpoint.read().unwrap_or_else(PoisonError::into_inner));
        self.tasks.spawn(async move {
            runner.see_through(command, &topic, taken, participant, room).await;
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
        if let Err(error) = self.runner.engine.store().release(&rows).await {
            tracing::warn!(%error, rows = rows.len(), "commands wait for their redelivery");
        }
    }
}
