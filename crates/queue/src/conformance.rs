//! The cases that every adapter runs. They form a single array, so that no adapter can leave one out.
//!
//! A case creates its own queues with a [`Factory`] and returns a description of what it found.

mod adapter;
mod delivery;
mod faults;
mod fixture;
mod limits;
mod load;
mod receiving;
mod sharing;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use adapter::{Breakable, CaseResult, Factory, RemoteConsumer};

/// Timeout of a case. The longest one moves 100,000 messages.
const CASE_TIMEOUT: Duration = Duration::from_secs(240);

/// A boxed future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A guarantee that every adapter provides.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The guarantee.
    pub name: &'static str,
    /// Checks the guarantee with queues of its own.
    pub run: fn(Arc<dyn Factory>) -> BoxFuture<CaseResult>,
}

impl Case {
    /// Runs the case. A case that does not end in time has failed.
    ///
    /// # Errors
    /// Returns a description of the violation.
    pub async fn check(&self, factory: Arc<dyn Factory>) -> CaseResult {
        match tokio::time::timeout(CASE_TIMEOUT, (self.run)(factory)).await {
            Ok(result) => result,
            Err(_) => Err(format!("timed out after {} s", CASE_TIMEOUT.as_secs())),
        }
    }
}

macro_rules! cases {
    ($($name:ident => $run:path,)+) => {
        &[$(Case { name: stringify!($name), run: |factory| Box::pin($run(factory)) }),+]
    };
}

/// All cases.
pub const CASES: &[Case] = cases! {
    published_messages_are_all_delivered => delivery::all_are_delivered,
    delivered_message_equals_the_published_one => delivery::unchanged,
    messages_of_a_key_keep_their_order => delivery::order_of_a_key,
    receive_returns_at_most_max_messages => delivery::at_most_max,
    unacknowledged_messages_are_redelivered => delivery::redelivery,
    redelivered_messages_keep_their_order => delivery::redelivery_order,
    acknowledgement_can_be_repeated => delivery::repeated_acknowledgement,
    consumers_share_a_topic => sharing::two_consumers,
    partition_that_moves_away_and_back_is_still_consumed => sharing::partition_returns,
    only_the_owner_acknowledges_a_message => sharing::foreign_acknowledgement,
    lanes_and_services_are_independent => sharing::lanes,
    topic_reports_whether_it_has_a_consumer => sharing::has_consumer,
    receive_waits_for_a_publish => receiving::waits_for_a_publish,
    cancelled_receive_loses_nothing => receiving::cancelled,
    full_topic_refuses_the_whole_batch => limits::refuses_whole_batch,
    full_execute_lane_leaves_capacity_for_compensations => limits::compensate_has_capacity,
    backlog_counts_waiting_messages => limits::backlog,
    poison_message_is_delivered_until_it_is_acknowledged => faults::poison_message,
    messages_of_a_killed_consumer_are_redelivered => faults::killed_consumer,
    paused_consumer_is_notified_of_lost_messages => faults::paused_consumer,
    killed_server_loses_nothing => faults::killed_server,
    many_messages_are_delivered_exactly_once => load::exactly_once,
};
