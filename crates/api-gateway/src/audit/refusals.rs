//! Refused requests, of which an attacker can send any number.
//!
//! The first refusal of each kind is recorded at once. Equal ones are counted, and recorded once at the end of the
//! interval. The number of kinds in an interval is limited too, so that the log grows by a bounded number of records.

use super::writer::AuditWriter;
use goconductor_store::AuditEvent;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval after which counted refusals are recorded.
const INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of kinds in an interval. All further refusals are counted together.
const MAX_KINDS: usize = 1024;
/// The action and the actor of refusals beyond that number.
const OTHERS: &str = "*";

/// Refusals of an interval.
#[derive(Debug)]
pub(super) struct Refusals {
    writer: AuditWriter,
    kinds: Mutex<BTreeMap<Kind, Counted>>,
}

/// Refusals with the same kind are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    source: Option<IpAddr>,
    actor: String,
    action: String,
    namespace: Option<String>,
    code: Option<String>,
}

/// The last refusal of a kind, and how many are not recorded yet.
#[derive(Debug)]
struct Counted {
    last: AuditEvent,
    unrecorded: i64,
}

impl Refusals {
    /// Starts the task that records the counts. It records them for the last time when `stop` is cancelled.
    pub(super) fn start(writer: AuditWriter, stop: CancellationToken) -> Arc<Self> {
        let this = Arc::new(Self { writer, kinds: Mutex::default() });
        let refusals = Arc::clone(&this);
        drop(goconductor_supervisor::spawn("audit-refusals", async move {
            while !stop.is_cancelled() {
                // Safe to cancel: both branches only wait.
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                refusals.flush();
            }
        }));
        this
    }

    /// Records or counts a refusal. Does not wait.
    pub(super) fn add(&self, source: Option<IpAddr>, event: AuditEvent) {
        let kind = Kind {
            source: source.map(network),
            actor: event.actor.clone(),
            action: event.action.clone(),
            namespace: event.namespace.clone(),
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
    let kind = Kind { source: None, actor: others(), action: others(), namespace: None, code: None };
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

    fn refusals(store: &Arc<Recorded>) -> Refusals {
        Refusals { writer: AuditWriter::start(store.clone()), kinds: Mutex::default() }
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
            refusals.add(source(number), refusal("workflows.cancel"));
        }
        refusals.add(source(1), refusal("workflows.pause"));
        refusals.add(None, refusal("workflows.cancel"));
        assert_eq!(store.counts(3).await, [1, 1, 1]);
        refusals.flush();
        assert_eq!(store.counts(4).await, [1, 1, 1, 999]);
        refusals.flush();
        refusals.add(source(5), refusal("workflows.cancel"));
        assert_eq!(store.counts(5).await, [1, 1, 1, 999, 1]);
    }

    #[tokio::test]
    async fn number_of_records_is_bounded() {
        let store = Arc::new(Recorded::default());
        let refusals = refusals(&store);
        for number in 0..5000_u32 {
            refusals.add(Some(IpAddr::from(number.to_be_bytes())), refusal("workflows.cancel"));
        }
        assert_eq!(store.counts(MAX_KINDS).await.len(), MAX_KINDS);
        refusals.flush();
        let counts = store.counts(MAX_KINDS + 1).await;
        assert_eq!(counts.last(), Some(&(5000 - 1024)));
    }
}
