//! The cases that every adapter runs: one array, so that none can be left out.
//!
//! A case opens queues of its own through a [`Factory`], and gives a sentence that says what it found.

mod delivery;
mod expect;
mod faults;
mod limits;
mod load;
mod sharing;
mod waiting;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Queue, Topic};

/// A case that is not through by then hangs: the longest moves 100,000 messages.
const CASE_LIMIT: Duration = Duration::from_secs(240);

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

    /// Whether a consumer fetches more than it was asked for: what it has, and did not give, no other consumer
    /// gets as long as it is there.
    fn fetches_ahead(&self) -> bool {
        self.is_log()
    }

    /// Whether a backlog is without what was taken and not acknowledged.
    fn tells_taken(&self) -> bool {
        !self.is_log()
    }

    /// Whether the adapter knows when the oldest message that waits was published. One that does not may say an
    /// earlier time.
    fn knows_oldest(&self) -> bool {
        true
    }

    /// The same queue with servers and consumers that can be broken; none: all of it is this process.
    ///
    /// # Errors
    /// Why there is none.
    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        Ok(None)
    }

    /// How long a delivery may take before it counts as lost.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// A queue that can be broken.
#[async_trait]
pub trait Breakable: fmt::Debug + Send + Sync {
    /// The queue, empty at first.
    fn queue(&self) -> Arc<dyn Queue>;

    /// `kill -9` of its server, and its start on what it has on its disk. Of several servers, one is gone for a
    /// while.
    ///
    /// # Errors
    /// When it does not come back.
    async fn crash(&self) -> Verdict;

    /// A consumer in a process of its own.
    ///
    /// # Errors
    /// When there is none.
    async fn elsewhere(&self, topic: &Topic) -> Result<Box<dyn Elsewhere>, String>;
}

/// A consumer in a process of its own.
#[async_trait]
pub trait Elsewhere: fmt::Debug + Send {
    /// Takes so many messages; their numbers.
    ///
    /// # Errors
    /// When they do not come.
    async fn take(&mut self, count: usize) -> Result<Vec<u64>, String>;

    /// Acknowledges all that it took; how many of them it was told to be another's. None: the queue could not say.
    ///
    /// # Errors
    /// When it can't be asked.
    async fn acknowledge(&mut self) -> Result<Option<usize>, String>;

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    async fn pause(&mut self) -> Verdict;

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    async fn resume(&mut self) -> Verdict;

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    async fn kill(self: Box<Self>) -> Verdict;
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
    Case {
        name: "what_kills_its_consumers_comes_until_it_is_acknowledged",
        run: |f| Box::pin(faults::poison(f)),
    },
    Case { name: "what_a_killed_consumer_held_comes_again", run: |f| Box::pin(faults::killed_consumer(f)) },
    Case { name: "one_who_was_paused_for_too_long_is_told", run: |f| Box::pin(faults::paused_consumer(f)) },
    Case { name: "nothing_is_lost_by_the_kill_of_a_server", run: |f| Box::pin(faults::killed_server(f)) },
    Case { name: "many_messages_come_exactly_once", run: |f| Box::pin(load::exactly_once(f)) },
];
