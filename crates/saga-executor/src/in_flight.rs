//! The commands that this executor has under way.

use goconductor_store::{LedgerRowKey, LedgerStore, RowKind};
use goconductor_transition::clock;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What has ended is remembered for so long: longer than a state that travels with a command is believed.
const ENDED: Duration = Duration::from_secs(2);

/// What is under way, so that a duplicate is dropped and the ledger does not deliver it again.
#[derive(Debug)]
pub(crate) struct InFlight {
    store: Arc<dyn LedgerStore>,
    redelivery: Duration,
    rows: Mutex<HashMap<LedgerRowKey, Running>>,
    ended: Mutex<Ended>,
}

/// What has ended lately, the first first.
#[derive(Debug, Default)]
struct Ended {
    order: VecDeque<(Instant, LedgerRowKey)>,
    newest: HashMap<LedgerRowKey, Instant>,
}

impl Ended {
    fn push(&mut self, row: LedgerRowKey, now: Instant) {
        while let Some((at, old)) = self.order.front().copied()
            && now.duration_since(at) > ENDED
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

#[derive(Debug)]
struct Running {
    since: Instant,
    cancelled: CancellationToken,
}

/// As long as it lives, the command is under way here.
#[derive(Debug)]
pub(crate) struct Entry {
    in_flight: Arc<InFlight>,
    row: LedgerRowKey,
    /// Cancelled when the workflow does not want the command any more.
    pub(crate) cancelled: CancellationToken,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.in_flight.end(self.row);
    }
}

impl InFlight {
    pub(crate) fn new(store: Arc<dyn LedgerStore>, redelivery: Duration) -> Arc<Self> {
        Arc::new(Self { store, redelivery, rows: Mutex::default(), ended: Mutex::default() })
    }

    /// Whether a command was under way here and has ended lately.
    pub(crate) fn ended_lately(&self, row: &LedgerRowKey) -> bool {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).newest.contains_key(row)
    }

    fn end(&self, row: LedgerRowKey) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(row, clock::monotonic());
    }

    /// Takes a command on, unless it is under way here already.
    pub(crate) fn enter(self: &Arc<Self>, row: LedgerRowKey) -> Option<Entry> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        match rows.entry(row) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(place) => {
                let cancelled = CancellationToken::new();
                place.insert(Running { since: clock::monotonic(), cancelled: cancelled.clone() });
                Some(Entry { in_flight: Arc::clone(self), row, cancelled })
            }
        }
    }

    /// Keeps the ledger from delivering again what takes longer than a third of its redelivery time.
    pub(crate) async fn heartbeat(self: Arc<Self>, stop: CancellationToken) {
        let every = self.redelivery / 3;
        loop {
            // Safe to cancel: a sleep holds nothing.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let long = self.longer_than(every);
            if long.is_empty() {
                continue;
            }
            if let Err(error) = self.store.extend(&long, clock::now().after(self.redelivery)).await {
                tracing::warn!(%error, rows = long.len(), "heartbeats could not be written");
                continue;
            }
            self.tell_unwanted(&long).await;
        }
    }

    /// Tells those whose commands the ledger wants back, or does not know any more.
    async fn tell_unwanted(&self, long: &[LedgerRowKey]) {
        let mut ids: Vec<_> = long.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let Ok(owed) = self.store.ledger(&ids).await else { return };
        let wanted =
            |row: &LedgerRowKey| owed.iter().any(|owed| owed.key == *row && owed.kind != RowKind::Withdraw);
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for row in long.iter().filter(|row| !wanted(row)) {
            if let Some(running) = rows.get(row) {
                running.cancelled.cancel();
            }
        }
    }

    fn longer_than(&self, time: Duration) -> Vec<LedgerRowKey> {
        let now = clock::monotonic();
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // One period ahead: what is younger will be caught by the next heartbeat in time.
        rows.iter()
            .filter(|(_, running)| now.duration_since(running.since) >= time / 2)
            .map(|(row, _)| *row)
            .collect()
    }
}
