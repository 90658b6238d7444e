//! A consumer of two queues, or of one.

use super::{Named, Route};
use crate::{Consumer, Delivery, DeliveryTag, Error, Topic};
use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{join_all, select_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long an acknowledgement to the queue that is consumed beside the other may take.
const BESIDE: Duration = Duration::from_secs(1);

/// What a consumer is given from outside: it may be busy, and not look for itself.
#[derive(Debug)]
pub(super) struct Seat {
    topic: Topic,
    state: Mutex<State>,
    came: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The queues that it takes from, or is about to.
    has: BTreeSet<Arc<str>>,
    /// Those of which a consumer is being begun for it.
    expects: BTreeSet<Arc<str>>,
    /// What it is to take over.
    given: Vec<(Named, Box<dyn Consumer>)>,
}

impl Seat {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.state().has.contains(name)
    }

    /// Whether a consumer is to be begun for it: it lacks one, and expects it from now on.
    pub(super) fn expect(&self, name: &Arc<str>) -> bool {
        let mut state = self.state();
        !state.has.contains(name) && state.expects.insert(Arc::clone(name))
    }

    /// What it expects, or why that does not come.
    pub(super) fn give(&self, named: Named, begun: Result<Box<dyn Consumer>, Error>) -> Result<(), Error> {
        let mut state = self.state();
        state.expects.remove(&named.name);
        let consumer = begun?;
        state.has.insert(Arc::clone(&named.name));
        state.given.push((named, consumer));
        drop(state);
        self.came.notify_one();
        Ok(())
    }
}

/// One of the queues that a consumer takes from.
#[derive(Debug)]
struct Part {
    id: u64,
    name: Arc<str>,
    consumer: Box<dyn Consumer>,
    /// How much was given and is not acknowledged.
    held: usize,
}

impl Part {
    fn is_on(&self, route: Option<&Route>) -> bool {
        route.is_some_and(|route| route.has(&self.name))
    }
}

/// A consumer of what the route says.
#[derive(Debug)]
pub(super) struct SwitchingConsumer {
    seat: Arc<Seat>,
    route: watch::Receiver<Option<Arc<Route>>>,
    parts: Vec<Part>,
    parts_so_far: u64,
    /// What was given and is not acknowledged: of which part, and its tag there.
    held: BTreeMap<u64, (u64, DeliveryTag)>,
    given_so_far: u64,
}

impl SwitchingConsumer {
    pub(super) fn new(
        topic: Topic,
        route: watch::Receiver<Option<Arc<Route>>>,
        begun: Vec<(Named, Box<dyn Consumer>)>,
    ) -> Self {
        let has = begun.iter().map(|(named, _)| Arc::clone(&named.name)).collect();
        let state = Mutex::new(State { has, given: begun, ..State::default() });
        let seat = Arc::new(Seat { topic, state, came: Notify::new() });
        let (parts, held) = (Vec::new(), BTreeMap::new());
        Self { seat, route, parts, parts_so_far: 0, held, given_so_far: 0 }
    }

    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Takes over what it was given.
    fn follow(&mut self) {
        let mut state = self.seat.state();
        for (named, consumer) in state.given.drain(..) {
            self.parts_so_far += 1;
            self.parts.push(Part { id: self.parts_so_far, name: named.name, consumer, held: 0 });
        }
    }

    /// What a part has fetched that is not on the route any more: nobody would take it from there again.
    fn rest(&mut self, route: Option<&Route>, max: usize) -> Option<Vec<Delivery>> {
        let mut unwanted = self.parts.iter_mut().enumerate().filter(|(_, part)| !part.is_on(route));
        let (index, rest) = unwanted.find_map(|(index, part)| {
            let rest = part.consumer.take(max).now_or_never()?.ok()?;
            (!rest.is_empty()).then_some((index, rest))
        })?;
        Some(self.mark(index, rest))
    }

    /// Lets go of what is not on the route any more; that of which it holds something only once it does not.
    fn let_go(&mut self, route: Option<&Route>) {
        let mut state = self.seat.state();
        for part in self.parts.extract_if(.., |part| part.held == 0 && !part.is_on(route)) {
            state.has.remove(&part.name);
            tracing::debug!(topic = %self.seat.topic, queue = %part.name, "is let go");
            // Others are to have what it fetched; nobody waits for that here.
            drop(tokio::spawn(part.consumer.leave()));
        }
    }

    /// A part that has failed: the consumer goes on without it, until it is given another.
    fn lose(&mut self, index: usize) {
        let part = self.parts.swap_remove(index);
        self.seat.state().has.remove(&part.name);
    }

