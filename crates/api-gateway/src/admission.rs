//! How much is taken in at once, and who is told to come back later.
//!
//! What is refused here was certainly not done, costs next to nothing, and is told when to come again. Calls,
//! long polls and streams, starts, and what the bodies of calls hold are bounded each; a start is refused, too,
//! when a service that it needs is far behind, which only the [`Lanes`] know.
//!
//! Everything is shared fairly between namespaces: one that asks for much is refused, another is not.

mod lanes;
mod lookout;

use crate::error::{BEHIND, Problem, STARTS, TOO_MANY_CALLS, TOO_MANY_WAIT};
use goconductor_saga::Plan;
use goconductor_service_kit::fair::{FairPlaces, Limits as Places, Place};
use lanes::{Behind, Lanes};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use lookout::follow;

const REFUSED: &str = "goconductor_starts_refused_total";
/// When a place is likely to be free again, where nothing better is known.
const SOON: Duration = Duration::from_secs(1);
/// Namespaces that are named in metrics: everybody could make more, and each costs memory for ever.
const NAMED: usize = 256;

/// How much is taken in at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are held at once.
    pub connections: usize,
    /// Calls that are carried out at once.
    pub calls: usize,
    /// What their bodies hold together, in bytes.
    pub bodies_bytes: usize,
    /// Long polls and streams at once.
    pub waiting: usize,
    /// Starts that are carried out at once.
    pub starts: usize,
    /// Starts of one namespace that wait for their turn.
    pub starts_waiting: usize,
    /// How long a start waits for its turn.
    pub start_wait: Duration,
    /// Commands of one service of one namespace, or of one of its actions, that may wait.
    pub backlog: u64,
}

/// Who is let in.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    calls: FairPlaces,
    waiting: FairPlaces,
    starts: FairPlaces,
    bodies: Arc<Semaphore>,
    lanes: Lanes,
    named: Mutex<BTreeSet<String>>,
}

/// What a body takes of the room that all have together.
pub(crate) type BodyRoom = OwnedSemaphorePermit;

/// The place of a call that is carried out: one that only waits gives it back meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct CallPlace(Arc<Mutex<Option<Place>>>);

impl CallPlace {
    fn leave(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        // A quarter is always left to others than the one who asks for the most.
        let most = |places: usize| (places - places / 4).max(1);
        let fair = |places: usize, each: usize, waiting_each: usize| {
            FairPlaces::new(Places { places, each, waiting_each })
        };
        Self {
            limits,
            calls: fair(limits.calls, most(limits.calls), 0),
            waiting: fair(limits.waiting, most(limits.waiting), 0),
            starts: fair(limits.starts, limits.starts, limits.starts_waiting),
            bodies: Arc::new(Semaphore::new(limits.bodies_bytes.min(Semaphore::MAX_PERMITS))),
            lanes: Lanes::new(limits.backlog),
            named: Mutex::default(),
        }
    }

    /// Lets a call in.
    pub(crate) fn call(&self, namespace: &str) -> Result<CallPlace, Problem> {
        match self.calls.try_take(namespace) {
            Some(place) => Ok(CallPlace(Arc::new(Mutex::new(Some(place))))),
            None => Err(self.too_many_calls()),
        }
    }

    fn too_many_calls(&self) -> Problem {
        metrics::counter!("goconductor_calls_refused_total").increment(1);
        let detail = format!(
            "{} calls are carried out at once, of one namespace three quarters of them: nothing was done, \
             come back later",
            self.limits.calls
        );
        Problem::new(TOO_MANY_CALLS, detail).after(SOON)
    }

    /// Room for so many bytes more of a body.
    pub(crate) fn body(&self, bytes: usize) -> Result<BodyRoom, Problem> {
        let bytes = u32::try_from(bytes.min(self.limits.bodies_bytes)).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies).try_acquire_many_owned(bytes).map_err(|_| {
            metrics::counter!("goconductor_calls_refused_total").increment(1);
            let detail = format!(
                "the bodies of calls hold {} bytes together at most: nothing was done, come back later",
                self.limits.bodies_bytes
            );
            Problem::new(TOO_MANY_CALLS, detail).after(SOON)
        })
    }

    /// Lets a caller wait, who is not counted among the calls meanwhile.
    pub(crate) fn wait(&self, namespace: &str, call: Option<&CallPlace>) -> Result<Place, Problem> {
        let Some(place) = self.waiting.try_take(namespace) else {
            let detail = format!(
                "{} long polls and streams are held open at once, of one namespace three quarters of them: \
                 ask without waiting, or come back later",
                self.limits.waiting
            );
            return Err(Problem::new(TOO_MANY_WAIT, detail).after(SOON));
        };
        if let Some(call) = call {
            call.leave();
        }
        Ok(place)
    }

    /// Refuses a start at once of which it is known already that it would be.
    pub(crate) fn early(
        &self,
        namespace: &str,
        definition: &str,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Problem> {
        self.lanes.early(namespace, definition, version, now).map_err(|behind| self.behind(namespace, behind))
    }

    /// A start's turn.
    pub(crate) async fn turn(&self, namespace: &str) -> Result<Place, Problem> {
        self.starts.take(namespace, self.limits.start_wait).await.map_err(|why| {
            self.count("starts", namespace);
            let detail = format!(
                "the namespace has as many starts under way as it may ({why}): nothing was started, come back \
                 later"
            );
            Problem::new(STARTS, detail).after(SOON)
        })
    }

    /// Lets a start in, if the services that it needs are not far behind.
    pub(crate) fn start(
        &self,
        namespace: &str,
        plan: &Plan,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Problem> {
        self.lanes.take(namespace, plan, version, now).map_err(|behind| self.behind(namespace, behind))
    }

    fn behind(&self, namespace: &str, behind: Behind) -> Problem {
        let Behind { what, waiting, after } = behind;
        self.count("backlog", namespace);
        let limit = self.limits.backlog;
        let why = if waiting < limit {
            format!("{what} may be behind: as much was let in since it was last looked at as it has room for")
        } else {
            format!("{what} is behind: {waiting} of its commands wait, {limit} may")
        };
        let detail = format!("{why}; nothing was started, come back later");
        Problem::new(BEHIND, detail).after(after)
    }

    fn count(&self, reason: &'static str, namespace: &str) {
        let namespace = {
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            if named.contains(namespace) {
                namespace.to_owned()
            } else if named.len() < NAMED {
                named.insert(namespace.to_owned());
                namespace.to_owned()
            } else {
                "other".to_owned()
            }
        };
        metrics::counter!(REFUSED, "reason" => reason, "namespace" => namespace).increment(1);
    }

    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn show(&self) {
        metrics::gauge!("goconductor_calls_in_flight").set(self.calls.taken() as f64);
        metrics::gauge!("goconductor_callers_waiting").set(self.waiting.taken() as f64);
        metrics::gauge!("goconductor_starts_in_flight").set(self.starts.taken() as f64);
        let held = self.limits.bodies_bytes.saturating_sub(self.bodies.available_permits());
        metrics::gauge!("goconductor_bodies_bytes").set(held as f64);
    }
}
