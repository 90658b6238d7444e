//! The backlogs of the services that starts need, and how many more starts each of them can take.
//!
//! A backlog belongs to a service of a namespace, or to one of its actions that has a limit of its own. Each sample
//! of it grants a credit: the room below the limit, divided by the number of gateways, plus twice the commands that
//! were consumed since the previous sample. A start takes one from the credit of every backlog that it needs.
//! Gateways that do not coordinate therefore admit little more than there is room for, the interval between samples
//! never delays a service that keeps up, and a backlog at its limit admits nothing.
//!
//! A service without a consumer has no limit: its commands wait in the ledger, not in the queue.

use goconductor_queue::Backlog;
use goconductor_saga::{Plan, Side};
use lru::LruCache;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The definitions whose requirements are cached for [`BacklogLimits::precheck`].
const MAX_DEFINITIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// The most backlogs that are tracked. Further ones have no limit.
const MAX_ENTRIES: usize = 8192;
/// A backlog that no start has needed for this long is no longer tracked.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The validity of a sample. After it, a queue that does not respond refuses no starts.
const SAMPLE_VALIDITY: Duration = Duration::from_secs(5);
/// The shortest and the longest retry delay.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// The fraction of the limit, as a divisor, that should be free before a retry is worthwhile.
const FREE_FRACTION: u64 = 4;

/// The identity of a backlog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BacklogKey {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) action: Option<String>,
}

/// A backlog without credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overloaded {
    /// The service, such as `payments`, or the action, such as `payments/charge`.
    pub(crate) target: String,
    pub(crate) waiting: u64,
    /// The delay after which a retry is worthwhile.
    pub(crate) retry_after: Duration,
}

/// A tracked backlog.
#[derive(Debug)]
struct BacklogEntry {
    needed_at: Instant,
    /// Whether a sample is due: a start has needed the backlog since the last one, or it has no credit.
    sample_is_due: bool,
    sampled: Option<SampledBacklog>,
    /// The number of starts admitted since the entry was created.
    admitted: u64,
}

/// The last sample of a backlog, and the credit that it granted.
#[derive(Debug, Clone, Copy)]
struct SampledBacklog {
    sampled_at: Instant,
    waiting: u64,
    /// The number of starts that this gateway may still admit.
    credit: u64,
    /// The credit at the sample.
    granted: u64,
    /// The entry's `admitted` at the sample.
    admitted: u64,
    /// The number of commands consumed so far.
    consumed: u64,
    /// The commands consumed per second.
    rate: f64,
}

/// The backlogs that a definition needs, by namespace, name and requested version.
type Requirements = LruCache<(String, String, Option<u32>), Arc<[BacklogKey]>>;

/// The limits on starts by backlog.
#[derive(Debug)]
pub(crate) struct BacklogLimits {
    limit: AtomicU64,
    state: Mutex<State>,
    /// Notified when a sample becomes due.
    sample_due: Notify,
    /// Notified when half of the credit of a backlog is used.
    credit_low: Notify,
}

#[derive(Debug)]
struct State {
    entries: HashMap<BacklogKey, BacklogEntry>,
    requirements: Requirements,
    gateways: u64,
}

/// A sample that is due, with the state of the entry before the queue is asked.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) key: BacklogKey,
    admitted: u64,
    at: Instant,
}

impl BacklogLimits {
    pub(super) fn new(limit: u64) -> Self {
        let state =
            State { entries: HashMap::new(), requirements: LruCache::new(MAX_DEFINITIONS), gateways: 1 };
        let limit = AtomicU64::new(limit);
        Self { limit, state: Mutex::new(state), sample_due: Notify::new(), credit_low: Notify::new() }
    }

    /// Sets the limit. Backlogs that were sampled before keep their credit until their next sample.
    pub(super) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Waits until a sample is due. Safe to cancel.
    pub(super) async fn sample_due(&self) {
        self.sample_due.notified().await;
    }

    /// Waits until a sample is due before its interval has passed, so that a burst is not refused for lack of a
    /// sample. Safe to cancel.
    pub(super) async fn credit_low(&self) {
        self.credit_low.notified().await;
    }

