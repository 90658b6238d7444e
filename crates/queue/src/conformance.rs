//! The cases that every adapter runs: one array, so that none can be left out.
//!
//! A case opens queues of its own through a [`Factory`], and gives a sentence that says what it found.

mod delivery;
mod expect;
mod limits;
mod load;
mod sharing;
mod waiting;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Queue;

/// A case that is not through by then hangs: the longest moves 100,000 messages.
const CASE_LIMIT: Duration = Duration::from_secs(180);

/// A future that a table can hold.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Kept, or why not.
pub type Verdict = Result<(), String>;

/// Makes queues of the adapter under test.
#[async_trait]
pub trait Factory: fmt::Debug + Send + Sync {
    /// An empty queue that shares nothing with any before it.
    ///
    /// # Errors
    /// Why there is none.
    async fn open(&self) -> Result<Arc<dyn Queue>, String>;

    /// The same, with topics that hold no more than `messages`; none: this adapter's topics have no bound
    /// that can be chosen.
    ///
    /// # Errors
    /// Why there is none.
    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String>;

    /// Whether the adapter can tell that nobody consumes a topic. One that can't says that somebody does.
    fn knows_consumers(&self) -> bool {
        true
    }

    /// Whether the adapter is a log: a consumer has its own part of the keys, acknowledges up to a place of
    /// each part, and what it has taken and not acknowledged can't be told from what nobody has taken.
    fn is_log(&self) -> bool {
        false
    }

    /// How long a delivery may take before it counts as lost.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    /// Checks it, on a queue of its own.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<Verdict>,
}

impl Case {
    /// Checks it, and takes a case that hangs for one that found something.
    ///
    /// # Errors
    /// What was found.
    pub async fn check(&self, factory: Arc<dyn Factory>) -> Verdict {
        match tokio::time::timeout(CASE_LIMIT, (self.run)(factory)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("not through after {} s", CASE_LIMIT.as_secs())),
        }
    }
}

/// Every promise.
pub const CASES: &[Case] = &[
    Case { name: "nothing_published_is_lost", run: |f| Box::pin(delivery::nothing_is_lost(f)) },
    Case { name: "a_message_comes_as_it_was_published", run: |f| Box::pin(delivery::nothing_is_changed(f)) },
    Case { name: "a_key_keeps_its_order", run: |f| Box::pin(delivery::order_of_a_key(f)) },
    Case { name: "no_more_is_taken_than_asked_for", run: |f| Box::pin(delivery::at_most_max(f)) },
    Case { name: "what_is_unacknowledged_comes_again", run: |f| Box::pin(delivery::comes_again(f)) },
    Case { name: "what_comes_again_keeps_its_order", run: |f| Box::pin(delivery::comes_again_in_order(f)) },
    Case { name: "an_acknowledgement_may_be_repeated", run: |f| Box::pin(delivery::acknowledged_twice(f)) },
    Case { name: "consumers_share_a_topic", run: |f| Box::pin(sharing::two_consumers(f)) },
    Case {
        name: "what_is_given_up_and_got_back_goes_on",
        run: |f| Box::pin(sharing::given_up_and_got_back(f)),
    },
    Case { name: "only_the_holder_acknowledges", run: |f| Box::pin(sharing::of_another(f)) },
    Case { name: "lanes_and_services_are_independent", run: |f| Box::pin(sharing::lanes(f)) },
    Case { name: "consumers_are_known", run: |f| Box::pin(sharing::has_consumer(f)) },
    Case { name: "take_waits_for_a_publish", run: |f| Box::pin(waiting::for_a_publish(f)) },
    Case { name: "take_can_be_cancelled", run: |f| Box::pin(waiting::cancelled(f)) },
    Case { name: "a_full_topic_refuses_whole", run: |f| Box::pin(limits::refuses_whole(f)) },
    Case { name: "a_full_lane_leaves_room_for_undo", run: |f| Box::pin(limits::undo_has_room(f)) },
    Case { name: "the_backlog_is_what_waits", run: |f| Box::pin(limits::backlog(f)) },
    Case { name: "many_messages_come_exactly_once", run: |f| Box::pin(load::exactly_once(f)) },
];
