//! Whether a lane stands still though its broker holds messages for it.
//!
//! A client does not get over everything: where brokers have lost a topic with its group, and somebody makes the
//! topic again before a consumer has noticed, the consumer may wait for ever. What it does not take looks to the
//! ledger as if it still waited, so that the ledger does not bring it back either. Such a consumer begins anew.

use goconductor_queue::{Backlog, Queue, Topic};
use std::time::Duration;

/// Nothing has come for this long: it is looked whether there is something. Twice as long each time that a new
/// consumer was given nothing either: another may hold the messages, and be busy.
const LOOK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// Keeps an eye on one lane, over all its consumers.
#[derive(Debug)]
pub(crate) struct Vigil {
    look: Duration,
    /// What had been taken of the topic at the last look, when messages waited.
    taken: Option<u64>,
}

impl Vigil {
    pub(crate) fn new() -> Self {
        Self { look: LOOK[0], taken: None }
    }

    /// Waits until messages wait of which nobody takes any; for ever where the queue ends with this process. Safe to
    /// cancel: what a broker that is slow has not said is asked again.
    pub(crate) async fn stands_still(&mut self, queue: &dyn Queue, topic: &Topic) {
        if !queue.outlives_processes() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(self.look).await;
            // One that does not answer is no reason to begin anew.
            if let Ok(backlog) = queue.depth(topic).await
                && self.judge(backlog)
            {
                return;
            }
        }
    }

    /// Something came.
    pub(crate) fn came(&mut self) {
        *self = Self::new();
    }

    /// Whether messages wait of which nobody has taken any since the last look.
    fn judge(&mut self, backlog: Backlog) -> bool {
        let taken = (backlog.waiting > 0).then_some(backlog.taken);
        let stands_still = taken.is_some() && taken == self.taken;
        self.taken = taken;
        if stands_still {
            self.taken = None;
            self.look = (self.look * 2).min(LOOK[1]);
        }
        stands_still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_and_is_not_taken_stands_still() {
        let at = |waiting, taken| Backlog { waiting, taken, oldest_waiting_ms: None };
        let mut vigil = Vigil::new();
        for backlog in [at(0, 5), at(0, 5), at(3, 5), at(3, 6), at(0, 9), at(1, 9)] {
            assert!(!vigil.judge(backlog), "{backlog:?}");
        }
        assert!(vigil.judge(at(1, 9)));
        assert_eq!(vigil.look, 2 * LOOK[0]);
        assert!(!vigil.judge(at(1, 9)), "a new consumer is given its time");
        assert!(vigil.judge(at(2, 9)));
        vigil.came();
        assert_eq!(vigil.look, LOOK[0]);
    }
}