    /// Refuses a start if the cached requirements of its definition include an overloaded backlog.
    pub(super) fn precheck(
        &self,
        namespace: &str,
        definition: &str,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Overloaded> {
        let mut state = self.state.lock();
        let key = (namespace.to_owned(), definition.to_owned(), version);
        let Some(required) = state.requirements.get(&key).cloned() else { return Ok(()) };
        let overloaded = state.overloaded(&required, self.limit(), now);
        if overloaded.is_some() {
            state.charge(&required, 0, now);
            drop(state);
            self.sample_due.notify_one();
        }
        overloaded.map_or(Ok(()), Err)
    }

    /// Charges a start to every backlog that it needs, or refuses it.
    pub(super) fn charge(
        &self,
        namespace: &str,
        plan: &Plan,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Overloaded> {
        let key = (namespace.to_owned(), plan.definition().name.clone(), version);
        let mut state = self.state.lock();
        let required: Arc<[BacklogKey]> = required_backlogs(namespace, plan).into();
        state.requirements.put(key, Arc::clone(&required));
        for key in required.iter() {
            state.track(key, now);
        }
        let overloaded = state.overloaded(&required, self.limit(), now);
        let credit_is_low = state.charge(&required, u64::from(overloaded.is_none()), now);
        drop(state);
        self.sample_due.notify_one();
        if credit_is_low {
            self.credit_low.notify_one();
        }
        overloaded.map_or(Ok(()), Err)
    }

    /// Returns the samples that are due, and drops the entries of idle backlogs.
    pub(super) fn due_samples(&self, now: Instant) -> Vec<Sample> {
        let mut state = self.state.lock();
        state.entries.retain(|_, entry| now.saturating_duration_since(entry.needed_at) < IDLE_TIMEOUT);
        let mut samples = Vec::new();
        for (key, entry) in &mut state.entries {
            if std::mem::take(&mut entry.sample_is_due) {
                samples.push(Sample { key: key.clone(), admitted: entry.admitted, at: now });
            }
        }
        samples
    }

    /// Sets the number of gateways that share the limits.
    pub(super) fn set_gateways(&self, gateways: u64) {
        self.state.lock().gateways = gateways.max(1);
    }

    /// Lifts the limit: the backlog has no consumer, or the queue did not respond.
    pub(super) fn lift(&self, sample: &Sample) {
        if let Some(entry) = self.state.lock().entries.get_mut(&sample.key) {
            entry.sampled = None;
        }
    }

    /// Postpones a sample for which no new data is available. An overloaded backlog stays due.
    pub(super) fn postpone(&self, sample: &Sample) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&sample.key) else { return };
        if entry.sampled.is_some_and(|sampled| sampled.credit == 0) {
            entry.sample_is_due = true;
            drop(state);
            self.sample_due.notify_one();
        }
    }

    /// Records a sample and grants its credit.
    pub(super) fn record(&self, sample: &Sample, backlog: Backlog) {
        let mut state = self.state.lock();
        let gateways = state.gateways;
        let Some(entry) = state.entries.get_mut(&sample.key) else { return };
        let since_sample = entry.admitted.saturating_sub(sample.admitted);
        let rate = entry.sampled.as_ref().and_then(|sampled| rate(sampled, sample.at, backlog.acknowledged));
        let (waiting, admitted) = (backlog.waiting, entry.admitted);
        // Most steps do not pass through a queue. Starts that were admitted and do not wait count as consumed.
        let before = entry.sampled.map_or((0, 0), |sampled| (sampled.admitted, sampled.waiting));
        let consumed = (admitted - before.0 + before.1).saturating_sub(waiting);
        let credit = match self.limit().saturating_sub(waiting) {
            0 => 0,
            room => (room.div_ceil(gateways) + 2 * consumed).saturating_sub(since_sample),
        };
        entry.sampled = Some(SampledBacklog {
            sampled_at: sample.at,
            waiting,
            credit,
            granted: credit,
            admitted,
            consumed: backlog.acknowledged,
            rate: rate.unwrap_or(0.0),
        });
        if credit == 0 {
            // Sampled until the backlog has recovered, so that later starts are not refused because of an old sample.
            entry.sample_is_due = true;
            drop(state);
            self.sample_due.notify_one();
        }
    }
}

impl State {
    /// Adds an entry for a backlog. Without a sample, it has no limit.
    fn track(&mut self, key: &BacklogKey, now: Instant) {
        if self.entries.len() >= MAX_ENTRIES || self.entries.contains_key(key) {
            return;
        }
        let entry = BacklogEntry { needed_at: now, sample_is_due: true, sampled: None, admitted: 0 };
        self.entries.insert(key.clone(), entry);
    }

    /// Takes `starts` from the credit of each backlog. Returns whether this has used half of a credit.
    fn charge(&mut self, required: &[BacklogKey], starts: u64, now: Instant) -> bool {
        let mut credit_is_low = false;
        for key in required {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            (entry.sample_is_due, entry.needed_at) = (true, now);
            entry.admitted += starts;
            if let Some(sampled) = &mut entry.sampled {
                let half = sampled.granted / 2;
                credit_is_low |= sampled.credit > half && sampled.credit.saturating_sub(starts) <= half;
                sampled.credit = sampled.credit.saturating_sub(starts);
            }
        }
        credit_is_low
    }

