//! A consumer: asks for what it can take, and speaks for what it holds.
//!
//! Two tasks do it. One asks and receives, and gives everything back at the end; the other says, for what is held
//! for longer, that it is still worked on.

use super::ANSWER;
use super::link::{Connected, News};
use super::record;
use super::settings::Names;
use super::streams::CONSUMER;
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_nats::{Client, StatusCode, Subject, Subscriber, jetstream};
use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How long a request for messages waits at the servers. Short: what is held is counted from when it was asked for.
const WAITS: Duration = Duration::from_secs(2);
/// A request of which nothing is heard for so much longer is lost.
const LOST: Duration = Duration::from_secs(1);
/// A request whose first message came, and nothing more, has ended.
const ENDED: Duration = Duration::from_millis(50);
/// Before the same is asked again: others were before it, or the servers are busy with themselves.
const SOON: Duration = Duration::from_millis(3);
const LATER: Duration = Duration::from_millis(100);
/// Where nobody answers for the consumer for this long, it is gone.
const GONE: Duration = Duration::from_secs(3);
/// How often it is looked whether something has to be said.
const TICK: Duration = Duration::from_millis(500);
/// What has less time left than this is not acknowledged any more: it could be another's before that is heard.
const MARGIN: Duration = Duration::from_millis(500);
/// One try of an acknowledgement.
const TRY: Duration = Duration::from_secs(2);
/// How long the servers are waited for to hear that a consumer leaves.
const LEAVE: Duration = Duration::from_secs(3);
/// Messages that are asked for at once, at most.
const MOST: usize = 1000;

/// Takes messages of one topic.
#[derive(Debug)]
pub(super) struct NatsConsumer {
    name: String,
    client: Client,
    shared: Arc<Shared>,
    /// Rings when everything was given back.
    left: Option<oneshot::Receiver<()>>,
}

/// What the tasks and the consumer's owner share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something came, or ended.
    came: Notify,
    /// Something is wanted.
    wanted: Notify,
    stop: CancellationToken,
    lease: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Came, and was not given to the owner yet.
    fetched: VecDeque<Delivery>,
    /// All that is held, by its place in the stream.
    held: BTreeMap<DeliveryTag, Held>,
    /// What was given to the owner and not acknowledged in time: others may have it now.
    lost: BTreeSet<DeliveryTag>,
    /// How many are wanted.
    wanted: Option<usize>,
    /// What was asked for.
    asked: Option<Asked>,
    /// Why there will be no more.
    failed: Option<String>,
}

#[derive(Debug)]
struct Held {
    /// Where it is acknowledged.
    reply: Subject,
    /// Until then it is nobody else's.
    until: Instant,
}

/// A request for messages that is under way.
#[derive(Debug)]
struct Asked {
    subject: String,
    at: Instant,
    /// How many may still come.
    left: usize,
    /// When the last came.
    came: Option<Instant>,
}

#[allow(clippy::disallowed_methods, reason = "leases count by the monotonic clock")]
fn now() -> Instant {
    Instant::now()
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        metrics::counter!("goconductor_queue_consumer_errors_total").increment(1);
        self.state().failed = Some(why);
        self.came.notify_waiters();
    }
}

impl State {
    /// What has come, once all of it has; else it is asked for.
    fn give(&mut self, max: usize) -> Result<Vec<Delivery>, String> {
        let now = now();
        // Its time is up, as this process was paused: it is another's, or will be.
        while let Some(first) = self.fetched.front()
            && self.held.get(&first.tag).is_none_or(|held| held.until <= now)
        {
            self.held.remove(&first.tag);
            self.fetched.pop_front();
        }
        let ended = |asked: &Asked| asked.came.is_some_and(|came| now.duration_since(came) > ENDED);
        if self.asked.as_ref().is_some_and(ended) {
            self.asked = None;
        }
        if self.fetched.is_empty() || (self.asked.is_some() && self.fetched.len() < max) {
            return match &self.failed {
                Some(why) => Err(why.clone()),
                None => {
                    self.wanted = Some(max);
                    Ok(Vec::new())
                }
            };
        }
        let count = max.min(self.fetched.len());
        let given: Vec<Delivery> = self.fetched.drain(..count).collect();
        for delivery in &given {
            // It was lost, and has come back: it can be acknowledged again.
            self.lost.remove(&delivery.tag);
        }
        Ok(given)
    }

    /// A request has ended: whether something had come of it. None: it was given up before.
    fn end(&mut self, subject: &str) -> Option<bool> {
        let asked = self.asked.take_if(|asked| asked.subject == subject)?;
        Some(asked.came.is_some())
    }

    /// Those of these that may still be acknowledged, and how; the others are lost.
    fn settle(&mut self, tags: &[DeliveryTag], gone: &mut Vec<DeliveryTag>) -> Vec<(DeliveryTag, Subject)> {
        let now = now();
        let mut settle = Vec::with_capacity(tags.len());
        for tag in tags {
            match self.held.get(tag) {
                Some(held) if held.until > now + MARGIN => settle.push((*tag, held.reply.clone())),
                Some(_) => {
                    self.held.remove(tag);
                    gone.push(*tag);
                }
                None if self.lost.remove(tag) => gone.push(*tag),
                None => {}
            }
        }
        settle
    }
}

