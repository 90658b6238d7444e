//! The state of a consumer: prefetched messages, leases and the pending request for messages.

use crate::{Delivery, DeliveryTag, Error};
use async_nats::Subject;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After a message of a batch, the next one arrives within this time, or the request has ended.
const BATCH_GAP: Duration = Duration::from_millis(50);
/// A message whose lease expires within this time is not acknowledged any more: it could move to another consumer
/// before the acknowledgement arrives.
pub(super) const LEASE_MARGIN: Duration = Duration::from_millis(500);

/// Leases are renewed when less than this fraction of their duration remains.
const RENEW_BELOW: f32 = 0.6;

/// The state that the tasks and the owner of the consumer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Notified when a message arrives, and when the consumer fails.
    pub(super) arrived: Notify,
    /// Notified when the owner wants messages.
    pub(super) demanded: Notify,
    pub(super) stop: CancellationToken,
    /// The duration of a lease.
    pub(super) lease: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Messages that the owner has not received yet.
    pub(super) prefetched: VecDeque<Delivery>,
    /// The leases of all messages that were not acknowledged, by their position in the stream.
    pub(super) leases: BTreeMap<DeliveryTag, MessageLease>,
    /// Messages that the owner received and did not acknowledge in time. Another consumer may have received them.
    pub(super) lost: BTreeSet<DeliveryTag>,
    /// The number of messages that the owner wants.
    pub(super) demand: Option<usize>,
    /// The request for messages that is in flight.
    pub(super) request: Option<PullRequest>,
    /// The error that ended the consumer.
    pub(super) failed: Option<Error>,
}

/// The lease of a message.
#[derive(Debug)]
pub(super) struct MessageLease {
    /// The subject of acknowledgements.
    pub(super) reply: Subject,
    /// Until then, no other consumer receives the message.
    pub(super) expires_at: Instant,
    /// Whether an acknowledgement was sent. The lease is not renewed any more. Servers that lost the state of the
    /// consumer object in a crash ignore acknowledgements of earlier deliveries, but confirm renewals: with a renewed
    /// lease, the acknowledgement would be repeated without end.
    pub(super) is_acknowledging: bool,
}

impl MessageLease {
    pub(super) fn new(reply: Subject, expires_at: Instant) -> Self {
        Self { reply, expires_at, is_acknowledging: false }
    }

    /// Returns whether the lease needs a renewal and can still be renewed.
    fn is_renewal_due(&self, now: Instant, duration: Duration) -> bool {
        !self.is_acknowledging
            && self.expires_at < now + duration.mul_f32(RENEW_BELOW)
            && self.expires_at > now + LEASE_MARGIN
    }
}

/// A request for messages.
#[derive(Debug)]
pub(super) struct PullRequest {
    pub(super) subject: String,
    pub(super) sent_at: Instant,
    /// The number of messages that may still arrive.
    pub(super) remaining: usize,
    /// When the last message arrived.
    pub(super) last_arrival: Option<Instant>,
}

#[allow(clippy::disallowed_methods, reason = "leases use the monotonic clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends the consumer with an error.
    pub(super) fn fail(&self, error: Error) {
        self.state().failed = Some(error);
        self.arrived.notify_waiters();
    }
}

