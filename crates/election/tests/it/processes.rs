//! Elections between processes that are killed and paused, on every backend.

use crate::backends::{
    ALL, ETCD, ETCD3, Kind, LEASE, POSTGRES, TAKEOVER_MARGIN, TestElection, ZOOKEEPER, ZOOKEEPER3, lead,
};
use goconductor_election::FencingToken;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The variable with the election of a child process, from [`TestElection::to_text`].
const LEADS: &str = "GOCONDUCTOR_TEST_ELECTION_LEADS";
/// The prefix of the child's messages within the output of the test.
const PREFIX: &str = "the leader: ";

/// A child process that leads.
struct LeadingProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    orders: ChildStdin,
    token: FencingToken,
}

impl LeadingProcess {
    /// Starts a child and waits until it leads.
    fn start(place: &TestElection) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["processes::leading_process", "--exact", "--nocapture", "--test-threads=1"])
            .env(LEADS, place.to_text())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let orders = child.stdin.take().unwrap();
        let mut this = Self { child, lines, orders, token: FencingToken(0) };
        let leads = this.expect_line("leads ");
        this.token = FencingToken(leads.parse().unwrap());
        this
    }

    /// The rest of the next line with this prefix.
    fn expect_line(&mut self, word: &str) -> String {
        loop {
            let line = self.lines.next().expect("the child prints a line").unwrap();
            if let Some(said) = line.split_once(PREFIX).and_then(|(_, said)| said.strip_prefix(word)) {
                return said.to_owned();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for LeadingProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs as the child process if the variable is set, and does nothing otherwise.
#[test]
fn leading_process() {
    let Ok(place) = std::env::var(LEADS) else { return };
    let place = TestElection::of_text(&place).expect("a place");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (election, term) = runtime.block_on(async {
        let election = place.open().await.unwrap();
        let term = lead(&*election, "relay", "process").await;
        (election, term)
    });
    println!("{PREFIX}leads {}", term.token());
    let mut order = String::new();
    std::io::stdin().read_line(&mut order).unwrap();
    println!("{PREFIX}writes {}", term.token());
    runtime.block_on(term.lost());
    println!("{PREFIX}lost");
    drop(election);
}

/// The next candidate waits before the leader is killed or paused.
async fn is_replaced(
    place: &TestElection,
    fall: impl FnOnce(&LeadingProcess),
) -> (LeadingProcess, FencingToken) {
    let election = place.open().await.unwrap();
    let leading = {
        let place = place.clone();
        tokio::task::spawn_blocking(move || LeadingProcess::start(&place)).await.unwrap()
    };
    let next = lead(&*election, "relay", "next");
    tokio::pin!(next);
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut next).await.is_err(), "two lead");
    let fallen = Instant::now();
    fall(&leading);
    let next = tokio::time::timeout(Duration::from_secs(60), next).await.expect("the next candidate leads");
    let took = fallen.elapsed();
    println!("{place:?}: replaced after {} ms", took.as_millis());
    assert!(took < LEASE + TAKEOVER_MARGIN, "replaced after {} ms", took.as_millis());
    assert!(next.token() > leading.token, "{} came after {}", next.token(), leading.token);
    let token = next.token();
    next.resign().await.unwrap();
    (leading, token)
}

async fn killed(backend: (Kind, &str)) {
    let Some(place) = TestElection::new(backend).await else { return };
    is_replaced(&place, |leading| leading.signal("-KILL")).await;
}

async fn paused(backend: (Kind, &str)) {
    let Some(place) = TestElection::new(backend).await else { return };
    let (mut leading, newest) = is_replaced(&place, |leading| leading.signal("-STOP")).await;
    let said = tokio::task::spawn_blocking(move || {
        writeln!(leading.orders, "write").unwrap();
        leading.signal("-CONT");
        let writes = leading.expect_line("writes ");
        leading.expect_line("lost");
        writes
    });
    let writes: u64 = said.await.unwrap().parse().unwrap();
    assert!(FencingToken(writes) < newest, "the stale write has the token of the leader");
}

macro_rules! on_each {
    ($module:ident, $what:ident) => {
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $what(POSTGRES).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn etcd_of_one() {
                $what(ETCD).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn etcd_of_three() {
                $what(ETCD3).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn zookeeper_of_one() {
                $what(ZOOKEEPER).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn zookeeper_of_three() {
                $what(ZOOKEEPER3).await;
            }
        }
    };
}

on_each!(killed_leader_is_replaced_within_its_lease, killed);
on_each!(paused_leader_is_replaced_within_its_lease, paused);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_do_not_lead_at_once() {
    for backend in ALL {
        let Some(place) = TestElection::new(backend).await else { return };
        // Both open at once, and one of them creates the shared objects.
        let (one, two) = tokio::join!(place.open(), place.open());
        let (one, two) = (one.unwrap(), two.unwrap());
        let first = lead(&*one, "relay", "a").await;
        assert_eq!(two.observe("relay").await.unwrap().as_ref(), Some(first.leader()), "{backend:?}");
        let waits = tokio::time::timeout(Duration::from_millis(800), two.campaign("relay", "b")).await;
        assert!(waits.is_err(), "two candidates lead on {backend:?}");
        assert!(two.step_down("relay").await.unwrap(), "another process can end the term on {backend:?}");
        tokio::time::timeout(LEASE + TAKEOVER_MARGIN, first.lost()).await.expect("told");
        let second = lead(&*two, "relay", "b").await;
        assert!(second.token() > first.token(), "{backend:?}");
        assert!(!first.is_valid() && second.is_valid(), "{backend:?}");
        drop(second);
        let third = lead(&*one, "relay", "a").await;
        assert_eq!(one.list().await.unwrap(), [third.leader().clone()], "{backend:?}");
        // An orderly end hands the leadership over at once.
        let begun = Instant::now();
        drop((one, first, third));
        let fourth = lead(&*two, "relay", "b").await;
        assert!(begun.elapsed() < LEASE, "{backend:?}: after {:?}", begun.elapsed());
        drop(fourth);
    }
}
