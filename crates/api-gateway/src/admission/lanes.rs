//! How far behind the services are that starts need, and how many more starts may come.
//!
//! Each lane (a service of a namespace, or one of its actions that has a limit of its own) gets credit at each
//! look: as many starts as commands may still wait, divided by the gateways that there are, and twice what it
//! was seen to take on since the look before. A start takes one from each lane that it needs. So gateways that
//! know nothing of one another let in little more than there is room for, a lane that keeps up is never held
//! up by the time between two looks, and one that is at its limit takes in nothing.
//!
//! A service that nobody serves has no lane that could be behind: its commands wait in the database, for
//! nobody's account.

use goconductor_queue::Backlog;
use goconductor_saga::{Action, Plan, Side};
use lru::LruCache;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Definitions whose services are remembered: more are looked up again.
const DEFINITIONS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Lanes that are followed: of more nobody knows how far behind they are.
const MOST_LANES: usize = 8192;
/// A lane that no start has needed for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// What was heard of a lane is good for this long: who can't be asked refuses nobody.
const GOOD: Duration = Duration::from_secs(5);
/// When to come back.
const AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// A part of the limit is to be free before it is worth coming back.
const WORTH: u64 = 4;

/// A service of a namespace, or an action of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) action: Option<String>,
}

/// A lane that is over its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behind {
    /// `payments`, or `payments/charge`.
    pub(crate) what: String,
    pub(crate) waiting: u64,
    /// When it is worth coming back.
    pub(crate) after: Duration,
}

/// What is known of a lane.
#[derive(Debug)]
struct Lane {
    needed_at: Instant,
    /// Whether it is to be looked at: a start needed it since the last look, or it is behind.
    needed: bool,
    known: Option<Known>,
    /// Starts that were let in since this was counted from.
    taken: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    at: Instant,
    waiting: u64,
    /// Starts that this gateway may let in.
    credit: u64,
    /// How many they were at the look.
    granted: u64,
    /// Starts that had been let in when this was found.
    let_in: u64,
    /// Commands that it has taken so far.
    done: u64,
    /// Commands that it takes in a second.
    pace: f64,
}

/// What a definition needs, by namespace, name and version that was asked for.
type Needs = LruCache<(String, String, Option<u32>), Arc<[LaneKey]>>;

/// The lanes that starts need.
#[derive(Debug)]
pub(crate) struct Lanes {
    limit: u64,
    state: Mutex<State>,
    needed: Notify,
    /// Rings when half of a lane's credit is used up.
    scarce: Notify,
}

#[derive(Debug)]
struct State {
    lanes: HashMap<LaneKey, Lane>,
    needs: Needs,
    gateways: u64,
}

/// What a look at a lane begins with.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) key: LaneKey,
    /// Starts that had been let in.
    taken: u64,
    at: Instant,
}

