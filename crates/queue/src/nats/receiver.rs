//! The two tasks of a consumer: one asks for messages and receives them, and gives everything back at the end; the
//! other says, for what is held for longer, that it is still worked on.

use super::ANSWER;
use super::held::{Asked, Held, MARGIN, Shared, now};
use super::record;
use crate::{Delivery, DeliveryTag};
use async_nats::{Client, StatusCode, Subject, Subscriber, jetstream};
use futures::StreamExt;
use futures::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a request for messages waits at the servers. Short: what is held is counted from when it was asked for.
const WAITS: Duration = Duration::from_secs(2);
/// A request of which nothing is heard for so much longer is lost.
const LOST: Duration = Duration::from_secs(1);
/// Before the same is asked again: others were before it, or the servers are busy with themselves.
const SOON: Duration = Duration::from_millis(3);
const LATER: Duration = Duration::from_millis(100);
/// Where nobody answers for the consumer for this long, it is gone.
const GONE: Duration = Duration::from_secs(3);
/// How often it is looked whether something has to be said.
const TICK: Duration = Duration::from_millis(500);
/// One try to say something of a message.
const TRY: Duration = Duration::from_secs(2);
/// How long it may take to give everything back.
const LEAVE: Duration = Duration::from_secs(3);
/// Messages that are asked for at once, at most.
const MOST: usize = 1000;

/// Asks for messages, and receives them.
pub(super) struct Receiver {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) shared: Arc<Shared>,
    pub(super) subscriber: Subscriber,
    pub(super) inbox: String,
    /// Where messages are asked for.
    pub(super) next: String,
    pub(super) number: u64,
    /// Since when nobody answers for the consumer.
    pub(super) silent_since: Option<Instant>,
}

impl Receiver {
    pub(super) async fn run(mut self, mut connections: watch::Receiver<u64>) {
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
pub(super) async fn speak(client: Client, shared: Arc<Shared>) {
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
pub(super) async fn ask(client: &Client, reply: Subject, what: &'static str) -> bool {
    let said = tokio::time::timeout(TRY, client.request(reply, what.into())).await;
    matches!(said, Ok(Ok(_)))
}