impl NatsConsumer {
    pub(super) async fn begin(
        connected: Connected,
        news: Arc<News>,
        names: Names,
        lease: Duration,
    ) -> Result<Self, Error> {
        let Connected { client, jetstream } = connected;
        let inbox = client.new_inbox();
        // Each request has a subject of its own, so that the end of one is not taken for that of another.
        let subscribed = tokio::time::timeout(ANSWER, client.subscribe(format!("{inbox}.*"))).await;
        let unavailable = |reason: String| Error::Unavailable { reason };
        let subscriber = subscribed
            .map_err(|_| unavailable("no answer to a subscription".to_owned()))?
            .map_err(|error| unavailable(error.to_string()))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            came: Notify::new(),
            wanted: Notify::new(),
            stop: CancellationToken::new(),
            lease,
        });
        let (tell, left) = oneshot::channel();
        let receiver = Receiver {
            client: client.clone(),
            jetstream,
            shared: Arc::clone(&shared),
            subscriber,
            inbox,
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}", names.stream),
            number: 0,
            silent_since: None,
        };
        tokio::spawn(async move {
            receiver.run(news.connections()).await;
            tell.send(()).ok();
        });
        tokio::spawn(speak(client.clone(), Arc::clone(&shared)));
        Ok(Self { name: names.subject, client, shared, left: Some(left) })
    }
}

/// Asks for messages, and receives them.
struct Receiver {
    client: Client,
    jetstream: jetstream::Context,
    shared: Arc<Shared>,
    subscriber: Subscriber,
    inbox: String,
    /// Where messages are asked for.
    next: String,
    number: u64,
    /// Since when nobody answers for the consumer.
    silent_since: Option<Instant>,
}

impl Receiver {
    async fn run(mut self, mut connections: watch::Receiver<u64>) {
        let shared = Arc::clone(&self.shared);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        connections.mark_unchanged();
        loop {
            // All are safe to cancel: none has anything in hand before it is ready.
            tokio::select! {
                () = shared.stop.cancelled() => break,
                message = self.subscriber.next() => match message {
                    Some(message) => self.receive(message).await,
                    None => {
                        shared.fail("the connection was closed".to_owned());
                        break;
                    }
                },
                () = shared.wanted.notified() => {}
                // What was asked for before is forgotten by the servers.
                _ = connections.changed() => self.forget(),
                _ = tick.tick() => self.expire(),
            }
            self.ask().await;
        }
        self.give_back().await;
    }

    fn forget(&self) {
        self.shared.state().asked = None;
    }

    /// What is not answered is asked again; and the owner looks again whether something has ended.
    fn expire(&self) {
        let mut state = self.shared.state();
        if state.asked.as_ref().is_some_and(|asked| asked.at.elapsed() > WAITS + LOST) {
            state.asked = None;
        }
        drop(state);
        self.shared.came.notify_waiters();
    }

