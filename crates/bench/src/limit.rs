//! The limit of a database: the maximum rate at which it executes only the writes of transitions.
//!
//! A transition updates a state, inserts events into a history, and deletes and inserts a row of a ledger with an index on
//! its due time. The sizes are the averages of a transition of the order saga. Unbatched, a transition is four statements
//! in one transaction. Batched, one transaction holds the writes of many workflows.

mod postgres;
mod sqlite;
mod workload;

pub use workload::WriteSizes;

use crate::database::Database;
use crate::figures::per_second;
use crate::runtime::on_own_runtime;
use serde::Serialize;
use std::time::Duration;
use workload::WriteMode;

/// The throughput of a database in one write mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LimitRow {
    /// Transitions per transaction. With 1, a transition is four statements.
    #[serde(rename = "group")]
    pub batch_size: usize,
    /// Concurrent clients.
    pub clients: usize,
    /// Transitions per second.
    pub transitions_per_second: f64,
}

/// The limit of a database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Whether acknowledged writes are on a disk.
    pub durable: bool,
    /// The size of the writes of a transition.
    pub bytes: WriteSizes,
    /// The throughput by write mode.
    pub rows: Vec<LimitRow>,
}

impl Limit {
    /// Returns the maximum throughput of the batched modes.
    #[must_use]
    pub fn batched(&self) -> f64 {
        self.best(|row| row.batch_size > 1)
    }

    /// Returns the maximum throughput of the unbatched modes.
    #[must_use]
    pub fn unbatched(&self) -> f64 {
        self.best(|row| row.batch_size == 1)
    }

    fn best(&self, which: impl Fn(&LimitRow) -> bool) -> f64 {
        let rates = self.rows.iter().filter(|row| which(row)).map(|row| row.transitions_per_second);
        rates.fold(0.0, f64::max)
    }
}

/// Returns the write modes to measure. SQLite has only one writer at a time.
pub(crate) fn write_modes(database: &Database) -> Vec<WriteMode> {
    let mode = |batch_size: usize| move |clients: usize| WriteMode { batch_size, clients };
    match database {
        Database::Sqlite(_) => [1, 20, 100].map(|batch_size| WriteMode { batch_size, clients: 1 }).to_vec(),
        Database::Postgres { .. } => {
            let mut modes: Vec<WriteMode> = [1, 2, 4, 16].map(mode(1)).to_vec();
            modes.extend([1, 2, 4].map(mode(20)));
            modes.extend([1, 2, 4].map(mode(100)));
            modes.extend([1, 2, 4].map(mode(500)));
            modes
        }
    }
}

/// Measures one write mode for `duration`.
pub(crate) async fn measure(
    database: &Database,
    bytes: WriteSizes,
    mode: WriteMode,
    duration: Duration,
) -> anyhow::Result<LimitRow> {
    let database = database.clone();
    let (written, seconds) = on_own_runtime(move || async move {
        match &database {
            Database::Sqlite(path) => {
                sqlite::measure(&path.with_file_name("limit.db"), bytes, mode, duration)
            }
            Database::Postgres { url, .. } => postgres::measure(url, bytes, mode, duration).await,
        }
    })
    .await?;
    let transitions_per_second = per_second(written, seconds);
    Ok(LimitRow { batch_size: mode.batch_size, clients: mode.clients, transitions_per_second })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: WriteSizes = WriteSizes { state: 400, events: 2, event: 200, ledger: 100 };

    #[test]
    fn limit_is_the_best_batched_and_unbatched_rate() {
        let row = |batch_size, clients, transitions_per_second| LimitRow {
            batch_size,
            clients,
            transitions_per_second,
        };
        let rows = vec![row(1, 1, 10.0), row(1, 4, 30.0), row(20, 1, 200.0), row(100, 1, 150.0)];
        let limit = Limit { database: "postgres", durable: true, bytes: BYTES, rows };
        assert_eq!((limit.batched(), limit.unbatched()), (200.0, 30.0));
    }

    #[tokio::test]
    async fn sqlite_limit_is_measured_in_every_mode() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(folder.path()).unwrap();
        for mode in write_modes(&database) {
            let row = measure(&database, BYTES, mode, Duration::from_millis(50)).await.unwrap();
            assert!(row.transitions_per_second > 0.0, "{row:?}");
        }
    }
}
