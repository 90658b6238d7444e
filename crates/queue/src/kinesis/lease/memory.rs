//! Leases of one process.

use super::{Lease, Leases, Mark, NewLease, Progress, Take};
use crate::Error;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Leases of one process: nobody else sees them, and they end with it.
#[derive(Debug, Default)]
pub struct MemoryLeases {
    rows: Mutex<BTreeMap<(String, String), Row>>,
}

#[derive(Debug, Clone)]
struct Row {
    parents: Vec<String>,
    owner: Option<String>,
    counter: u64,
    until: Instant,
    progress: Progress,
}

impl MemoryLeases {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<(String, String), Row>) -> T) -> T {
        work(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn of(stream: &str, shard: &str) -> (String, String) {
    (stream.to_owned(), shard.to_owned())
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        let now = Instant::now();
        let lease = |((_, shard), row): (&(String, String), &Row)| Lease {
            shard: shard.clone(),
            parents: row.parents.clone(),
            owner: row.owner.clone(),
            counter: row.counter,
            left: row.until.saturating_duration_since(now),
            progress: row.progress.clone(),
        };
        Ok(self.with(|rows| rows.iter().filter(|((of, _), _)| of == stream).map(lease).collect()))
    }

    async fn sync(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        let until = Instant::now();
        self.with(|rows| {
            for shard in gone {
                rows.remove(&of(stream, shard));
            }
            for NewLease { shard, parents } in new {
                rows.entry(of(stream, shard)).or_insert_with(|| Row {
                    parents: parents.clone(),
                    owner: None,
                    counter: 0,
                    until,
                    progress: Progress::default(),
                });
            }
        });
        Ok(())
    }

    async fn take(&self, stream: &str, take: &Take) -> Result<Vec<bool>, Error> {
        let now = Instant::now();
        let one = |rows: &mut BTreeMap<(String, String), Row>, shard: &str, counter: u64| {
            let Some(row) = rows.get_mut(&of(stream, shard)) else { return false };
            let is_held = row.owner.is_some() && row.until > now;
            if row.counter != counter || (is_held && !take.steal) {
                return false;
            }
            (row.owner, row.counter, row.until) = (Some(take.owner.clone()), counter + 1, now + take.lives);
            true
        };
        let all = take.shards.iter();
        Ok(self.with(|rows| all.map(|(shard, counter)| one(rows, shard, *counter)).collect()))
    }

    async fn mark(&self, stream: &str, owner: &str, marks: &[Mark]) -> Result<Vec<bool>, Error> {
        let now = Instant::now();
        let one = |rows: &mut BTreeMap<(String, String), Row>, mark: &Mark| {
            let Some(row) = rows.get_mut(&of(stream, &mark.shard)) else { return false };
            let is_owner = row.counter == mark.counter && row.owner.as_deref().is_none_or(|of| of == owner);
            if !is_owner || mark.progress.taken < row.progress.taken {
                return false;
            }
            row.owner = Some(owner.to_owned()).filter(|_| !mark.lives.is_zero());
            (row.until, row.progress) = (now + mark.lives, mark.progress.clone());
            true
        };
        Ok(self.with(|rows| marks.iter().map(|mark| one(rows, mark)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Checkpoint;
    use super::*;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    fn take(owner: &str, counter: u64, steal: bool, lives: Duration) -> Take {
        Take { owner: owner.to_owned(), shards: vec![("a/1".to_owned(), counter)], steal, lives }
    }

    fn mark(counter: u64, at: &str, lives: Duration) -> Mark {
        let taken = at.parse().unwrap();
        let progress = Progress { checkpoint: Checkpoint::from(at), taken, ..Progress::default() };
        Mark { shard: "a/1".to_owned(), counter, progress, lives }
    }

    async fn leases() -> MemoryLeases {
        let leases = MemoryLeases::default();
        let new = NewLease { shard: "a/1".to_owned(), parents: vec!["0/1".to_owned()] };
        leases.sync("s", &[new], &[]).await.unwrap();
        leases
    }

    #[tokio::test(start_paused = true)]
    async fn one_takes_a_lease_and_the_next_waits_or_steals() {
        let leases = leases().await;
        assert_eq!(leases.take("s", &take("me", 1, true, LONG)).await, Ok(vec![false]));
        assert_eq!(leases.take("s", &take("me", 0, false, LONG)).await, Ok(vec![true]));
        assert_eq!(leases.take("s", &take("you", 1, false, LONG)).await, Ok(vec![false]));
        assert_eq!(leases.take("s", &take("you", 1, true, SHORT)).await, Ok(vec![true]));
        assert_eq!(leases.mark("s", "me", &[mark(1, "7", LONG)]).await, Ok(vec![false]));
        assert_eq!(leases.mark("s", "you", &[mark(2, "8", SHORT)]).await, Ok(vec![true]));
        assert_eq!(leases.mark("s", "you", &[mark(2, "7", LONG)]).await, Ok(vec![false]), "it is late");
        tokio::time::advance(SHORT).await;
        assert!(!leases.list("s").await.unwrap()[0].is_held());
        assert_eq!(leases.take("s", &take("me", 2, false, LONG)).await, Ok(vec![true]));
        let lease = leases.list("s").await.unwrap().remove(0);
        assert_eq!((lease.counter, lease.progress.checkpoint), (3, Checkpoint::After("8".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_given_up_and_one_goes_with_its_shard() {
        let leases = leases().await;
        leases.take("s", &take("me", 0, false, LONG)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(leases.mark("s", "me", &[mark(1, "7", Duration::ZERO)]).await, Ok(vec![true]));
        }
        assert_eq!(leases.list("s").await.unwrap()[0].owner, None);
        assert_eq!(leases.take("s", &take("you", 1, false, LONG)).await, Ok(vec![true]));
        assert_eq!(leases.list("other").await, Ok(Vec::new()));
        leases.sync("s", &[], &["a/1".to_owned()]).await.unwrap();
        assert_eq!(leases.list("s").await, Ok(Vec::new()));
        assert_eq!(leases.mark("s", "you", &[mark(2, "9", LONG)]).await, Ok(vec![false]));
    }
}
