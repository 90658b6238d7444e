//! A consumer of all queues of the route.

use super::route::{NamedQueue, Route};
use crate::{Consumer, Delivery, DeliveryTag, Error, Topic};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{join_all, select_all};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Timeout of an acknowledgement to the secondary queue.
const SECONDARY_TIMEOUT: Duration = Duration::from_secs(1);

/// The part of a consumer that the queue can reach. The owner of the consumer may be busy, so new queues are attached
/// through the handle.
#[derive(Debug)]
pub(super) struct ConsumerHandle {
    topic: Topic,
    state: Mutex<State>,
    attached: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The names of the queues that are consumed, or that wait in `new`.
    attached: BTreeSet<Arc<str>>,
    /// The names of the queues that a task is starting to consume.
    attaching: BTreeSet<Arc<str>>,
    /// Started consumers that the owner has not adopted yet.
    new: Vec<(NamedQueue, Box<dyn Consumer>)>,
}

impl ConsumerHandle {
    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn is_attached(&self, name: &str) -> bool {
        self.state.lock().attached.contains(name)
    }

    /// Returns whether the caller has to attach a queue: it is not attached, and no other task is attaching it.
    pub(super) fn begin_attach(&self, name: &Arc<str>) -> bool {
        let mut state = self.state.lock();
        !state.attached.contains(name) && state.attaching.insert(Arc::clone(name))
    }

    /// Adds a queue after [`begin_attach`](Self::begin_attach), or returns why it could not be started.
    pub(super) fn finish_attach(
        &self,
        queue: NamedQueue,
        started: Result<Box<dyn Consumer>, Error>,
    ) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.attaching.remove(&queue.name);
        let consumer = started?;
        state.attached.insert(Arc::clone(&queue.name));
        state.new.push((queue, consumer));
        drop(state);
        self.attached.notify_one();
        Ok(())
    }
}

/// One of the queues that are consumed.
#[derive(Debug)]
struct ConsumerSource {
    id: u64,
    name: Arc<str>,
    consumer: Box<dyn Consumer>,
    /// The number of messages that were delivered to the owner and not acknowledged.
    unacknowledged: usize,
}

impl ConsumerSource {
    fn is_on(&self, route: Option<&Route>) -> bool {
        route.is_some_and(|route| route.includes(&self.name))
    }
}

/// A consumer of all queues of the route.
#[derive(Debug)]
pub(super) struct SwitchingConsumer {
    handle: Arc<ConsumerHandle>,
    route: watch::Receiver<Option<Arc<Route>>>,
    sources: Vec<ConsumerSource>,
    next_source: u64,
    /// The unacknowledged messages, by the tag that the owner knows: the id of the source, and the tag there.
    unacknowledged: BTreeMap<u64, (u64, DeliveryTag)>,
    next_tag: u64,
}

impl SwitchingConsumer {
    pub(super) fn new(
        topic: Topic,
        route: watch::Receiver<Option<Arc<Route>>>,
        started: Vec<(NamedQueue, Box<dyn Consumer>)>,
    ) -> Self {
        let attached = started.iter().map(|(queue, _)| Arc::clone(&queue.name)).collect();
        let state = Mutex::new(State { attached, new: started, ..State::default() });
        let handle = Arc::new(ConsumerHandle { topic, state, attached: Notify::new() });
        let (sources, unacknowledged) = (Vec::new(), BTreeMap::new());
        Self { handle, route, sources, next_source: 0, unacknowledged, next_tag: 0 }
    }

    pub(super) fn handle(&self) -> &Arc<ConsumerHandle> {
        &self.handle
    }

    /// Adopts the queues that were attached.
    fn adopt(&mut self) {
        let mut state = self.handle.state.lock();
        for (queue, consumer) in state.new.drain(..) {
            self.next_source += 1;
            self.sources.push(ConsumerSource {
                id: self.next_source,
                name: queue.name,
                consumer,
                unacknowledged: 0,
            });
        }
    }

    /// Returns messages that a source prefetched before its queue left the route. No other consumer would receive them.
    fn drain_removed(&mut self, route: Option<&Route>, max: usize) -> Option<Vec<Delivery>> {
        let mut removed = self.sources.iter_mut().enumerate().filter(|(_, source)| !source.is_on(route));
        let (index, prefetched) = removed.find_map(|(index, source)| {
            let prefetched = source.consumer.receive(max).now_or_never()?.ok()?;
            (!prefetched.is_empty()).then_some((index, prefetched))
        })?;
        Some(self.assign_tags(index, prefetched))
    }

    /// Closes the sources whose queues left the route, once they have no unacknowledged messages.
    fn detach_removed(&mut self, route: Option<&Route>) {
        let mut state = self.handle.state.lock();
        let is_done = |source: &mut ConsumerSource| source.unacknowledged == 0 && !source.is_on(route);
        for source in self.sources.extract_if(.., is_done) {
            state.attached.remove(&source.name);
            tracing::debug!(topic = %self.handle.topic, queue = %source.name, "consumer detached from queue");
            // Closing releases prefetched messages to other consumers; the owner does not wait for it.
            drop(tokio::spawn(source.consumer.close()));
        }
    }

