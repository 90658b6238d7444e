//! The load generator: starts sagas at a constant concurrency or a constant rate, and waits for their outcomes.
//!
//! Each connection runs one saga at a time. One task on one thread polls all connections, so the client uses little CPU time.
//! An unexpected outcome fails the measurement.

use crate::figures::{Latencies, to_f64};
use crate::gateway::Gateway;
use crate::http::{HttpConnection, HttpResponse};
use crate::progress::ProgressListener;
use crate::saga::Saga;
use anyhow::{Context, bail};
use futures::stream::{FuturesUnordered, TryStreamExt};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The maximum duration of a saga. A slower one is considered stuck.
const SAGA_TIMEOUT: Duration = Duration::from_secs(120);
/// The number of ended sagas between two progress reports.
const PROGRESS_STEP: u64 = 64;

/// The length of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    /// A number of sagas.
    Count(u64),
    /// A time during which sagas are started.
    Duration(Duration),
}

/// The load of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) saga: Saga,
    /// The concurrency; at a constant rate, its maximum.
    pub(crate) in_flight: u32,
    pub(crate) length: Length,
    /// The starts per second. With `None`, a saga starts when another one ends.
    pub(crate) rate: Option<u32>,
}

/// A run in progress.
pub(crate) struct LoadRun<'a> {
    load: Load,
    gateway: &'a Gateway,
    start: Vec<u8>,
    start_time: Instant,
    started: Cell<u64>,
    /// The latencies since the last call of `take_interval`.
    interval: RefCell<Latencies>,
    all: RefCell<Latencies>,
    rejected: Cell<u64>,
    progress: &'a dyn ProgressListener,
    ended: Cell<u64>,
}

/// The start time of the next saga.
#[derive(Debug, Clone, Copy, PartialEq)]
enum NextStart {
    Now,
    At(Instant),
    Never,
}

impl<'a> LoadRun<'a> {
    pub(crate) fn new(load: Load, gateway: &'a Gateway, progress: &'a dyn ProgressListener) -> Self {
        let body = json!({"definition": load.saga.definition(), "input": load.saga.input()}).to_string();
        Self {
            load,
            gateway,
            start: gateway.post("/api/v1/workflows?wait=60s", &body),
            start_time: Instant::now(),
            started: Cell::new(0),
            interval: RefCell::default(),
            all: RefCell::new(Latencies::with_capacity(4096)),
            rejected: Cell::new(0),
            progress,
            ended: Cell::new(0),
        }
    }

    /// Runs the load to its end and returns the elapsed time.
    pub(crate) async fn run(&self) -> anyhow::Result<Duration> {
        let connections: FuturesUnordered<_> =
            (0..self.load.in_flight).map(|_| self.run_connection()).collect();
        // Safe to cancel: started sagas continue on the server.
        connections.try_collect::<()>().await?;
        self.progress.advance(self.ended.replace(0));
        Ok(self.start_time.elapsed())
    }

    /// Returns the number of requests that the gateway rejected because of overload.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.get()
    }

    /// Returns all latencies.
    pub(crate) fn into_latencies(self) -> Latencies {
        self.all.into_inner()
    }

    /// Takes the latencies of the sagas that ended since the last call.
    pub(crate) fn take_interval(&self) -> Latencies {
        self.interval.take()
    }

    fn next_start(&self) -> NextStart {
        let number = self.started.get();
        let due = self.load.rate.map(|rate| Duration::from_secs_f64(to_f64(number) / f64::from(rate.max(1))));
        let over = match self.load.length {
            Length::Count(count) => number >= count,
            Length::Duration(duration) => due.unwrap_or_else(|| self.start_time.elapsed()) >= duration,
        };
        if over {
            return NextStart::Never;
        }
        self.started.set(number + 1);
        due.map_or(NextStart::Now, |due| NextStart::At(self.start_time + due))
    }

    async fn run_connection(&self) -> anyhow::Result<()> {
        let mut connection = self.gateway.connect().await?;
        loop {
            let start_time = match self.next_start() {
                NextStart::Never => return Ok(()),
                NextStart::Now => Instant::now(),
                // If no connection was free in time, the wait counts towards the latency.
                NextStart::At(due) if due <= Instant::now() => due,
                NextStart::At(due) => {
                    sleep_until(due).await;
                    Instant::now()
                }
            };
            // Safe to cancel: a timeout ends the measurement.
            let saga = tokio::time::timeout(SAGA_TIMEOUT, self.saga(&mut connection)).await;
            saga.with_context(|| format!("a saga did not end within {SAGA_TIMEOUT:?}"))??;
            self.record(start_time.elapsed());
        }
    }

    fn record(&self, took: Duration) {
        self.all.borrow_mut().add(took);
        if matches!(self.load.length, Length::Duration(_)) {
            self.interval.borrow_mut().add(took);
        }
        self.ended.set(self.ended.get() + 1);
        if self.ended.get() == PROGRESS_STEP {
            self.progress.advance(self.ended.replace(0));
        }
    }

    /// Starts a saga and waits for its outcome.
    async fn saga(&self, connection: &mut HttpConnection) -> anyhow::Result<()> {
        let response = self.call(connection, &self.start).await?;
        let id = id(response.body).filter(|_| response.status == 201);
        let id =
            id.with_context(|| format!("a start failed with status {}: {}", response.status, response.body))?;
        if check_outcome(self.load.saga, response.body).is_ok() {
            return Ok(());
        }
        let result = self.gateway.get(&format!("/api/v1/workflows/{id}/result?wait=60s"));
        loop {
            let response = self.call(connection, &result).await?;
            match response.status {
                200 => return check_outcome(self.load.saga, response.body),
                202 => {}
                status => bail!("a request for a result failed with status {status}: {}", response.body),
            }
        }
    }

    /// Sends a request. If the gateway rejects it because of overload, retries after the delay of the response.
    async fn call<'b>(
        &self,
        connection: &'b mut HttpConnection,
        request: &[u8],
    ) -> anyhow::Result<HttpResponse<'b>> {
        while let Some(seconds) = connection.call(request).await?.retry_after {
            self.rejected.set(self.rejected.get() + 1);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        connection.last()
    }
}

