//! A stale leader and its successor, which both assume that they lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::expect::{Fixture, ensure, failed};
use super::{BoxFuture, CaseResult, Factory};
use crate::{Election, FencingToken};

/// A leader that was stalled for longer than its lease, and an election for its successor.
#[derive(Debug)]
pub struct StalledLeader {
    /// The token of the stalled leader.
    pub token: FencingToken,
    /// The election, as another process sees it.
    pub election: Arc<dyn Election>,
    /// The stalled process, or `None` if the leader is notified of the end at once and has only not checked yet.
    pub process: Option<StalledProcess>,
}

/// The stalled process of a leader.
#[derive(Debug)]
pub struct StalledProcess {
    wake: mpsc::Sender<()>,
    believed: mpsc::Receiver<bool>,
}

impl StalledProcess {
    /// Leads `name` in what is a separate process to the servers. Its runtime stalls right after the election, like that of
    /// a paused process. Returns the token.
    ///
    /// # Errors
    /// Returns the reason if it does not lead.
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
                let term = election.campaign(&name, "asleep").await.map_err(failed("campaign"))?;
                Ok::<_, String>((election, term))
            })?;
            let gone = |_| "the test has ended".to_owned();
            elected.send(term.token()).map_err(gone)?;
            // The runtime does nothing until then: it sends no heartbeat and receives nothing.
            woken.recv().map_err(|_| "the test has ended".to_owned())?;
            tell.send(term.is_valid()).map_err(|_| "the test has ended".to_owned())?;
            runtime.block_on(async { drop(tokio::time::timeout(Duration::from_secs(5), term.lost()).await) });
            drop(election);
            Ok(())
        };
        // The runtime needs a separate thread.
        let process = std::thread::spawn(process);
        match led.recv() {
            Ok(token) => Ok((token, Self { wake, believed })),
            Err(_) => Err(match process.join() {
                Ok(Err(why)) => why,
                Ok(Ok(())) | Err(_) => "the stalled process ended before it led".to_owned(),
            }),
        }
    }

    /// Wakes the process. Returns whether it assumed at that time that it still leads.
    fn wake(&self) -> Option<bool> {
        self.wake.send(()).ok()?;
        self.believed.recv_timeout(Duration::from_secs(5)).ok()
    }
}

/// The target of a leader's writes. It refuses a token lower than the highest one it has seen.
#[derive(Debug, Default)]
struct FencedTarget {
    highest: AtomicU64,
}

impl FencedTarget {
    fn takes(&self, token: FencingToken) -> bool {
        self.highest.fetch_max(token.0, Ordering::SeqCst) <= token.0
    }
}

pub(super) async fn refused(factory: Arc<dyn Factory>) -> CaseResult {
    let StalledLeader { token, election, process } = factory.stalled_leader("relay").await?;
    let fixture = Fixture { election, time_limit: factory.time_limit() };
    let target = FencedTarget::default();
    ensure(target.takes(token), || "a leader's first write is refused".to_owned())?;
    let next = fixture.win("relay", "executor-2").await?;
    ensure(target.takes(next.token()), || {
        format!("a write with token {} was refused after one with the replaced token {token}", next.token())
    })?;
    ensure(next.is_valid(), || "the new leader does not assume that it leads".to_owned())?;
    if let Some(process) = process {
        let believed = tokio::task::spawn_blocking(move || process.wake()).await;
        let believed = believed.map_err(|error| error.to_string())?;
        ensure(believed == Some(true), || {
            format!("the stalled leader reported {believed:?} instead of assuming that it leads")
        })?;
    }
    ensure(!target.takes(token), || {
        format!("a write with token {token} was accepted after one with its successor {}", next.token())
    })?;
    ensure(target.takes(next.token()), || "the leader's next write is refused".to_owned())
}
