//! Frequent events of the audit log: refused requests, of which an attacker can send any number, and streams, which clients
//! reopen.
//!
//! The first event of each kind is recorded at once. Equal ones are counted, and recorded once at the end of the
//! interval. The number of kinds in an interval is limited too, so that the log grows by a bounded number of records.

use goconductor_store::AuditEvent;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
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

/// Offers an event to the writer of the log. Returns whether the writer has room for it.
pub type OfferEvent = Box<dyn Fn(AuditEvent) -> bool + Send + Sync>;

/// Frequent events of an interval, all with the same outcome.
pub struct CountedEvents {
    offer: OfferEvent,
    kinds: Mutex<BTreeMap<Kind, Counted>>,
}

impl fmt::Debug for CountedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedEvents").field("kinds", &self.kinds.lock().len()).finish_non_exhaustive()
    }
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
    /// Starts the task `name` that records the counts. It records them for the last time when `stop` is cancelled. Must be
    /// called within a Tokio runtime.
    pub fn start(name: &'static str, offer: OfferEvent, stop: CancellationToken) -> Arc<Self> {
        let this = Arc::new(Self { offer, kinds: Mutex::default() });
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
    pub fn add(&self, source: Option<IpAddr>, target: Option<String>, event: AuditEvent) {
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
        let unrecorded = i64::from(!(self.offer)(event.clone()));
        kinds.insert(kind, Counted { last: event, unrecorded });
    }

    /// Offers the counts. Those that it does not accept are kept for the next interval.
    fn flush(&self) {
        let mut kinds = self.kinds.lock();
        kinds.retain(|_, counted| {
            if counted.unrecorded == 0 {
                return false;
            }
            let id = uuid::Uuid::now_v7().to_string();
            let event = AuditEvent { id, count: counted.unrecorded, ..counted.last.clone() };
            !(self.offer)(event)
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
    use super::*;
    use goconductor_saga::Timestamp;

    /// The counts of the events that were offered.
    type Counts = Arc<Mutex<Vec<i64>>>;

    fn counted() -> (CountedEvents, Counts) {
        let counts = Counts::default();
        let offered = Arc::clone(&counts);
        let offer: OfferEvent = Box::new(move |event| {
            offered.lock().push(event.count);
            true
        });
        (CountedEvents { offer, kinds: Mutex::default() }, counts)
    }

    fn event(action: &str) -> AuditEvent {
        AuditEvent {
            id: "id".to_owned(),
            at: Timestamp(1),
            actor: "anonymous".to_owned(),
            credential: None,
            source: None,
            action: action.to_owned(),
            namespace: None,
            target_kind: None,
            target_name: None,
            outcome: "REFUSED".to_owned(),
            code: None,
            count: 1,
            before: None,
            after: None,
            trace_id: None,
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let (events, counts) = counted();
        let source = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        for number in 0..1000 {
            events.add(source(number), None, event("workflows.cancel"));
        }
        events.add(source(1), None, event("workflows.pause"));
        events.add(None, None, event("workflows.cancel"));
        assert_eq!(*counts.lock(), [1, 1, 1]);
        events.flush();
        assert_eq!(*counts.lock(), [1, 1, 1, 999]);
        events.flush();
        events.add(source(5), None, event("workflows.cancel"));
        assert_eq!(*counts.lock(), [1, 1, 1, 999, 1]);
    }

    #[test]
    fn targets_are_counted_apart() {
        let (events, counts) = counted();
        for target in ["a", "b", "a"] {
            events.add(None, Some(target.to_owned()), event("elections.campaign"));
        }
        assert_eq!(*counts.lock(), [1, 1]);
    }

    #[test]
    fn event_that_is_not_accepted_is_counted() {
        let offer: OfferEvent = Box::new(|_| false);
        let events = CountedEvents { offer, kinds: Mutex::default() };
        events.add(None, None, event("workflows.cancel"));
        events.flush();
        let unrecorded: Vec<i64> = events.kinds.lock().values().map(|counted| counted.unrecorded).collect();
        assert_eq!(unrecorded, [1]);
    }

    #[test]
    fn number_of_records_is_bounded() {
        let (events, counts) = counted();
        for number in 0..5000_u32 {
            events.add(Some(IpAddr::from(number.to_be_bytes())), None, event("workflows.cancel"));
        }
        assert_eq!(counts.lock().len(), MAX_KINDS);
        events.flush();
        assert_eq!(counts.lock().last(), Some(&(5000 - 1024)));
    }
}