/// Returns the id in a response.
fn id(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once(r#""id":""#)?;
    rest.split('"').next()
}

/// Checks the outcome of the workflow and of each of its steps.
fn check_outcome(saga: Saga, body: &str) -> anyhow::Result<()> {
    for (wanted, times) in saga.expected_outcomes() {
        let found = body.matches(wanted).count();
        if found != *times {
            bail!(
                "the result of a saga {} contains {wanted} {found} times instead of {times}: {body}",
                saga.name()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoProgress;

    impl ProgressListener for NoProgress {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
    }

    fn running(length: Length, rate: Option<u32>) -> LoadRun<'static> {
        static GATEWAY: Gateway = Gateway { port: 0, certificates: None, token: None };
        LoadRun::new(Load { saga: Saga::Order, in_flight: 1, length, rate }, &GATEWAY, &NoProgress)
    }

    #[tokio::test(start_paused = true)]
    async fn count_limits_the_starts() {
        let load = running(Length::Count(2), None);
        assert_eq!(
            [load.next_start(), load.next_start(), load.next_start(), load.next_start()],
            [NextStart::Now, NextStart::Now, NextStart::Never, NextStart::Never]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn rate_is_independent_of_latency() {
        let load = running(Length::Duration(Duration::from_millis(30)), Some(100));
        let at = |millis: u64| NextStart::At(load.start_time + Duration::from_millis(millis));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(
            [load.next_start(), load.next_start(), load.next_start(), load.next_start()],
            [at(0), at(10), at(20), NextStart::Never]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn duration_without_rate_ends_by_the_clock() {
        let load = running(Length::Duration(Duration::from_secs(1)), None);
        assert_eq!(load.next_start(), NextStart::Now);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(load.next_start(), NextStart::Never);
    }

    #[test]
    fn unexpected_outcome_is_an_error() {
        let step = |status: &str| format!(r#"{{"name":"s","status":"{status}"}}"#);
        let body = |status: &str, steps: [&str; 3]| {
            format!(r#"{{"id":"i","status":"{status}","steps":[{}]}}"#, steps.map(step).join(","))
        };
        let done = ["COMPLETED"; 3];
        assert!(check_outcome(Saga::Order, &body("COMPLETED", done)).is_ok());
        assert!(check_outcome(Saga::Order, &body("TERMINATED", done)).is_err());
        assert!(
            check_outcome(Saga::Order, &body("COMPLETED", ["COMPLETED", "COMPLETED", "SKIPPED"])).is_err()
        );
        let undone = ["COMPENSATED", "COMPENSATED", "FAILED"];
        assert!(check_outcome(Saga::Undo, &body("ROLLED_BACK", undone)).is_ok());
        assert!(check_outcome(Saga::Undo, &body("COMPLETED", done)).is_err());
        assert!(
            check_outcome(Saga::Undo, &body("ROLLED_BACK", ["COMPENSATED", "COMPLETED", "FAILED"])).is_err()
        );
        assert_eq!(id(&body("X", done)), Some("i"));
    }
}
