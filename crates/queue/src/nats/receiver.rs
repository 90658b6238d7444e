//! The two tasks of a consumer. One requests and receives messages, and releases all of them at the end. The other
//! renews the leases of messages that the owner keeps for longer.

use super::limits::REQUEST_TIMEOUT;
use super::record;
use super::state::{LEASE_MARGIN, MessageLease, PullRequest, Shared, now};
use crate::{Delivery, DeliveryTag, Error};
use async_nats::{Client, StatusCode, Subject, Subscriber, jetstream};
use futures::StreamExt;
use futures::future::join_all;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a request waits at the servers for a message. It is short, because a lease is counted from the time of the
/// request.
const PULL_EXPIRY: Duration = Duration::from_secs(2);
/// A request without a response counts as lost this long after its expiry.
const PULL_GRACE: Duration = Duration::from_secs(1);
/// Delay before a request is repeated: if other consumers were served first, and after any other refusal.
const RETRY_DELAY: Duration = Duration::from_millis(3);
const RETRY_DELAY_AFTER_ERROR: Duration = Duration::from_millis(100);
/// A consumer object without responders for this long counts as deleted.
const NO_RESPONDERS_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval at which requests and leases are checked.
const TICK: Duration = Duration::from_millis(500);
/// Timeout of one attempt to acknowledge a message or to renew its lease.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for releasing all messages at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum number of messages in one request.
const MAX_BATCH: usize = 1000;

/// Requests and receives messages.
pub(super) struct Receiver {
    pub(super) client: Client,
    pub(super) jetstream: jetstream::Context,
    pub(super) shared: Arc<Shared>,
    pub(super) subscriber: Subscriber,
    pub(super) inbox: String,
    /// The subject of requests for messages.
    pub(super) next: String,
    /// The number of requests so far.
    pub(super) requests: u64,
    /// Since when requests find no responder.
    pub(super) no_responders_since: Option<Instant>,
}

impl Receiver {
    pub(super) async fn run(mut self, mut connections: watch::Receiver<u64>) {
        let shared = Arc::clone(&self.shared);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        connections.mark_unchanged();
        loop {
            // All arms are cancel safe: none owns a message before it completes.
            tokio::select! {
                () = shared.stop.cancelled() => break,
                message = self.subscriber.next() => match message {
                    Some(message) => self.receive(message).await,
                    None => {
                        shared.fail(Error::unavailable("connection was closed"));
                        break;
                    }
                },
                () = shared.demanded.notified() => {}
                // The servers forget requests when the connection breaks.
                _ = connections.changed() => self.abandon_request(),
                _ = tick.tick() => self.expire_request(),
            }
            self.request().await;
        }
        self.release().await;
    }

    fn abandon_request(&self) {
        self.shared.state().request = None;
    }

    /// Abandons a request without a response, and wakes the owner, which checks whether a batch has ended.
    fn expire_request(&self) {
        let mut state = self.shared.state();
        let is_lost = |request: &PullRequest| request.sent_at.elapsed() > PULL_EXPIRY + PULL_GRACE;
        if state.request.as_ref().is_some_and(is_lost) {
            state.request = None;
        }
        drop(state);
        self.shared.arrived.notify_waiters();
    }