    /// Asks for what is wanted, unless something is on its way. It is answered with what there is, at once; if
    /// there is nothing, with the first that comes.
    async fn ask(&mut self) {
        let subject = format!("{}.{}", self.inbox, self.number);
        let wanted = {
            let mut state = self.shared.state();
            if state.asked.is_some() || !state.fetched.is_empty() || state.failed.is_some() {
                return;
            }
            let Some(wanted) = state.wanted.take() else { return };
            let wanted = wanted.min(MOST);
            state.asked = Some(Asked { subject: subject.clone(), at: now(), left: wanted, came: None });
            wanted
        };
        self.number += 1;
        let request = format!(r#"{{"batch":{wanted},"expires":{},"no_wait":true}}"#, WAITS.as_nanos());
        let asked = self.client.publish_with_reply(self.next.clone(), subject, request.into());
        if !matches!(tokio::time::timeout(ANSWER, asked).await, Ok(Ok(()))) {
            self.forget();
        }
    }

    async fn receive(&mut self, message: async_nats::Message) {
        match message.status {
            None => {
                self.silent_since = None;
                self.take_in(message);
            }
            Some(status) => self.hear(status, &message).await,
        }
        self.shared.came.notify_waiters();
    }

    fn take_in(&self, message: async_nats::Message) {
        let Some(reply) = message.reply.clone() else { return };
        let message = jetstream::Message { message, context: self.jetstream.clone() };
        let Ok(info) = message.info() else { return };
        let stored_at_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let (tag, redelivered) = (DeliveryTag::new(info.stream_sequence), info.delivered > 1);
        let message = record::message(message.headers.as_ref(), message.payload.clone(), stored_at_ms);
        let mut state = self.shared.state();
        // It was lent after it was asked for; one that comes late is counted as if it had come last.
        let mut asked_at = now().checked_sub(WAITS + LOST).unwrap_or_else(now);
        if let Some(asked) = &mut state.asked {
            asked_at = asked.at;
            asked.came = Some(now());
            asked.left = asked.left.saturating_sub(1);
            if asked.left == 0 {
                state.asked = None;
            }
        }
        state.held.insert(tag, Held { reply, until: asked_at + self.shared.lease });
        state.fetched.push_back(Delivery { tag, message, redelivered });
    }

    /// The servers say how a request has ended.
    async fn hear(&mut self, status: StatusCode, message: &async_nats::Message) {
        let description = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::NO_RESPONDERS {
            let since = *self.silent_since.get_or_insert_with(now);
            if since.elapsed() > GONE {
                self.shared.fail("there is no consumer".to_owned());
            }
        } else if description.contains("Consumer Deleted") || description.contains("push based") {
            self.shared.fail(description.to_owned());
        } else {
            self.silent_since = None;
        }
        match self.shared.state().end(message.subject.as_str()) {
            // It was not answered before.
            Some(false) if description != "Request Timeout" => {}
            Some(_) | None => return,
        }
        tracing::trace!(%status, description, "nats");
        let pause = if description == "Requests Pending" { SOON } else { LATER };
        tokio::time::sleep(pause).await;
    }

    /// Gives back what is held and still ours, in its order, so that others have it at once.
    async fn give_back(&mut self) {
        let giving = async {
            // What is on its way comes first.
            if self.subscriber.drain().await.is_ok() {
                while let Some(message) = self.subscriber.next().await {
                    if message.status.is_none() {
                        self.take_in(message);
                    }
                }
            }
            let held = std::mem::take(&mut self.shared.state().held);
            let sure = now() + MARGIN;
            let replies = held.into_values().filter(|held| held.until > sure).map(|held| held.reply);
            // One after the other: they come again in the order in which they were given back.
            for reply in replies {
                if self.client.publish(reply, "-NAK".into()).await.is_err() {
                    return;
                }
            }
            self.client.flush().await.ok();
        };
        if tokio::time::timeout(LEAVE, giving).await.is_err() {
            tracing::debug!("what a consumer held comes again when its time is up");
        }
    }
}

/// Says, for what is held for longer, that it is still worked on.
async fn speak(client: Client, shared: Arc<Shared>) {
    loop {
        // Safe to cancel: nothing has been said yet.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let at = now();
        let soon = at + shared.lease.mul_f32(0.6);
        let due: Vec<(DeliveryTag, Subject)> = {
            let state = shared.state();
            let due = state.held.iter().filter(|(_, held)| held.until < soon && held.until > at + MARGIN);
            due.map(|(tag, held)| (*tag, held.reply.clone())).collect()
        };
        let said = due.into_iter().map(async |(tag, reply)| (tag, ask(&client, reply, "+WPI").await));
        for (tag, heard) in join_all(said).await {
            if heard && let Some(held) = shared.state().held.get_mut(&tag) {
                // Only if it was still ours when that was heard.
                if held.until > now() {
                    held.until = at + shared.lease;
                }
            }
        }
    }
}

/// Says something of a message, and waits until the servers have heard it; whether they have.
async fn ask(client: &Client, reply: Subject, what: &'static str) -> bool {
    let said = tokio::time::timeout(TRY, client.request(reply, what.into())).await;
    matches!(said, Ok(Ok(_)))
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let came = self.shared.came.notified();
            tokio::pin!(came);
            // From here on no message is missed.
            came.as_mut().enable();
            let given = self.shared.state().give(max).map_err(|reason| Error::Unavailable { reason })?;
            if !given.is_empty() {
                let count = u64::try_from(given.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_taken_total", "topic" => self.name.clone())
                    .increment(count);
                return Ok(given);
            }
            self.shared.wanted.notify_one();
            came.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut gone = Vec::new();
        let mut left = self.shared.state().settle(deliveries, &mut gone);
        while !left.is_empty() {
            let asked = left.iter().map(async |(_, reply)| ask(&self.client, reply.clone(), "+ACK").await);
            let heard = join_all(asked).await;
            let mut state = self.shared.state();
            let at = now();
            let mut unsure = Vec::new();
            for (each, heard) in left.into_iter().zip(heard) {
                match state.held.get(&each.0).map(|held| held.until > at) {
                    Some(true) if !heard => unsure.push(each),
                    Some(true) => {
                        state.held.remove(&each.0);
                    }
                    // It came too late for anybody to be sure that no other had it.
                    Some(false) | None => {
                        state.held.remove(&each.0);
                        gone.push(each.0);
                    }
                }
            }
            if unsure.iter().any(|(tag, _)| state.held.get(tag).is_none_or(|held| held.until <= at + MARGIN))
            {
                let reason = "no answer to an acknowledgement".to_owned();
                return Err(Error::Unavailable { reason });
            }
            left = unsure;
        }
        Ok(gone)
    }

    async fn leave(mut self: Box<Self>) {
        let left = self.left.take();
        drop(self);
        if let Some(left) = left {
            drop(tokio::time::timeout(LEAVE, left).await);
        }
    }
}

impl Drop for NatsConsumer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
