//! The limit: how fast the database itself takes what a transition has to write, and nothing else.
//!
//! A transition updates a state, inserts into a history, and deletes and inserts a row of a ledger with an index
//! on its due time: as many bytes of each as a transition of the order does on average. Ungrouped these are four
//! statements in a transaction of their own; grouped they are those of many workflows at once.

use crate::database::Database;
use crate::figures::per_second;
use crate::{postgres, sqlite};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What a transition writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Of the state that is updated.
    pub state: usize,
    /// Rows of history that are inserted.
    pub events: usize,
    /// Of each of them.
    pub event: usize,
    /// Of the ledger's row that is inserted, and of the one that is deleted.
    pub ledger: usize,
}

/// Workflows of all clients together: so many that each is written a few times only, as a saga is.
pub(crate) const WORKFLOWS: usize = 32_000;

/// How transitions are written: in groups of so many, by so many clients at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// 1: each in a transaction of its own.
    pub(crate) group: usize,
    pub(crate) clients: usize,
}

/// What a database took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitRow {
    /// Transitions in one transaction; 1: four statements each.
    pub group: usize,
    /// Who wrote at once.
    pub clients: usize,
    /// Transitions each second.
    pub transitions_per_second: f64,
}

/// The limit of a database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Whether what was acknowledged is on a disk.
    pub durable: bool,
    /// What each transition wrote.
    pub bytes: Bytes,
    /// By the way of writing.
    pub rows: Vec<LimitRow>,
}

impl Limit {
    /// The best of all grouped ways.
    #[must_use]
    pub fn grouped(&self) -> f64 {
        self.best(|row| row.group > 1)
    }

    /// The best of all ways without groups.
    #[must_use]
    pub fn ungrouped(&self) -> f64 {
        self.best(|row| row.group == 1)
    }

    fn best(&self, which: impl Fn(&LimitRow) -> bool) -> f64 {
        let rates = self.rows.iter().filter(|row| which(row)).map(|row| row.transitions_per_second);
        rates.fold(0.0, f64::max)
    }
}

/// The ways that are measured. SQLite has one writer at a time.
pub(crate) fn ways(database: &Database) -> Vec<Way> {
    let way = |group: usize| move |clients: usize| Way { group, clients };
    match database {
        Database::Sqlite(_) => [1, 20, 100].map(|group| Way { group, clients: 1 }).to_vec(),
        Database::Postgres { .. } => {
            let mut ways: Vec<Way> = [1, 2, 4, 16].map(way(1)).to_vec();
            ways.extend([1, 2, 4].map(way(20)));
            ways.extend([1, 2, 4].map(way(100)));
            ways.extend([1, 2, 4].map(way(500)));
            ways
        }
    }
}

/// Counts transitions until the time is up.
#[derive(Debug, Clone)]
pub(crate) struct Count {
    written: Arc<AtomicU64>,
    until: Instant,
}

impl Count {
    /// So many more are written; whether there is time for more.
    pub(crate) fn add(&self, count: usize) -> bool {
        self.written.fetch_add(crate::figures::whole(count), Ordering::Relaxed);
        Instant::now() < self.until
    }
}

/// Measures one way for so long.
pub(crate) async fn measure(
    database: &Database,
    bytes: Bytes,
    way: Way,
    span: Duration,
) -> anyhow::Result<LimitRow> {
    let database = database.clone();
    let (written, seconds) = apart(move || async move {
        match &database {
            Database::Sqlite(path) => sqlite::limit(&path.with_file_name("limit.db"), bytes, way, span),
            Database::Postgres { url, .. } => postgres::limit::measure(url, bytes, way, span).await,
        }
    })
    .await?;
    let transitions_per_second = per_second(written, seconds);
    Ok(LimitRow { group: way.group, clients: way.clients, transitions_per_second })
}

/// Runs clients with a count; how many they have written, and in what time.
pub(crate) async fn clients<F>(
    all: Vec<impl FnOnce(Count) -> F>,
    span: Duration,
) -> anyhow::Result<(u64, f64)>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let begun = Instant::now();
    let count = Count { written: Arc::default(), until: begun + span };
    let mut running = tokio::task::JoinSet::new();
    for client in all {
        running.spawn(client(count.clone()));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((count.written.load(Ordering::Relaxed), begun.elapsed().as_secs_f64()))
}

/// Runs something on threads of its own, so that all processors are there for it. Who goes away leaves it to
/// the end of the process.
pub(crate) async fn apart<T, W, F>(work: W) -> anyhow::Result<T>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("apart".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        // Who asked may have gone.
        drop(tell.send(runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(work()))));
    })?;
    told.await?
}

/// Text of so many bytes that is another one from its beginning to its end with each number, as a state is after
/// each transition: of one that differs in its first bytes only, PostgreSQL logs no more than those.
pub(crate) fn text(bytes: usize, number: u64) -> String {
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

    const BYTES: Bytes = Bytes { state: 400, events: 2, event: 200, ledger: 100 };

    #[test]
    fn a_text_has_its_length_and_its_number() {
        for bytes in [20, 200, 900] {
            assert_eq!(text(bytes, 7).len(), bytes);
            let (seven, eight) = (text(bytes, 7), text(bytes, 8));
            assert_ne!(seven, eight);
            assert!(
                bytes == 20 || seven.bytes().rev().zip(eight.bytes().rev()).take(40).any(|(a, b)| a != b)
            );
        }
    }

    #[test]
    fn the_best_of_each_kind_counts() {
        let row =
            |group, clients, transitions_per_second| LimitRow { group, clients, transitions_per_second };
        let rows = vec![row(1, 1, 10.0), row(1, 4, 30.0), row(20, 1, 200.0), row(100, 1, 150.0)];
        let limit = Limit { database: "postgres", durable: true, bytes: BYTES, rows };
        assert_eq!((limit.grouped(), limit.ungrouped()), (200.0, 30.0));
    }

    #[tokio::test]
    async fn sqlite_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(folder.path()).unwrap();
        for way in ways(&database) {
            let row = measure(&database, BYTES, way, Duration::from_millis(50)).await.unwrap();
            assert!(row.transitions_per_second > 0.0, "{row:?}");
        }
    }
}
