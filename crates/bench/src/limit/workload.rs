//! The writes of a transition, and the clients that repeat them until a deadline.

use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The size of the writes of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct WriteSizes {
    /// Bytes of the updated state.
    pub state: usize,
    /// Number of inserted events.
    pub events: usize,
    /// Bytes of each event.
    pub event: usize,
    /// Bytes of the inserted ledger row, and of the deleted one.
    pub ledger: usize,
}

/// The number of workflows of all clients together. It is so large that each workflow is written only a few times, as in
/// a saga.
pub(crate) const WORKFLOWS: usize = 32_000;

/// A mode of writing transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WriteMode {
    /// The number of transitions per transaction. With 1, a transition is four statements.
    pub(crate) batch_size: usize,
    /// The number of concurrent clients.
    pub(crate) clients: usize,
}

/// A counter of written transitions with a deadline.
#[derive(Debug, Clone)]
pub(crate) struct TransitionCounter {
    written: Arc<AtomicU64>,
    deadline: Instant,
}

impl TransitionCounter {
    /// Adds `count` transitions. Returns `false` once the deadline has passed.
    pub(crate) fn add(&self, count: usize) -> bool {
        self.written.fetch_add(crate::figures::to_u64(count), Ordering::Relaxed);
        Instant::now() < self.deadline
    }
}

/// Runs clients for `duration`. Returns the number of written transitions and the elapsed seconds.
pub(crate) async fn run_clients<F>(
    all: Vec<impl FnOnce(TransitionCounter) -> F>,
    duration: Duration,
) -> anyhow::Result<(u64, f64)>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let started = Instant::now();
    let counter = TransitionCounter { written: Arc::default(), deadline: started + duration };
    let mut running = tokio::task::JoinSet::new();
    for client in all {
        running.spawn(client(counter.clone()));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((counter.written.load(Ordering::Relaxed), started.elapsed().as_secs_f64()))
}

/// Returns a text of `bytes` bytes that differs over its whole length for each `number`, like the states of successive
/// transitions. If only the first bytes differed, PostgreSQL would log only those.
pub(crate) fn payload(bytes: usize, number: u64) -> String {
    let mut text = format!("{number:020}");
    let mut word = number;
    while text.len() < bytes {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!(" {word:016x}"));
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_has_its_length_and_depends_on_its_number() {
        for bytes in [20, 200, 900] {
            assert_eq!(payload(bytes, 7).len(), bytes);
            let (seven, eight) = (payload(bytes, 7), payload(bytes, 8));
            assert_ne!(seven, eight);
            assert!(
                bytes == 20 || seven.bytes().rev().zip(eight.bytes().rev()).take(40).any(|(a, b)| a != b)
            );
        }
    }
}
