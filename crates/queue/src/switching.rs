//! Two queues as one, while all processes migrate from one to the other.
//!
//! A [`Route`] names the primary queue, which messages are published to, and optionally a secondary queue, which is
//! only consumed. The owner of the migration sets the route in three phases:
//!
//! 1. The new queue becomes the secondary queue, until every process consumes it.
//! 2. The new queue becomes the primary queue, and the old one the secondary queue.
//! 3. Once the old queue is empty, it leaves the route.
//!
//! Outside a migration, a route has a single queue, and a call costs one extra pointer read.
//!
//! An unreachable secondary queue delays its callers only for a limited time: after [`LOST_AFTER`], its topics count as
//! empty, and the dispatch ledger publishes their messages again.
//!
//! Before the first route is set, calls wait for it for a limited time.

mod consumer;
mod route;
mod secondary;

use crate::message::BacklogDetail;
use crate::{Backlog, Consumer, Error, Message, Queue, Topic};
use async_trait::async_trait;
use consumer::{ConsumerHandle, SwitchingConsumer};
use futures::future::{Either, join_all, select};
use parking_lot::Mutex;
use secondary::SecondaryTopics;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

pub use route::{NamedQueue, Route};
pub use secondary::{LOST_AFTER, SecondaryBacklog};

/// How long a call waits for the first route.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new consumer waits for the slower of two queues.
const SLOWER_QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// A queue whose route can change at runtime. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SwitchingQueue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` until the first route is set.
    route: watch::Sender<Option<Arc<Route>>>,
    is_durable: bool,
    consumers: Mutex<Vec<Weak<ConsumerHandle>>>,
    /// The name of the secondary queue, and the state of its topics.
    secondary: Mutex<(Option<Arc<str>>, Arc<SecondaryTopics>)>,
}

impl SwitchingQueue {
    /// Creates a queue without a route. Until one is set, [`Queue::is_durable`] returns `is_durable`.
    #[must_use]
    pub fn new(is_durable: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                route: watch::Sender::new(None),
                is_durable,
                consumers: Mutex::default(),
                secondary: Mutex::default(),
            }),
        }
    }

    /// Sets the route. Existing consumers keep the queues of the new route that they already consume;
    /// [`attach_consumers`](Self::attach_consumers) adds the others.
    pub fn set_route(&self, route: Route) {
        let name = route.secondary.as_ref().map(|secondary| Arc::clone(&secondary.name));
        let mut secondary = self.inner.secondary.lock();
        if secondary.0 != name {
            *secondary = (name, Arc::default());
        }
        drop(secondary);
        self.inner.route.send_replace(Some(Arc::new(route)));
    }

    /// Returns the route, if one was set.
    #[must_use]
    pub fn route(&self) -> Option<Arc<Route>> {
        self.inner.route.borrow().clone()
    }

    /// Starts the queues of the route for each consumer that does not consume them yet, and waits until all are
    /// started. Cancel safe: what was started continues, and is not started again by the next call.
    ///
    /// # Errors
    /// Returns the first error of a queue that could not be consumed. The other consumers are attached all the same.
    pub async fn attach_consumers(&self) -> Result<(), Error> {
        let Some(route) = self.route() else { return Ok(()) };
        let mut attaching = Vec::new();
        for consumer in self.consumers() {
            for queue in route.queues().filter(|each| consumer.begin_attach(&each.name)) {
                let is_empty = route.secondary_is_empty && queue.name != route.primary.name;
                attaching.push(tokio::spawn(attach(
                    Arc::downgrade(&consumer),
                    consumer.topic().clone(),
                    queue.clone(),
                    is_empty,
                )));
            }
        }
        let mut attached = join_all(attaching).await.into_iter();
        let failed = |error: tokio::task::JoinError| {
            Err(Error::unavailable("task that attaches a consumer failed").with_source(error))
        };
        attached.try_for_each(|attached| attached.unwrap_or_else(failed))
    }

    /// Prepares the secondary queue for publishing.
    ///
    /// # Errors
    /// Returns the error of the secondary queue if a topic could not be prepared.
    pub async fn prepare_secondary(&self, topics: &[Topic]) -> Result<(), Error> {
        let Some(secondary) = self.route().and_then(|route| route.secondary.clone()) else { return Ok(()) };
        join_all(topics.iter().map(|topic| secondary.queue.prepare(topic))).await.into_iter().collect()
    }

    /// Returns the number of consumers that do not consume the queue `name` yet.
    #[must_use]
    pub fn consumers_without(&self, name: &str) -> usize {
        self.consumers().iter().filter(|consumer| !consumer.is_attached(name)).count()
    }

    /// Returns the backlog of the secondary queue. `None` if the route has no secondary queue.
    pub async fn secondary_backlog(&self, topics: &[Topic]) -> Option<SecondaryBacklog> {
        let secondary = self.route()?.secondary.clone()?;
        Some(self.secondary_topics().total(&secondary.queue, topics).await)
    }

    fn secondary_topics(&self) -> Arc<SecondaryTopics> {
        Arc::clone(&self.inner.secondary.lock().1)
    }

    /// Returns the consumers that were not dropped.
    fn consumers(&self) -> Vec<Arc<ConsumerHandle>> {
        let mut consumers = self.inner.consumers.lock();
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    async fn wait_for_route(&self) -> Result<Arc<Route>, Error> {
        if let Some(route) = self.route() {
            return Ok(route);
        }
        let mut route = self.inner.route.subscribe();
        match tokio::time::timeout(ROUTE_TIMEOUT, route.wait_for(Option::is_some)).await {
            Ok(Ok(route)) => route.clone().ok_or_else(no_route),
            Ok(Err(_)) | Err(_) => Err(no_route()),
        }
    }

    async fn sample(&self, topic: &Topic, detail: BacklogDetail) -> Result<Backlog, Error> {
        let route = self.wait_for_route().await?;
        let topics = self.secondary_topics();
        let secondary = match &route.secondary {
            Some(secondary) if !route.secondary_is_empty && !topics.is_lost(topic) => secondary,
            Some(_) | None => return detail.request(&*route.primary.queue, topic).await,
        };
        let (primary, secondary) = tokio::join!(
            detail.request(&*route.primary.queue, topic),
            topics.backlog(&secondary.queue, topic, detail)
        );
        let primary = primary?;
        let secondary = match secondary {
            // It has just become lost.
            Err(_) if topics.is_lost(topic) => Backlog::default(),
            secondary => secondary?,
        };
        Ok(Backlog {
            waiting: primary.waiting.saturating_add(secondary.waiting),
            // Either queue may have the older message.
            oldest_waiting_ms: primary.oldest_waiting_ms.into_iter().chain(secondary.oldest_waiting_ms).min(),
            acknowledged: primary.acknowledged.saturating_add(secondary.acknowledged),
        })
    }
}

