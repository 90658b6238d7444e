//! Two queues as one, while all processes move from the one to the other; and one, at all other times.
//!
//! A [`Route`] says where messages are published, and what is consumed beside that. Whoever moves all processes sets it:
//! first the new queue is consumed beside the old one; when everybody does so, messages are published to the new one, and
//! the old one is consumed beside it; when that is empty it is let go. At all other times a route is one queue, and costs
//! a look at which.
//!
//! A queue beside the other that can't be reached holds up nobody for long: a topic of it counts as empty after
//! [`LOST`], so that the dispatch ledger brings back what it held.
//!
//! Nothing is asked of a queue before the first route is set: what asks waits for it for a while.

mod beside;
mod consumer;

use crate::{Backlog, Consumer, Error, Message, Queue, Topic};
use async_trait::async_trait;
use beside::Looks;
use consumer::{Seat, SwitchingConsumer};
use futures::future::join_all;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;

pub use beside::{Beside, LOST};

/// How long it is waited for the first route.
const KNOWN: Duration = Duration::from_secs(10);
/// A consumer is begun on both of two queues, but waits for the slower one no longer than this.
const BOTH: Duration = Duration::from_secs(2);

/// A queue by its name.
#[derive(Debug, Clone)]
pub struct Named {
    /// What it is called, such as `kafka`.
    pub name: Arc<str>,
    /// The queue.
    pub queue: Arc<dyn Queue>,
}

/// Which queues are used, and for what.
#[derive(Debug, Clone)]
pub struct Route {
    /// Messages are published to it, and it is consumed.
    pub to: Named,
    /// It is consumed as well.
    pub beside: Option<Named>,
    /// Nobody has published to the one beside yet: nothing waits there, and nobody need ask it.
    pub beside_is_new: bool,
}

impl Route {
    /// One queue.
    #[must_use]
    pub fn to(to: Named) -> Self {
        Self { to, beside: None, beside_is_new: false }
    }

    fn queues(&self) -> impl Iterator<Item = &Named> {
        std::iter::once(&self.to).chain(&self.beside)
    }

    fn has(&self, name: &str) -> bool {
        self.queues().any(|each| &*each.name == name)
    }
}

/// Two queues as one, or one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SwitchingQueue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None: it is not known yet.
    route: watch::Sender<Option<Arc<Route>>>,
    outlives_processes: bool,
    seats: Mutex<Vec<Weak<Seat>>>,
    /// What is known of the queue that is consumed beside the other, by its name.
    looks: Mutex<(Option<Arc<str>>, Arc<Looks>)>,
}

impl SwitchingQueue {
    /// A queue without a route: what asks for anything waits for one.
    #[must_use]
    pub fn new(outlives_processes: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                route: watch::Sender::new(None),
                outlives_processes,
                seats: Mutex::default(),
                looks: Mutex::default(),
            }),
        }
    }

    /// From now on this is the route. Consumers take from what they have of it; [`settle`](Self::settle) gives them
    /// the rest.
    pub fn set(&self, route: Route) {
        let beside = route.beside.as_ref().map(|beside| Arc::clone(&beside.name));
        let mut looks = self.inner.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.0 != beside {
            *looks = (beside, Arc::default());
        }
        drop(looks);
        self.inner.route.send_replace(Some(Arc::new(route)));
    }

    fn looks(&self) -> Arc<Looks> {
        Arc::clone(&self.inner.looks.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// The route, if there is one.
    #[must_use]
    pub fn known(&self) -> Option<Arc<Route>> {
        self.inner.route.borrow().clone()
    }

    /// Gives each consumer what it lacks of the route, each by itself, and waits until all have it. Who does not wait
    /// for that stops nothing: what is under way is not begun again.
    ///
    /// # Errors
    /// The first of those who could not be given something; the others are.
    pub async fn settle(&self) -> Result<(), Error> {
        let Some(route) = self.known() else { return Ok(()) };
        let mut given = Vec::new();
        for seat in self.seats() {
            for named in route.queues().filter(|each| seat.expect(&each.name)) {
                let is_new = route.beside_is_new && named.name != route.to.name;
                given.push(tokio::spawn(give(
                    Arc::downgrade(&seat),
                    seat.topic().clone(),
                    named.clone(),
                    is_new,
                )));
            }
        }
        let mut ended = join_all(given).await.into_iter();
        let failed = |error: tokio::task::JoinError| Err(Error::Unavailable { reason: error.to_string() });
        ended.try_for_each(|given| given.unwrap_or_else(failed))
    }

    /// Has the queue that is consumed beside the other ready to be published to.
    ///
    /// # Errors
    /// When it can't be.
    pub async fn prepare_beside(&self, topics: &[Topic]) -> Result<(), Error> {
        let Some(beside) = self.known().and_then(|route| route.beside.clone()) else { return Ok(()) };
        join_all(topics.iter().map(|topic| beside.queue.prepare(topic))).await.into_iter().collect()
    }

    /// How many consumers do not take from a queue yet.
    #[must_use]
    pub fn lacking(&self, name: &str) -> usize {
        self.seats().iter().filter(|seat| !seat.has(name)).count()
    }

    /// What waits in the queue that is consumed beside the other; none: there is no such queue.
    pub async fn waiting_beside(&self, topics: &[Topic]) -> Option<Beside> {
        let beside = self.known()?.beside.clone()?;
        Some(self.looks().all(&beside.queue, topics).await)
    }

    /// The consumers that there are.
    fn seats(&self) -> Vec<Arc<Seat>> {
        let mut seats = self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| seat.strong_count() > 0);
        seats.iter().filter_map(Weak::upgrade).collect()
    }

    async fn route(&self) -> Result<Arc<Route>, Error> {
        if let Some(route) = self.known() {
            return Ok(route);
        }
        let mut known = self.inner.route.subscribe();
        let waiting = known.wait_for(Option::is_some);
        match tokio::time::timeout(KNOWN, waiting).await {
            Ok(Ok(route)) => route.clone().ok_or_else(not_known),
            Ok(Err(_)) | Err(_) => Err(not_known()),
        }
    }

    async fn look(&self, topic: &Topic, look: Look) -> Result<Backlog, Error> {
        let route = self.route().await?;
        let looks = self.looks();
        let beside = match &route.beside {
            Some(beside) if !route.beside_is_new && !looks.is_lost(topic) => beside,
            Some(_) | None => return look.at(&*route.to.queue, topic).await,
        };
        let (to, beside) =
            tokio::join!(look.at(&*route.to.queue, topic), looks.look(&beside.queue, topic, look));
        let to = to?;
        let beside = match beside {
            // It has just become so.
            Err(_) if looks.is_lost(topic) => Backlog::default(),
            beside => beside?,
        };
        Ok(Backlog {
            waiting: to.waiting.saturating_add(beside.waiting),
            // Either may hold what was published before.
            oldest_waiting_ms: to.oldest_waiting_ms.into_iter().chain(beside.oldest_waiting_ms).min(),
            taken: to.taken.saturating_add(beside.taken),
        })
    }
}