impl Lanes {
    pub(super) fn new(limit: u64) -> Self {
        let state = State { lanes: HashMap::new(), needs: LruCache::new(DEFINITIONS), gateways: 1 };
        Self { limit, state: Mutex::new(state), needed: Notify::new(), scarce: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a start has needed a lane. Safe to cancel.
    pub(super) async fn needed(&self) {
        self.needed.notified().await;
    }

    /// Waits until a lane is to be looked at before its time: a burst is not refused for what nobody has looked
    /// at. Safe to cancel.
    pub(super) async fn scarce(&self) {
        self.scarce.notified().await;
    }

    /// Refuses a start whose definition is remembered to need a lane that is behind.
    pub(super) fn early(
        &self,
        namespace: &str,
        definition: &str,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Behind> {
        let mut state = self.state();
        let key = (namespace.to_owned(), definition.to_owned(), version);
        let Some(needs) = state.needs.get(&key).cloned() else { return Ok(()) };
        let behind = state.behind(&needs, self.limit, now);
        if behind.is_some() {
            state.need(&needs, 0, now);
            drop(state);
            self.needed.notify_one();
        }
        behind.map_or(Ok(()), Err)
    }

    /// Lets a start in, and takes its credit of every lane that it needs.
    pub(super) fn take(
        &self,
        namespace: &str,
        plan: &Plan,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Behind> {
        let key = (namespace.to_owned(), plan.definition().name.clone(), version);
        let mut state = self.state();
        let needs: Arc<[LaneKey]> = needs(namespace, plan).into();
        state.needs.put(key, Arc::clone(&needs));
        for lane in needs.iter() {
            state.know(lane, now);
        }
        let behind = state.behind(&needs, self.limit, now);
        let is_scarce = state.need(&needs, u64::from(behind.is_none()), now);
        drop(state);
        self.needed.notify_one();
        if is_scarce {
            self.scarce.notify_one();
        }
        behind.map_or(Ok(()), Err)
    }

    /// The lanes that were needed since the last look, and those that are behind; those that nobody needs any more are forgotten.
    pub(super) fn looks(&self, now: Instant) -> Vec<Look> {
        let mut state = self.state();
        state.lanes.retain(|_, lane| now.saturating_duration_since(lane.needed_at) < FORGOTTEN);
        let mut looks = Vec::new();
        for (key, lane) in &mut state.lanes {
            if std::mem::take(&mut lane.needed) {
                looks.push(Look { key: key.clone(), taken: lane.taken, at: now });
            }
        }
        looks
    }

    /// How many gateways let starts in.
    pub(super) fn share(&self, gateways: u64) {
        self.state().gateways = gateways.max(1);
    }

    /// What a look has found: nobody serves it, or nobody could say.
    pub(super) fn open(&self, look: &Look) {
        if let Some(lane) = self.state().lanes.get_mut(&look.key) {
            lane.known = None;
        }
    }

    /// Nothing new could be heard: who is behind is looked at again.
    pub(super) fn later(&self, look: &Look) {
        let mut state = self.state();
        let Some(lane) = state.lanes.get_mut(&look.key) else { return };
        if lane.known.is_some_and(|known| known.credit == 0) {
            lane.needed = true;
            drop(state);
            self.needed.notify_one();
        }
    }

    /// What a look has found.
    pub(super) fn found(&self, look: &Look, backlog: Backlog) {
        let mut state = self.state();
        let gateways = state.gateways;
        let Some(lane) = state.lanes.get_mut(&look.key) else { return };
        let since = lane.taken.saturating_sub(look.taken);
        let pace = lane.known.as_ref().and_then(|known| pace(known, look.at, backlog.taken));
        let (at, waiting, done, let_in) = (look.at, backlog.waiting, backlog.taken, lane.taken);
        // Most of a workflow's steps go by no queue: what came and does not wait was taken on.
        let before = lane.known.map_or((0, 0), |known| (known.let_in, known.waiting));
        let taken_on = (let_in - before.0 + before.1).saturating_sub(waiting);
        let credit = match self.limit.saturating_sub(waiting) {
            0 => 0,
            room => (room.div_ceil(gateways) + 2 * taken_on).saturating_sub(since),
        };
        lane.known =
            Some(Known { at, waiting, credit, granted: credit, let_in, done, pace: pace.unwrap_or(0.0) });
        if credit == 0 {
            // Followed until it has caught up: who comes then is not refused for what was.
            lane.needed = true;
            drop(state);
            self.needed.notify_one();
        }
    }
}

impl State {
    /// A lane that is not known yet has all its credit.
    fn know(&mut self, key: &LaneKey, now: Instant) {
        if self.lanes.len() >= MOST_LANES || self.lanes.contains_key(key) {
            return;
        }
        self.lanes.insert(key.clone(), Lane { needed_at: now, needed: true, known: None, taken: 0 });
    }

    /// Whether half of the credit of one of the lanes is used up by this.
    fn need(&mut self, needs: &[LaneKey], starts: u64, now: Instant) -> bool {
        let mut is_scarce = false;
        for key in needs {
            let Some(lane) = self.lanes.get_mut(key) else { continue };
            (lane.needed, lane.needed_at) = (true, now);
            lane.taken += starts;
            if let Some(known) = &mut lane.known {
                let half = known.granted / 2;
                is_scarce |= known.credit > half && known.credit.saturating_sub(starts) <= half;
                known.credit = known.credit.saturating_sub(starts);
            }
        }
        is_scarce
    }

    /// The lane that is the furthest behind, if one is.
    fn behind(&self, needs: &[LaneKey], limit: u64, now: Instant) -> Option<Behind> {
        let behind = |key: &LaneKey| {
            let known = self.lanes.get(key)?.known.as_ref()?;
            if known.credit > 0 || now.saturating_duration_since(known.at) > GOOD {
                return None;
            }
            let what = match &key.action {
                Some(action) => format!("{}/{action}", key.service),
                None => key.service.clone(),
            };
            Some(Behind { what, waiting: known.waiting, after: known.after(limit) })
        };
        needs.iter().filter_map(behind).max_by_key(|behind| behind.after)
    }
}

impl Known {
    /// When enough will have been taken, at the pace of late.
    fn after(&self, limit: u64) -> Duration {
        let [least, most] = AFTER;
        let surplus = self.waiting.saturating_sub(limit - limit / WORTH);
        if self.pace < 0.1 {
            return if surplus == 0 { least } else { least * 5 };
        }
        #[allow(clippy::cast_precision_loss, reason = "a guess")]
        let seconds = (surplus as f64 / self.pace).min(most.as_secs_f64());
        Duration::from_secs_f64(seconds).clamp(least, most)
    }
}

/// Commands in a second: what was measured just now counts for a half.
fn pace(known: &Known, at: Instant, done: u64) -> Option<f64> {
    let time = at.saturating_duration_since(known.at);
    if time.is_zero() || time > GOOD {
        return None;
    }
    // A count that began anew says nothing.
    let done = done.checked_sub(known.done)?;
    #[allow(clippy::cast_precision_loss, reason = "a guess")]
    let now = done as f64 / time.as_secs_f64();
    Some(if known.pace > 0.0 { (now + known.pace) / 2.0 } else { now })
}

/// What starts of a plan need: the services that execute its steps, and their actions. Undo has lanes of its own,
/// and is never refused.
fn needs(namespace: &str, plan: &Plan) -> Vec<LaneKey> {
    let mut all = BTreeSet::new();
    for step in &plan.definition().steps {
        let Some(Action::Run { service, action }) = step.action(Side::Execute) else { continue };
        for action in [None, Some(action.clone())] {
            all.insert(LaneKey { namespace: namespace.to_owned(), service: service.clone(), action });
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

    /// Lanes and a clock.
    struct Bench {
        lanes: Lanes,
        plan: Plan,
        now: Instant,
    }

    impl Bench {
        fn new(limit: u64) -> Self {
            #[allow(clippy::disallowed_methods, reason = "an instant to begin with")]
            let now = Instant::now();
            Self { lanes: Lanes::new(limit), plan: plan(), now }
        }

        fn after(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }

        fn start(&self, namespace: &str) -> Result<(), Behind> {
            self.lanes.early(namespace, "order", None, self.now)?;
            self.lanes.take(namespace, &self.plan, None, self.now)
        }

        /// How many of so many starts are let in.
        fn starts(&self, namespace: &str, count: usize) -> usize {
            (0..count).filter(|_| self.start(namespace).is_ok()).count()
        }

        /// Looks at all that is needed; `waiting` and `taken` of payments, nothing elsewhere.
        fn look(&self, waiting: u64, taken: u64) -> usize {
            let looks = self.lanes.looks(self.now);
            for look in &looks {
                let payments = look.key.service == "payments" && look.key.action.is_none();
                match (payments, &look.key.action) {
                    (true, _) => self.lanes.found(look, Backlog { waiting, taken, oldest_waiting_ms: None }),
                    (false, None) => self.lanes.found(look, Backlog::default()),
                    (false, Some(_)) => self.lanes.open(look),
                }
            }
            looks.len()
        }
    }

    #[test]
    fn no_more_is_let_in_than_there_is_room_for() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.starts("shop", 5), 5, "what is not known yet refuses nobody");
        assert_eq!(bench.look(90, 0), 4, "two services and their actions");
        assert_eq!(bench.starts("shop", 50), 10);
        let behind = bench.start("shop").unwrap_err();
        assert_eq!((behind.what.as_str(), behind.waiting), ("payments", 90));
        assert_eq!(bench.starts("other", 50), 50, "another namespace has lanes of its own");
        bench.after(1000);
        // Forty were taken in that second, and the ten came: there is room for forty, and as many again twice are
        // taken until the look after the next.
        bench.look(60, 40);
        assert_eq!(bench.starts("shop", 200), 40 + 2 * 40);
        bench.after(1000);
        bench.look(100, 120);
        assert_eq!(bench.starts("shop", 1), 0, "at its limit it takes in nothing");
    }

    #[test]
    fn what_was_let_in_during_a_look_is_counted() {
        let bench = Bench::new(100);
        assert_eq!(bench.starts("shop", 1), 1);
        let looks = bench.lanes.looks(bench.now);
        assert_eq!(bench.starts("shop", 30), 30);
        for look in &looks {
            bench.lanes.found(look, Backlog { waiting: 50, ..Backlog::default() });
        }
        assert_eq!(bench.starts("shop", 100), 20);
    }

    #[test]
    fn gateways_share_the_room() {
        let bench = Bench::new(100);
        bench.lanes.share(4);
        assert_eq!(bench.starts("shop", 1), 1);
        bench.look(60, 0);
        assert_eq!(bench.starts("shop", 100), 10);
    }

    #[test]
    fn when_to_come_back_follows_the_pace() {
        let mut bench = Bench::new(100);
        for (waiting, taken, seconds) in [(400, 0, 5), (400, 10, 30), (400, 110, 5), (101, 1000, 1)] {
            drop(bench.start("shop"));
            bench.look(waiting, taken);
            let behind = bench.start("shop").unwrap_err();
            assert_eq!(behind.after.as_secs(), seconds, "{waiting} {taken}");
            bench.after(1000);
        }
    }

    #[test]
    fn who_can_not_be_asked_refuses_nobody() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.starts("shop", 1), 1);
        bench.look(500, 0);
        assert_eq!(bench.starts("shop", 3), 0);
        // A lane that is refused is looked at again: nobody serves it any more.
        bench.after(100);
        let looks = bench.lanes.looks(bench.now);
        assert!(!looks.is_empty());
        looks.iter().for_each(|look| bench.lanes.open(look));
        assert_eq!(bench.starts("shop", 300), 300);
        bench.look(500, 0);
        assert_eq!(bench.starts("shop", 3), 0);
        bench.after(6000);
        assert_eq!(bench.starts("shop", 3), 3, "what was heard long ago is not held against anybody");
    }

    #[test]
    fn who_comes_later_is_not_refused_for_what_was() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.starts("shop", 1), 1);
        bench.look(100, 0);
        assert_eq!(bench.starts("shop", 1), 0);
        bench.after(100);
        bench.look(100, 0);
        for waiting in [100, 50] {
            bench.after(100);
            assert!(bench.look(waiting, 0) > 0, "it is looked at though nobody comes");
        }
        assert_eq!(bench.starts("shop", 1), 1);
    }

    #[test]
    fn what_nobody_needs_is_forgotten() {
        let mut bench = Bench::new(100);
        assert_eq!(bench.starts("shop", 1), 1);
        bench.look(10, 0);
        bench.after(100);
        assert_eq!(bench.look(10, 0), 0, "nobody needs it, and it is not behind");
        bench.after(11_000);
        assert_eq!(bench.look(10, 0), 0);
        assert!(bench.lanes.state().lanes.is_empty());
    }
}
