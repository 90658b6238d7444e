//! Two who both believe that they lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::expect::{Bench, ensure, unexpected};
use super::{BoxFuture, Factory, Verdict};
use crate::{Election, FencingToken};

/// A leader who was held up past its lease and can't know it, and whoever stands in the same election.
#[derive(Debug)]
pub struct HeldUp {
    /// What it leads by.
    pub token: FencingToken,
    /// The election, as another process has it.
    pub election: Arc<dyn Election>,
    /// None: who leads here hears of the end of its term at once, and is only slow to look.
    pub sleeper: Option<Sleeper>,
}

/// A leader's process that stands still.
#[derive(Debug)]
pub struct Sleeper {
    wake: mpsc::Sender<()>,
    believed: mpsc::Receiver<bool>,
}

impl Sleeper {
    /// Leads `name` in a process of its own, as far as the servers can tell: its runtime stands still from the
    /// moment that it was elected, as that of a process does that is paused. What it leads by.
    ///
    /// # Errors
    /// Why it does not lead.
    pub fn lead(
        name: &str,
        open: impl FnOnce() -> BoxFuture<Result<Arc<dyn Election>, String>> + Send + 'static,
    ) -> Result<(FencingToken, Self), String> {
        let (elected, led) = mpsc::channel();
        let (wake, woken) = mpsc::channel();
        let (tell, believed) = mpsc::channel();
        let name = name.to_owned();
        let process = move || -> Result<(), String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let (election, term) = runtime.block_on(async {
                let election = open().await?;
                let term = election.campaign(&name, "asleep").await.map_err(unexpected("campaign"))?;
                Ok::<_, String>((election, term))
            })?;
            let gone = |_| "nobody is interested any more".to_owned();
            elected.send(term.token()).map_err(gone)?;
            // Nothing runs until then: it is not heard of, and hears nothing.
            woken.recv().map_err(|_| "nobody woke it".to_owned())?;
            tell.send(term.is_valid()).map_err(|_| "nobody asked".to_owned())?;
            runtime.block_on(async { drop(tokio::time::timeout(Duration::from_secs(5), term.lost()).await) });
            drop(election);
            Ok(())
        };
        // A thread of its own, as the runtime is one of its own.
        let process = std::thread::spawn(process);
        match led.recv() {
            Ok(token) => Ok((token, Self { wake, believed })),
            Err(_) => Err(match process.join() {
                Ok(Err(why)) => why,
                Ok(Ok(())) | Err(_) => "the sleeper ended before it led".to_owned(),
            }),
        }
    }

    /// Wakes it up; whether it believed at that moment that it still leads.
    fn wake(&self) -> Option<bool> {
        self.wake.send(()).ok()?;
        self.believed.recv_timeout(Duration::from_secs(5)).ok()
    }
}

/// What is written to on behalf of a leader: it refuses a token once it has seen a higher one.
#[derive(Debug, Default)]
struct Target {
    highest: AtomicU64,
}

impl Target {
    fn takes(&self, token: FencingToken) -> bool {
        self.highest.fetch_max(token.0, Ordering::SeqCst) <= token.0
    }
}

pub(super) async fn refused(factory: Arc<dyn Factory>) -> Verdict {
    let HeldUp { token, election, sleeper } = factory.held_up("relay").await?;
    let bench = Bench { election, patience: factory.patience() };
    let target = Target::default();
    ensure(target.takes(token), || "a leader's first write is refused".to_owned())?;
    let next = bench.wins("relay", "executor-2").await?;
    ensure(target.takes(next.token()), || {
        format!("a write with token {} is refused after one with {token}, which was replaced", next.token())
    })?;
    ensure(next.is_valid(), || "the new leader does not believe that it leads".to_owned())?;
    if let Some(sleeper) = sleeper {
        let believed = tokio::task::spawn_blocking(move || sleeper.wake()).await;
        let believed = believed.map_err(|error| error.to_string())?;
        ensure(believed == Some(true), || {
            format!("the one who was held up should believe that it leads, and says {believed:?}")
        })?;
    }
    ensure(!target.takes(token), || {
        format!("a write with token {token} is taken after one with {}, which replaced it", next.token())
    })?;
    ensure(target.takes(next.token()), || "the leader's next write is refused".to_owned())
}