/// Starts to consume a queue for an existing consumer. If no process publishes to the queue yet, waits until messages
/// will be delivered.
async fn attach(
    consumer: Weak<ConsumerHandle>,
    topic: Topic,
    queue: NamedQueue,
    is_empty: bool,
) -> Result<(), Error> {
    let start = async {
        let mut started = queue.queue.consume(&topic).await?;
        if is_empty {
            started.ready().await?;
        }
        Ok(started)
    };
    let started = start.await;
    match consumer.upgrade() {
        Some(consumer) => consumer.finish_attach(queue, started),
        None => {
            if let Ok(started) = started {
                started.close().await;
            }
            Ok(())
        }
    }
}

fn no_route() -> Error {
    Error::unavailable("the queue in use is not known yet")
}

#[async_trait]
impl Queue for SwitchingQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        self.wait_for_route().await?.primary.queue.publish(topic, messages).await
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let route = self.wait_for_route().await?;
        let start = async |queue: NamedQueue| (queue.queue.consume(topic).await, queue);
        let (results, mut failure) = match &route.secondary {
            None => (vec![start(route.primary.clone()).await], None),
            Some(secondary) => both(start(route.primary.clone()), start(secondary.clone())).await,
        };
        let mut started = Vec::new();
        for (result, queue) in results {
            match result {
                Ok(consumer) => started.push((queue, consumer)),
                Err(error) => failure = Some(error),
            }
        }
        // A queue that failed is attached later.
        match failure {
            Some(error) if started.is_empty() => return Err(error),
            Some(_) | None => {}
        }
        let consumer = SwitchingConsumer::new(topic.clone(), self.inner.route.subscribe(), started);
        self.inner.consumers.lock().push(Arc::downgrade(consumer.handle()));
        Ok(Box::new(consumer))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.sample(topic, BacklogDetail::OldestMessage).await
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.sample(topic, BacklogDetail::Depth).await
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        self.wait_for_route().await?.primary.queue.has_consumer(topic).await
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.wait_for_route().await?.primary.queue.prepare(topic).await
    }

    fn system(&self) -> &'static str {
        self.inner.route.borrow().as_ref().map_or("unknown", |route| route.primary.queue.system())
    }

    fn is_durable(&self) -> bool {
        match &*self.inner.route.borrow() {
            Some(route) => route.primary.queue.is_durable(),
            None => self.inner.is_durable,
        }
    }

    async fn check(&self) -> Result<(), Error> {
        match self.route() {
            Some(route) => route.primary.queue.check().await,
            None => Err(no_route()),
        }
    }
}

/// Returns both results. If the faster one succeeded and the slower one takes too long, returns the faster one and a
/// timeout error for the slower one.
async fn both<T, E>(
    first: impl Future<Output = (Result<T, Error>, E)>,
    second: impl Future<Output = (Result<T, Error>, E)>,
) -> (Vec<(Result<T, Error>, E)>, Option<Error>) {
    let timed_out = || Error::unavailable("one of two queues could not be consumed in time");
    tokio::pin!(first, second);
    // The slower future continues below.
    let (faster, slower) = match select(first, second).await {
        Either::Left((faster, slower)) => (faster, Either::Left(slower)),
        Either::Right((faster, slower)) => (faster, Either::Right(slower)),
    };
    if faster.0.is_err() {
        return (vec![faster, slower.await], None);
    }
    match tokio::time::timeout(SLOWER_QUEUE_TIMEOUT, slower).await {
        Ok(slower) => (vec![faster, slower], None),
        Err(_) => (vec![faster], Some(timed_out())),
    }
}
