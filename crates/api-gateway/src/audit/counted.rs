//! Frequent events: refused requests, of which an attacker can send any number, and streams, which clients reopen.
//!
//! The first event of each kind is recorded at once. Equal ones are counted, and recorded once at the end of the
//! interval. The number of kinds in an interval is limited too, so that the log grows by a bounded number of records.

use super::writer::AuditWriter;
use goconductor_store::AuditEvent;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval after which counted events are recorded.
const INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of kinds in an interval. All further events are counted together.
const MAX_KINDS: usize = 1024;
/// The action and the actor of events beyond that number.
const OTHERS: &str = "*";

/// Frequent events of an interval, all with the same outcome.
#[derive(Debug)]
pub(super) struct CountedEvents {
    writer: AuditWriter,
    kinds: Mutex<BTreeMap<Kind, Counted>>,
}

/// Events with the same kind are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    source: Option<IpAddr>,
    actor: String,
    action: String,
    namespace: Option<String>,
    /// The name of the target, unless the caller chooses it freely.
    target: Option<String>,
    code: Option<String>,
}

/// The last event of a kind, and how many are not recorded yet.
#[derive(Debug)]
struct Counted {
    last: AuditEvent,
    unrecorded: i64,
}

impl CountedEvents {
    /// Starts the task `name` that records the counts. It records them for the last time when `stop` is cancelled.
    pub(super) fn start(name: &'static str, writer: AuditWriter, stop: CancellationToken) -> Arc<Self> {
        let this = Arc::new(Self { writer, kinds: Mutex::default() });
        let events = Arc::clone(&this);
        drop(goconductor_supervisor::spawn(name, async move {
            while !stop.is_cancelled() {
                // Safe to cancel: both branches only wait.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                events.flush();
            }
        }));
        this
    }

    /// Records or counts an event. Events with different values of `target` are not equal. Does not wait.
    pub(super) fn add(&self, source: Option<IpAddr>, target: Option<String>, event: AuditEvent) {
        let kind = Kind {
            source: source.map(network),
            actor: event.actor.clone(),
            action: event.action.clone(),
            namespace: event.namespace.clone(),
            target,
            code: event.code.clone(),
        };
        let mut kinds = self.kinds.lock();
        if let Some(counted) = kinds.get_mut(&kind) {
            counted.unrecorded = counted.unrecorded.saturating_add(1);
            counted.last = event;
            return;
        }
        if kinds.len() >= MAX_KINDS {
            count_other(&mut kinds, event);
            return;
        }
        // A record that the queue has no room for is recorded with the counts.
        let unrecorded = i64::from(!self.writer.offer(event.clone()));
        kinds.insert(kind, Counted { last: event, unrecorded });
    }

    /// Offers the counts to the writer. Those that it does not accept are kept for the next interval.
    fn flush(&self) {
        let mut kinds = self.kinds.lock();
        kinds.retain(|_, counted| {
            if counted.unrecorded == 0 {
                return false;
            }
            let id = uuid::Uuid::now_v7().to_string();
            let event = AuditEvent { id, count: counted.unrecorded, ..counted.last.clone() };
            !self.writer.offer(event)
        });
    }
}

fn count_other(kinds: &mut BTreeMap<Kind, Counted>, event: AuditEvent) {
    let others = || OTHERS.to_owned();
    let kind =
        Kind { source: None, actor: others(), action: others(), namespace: None, target: None, code: None };
    let last = AuditEvent {
        actor: others(),
        action: others(),
        credential: None,
        source: None,
        namespace: None,
        target_kind: None,
        target_name: None,
        code: None,
        trace_id: None,
        ..event
    };
    let counted = kinds.entry(kind).or_insert(Counted { last, unrecorded: 0 });
    counted.unrecorded = counted.unrecorded.saturating_add(1);
}

/// Returns the network that one party usually controls: the address in IPv4, and the /64 network in IPv6.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::tests::{Recorded, event};
    use super::*;

    fn refusals(store: &Arc<Recorded>) -> CountedEvents {
        CountedEvents { writer: AuditWriter::start(store.clone()), kinds: Mutex::default() }
    }

    fn refusal(action: &str) -> AuditEvent {
        AuditEvent { action: action.to_owned(), ..event() }
    }

    #[tokio::test]
    async fn equal_refusals_are_counted() {
        let store = Arc::new(Recorded::default());
        let refusals = refusals(&store);
        let source = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        for number in 0..1000 {
            refusals.add(source(number), None, refusal("workflows.cancel"));
        }
        refusals.add(source(1), None, refusal("workflows.pause"));
        refusals.add(None, None, refusal("workflows.cancel"));
        assert_eq!(store.counts(3).await, [1, 1, 1]);
        refusals.flush();
        assert_eq!(store.counts(4).await, [1, 1, 1, 999]);
        refusals.flush();
        refusals.add(source(5), None, refusal("workflows.cancel"));
        assert_eq!(store.counts(5).await, [1, 1, 1, 999, 1]);
    }

    #[tokio::test]
    async fn targets_are_counted_apart() {
        let store = Arc::new(Recorded::default());
        let events = refusals(&store);
        for target in ["a", "b", "a"] {
            events.add(None, Some(target.to_owned()), refusal("elections.campaign"));
        }
        assert_eq!(store.counts(2).await, [1, 1]);
    }

    #[tokio::test]
    async fn number_of_records_is_bounded() {
        let store = Arc::new(Recorded::default());
        let refusals = refusals(&store);
        for number in 0..5000_u32 {
            refusals.add(Some(IpAddr::from(number.to_be_bytes())), None, refusal("workflows.cancel"));
        }
        assert_eq!(store.counts(MAX_KINDS).await.len(), MAX_KINDS);
        refusals.flush();
        let counts = store.counts(MAX_KINDS + 1).await;
        assert_eq!(counts.last(), Some(&(5000 - 1024)));
    }
}