/// Begins a consumer for a seat. Of a queue that nobody publishes to yet it is waited for until messages come to it.
async fn give(seat: Weak<Seat>, topic: Topic, named: Named, is_new: bool) -> Result<(), Error> {
    let begin = async {
        let mut consumer = named.queue.consume(&topic).await?;
        if is_new {
            consumer.ready().await?;
        }
        Ok(consumer)
    };
    let begun = begin.await;
    match seat.upgrade() {
        Some(seat) => seat.give(named, begun),
        None => {
            if let Ok(consumer) = begun {
                consumer.leave().await;
            }
            Ok(())
        }
    }
}

fn not_known() -> Error {
    Error::Unavailable { reason: "which queue is in use is not known yet".to_owned() }
}

/// How closely is looked.
#[derive(Debug, Clone, Copy)]
enum Look {
    Depth,
    Since,
}

impl Look {
    async fn at(self, queue: &dyn Queue, topic: &Topic) -> Result<Backlog, Error> {
        match self {
            Self::Depth => queue.depth(topic).await,
            Self::Since => queue.backlog(topic).await,
        }
    }
}

#[async_trait]
impl Queue for SwitchingQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        self.route().await?.to.queue.publish(topic, messages).await
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let route = self.route().await?;
        let begin = async |named: Named| (named.queue.consume(topic).await, named);
        let (first, rest) = match &route.beside {
            None => (vec![begin(route.to.clone()).await], None),
            Some(beside) => both(begin(route.to.clone()), begin(beside.clone())).await,
        };
        let (mut begun, mut why) = (Vec::new(), rest);
        for (consumer, named) in first {
            match consumer {
                Ok(consumer) => begun.push((named, consumer)),
                Err(error) => why = Some(error),
            }
        }
        // What it lacks it is given once it settles.
        match why {
            Some(error) if begun.is_empty() => return Err(error),
            Some(_) | None => {}
        }
        let consumer = SwitchingConsumer::new(topic.clone(), self.inner.route.subscribe(), begun);
        let mut seats = self.inner.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.push(Arc::downgrade(consumer.seat()));
        Ok(Box::new(consumer))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.look(topic, Look::Since).await
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.look(topic, Look::Depth).await
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        self.route().await?.to.queue.has_consumer(topic).await
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.route().await?.to.queue.prepare(topic).await
    }

    fn outlives_processes(&self) -> bool {
        match &*self.inner.route.borrow() {
            Some(route) => route.to.queue.outlives_processes(),
            None => self.inner.outlives_processes,
        }
    }

    async fn check(&self) -> Result<(), Error> {
        match self.known() {
            Some(route) => route.to.queue.check().await,
            None => Err(not_known()),
        }
    }
}

/// What both give; what the faster gives, if it is something and the other takes too long, and then why that is not
/// there.
async fn both<T, E>(
    first: impl Future<Output = (Result<T, Error>, E)>,
    second: impl Future<Output = (Result<T, Error>, E)>,
) -> (Vec<(Result<T, Error>, E)>, Option<Error>) {
    let late = || Error::Unavailable { reason: "it takes too long".to_owned() };
    tokio::pin!(first, second);
    // The one that is not ready goes on below.
    let (faster, slower) = match futures::future::select(first, second).await {
        futures::future::Either::Left((faster, slower)) => (faster, futures::future::Either::Left(slower)),
        futures::future::Either::Right((faster, slower)) => (faster, futures::future::Either::Right(slower)),
    };
    if faster.0.is_err() {
        return (vec![faster, slower.await], None);
    }
    match tokio::time::timeout(BOTH, slower).await {
        Ok(slower) => (vec![faster, slower], None),
        Err(_) => (vec![faster], Some(late())),
    }
}