    /// Requests messages if the owner wants some and no request is in flight. The servers respond with all waiting
    /// messages at once. If none waits, they respond with the first one that is published.
    async fn request(&mut self) {
        let subject = format!("{}.{}", self.inbox, self.requests);
        let batch = {
            let mut state = self.shared.state();
            if state.request.is_some() || !state.prefetched.is_empty() || state.failed.is_some() {
                return;
            }
            let Some(demand) = state.demand.take() else { return };
            let batch = demand.min(MAX_BATCH);
            let (subject, sent_at) = (subject.clone(), now());
            state.request = Some(PullRequest { subject, sent_at, remaining: batch, last_arrival: None });
            batch
        };
        self.requests += 1;
        let request = format!(r#"{{"batch":{batch},"expires":{},"no_wait":true}}"#, PULL_EXPIRY.as_nanos());
        let sent = self.client.publish_with_reply(self.next.clone(), subject, request.into());
        if !matches!(tokio::time::timeout(REQUEST_TIMEOUT, sent).await, Ok(Ok(()))) {
            self.abandon_request();
        }
    }

    async fn receive(&mut self, message: async_nats::Message) {
        match message.status {
            None => {
                self.no_responders_since = None;
                self.prefetch(message);
            }
            Some(status) => self.end_request(status, &message).await,
        }
        self.shared.arrived.notify_waiters();
    }

    fn prefetch(&self, message: async_nats::Message) {
        let Some(reply) = message.reply.clone() else { return };
        let message = jetstream::Message { message, context: self.jetstream.clone() };
        let Ok(info) = message.info() else { return };
        let stored_at_ms = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let (tag, redelivered) = (DeliveryTag::new(info.stream_sequence), info.delivered > 1);
        let message = record::message(message.headers.as_ref(), message.payload.clone(), stored_at_ms);
        let mut state = self.shared.state();
        // The lease began after the request was sent. A message of an abandoned request counts from the earliest time
        // at which that request can have been sent.
        let mut sent_at = now().checked_sub(PULL_EXPIRY + PULL_GRACE).unwrap_or_else(now);
        if let Some(request) = &mut state.request {
            sent_at = request.sent_at;
            request.last_arrival = Some(now());
            request.remaining = request.remaining.saturating_sub(1);
            if request.remaining == 0 {
                state.request = None;
            }
        }
        state.leases.insert(tag, MessageLease::new(reply, sent_at + self.shared.lease));
        state.prefetched.push_back(Delivery { tag, message, redelivered });
    }

    /// Processes the status message that ends a request.
    async fn end_request(&mut self, status: StatusCode, message: &async_nats::Message) {
        let description = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::NO_RESPONDERS {
            let since = *self.no_responders_since.get_or_insert_with(now);
            if since.elapsed() > NO_RESPONDERS_TIMEOUT {
                self.shared.fail(Error::unavailable("consumer object does not exist"));
            }
        } else if description.contains("Consumer Deleted") || description.contains("push based") {
            self.shared.fail(Error::unavailable(description));
        } else {
            self.no_responders_since = None;
        }
        match self.shared.state().end_request(message.subject.as_str()) {
            // The request failed without a message.
            Some(false) if description != "Request Timeout" => {}
            Some(_) | None => return,
        }
        tracing::trace!(%status, description, "NATS refused a request for messages");
        let is_queued = description == "Requests Pending";
        tokio::time::sleep(if is_queued { RETRY_DELAY } else { RETRY_DELAY_AFTER_ERROR }).await;
    }

    /// Releases all messages whose lease has not expired, in order, so that other consumers receive them at once.
    async fn release(&mut self) {
        let releasing = async {
            // Messages in flight first.
            if self.subscriber.drain().await.is_ok() {
                while let Some(message) = self.subscriber.next().await {
                    if message.status.is_none() {
                        self.prefetch(message);
                    }
                }
            }
            let leases = std::mem::take(&mut self.shared.state().leases);
            let safe = now() + LEASE_MARGIN;
            let valid = leases.into_values().filter(|lease| lease.expires_at > safe);
            // One after the other: the servers deliver messages again in the order of their release.
            for lease in valid {
                if self.client.publish(lease.reply, "-NAK".into()).await.is_err() {
                    return;
                }
            }
            self.client.flush().await.ok();
        };
        if tokio::time::timeout(RELEASE_TIMEOUT, releasing).await.is_err() {
            tracing::debug!(
                "consumer could not release its messages in time; they are redelivered after their leases"
            );
        }
    }
}

/// Renews leases until the consumer is stopped.
pub(super) async fn renew_leases(client: Client, shared: Arc<Shared>) {
    loop {
        // Cancel safe: no renewal is in flight.
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let sent_at = now();
        let due = shared.state().due_renewals(sent_at, shared.lease);
        let renewals = due.into_iter().map(async |(tag, reply)| (tag, confirm(&client, reply, "+WPI").await));
        for (tag, confirmed) in join_all(renewals).await {
            if confirmed && let Some(lease) = shared.state().leases.get_mut(&tag) {
                // A renewal counts only if the lease had not expired when it was confirmed.
                if lease.expires_at > now() {
                    lease.expires_at = sent_at + shared.lease;
                }
            }
        }
    }
}

/// Sends an acknowledgement of a message, and returns whether the servers confirmed it.
pub(super) async fn confirm(client: &Client, reply: Subject, acknowledgement: &'static str) -> bool {
    let confirmed = tokio::time::timeout(ACK_TIMEOUT, client.request(reply, acknowledgement.into())).await;
    matches!(confirmed, Ok(Ok(_)))
}
