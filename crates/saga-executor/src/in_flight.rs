//! The commands that this executor has in flight.

use goconductor_store::{LedgerRowKey, LedgerStore, RowKind};
use goconductor_transition::clock;
use parking_lot::Mutex;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// A finished command is remembered for this long, which is longer than the state inside a command is trusted.
const RETENTION: Duration = Duration::from_secs(2);

/// The commands in flight. Duplicates of them are dropped, and heartbeats keep the ledger from redelivering them.
#[derive(Debug)]
pub(crate) struct InFlight {
    store: Arc<dyn LedgerStore>,
    redelivery: Duration,
    heartbeat: Duration,
    commands: Mutex<HashMap<LedgerRowKey, RunningCommand>>,
    finished: Mutex<FinishedCommands>,
}

#[derive(Debug)]
struct RunningCommand {
    since: Instant,
    cancelled: CancellationToken,
}

/// The commands that finished recently, oldest first.
#[derive(Debug, Default)]
struct FinishedCommands {
    order: VecDeque<(Instant, LedgerRowKey)>,
    newest: HashMap<LedgerRowKey, Instant>,
}

impl FinishedCommands {
    fn push(&mut self, row: LedgerRowKey, now: Instant) {
        while let Some((at, old)) = self.order.front().copied()
            && now.duration_since(at) > RETENTION
        {
            self.order.pop_front();
            if self.newest.get(&old) == Some(&at) {
                self.newest.remove(&old);
            }
        }
        self.order.push_back((now, row));
        self.newest.insert(row, now);
    }
}

/// Tracks a command as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    in_flight: Arc<InFlight>,
    row: LedgerRowKey,
    /// Cancelled when the workflow no longer needs the command.
    pub(crate) cancelled: CancellationToken,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.in_flight.finish(self.row);
    }
}

impl InFlight {
    /// Creates an empty set. A heartbeat is written each `heartbeat`, and postpones the redelivery by `redelivery`.
    pub(crate) fn new(store: Arc<dyn LedgerStore>, redelivery: Duration, heartbeat: Duration) -> Arc<Self> {
        let (commands, finished) = (Mutex::default(), Mutex::default());
        Arc::new(Self { store, redelivery, heartbeat, commands, finished })
    }

    /// Tracks a command. Returns `None` if it is in flight already.
    pub(crate) fn track(self: &Arc<Self>, row: LedgerRowKey) -> Option<InFlightGuard> {
        match self.commands.lock().entry(row) {
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => {
                let cancelled = CancellationToken::new();
                entry.insert(RunningCommand { since: clock::monotonic(), cancelled: cancelled.clone() });
                Some(InFlightGuard { in_flight: Arc::clone(self), row, cancelled })
            }
        }
    }

    /// Returns whether a command finished here recently.
    pub(crate) fn finished_recently(&self, row: &LedgerRowKey) -> bool {
        self.finished.lock().newest.contains_key(row)
    }

    fn finish(&self, row: LedgerRowKey) {
        self.commands.lock().remove(&row);
        self.finished.lock().push(row, clock::monotonic());
    }

    /// Extends the redelivery time of commands that run longer than a heartbeat interval, until `stop` is cancelled.
    pub(crate) async fn send_heartbeats(self: Arc<Self>, stop: CancellationToken) {
        let interval = self.heartbeat;
        loop {
            // Cancel-safe: both arms only wait.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            // Half an interval, so that no command reaches a full interval before the next heartbeat.
            let rows = self.running_for(interval / 2);
            if rows.is_empty() {
                continue;
            }
            if let Err(error) = self.store.extend(&rows, clock::now().after(self.redelivery)).await {
                tracing::warn!(%error, rows = rows.len(), "executor failed to write heartbeats");
                continue;
            }
            self.cancel_unwanted(&rows).await;
        }
    }

    /// Cancels the commands that the ledger withdraws or no longer contains.
    async fn cancel_unwanted(&self, rows: &[LedgerRowKey]) {
        let mut ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let Ok(owed) = self.store.ledger(&ids).await else { return };
        let wanted =
            |row: &LedgerRowKey| owed.iter().any(|owed| owed.key == *row && owed.kind != RowKind::Withdraw);
        let commands = self.commands.lock();
        for row in rows.iter().filter(|row| !wanted(row)) {
            if let Some(command) = commands.get(row) {
                command.cancelled.cancel();
            }
        }
    }

    fn running_for(&self, duration: Duration) -> Vec<LedgerRowKey> {
        let now = clock::monotonic();
        let commands = self.commands.lock();
        commands
            .iter()
            .filter(|(_, command)| now.duration_since(command.since) >= duration)
            .map(|(row, _)| *row)
            .collect()
    }
}
