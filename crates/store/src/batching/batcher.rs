//! Forms batches of queued requests.

use super::Limits;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Number of queued writes, for each batch in flight, from which on another batch is started concurrently. A batch
/// costs about as much as a dozen of its writes. If the CPU is the bottleneck, batches that do not wait for each other
/// stay small.
const MIN_CONCURRENT_BATCH: usize = 32;
/// Maximum time that a request waits for a batch in flight, which may be delayed.
const MAX_DELAY: Duration = Duration::from_millis(20);

/// Queued requests, and the rules by which they become batches.
pub(super) struct Batcher<T> {
    requests: mpsc::Receiver<T>,
    /// Returns the number of writes or keys of a request.
    size: fn(&T) -> usize,
    limits: Limits,
    queue: VecDeque<(Instant, T)>,
    /// The total size of the queued requests.
    queued: usize,
    /// Whether all senders have been dropped.
    closed: bool,
}

impl<T> Batcher<T> {
    pub(super) fn new(requests: mpsc::Receiver<T>, limits: Limits, size: fn(&T) -> usize) -> Self {
        Self { requests, size, limits, queue: VecDeque::new(), queued: 0, closed: false }
    }

    /// Waits until a batch should start and returns it. Returns `None` when the queue is empty and all senders have
    /// been dropped.
    pub(super) async fn next(&mut self, in_flight: &mut JoinSet<()>) -> Option<Vec<T>> {
        let mut received = Vec::new();
        loop {
            while in_flight.try_join_next().is_some() {}
            if self.should_start(in_flight.len()) {
                return Some(self.drain());
            }
            let oldest = self.queue.front().map_or_else(Instant::now, |(since, _)| *since);
            let may_start =
                !self.queue.is_empty() && in_flight.len() < self.limits.max_concurrent_batches.max(1);
            let has_room = !self.closed && self.queued < self.limits.batch_size.max(1);
            // Safe to cancel: `recv_many` loses no request, and the other branches only wait.
            tokio::select! {
                count = self.requests.recv_many(&mut received, self.limits.batch_size.max(1)), if has_room => {
                    self.closed = count == 0;
                    self.enqueue(&mut received);
                }
                Some(_) = in_flight.join_next(), if !in_flight.is_empty() => {}
                () = tokio::time::sleep_until(oldest + MAX_DELAY), if may_start => {}
                else => return None,
            }
        }
    }

    fn enqueue(&mut self, received: &mut Vec<T>) {
        let now = Instant::now();
        for request in received.drain(..) {
            self.queued += (self.size)(&request);
            self.queue.push_back((now, request));
        }
    }

    /// Returns whether another batch should start while `in_flight` batches run.
    fn should_start(&self, in_flight: usize) -> bool {
        let Some((since, _)) = self.queue.front() else { return false };
        in_flight < self.limits.max_concurrent_batches.max(1)
            && (self.queued >= (MIN_CONCURRENT_BATCH * in_flight).min(self.limits.batch_size)
                || since.elapsed() >= MAX_DELAY)
    }

    /// Removes requests from the queue until the batch size is reached. The last request may exceed it.
    fn drain(&mut self) -> Vec<T> {
        let (mut batch, mut size) = (Vec::with_capacity(self.queue.len()), 0);
        while size < self.limits.batch_size.max(1)
            && let Some((_, request)) = self.queue.pop_front()
        {
            size += (self.size)(&request);
            batch.push(request);
        }
        self.queued -= size;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const LIMITS: Limits = Limits { batch_size: 128, max_concurrent_batches: 3, queue_depth: 1024 };

    /// Starts a batch that is in flight until the sender is used.
    fn start(in_flight: &mut JoinSet<()>) -> oneshot::Sender<()> {
        let (end, ended) = oneshot::channel();
        in_flight.spawn(async move { drop(ended.await) });
        end
    }

    #[tokio::test(start_paused = true)]
    async fn batch_starts_when_it_is_large_enough_or_has_waited_long_enough() {
        let (sender, requests) = mpsc::channel(LIMITS.queue_depth);
        let mut batcher = Batcher::new(requests, LIMITS, |_| 1);
        let mut in_flight = JoinSet::new();
        let begin = Instant::now();
        sender.send(0).await.unwrap();
        assert_eq!(batcher.next(&mut in_flight).await.unwrap().len(), 1, "a single request starts at once");
        let first = start(&mut in_flight);
        for number in 0..32 {
            sender.send(number).await.unwrap();
        }
        assert_eq!(batcher.next(&mut in_flight).await.unwrap().len(), 32, "32 requests start concurrently");
        let second = start(&mut in_flight);
        for number in 0..32 {
            sender.send(number).await.unwrap();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(batcher.next(&mut in_flight).await.unwrap().len(), 32, "the delay is limited");
        assert_eq!(begin.elapsed(), MAX_DELAY);
        let third = start(&mut in_flight);
        sender.send(0).await.unwrap();
        let ended = tokio::spawn(async move {
            tokio::time::sleep(MAX_DELAY * 5).await;
            [first, second, third].map(|end| end.send(()))
        });
        assert_eq!(batcher.next(&mut in_flight).await.unwrap().len(), 1, "three batches run at most");
        assert_eq!(begin.elapsed(), MAX_DELAY * 6);
        assert!(ended.await.unwrap().iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn queued_requests_are_batched_after_the_senders_are_dropped() {
        let (sender, requests) = mpsc::channel(LIMITS.queue_depth);
        let mut batcher = Batcher::new(requests, LIMITS, |size| *size);
        for _ in 0..3 {
            sender.send(100).await.unwrap();
        }
        drop(sender);
        let mut in_flight = JoinSet::new();
        assert_eq!(batcher.next(&mut in_flight).await.unwrap(), [100, 100], "about the batch size");
        assert_eq!(batcher.next(&mut in_flight).await.unwrap(), [100]);
        assert_eq!(batcher.next(&mut in_flight).await, None);
    }
}
