//! What a consumer has: what came, what it holds and until when, and what it has asked for.

use crate::{Delivery, DeliveryTag};
use async_nats::Subject;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A request whose first message came, and nothing more, has ended.
const ENDED: Duration = Duration::from_millis(50);
/// What has less time left than this is not acknowledged any more: it could be another's before that is heard.
pub(super) const MARGIN: Duration = Duration::from_millis(500);

/// What the tasks and the consumer's owner share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Something came, or ended.
    pub(super) came: Notify,
    /// Something is wanted.
    pub(super) wanted: Notify,
    pub(super) stop: CancellationToken,
    pub(super) lease: Duration,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Came, and was not given to the owner yet.
    pub(super) fetched: VecDeque<Delivery>,
    /// All that is held, by its place in the stream.
    pub(super) held: BTreeMap<DeliveryTag, Held>,
    /// What was given to the owner and not acknowledged in time: others may have it now.
    pub(super) lost: BTreeSet<DeliveryTag>,
    /// How many are wanted.
    pub(super) wanted: Option<usize>,
    /// What was asked for.
    pub(super) asked: Option<Asked>,
    /// Why there will be no more.
    pub(super) failed: Option<String>,
}

#[derive(Debug)]
pub(super) struct Held {
    /// Where it is acknowledged.
    pub(super) reply: Subject,
    /// Until then it is nobody else's.
    pub(super) until: Instant,
}

/// A request for messages that is under way.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) subject: String,
    pub(super) at: Instant,
    /// How many may still come.
    pub(super) left: usize,
    /// When the last came.
    pub(super) came: Option<Instant>,
}

#[allow(clippy::disallowed_methods, reason = "leases count by the monotonic clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail(&self, why: String) {
        metrics::counter!("goconductor_queue_consumer_errors_total").increment(1);
        self.state().failed = Some(why);
        self.came.notify_waiters();
    }
}

impl State {
    /// What has come, once all of it has; else it is asked for.
    pub(super) fn give(&mut self, max: usize) -> Result<Vec<Delivery>, String> {
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
        // Said while the last of these were on their way; else as many would be asked for, and held for nobody.
        self.wanted = None;
        let count = max.min(self.fetched.len());
        let given: Vec<Delivery> = self.fetched.drain(..count).collect();
        for delivery in &given {
            // It was lost, and has come back: it can be acknowledged again.
            self.lost.remove(&delivery.tag);
        }
        Ok(given)
    }

    /// A request has ended: whether something had come of it. None: it was given up before.
    pub(super) fn end(&mut self, subject: &str) -> Option<bool> {
        let asked = self.asked.take_if(|asked| asked.subject == subject)?;
        Some(asked.came.is_some())
    }

    /// Those of these that may still be acknowledged, and how; the others are lost.
    pub(super) fn settle(
        &mut self,
        tags: &[DeliveryTag],
        gone: &mut Vec<DeliveryTag>,
    ) -> Vec<(DeliveryTag, Subject)> {
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

    /// These were acknowledged, and this was heard of each; those that have to be said again. An error: there is no
    /// time for that any more.
    pub(super) fn settled(
        &mut self,
        said: impl Iterator<Item = ((DeliveryTag, Subject), bool)>,
        gone: &mut Vec<DeliveryTag>,
    ) -> Result<Vec<(DeliveryTag, Subject)>, ()> {
        let now = now();
        let mut again = Vec::new();
        for ((tag, reply), heard) in said {
            match self.held.get(&tag).map(|held| held.until) {
                Some(until) if until > now && !heard => {
                    if until <= now + MARGIN {
                        return Err(());
                    }
                    again.push((tag, reply));
                }
                Some(until) if until > now => {
                    self.held.remove(&tag);
                }
                // It came too late for anybody to be sure that no other had it.
                Some(_) | None => {
                    self.held.remove(&tag);
                    gone.push(tag);
                }
            }
        }
        Ok(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn came(state: &mut State, place: u64) {
        let tag = DeliveryTag::new(place);
        let held = Held { reply: "reply".into(), until: now() + Duration::from_secs(8) };
        state.held.insert(tag, held);
        let message = Message { key: String::new(), payload: "p".into(), published_at_ms: 0 };
        state.fetched.push_back(Delivery { tag, message, redelivered: false });
    }

    #[test]
    fn what_came_in_two_parts_is_not_asked_for_again() {
        let mut state = State::default();
        assert!(state.give(2).unwrap().is_empty());
        assert_eq!(state.wanted.take(), Some(2), "nothing is there yet");
        state.asked = Some(Asked { subject: "s".to_owned(), at: now(), left: 1, came: Some(now()) });
        came(&mut state, 1);
        assert!(state.give(2).unwrap().is_empty(), "the other is on its way");
        state.asked = None;
        came(&mut state, 2);
        assert_eq!(state.give(2).unwrap().len(), 2);
        assert_eq!(state.wanted, None, "whoever has what it wanted wants nothing");
    }
}