impl State {
    /// Returns prefetched messages once the whole batch has arrived. Otherwise records the demand.
    pub(super) fn try_receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let now = now();
        // The lease expired while the process was paused: another consumer receives the message.
        while let Some(first) = self.prefetched.front()
            && self.leases.get(&first.tag).is_none_or(|lease| lease.expires_at <= now)
        {
            self.leases.remove(&first.tag);
            self.prefetched.pop_front();
        }
        let has_ended =
            |request: &PullRequest| request.last_arrival.is_some_and(|at| now.duration_since(at) > BATCH_GAP);
        if self.request.as_ref().is_some_and(has_ended) {
            self.request = None;
        }
        if self.prefetched.is_empty() || (self.request.is_some() && self.prefetched.len() < max) {
            return match &self.failed {
                Some(error) => Err(error.clone()),
                None => {
                    self.demand = Some(max);
                    Ok(Vec::new())
                }
            };
        }
        // The demand was recorded while these messages were in flight. If it stayed, as many messages again would be
        // requested, and leased by a consumer that does not want them.
        self.demand = None;
        let count = max.min(self.prefetched.len());
        let received: Vec<Delivery> = self.prefetched.drain(..count).collect();
        for delivery in &received {
            // The message was lost and delivered again: it can be acknowledged again.
            self.lost.remove(&delivery.tag);
        }
        Ok(received)
    }

    /// Ends a request. Returns whether a message had arrived, or `None` if the request was abandoned before.
    pub(super) fn end_request(&mut self, subject: &str) -> Option<bool> {
        let request = self.request.take_if(|request| request.subject == subject)?;
        Some(request.last_arrival.is_some())
    }

    /// Returns the messages whose leases need a renewal, with their subjects.
    pub(super) fn due_renewals(&self, now: Instant, lease: Duration) -> Vec<(DeliveryTag, Subject)> {
        let due = self.leases.iter().filter(|(_, each)| each.is_renewal_due(now, lease));
        due.map(|(tag, lease)| (*tag, lease.reply.clone())).collect()
    }

    /// Returns the messages among `tags` that may still be acknowledged, with their subjects. Adds the others to
    /// `lost`.
    pub(super) fn begin_acknowledge(
        &mut self,
        tags: &[DeliveryTag],
        lost: &mut Vec<DeliveryTag>,
    ) -> Vec<(DeliveryTag, Subject)> {
        let now = now();
        let mut pending = Vec::with_capacity(tags.len());
        for tag in tags {
            match self.leases.get_mut(tag) {
                Some(lease) if lease.expires_at > now + LEASE_MARGIN => {
                    lease.is_acknowledging = true;
                    pending.push((*tag, lease.reply.clone()));
                }
                Some(_) => {
                    self.leases.remove(tag);
                    lost.push(*tag);
                }
                None if self.lost.remove(tag) => lost.push(*tag),
                None => {}
            }
        }
        pending
    }

    /// Processes the results of acknowledgements. Returns the messages whose acknowledgement has to be repeated, and
    /// adds lost messages to `lost`. Returns an error if an unconfirmed lease is too short for another attempt.
    pub(super) fn finish_acknowledge(
        &mut self,
        results: impl Iterator<Item = ((DeliveryTag, Subject), bool)>,
        lost: &mut Vec<DeliveryTag>,
    ) -> Result<Vec<(DeliveryTag, Subject)>, Error> {
        let now = now();
        let mut retry = Vec::new();
        for ((tag, reply), confirmed) in results {
            match self.leases.get(&tag).map(|lease| lease.expires_at) {
                Some(expires_at) if expires_at > now && !confirmed => {
                    if expires_at <= now + LEASE_MARGIN {
                        return Err(Error::unavailable(
                            "acknowledgement was not confirmed before its lease expires",
                        ));
                    }
                    retry.push((tag, reply));
                }
                Some(expires_at) if expires_at > now => {
                    self.leases.remove(&tag);
                }
                // The lease has expired: another consumer may have received the message before.
                Some(_) | None => {
                    self.leases.remove(&tag);
                    lost.push(tag);
                }
            }
        }
        Ok(retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    const LEASE: Duration = Duration::from_secs(8);

    fn arrive(state: &mut State, position: u64) {
        let tag = DeliveryTag::new(position);
        let lease = MessageLease::new("reply".into(), now() + LEASE);
        state.leases.insert(tag, lease);
        let message = Message { key: String::new(), payload: "p".into(), published_at_ms: 0 };
        state.prefetched.push_back(Delivery { tag, message, redelivered: false });
    }

    #[test]
    fn batch_that_arrives_in_parts_is_requested_once() {
        let mut state = State::default();
        assert!(state.try_receive(2).unwrap().is_empty());
        assert_eq!(state.demand.take(), Some(2), "nothing has arrived yet");
        state.request = Some(PullRequest {
            subject: "s".to_owned(),
            sent_at: now(),
            remaining: 1,
            last_arrival: Some(now()),
        });
        arrive(&mut state, 1);
        assert!(state.try_receive(2).unwrap().is_empty(), "the second message is in flight");
        state.request = None;
        arrive(&mut state, 2);
        assert_eq!(state.try_receive(2).unwrap().len(), 2);
        assert_eq!(state.demand, None, "the demand is satisfied");
    }

    #[test]
    fn lease_of_a_message_that_is_being_acknowledged_is_not_renewed() {
        let (mut state, tags) = (State::default(), [1, 2].map(DeliveryTag::new));
        (1..=2).for_each(|position| arrive(&mut state, position));
        let later = now() + LEASE / 2;
        let due =
            |state: &State| state.due_renewals(later, LEASE).iter().map(|(tag, _)| *tag).collect::<Vec<_>>();
        assert_eq!(due(&state), tags);
        let mut lost = Vec::new();
        assert_eq!(state.begin_acknowledge(&tags[..1], &mut lost).len(), 1);
        assert_eq!((due(&state), lost), (vec![tags[1]], Vec::new()));
    }
}