    /// Returns the backlog that takes longest to recover, if any has no credit.
    fn overloaded(&self, required: &[BacklogKey], limit: u64, now: Instant) -> Option<Overloaded> {
        let overloaded = |key: &BacklogKey| {
            let sampled = self.entries.get(key)?.sampled.as_ref()?;
            if sampled.credit > 0 || now.saturating_duration_since(sampled.sampled_at) > SAMPLE_VALIDITY {
                return None;
            }
            let target = match &key.action {
                Some(action) => format!("{}/{action}", key.service),
                None => key.service.clone(),
            };
            Some(Overloaded { target, waiting: sampled.waiting, retry_after: sampled.retry_after(limit) })
        };
        required.iter().filter_map(overloaded).max_by_key(|overloaded| overloaded.retry_after)
    }
}

impl SampledBacklog {
    /// Estimates when enough of the limit is free, from the rate of consumption.
    fn retry_after(&self, limit: u64) -> Duration {
        let [shortest, longest] = RETRY_AFTER;
        let surplus = self.waiting.saturating_sub(limit - limit / FREE_FRACTION);
        if self.rate < 0.1 {
            return if surplus == 0 { shortest } else { shortest * 5 };
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = (surplus as f64 / self.rate).min(longest.as_secs_f64());
        Duration::from_secs_f64(seconds).clamp(shortest, longest)
    }
}

/// Estimates the commands consumed per second. The new measurement has a weight of one half.
fn rate(sampled: &SampledBacklog, at: Instant, consumed: u64) -> Option<f64> {
    let interval = at.saturating_duration_since(sampled.sampled_at);
    if interval.is_zero() || interval > SAMPLE_VALIDITY {
        return None;
    }
    // A counter that was reset gives no rate.
    let consumed = consumed.checked_sub(sampled.consumed)?;
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let measured = consumed as f64 / interval.as_secs_f64();
    Some(if sampled.rate > 0.0 { (measured + sampled.rate) / 2.0 } else { measured })
}

/// Returns the backlogs that the starts of a plan need: the services and the actions that execute its steps.
/// Compensations have queues of their own and are never refused.
fn required_backlogs(namespace: &str, plan: &Plan) -> Vec<BacklogKey> {
    let mut all = BTreeSet::new();
    for step in &plan.definition().steps {
        let action = step.performed_action(Side::Execute).unwrap_or(&step.action);
        let Some((service, operation)) = action.service().zip(action.operation()) else { continue };
        for action in [None, Some(operation.to_owned())] {
            all.insert(BacklogKey { namespace: namespace.to_owned(), service: service.to_owned(), action });
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_definition::{Format, Limits};

    const ORDER: &str = "workflow: order\nsteps:\n\
        - {name: charge, run: payments/charge, compensate: payments/refund}\n\
        - {name: ship, run: shipping/ship, compensate: none}\n";

    fn plan() -> Plan {
        let checked = goconductor_definition::parse(ORDER.as_bytes(), Format::Yaml, &Limits::default());
        Plan::new(checked.unwrap().definition, 1).unwrap()
    }

    /// Limits and a clock.
    struct Fixture {
        limits: BacklogLimits,
        plan: Plan,
        now: Instant,
    }

    impl Fixture {
        fn new(limit: u64) -> Self {
            Self { limits: BacklogLimits::new(limit), plan: plan(), now: Instant::now() }
        }

        fn advance(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        fn start(&self, namespace: &str) -> Result<(), Overloaded> {
            self.limits.precheck(namespace, "order", None, self.now)?;
            self.limits.charge(namespace, &self.plan, None, self.now)
        }

        /// Returns how many of `count` starts are admitted.
        fn starts(&self, namespace: &str, count: usize) -> usize {
            (0..count).filter(|_| self.start(namespace).is_ok()).count()
        }

        /// Records all due samples: `waiting` and `taken` for payments, nothing for the others.
        fn sample(&self, waiting: u64, taken: u64) -> usize {
            let samples = self.limits.due_samples(self.now);
            for sample in &samples {
                let payments = sample.key.service == "payments" && sample.key.action.is_none();
                match (payments, &sample.key.action) {
                    (true, _) => {
                        self.limits.record(
                            sample,
                            Backlog { waiting, acknowledged: taken, oldest_waiting_ms: None },
                        );
                    }
                    (false, None) => self.limits.record(sample, Backlog::default()),
                    (false, Some(_)) => self.limits.lift(sample),
                }
            }
            samples.len()
        }
    }

    #[test]
    fn starts_over_the_credit_are_refused() {
        let mut fixture = Fixture::new(100);
        assert_eq!(fixture.starts("shop", 5), 5, "an unknown backlog refuses nothing");
        assert_eq!(fixture.sample(90, 0), 4, "two services and their actions");
        assert_eq!(fixture.starts("shop", 50), 10);
        let overloaded = fixture.start("shop").unwrap_err();
        assert_eq!((overloaded.target.as_str(), overloaded.waiting), ("payments", 90));
        assert_eq!(fixture.starts("other", 50), 50, "another namespace has backlogs of its own");
        fixture.advance(1000);
        // 40 commands were consumed in the last second: the 30 fewer that wait, and the 10 that were admitted. The
        // credit is the room of 40, plus twice the 40 consumed.
        fixture.sample(60, 40);
        assert_eq!(fixture.starts("shop", 200), 40 + 2 * 40);
        fixture.advance(1000);
        fixture.sample(100, 120);
        assert_eq!(fixture.starts("shop", 1), 0, "a backlog at its limit admits nothing");
    }

    #[test]
    fn starts_admitted_during_a_sample_are_charged() {
        let fixture = Fixture::new(100);
        assert_eq!(fixture.starts("shop", 1), 1);
        let samples = fixture.limits.due_samples(fixture.now);
        assert_eq!(fixture.starts("shop", 30), 30);
        for sample in &samples {
            fixture.limits.record(sample, Backlog { waiting: 50, ..Backlog::default() });
        }
        assert_eq!(fixture.starts("shop", 100), 20);
    }

    #[test]
    fn room_is_divided_by_the_number_of_gateways() {
        let fixture = Fixture::new(100);
        fixture.limits.set_gateways(4);
        assert_eq!(fixture.starts("shop", 1), 1);
        fixture.sample(60, 0);
        assert_eq!(fixture.starts("shop", 100), 10);
    }

    #[test]
    fn retry_delay_follows_the_rate_of_consumption() {
        let mut fixture = Fixture::new(100);
        for (waiting, taken, seconds) in [(400, 0, 5), (400, 10, 30), (400, 110, 5), (101, 1000, 1)] {
            drop(fixture.start("shop"));
            fixture.sample(waiting, taken);
            let overloaded = fixture.start("shop").unwrap_err();
            assert_eq!(overloaded.retry_after.as_secs(), seconds, "{waiting} {taken}");
            fixture.advance(1000);
        }
    }

    #[test]
    fn unknown_or_expired_backlog_refuses_nothing() {
        let mut fixture = Fixture::new(100);
        assert_eq!(fixture.starts("shop", 1), 1);
        fixture.sample(500, 0);
        assert_eq!(fixture.starts("shop", 3), 0);
        // The overloaded backlog is sampled again, and has no consumer any more.
        fixture.advance(100);
        let samples = fixture.limits.due_samples(fixture.now);
        assert!(!samples.is_empty());
        samples.iter().for_each(|sample| fixture.limits.lift(sample));
        assert_eq!(fixture.starts("shop", 300), 300);
        fixture.sample(500, 0);
        assert_eq!(fixture.starts("shop", 3), 0);
        fixture.advance(6000);
        assert_eq!(fixture.starts("shop", 3), 3, "an expired sample refuses nothing");
    }

    #[test]
    fn overloaded_backlog_is_sampled_until_it_recovers() {
        let mut fixture = Fixture::new(100);
        assert_eq!(fixture.starts("shop", 1), 1);
        fixture.sample(100, 0);
        assert_eq!(fixture.starts("shop", 1), 0);
        fixture.advance(100);
        fixture.sample(100, 0);
        for waiting in [100, 50] {
            fixture.advance(100);
            assert!(fixture.sample(waiting, 0) > 0, "it is sampled although nothing is started");
        }
        assert_eq!(fixture.starts("shop", 1), 1);
    }

    #[test]
    fn idle_backlog_is_not_tracked() {
        let mut fixture = Fixture::new(100);
        assert_eq!(fixture.starts("shop", 1), 1);
        fixture.sample(10, 0);
        fixture.advance(100);
        assert_eq!(fixture.sample(10, 0), 0, "it is neither needed nor overloaded");
        fixture.advance(11_000);
        assert_eq!(fixture.sample(10, 0), 0);
        assert!(fixture.limits.state.lock().entries.is_empty());
    }
}
