//! Detects a consumer that receives nothing although its topic has a backlog.
//!
//! A broker's client does not recover from everything. If brokers lose a topic together with its consumer group, and
//! the topic is created again before the consumer notices, the consumer may wait without end. To the ledger, the
//! backlog looks like messages that are still queued, so the ledger does not redeliver them either. A stalled
//! consumer is therefore replaced by a new one.

use goconductor_queue::{Backlog, Queue, Topic};
use std::time::Duration;

/// The backlog is polled after this time without a message.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The interval doubles up to this, each time that a new consumer stalls as well: another consumer may own the
/// messages and be busy.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// Detects stalls of one lane, across all its consumers.
#[derive(Debug)]
pub(crate) struct StallDetector {
    interval: Duration,
    /// The number of consumed messages at the last poll; `None` if the backlog was empty.
    consumed: Option<u64>,
}

impl StallDetector {
    pub(crate) fn new() -> Self {
        Self { interval: POLL_INTERVAL, consumed: None }
    }

    /// Waits until the topic has a backlog that is not being consumed. Never returns for an in-process queue.
    /// Cancel-safe: the next call polls again.
    pub(crate) async fn stalled(&mut self, queue: &dyn Queue, topic: &Topic) {
        if !queue.is_durable() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(self.interval).await;
            // A failed poll is not evidence of a stall.
            if let Ok(backlog) = queue.depth(topic).await
                && self.observe(backlog)
            {
                return;
            }
        }
    }

    /// Records that the consumer received a message.
    pub(crate) fn progressed(&mut self) {
        *self = Self::new();
    }

    /// Returns whether the topic has a backlog and nothing was consumed since the last poll.
    fn observe(&mut self, backlog: Backlog) -> bool {
        let consumed = (backlog.waiting > 0).then_some(backlog.acknowledged);
        let stalled = consumed.is_some() && consumed == self.consumed;
        self.consumed = consumed;
        if stalled {
            self.consumed = None;
            self.interval = (self.interval * 2).min(MAX_POLL_INTERVAL);
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_backlog_that_is_not_consumed_is_a_stall() {
        let at = |waiting, taken| Backlog { waiting, acknowledged: taken, oldest_waiting_ms: None };
        let mut detector = StallDetector::new();
        for backlog in [at(0, 5), at(0, 5), at(3, 5), at(3, 6), at(0, 9), at(1, 9)] {
            assert!(!detector.observe(backlog), "{backlog:?}");
        }
        assert!(detector.observe(at(1, 9)));
        assert_eq!(detector.interval, 2 * POLL_INTERVAL);
        assert!(!detector.observe(at(1, 9)), "a new consumer has a full interval");
        assert!(detector.observe(at(2, 9)));
        detector.progressed();
        assert_eq!(detector.interval, POLL_INTERVAL);
    }
}
