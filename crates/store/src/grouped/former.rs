//! Forms groups: of what waits, once it is worth being carried out beside what is under way.

use super::Limits;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// So many have to wait for each group that is under way before another is begun beside it. Each group costs
/// about as much as a dozen of its members, and when the processor is what is scarce, groups that do not wait
/// for one another stay small.
const WORTH: usize = 32;
/// But nobody waits longer than this for a group that is under way: it may be held up.
const PATIENCE: Duration = Duration::from_millis(20);

/// What waits to be grouped.
pub(super) struct Former<T> {
    requests: mpsc::Receiver<T>,
    /// How much of a group one is.
    size: fn(&T) -> usize,
    limits: Limits,
    waiting: VecDeque<(Instant, T)>,
    /// The sizes of all that wait.
    sum: usize,
    /// Whether nobody can ask any more.
    closed: bool,
}

impl<T> Former<T> {
    pub(super) fn new(requests: mpsc::Receiver<T>, limits: Limits, size: fn(&T) -> usize) -> Self {
        Self { requests, size, limits, waiting: VecDeque::new(), sum: 0, closed: false }
    }

    /// The next group that is to be carried out beside those under way; nothing once nobody asks any more.
    pub(super) async fn next(&mut self, under_way: &mut JoinSet<()>) -> Option<Vec<T>> {
        let mut heard = Vec::new();
        loop {
            while under_way.try_join_next().is_some() {}
            if self.is_worth(under_way.len()) {
                return Some(self.take());
            }
            let oldest = self.waiting.front().map_or_else(Instant::now, |(since, _)| *since);
            let may_begin = !self.waiting.is_empty() && under_way.len() < self.limits.lanes.max(1);
            let has_room = !self.closed && self.sum < self.limits.group.max(1);
            tokio::select! {
                count = self.requests.recv_many(&mut heard, self.limits.group.max(1)), if has_room => {
                    self.closed = count == 0;
                    self.add(&mut heard);
                }
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
                () = tokio::time::sleep_until(oldest + PATIENCE), if may_begin => {}
                else => return None,
            }
        }
    }

    fn add(&mut self, heard: &mut Vec<T>) {
        let now = Instant::now();
        for request in heard.drain(..) {
            self.sum += (self.size)(&request);
            self.waiting.push_back((now, request));
        }
    }

    /// Whether a group is to be begun beside so many.
    fn is_worth(&self, under_way: usize) -> bool {
        let Some((since, _)) = self.waiting.front() else { return false };
        under_way < self.limits.lanes.max(1)
            && (self.sum >= (WORTH * under_way).min(self.limits.group) || since.elapsed() >= PATIENCE)
    }

    /// All that waits, up to about the size of a group.
    fn take(&mut self) -> Vec<T> {
        let (mut group, mut sum) = (Vec::with_capacity(self.waiting.len()), 0);
        while sum < self.limits.group.max(1)
            && let Some((_, request)) = self.waiting.pop_front()
        {
            sum += (self.size)(&request);
            group.push(request);
        }
        self.sum -= sum;
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    const LIMITS: Limits = Limits { group: 128, lanes: 3, waiting: 1024 };

    /// A group that is under way until it is told.
    fn begin(under_way: &mut JoinSet<()>) -> oneshot::Sender<()> {
        let (end, ended) = oneshot::channel();
        under_way.spawn(async move { drop(ended.await) });
        end
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_begins_when_it_is_worth_it() {
        let (asking, requests) = mpsc::channel(LIMITS.waiting);
        let mut former = Former::new(requests, LIMITS, |_| 1);
        let mut under_way = JoinSet::new();
        let begun = Instant::now();
        asking.send(0).await.unwrap();
        assert_eq!(former.next(&mut under_way).await.unwrap().len(), 1, "a lone one goes at once");
        let first = begin(&mut under_way);
        for number in 0..32 {
            asking.send(number).await.unwrap();
        }
        assert_eq!(former.next(&mut under_way).await.unwrap().len(), 32, "enough of them, too");
        let second = begin(&mut under_way);
        for number in 0..32 {
            asking.send(number).await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(former.next(&mut under_way).await.unwrap().len(), 32, "nobody waits for ever");
        assert_eq!(begun.elapsed(), PATIENCE);
        let third = begin(&mut under_way);
        asking.send(0).await.unwrap();
        let ended = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE * 5).await;
            [first, second, third].map(|end| end.send(()))
        });
        assert_eq!(former.next(&mut under_way).await.unwrap().len(), 1, "no more than three at once");
        assert_eq!(begun.elapsed(), PATIENCE * 6);
        assert!(ended.await.unwrap().iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_begun_though_nobody_asks_any_more() {
        let (asking, requests) = mpsc::channel(LIMITS.waiting);
        let mut former = Former::new(requests, LIMITS, |size| *size);
        for _ in 0..3 {
            asking.send(100).await.unwrap();
        }
        drop(asking);
        let mut under_way = JoinSet::new();
        assert_eq!(former.next(&mut under_way).await.unwrap(), [100, 100], "about as much as a group");
        assert_eq!(former.next(&mut under_way).await.unwrap(), [100]);
        assert_eq!(former.next(&mut under_way).await, None);
    }
}