    /// Removes a source that failed. The consumer continues without it until the queue is attached again.
    fn remove_failed(&mut self, index: usize, error: &Error) {
        let source = self.sources.swap_remove(index);
        self.handle.state.lock().attached.remove(&source.name);
        let (topic, error) = (&self.handle.topic, error.report());
        tracing::debug!(%topic, queue = %source.name, error, "consumer lost one of two queues");
    }

    fn assign_tags(&mut self, index: usize, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let Some(source) = self.sources.get_mut(index) else { return Vec::new() };
        source.unacknowledged += deliveries.len();
        let tagged = deliveries.into_iter().map(|delivery| {
            let tag = self.next_tag;
            self.next_tag += 1;
            self.unacknowledged.insert(tag, (source.id, delivery.tag));
            Delivery { tag: DeliveryTag::new(tag), ..delivery }
        });
        tagged.collect()
    }

    /// Receives from the sources on the route, and returns the first result with the index of its source.
    async fn receive_any(
        sources: &mut [ConsumerSource],
        route: Option<&Route>,
        max: usize,
    ) -> (usize, Result<Vec<Delivery>, Error>) {
        let receiving = sources
            .iter_mut()
            .enumerate()
            .filter(|(_, source)| source.is_on(route))
            .map(|(index, source)| Box::pin(async move { (index, source.consumer.receive(max).await) }));
        let mut receiving: Vec<_> = receiving.collect();
        match receiving.len() {
            0 => std::future::pending().await,
            1 => receiving.swap_remove(0).await,
            // `receive` is cancel safe, so the others lose nothing.
            _ => select_all(receiving).await.0,
        }
    }

    /// Acknowledges messages of one source. The secondary queue may be lost, and must not delay the primary one.
    async fn acknowledge_source(
        source: &mut ConsumerSource,
        is_primary: bool,
        tags: &[DeliveryTag],
    ) -> Result<Vec<DeliveryTag>, Error> {
        source.unacknowledged = source.unacknowledged.saturating_sub(tags.len());
        let acknowledging = source.consumer.acknowledge(tags);
        if is_primary {
            return acknowledging.await;
        }
        tokio::time::timeout(SECONDARY_TIMEOUT, acknowledging)
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("acknowledgement to the secondary queue timed out")))
    }
}

#[async_trait]
impl Consumer for SwitchingConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        loop {
            let handle = Arc::clone(&self.handle);
            self.adopt();
            // Round robin, so that a busy queue does not starve the other one.
            let turn = usize::from(self.sources.len() > 1);
            self.sources.rotate_left(turn);
            if max == 0 {
                return Ok(Vec::new());
            }
            let route = self.route.borrow_and_update().clone();
            if let Some(prefetched) = self.drain_removed(route.as_deref(), max) {
                return Ok(prefetched);
            }
            self.detach_removed(route.as_deref());
            // All arms are cancel safe: `receive` loses nothing, and the loop reads each change again.
            let (index, received) = tokio::select! {
                received = Self::receive_any(&mut self.sources, route.as_deref(), max) => received,
                () = handle.attached.notified() => continue,
                changed = self.route.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(Error::Closed),
                },
            };
            match received {
                Ok(deliveries) => return Ok(self.assign_tags(index, deliveries)),
                Err(error) => {
                    self.remove_failed(index, &error);
                    if self.sources.is_empty() {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut by_source: BTreeMap<u64, Vec<(DeliveryTag, DeliveryTag)>> = BTreeMap::new();
        for outer in deliveries {
            if let Some((source, inner)) = self.unacknowledged.remove(&outer.get()) {
                by_source.entry(source).or_default().push((*outer, inner));
            }
        }
        let route = self.route.borrow().clone();
        let mut lost = Vec::new();
        for (id, tags) in by_source {
            let position = self.sources.iter().position(|source| source.id == id);
            let Some((index, source)) = position.and_then(|at| Some((at, self.sources.get_mut(at)?))) else {
                // The source has failed since.
                lost.extend(tags.into_iter().map(|(outer, _)| outer));
                continue;
            };
            let inner: Vec<DeliveryTag> = tags.iter().map(|(_, inner)| *inner).collect();
            let is_primary = route.as_ref().is_some_and(|route| route.primary.name == source.name);
            match Self::acknowledge_source(source, is_primary, &inner).await {
                Ok(lost_inner) => {
                    let is_lost = |(_, inner): &(DeliveryTag, DeliveryTag)| lost_inner.contains(inner);
                    lost.extend(tags.into_iter().filter(is_lost).map(|(outer, _)| outer));
                }
                Err(error) if self.sources.len() == 1 => return Err(error),
                Err(error) => {
                    // The outcome is unknown: another consumer or the ledger delivers them again if necessary.
                    lost.extend(tags.into_iter().map(|(outer, _)| outer));
                    self.remove_failed(index, &error);
                }
            }
        }
        Ok(lost)
    }

    async fn ready(&mut self) -> Result<(), Error> {
        self.adopt();
        for source in &mut self.sources {
            source.consumer.ready().await?;
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) {
        let new = std::mem::take(&mut self.handle.state.lock().new);
        let new = new.into_iter().map(|(_, consumer)| consumer);
        let sources = std::mem::take(&mut self.sources).into_iter().map(|source| source.consumer);
        join_all(new.chain(sources).map(Consumer::close)).await;
    }
}