    fn mark(&mut self, index: usize, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let Some(part) = self.parts.get_mut(index) else { return Vec::new() };
        part.held += deliveries.len();
        let given = deliveries.into_iter().map(|delivery| {
            let tag = self.given_so_far;
            self.given_so_far += 1;
            self.held.insert(tag, (part.id, delivery.tag));
            Delivery { tag: DeliveryTag::new(tag), ..delivery }
        });
        given.collect()
    }

    /// What comes first of any of the parts that are on the route.
    async fn any(
        parts: &mut [Part],
        route: Option<&Route>,
        max: usize,
    ) -> (usize, Result<Vec<Delivery>, Error>) {
        let wanted = parts
            .iter_mut()
            .enumerate()
            .filter(|(_, part)| part.is_on(route))
            .map(|(index, part)| Box::pin(async move { (index, part.consumer.take(max).await) }));
        let mut wanted: Vec<_> = wanted.collect();
        match wanted.len() {
            0 => std::future::pending().await,
            1 => wanted.swap_remove(0).await,
            // Those that are dropped lose nothing.
            _ => select_all(wanted).await.0,
        }
    }
}

#[async_trait]
impl Consumer for SwitchingConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        loop {
            let seat = Arc::clone(&self.seat);
            self.follow();
            // By turns, that none has to wait for the other to have nothing.
            let turn = usize::from(self.parts.len() > 1);
            self.parts.rotate_left(turn);
            if max == 0 {
                return Ok(Vec::new());
            }
            let route = self.route.borrow_and_update().clone();
            if let Some(rest) = self.rest(route.as_deref(), max) {
                return Ok(rest);
            }
            self.let_go(route.as_deref());
            // All are safe to cancel: a take loses nothing, and what has changed is looked at again.
            let (index, taken) = tokio::select! {
                taken = Self::any(&mut self.parts, route.as_deref(), max) => taken,
                () = seat.came.notified() => continue,
                changed = self.route.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(Error::Closed),
                },
            };
            match taken {
                Ok(deliveries) => return Ok(self.mark(index, deliveries)),
                Err(error) => {
                    self.lose(index);
                    if self.parts.is_empty() {
                        return Err(error);
                    }
                    tracing::debug!(topic = %seat.topic, %error, "one of two queues is not consumed for now");
                }
            }
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut by_part: BTreeMap<u64, Vec<(DeliveryTag, DeliveryTag)>> = BTreeMap::new();
        for outer in deliveries {
            if let Some((part, inner)) = self.held.remove(&outer.get()) {
                by_part.entry(part).or_default().push((*outer, inner));
            }
        }
        let to = self.route.borrow().as_ref().map(|route| Arc::clone(&route.to.name)).unwrap_or_default();
        let mut gone = Vec::new();
        for (id, tags) in by_part {
            let Some(index) = self.parts.iter().position(|part| part.id == id) else {
                // It has failed since.
                gone.extend(tags.into_iter().map(|(outer, _)| outer));
                continue;
            };
            let inner: Vec<DeliveryTag> = tags.iter().map(|(_, inner)| *inner).collect();
            let Some(part) = self.parts.get_mut(index) else { continue };
            part.held = part.held.saturating_sub(tags.len());
            let acknowledging = part.consumer.acknowledge(&inner);
            let acknowledged = if part.name == to {
                acknowledging.await
            } else {
                // It may be lost, and what comes by the other is not to wait for that.
                let late = || Error::Unavailable { reason: "no answer to an acknowledgement".to_owned() };
                tokio::time::timeout(BESIDE, acknowledging).await.unwrap_or_else(|_| Err(late()))
            };
            match acknowledged {
                Ok(lost) => {
                    gone.extend(
                        tags.into_iter().filter(|(_, inner)| lost.contains(inner)).map(|(outer, _)| outer),
                    );
                }
                Err(error) if self.parts.len() == 1 => return Err(error),
                Err(error) => {
                    // Nobody can say what became of them: they are left to whoever has them, or to the ledger.
                    tracing::debug!(topic = %self.seat.topic, %error, "one of two queues is not consumed for now");
                    gone.extend(tags.into_iter().map(|(outer, _)| outer));
                    self.lose(index);
                }
            }
        }
        Ok(gone)
    }

    async fn ready(&mut self) -> Result<(), Error> {
        self.follow();
        for part in &mut self.parts {
            part.consumer.ready().await?;
        }
        Ok(())
    }

    async fn leave(mut self: Box<Self>) {
        let given = std::mem::take(&mut self.seat.state().given);
        let given = given.into_iter().map(|(_, consumer)| consumer);
        let parts = std::mem::take(&mut self.parts).into_iter().map(|part| part.consumer);
        join_all(given.chain(parts).map(Consumer::leave)).await;
    }
}
