//! Starts sagas and waits for their ends, so many at a time or at a constant rate.
//!
//! A lane is a connection that starts one saga after the other; all lanes are polled by one task of one
//! thread, so that the client costs little of what it measures. Each end is checked: a saga that did not end
//! as it should ends the measurement.

use crate::Progress;
use crate::figures::{Latencies, to_f64};
use crate::http::{Connection, Response, get, post};
use crate::saga::Saga;
use anyhow::{Context, bail};
use futures::stream::{FuturesUnordered, TryStreamExt};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long one saga may take: one that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(120);
/// Progress is said each time that so many sagas have ended.
const SAID: u64 = 64;

/// How many sagas are run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    /// So many.
    Count(u64),
    /// As many as begin within this time.
    Span(Duration),
}

/// A load that is to be put on a gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) saga: Saga,
    /// Sagas under mode at once; at a constant rate, at most.
    pub(crate) in_flight: u32,
    pub(crate) length: Length,
    /// Starts each second; none: the next begins where one has ended.
    pub(crate) rate: Option<u32>,
}

/// A load that is under mode.
pub(crate) struct Running<'a> {
    load: Load,
    start: Vec<u8>,
    begun: Instant,
    tickets: Cell<u64>,
    /// Those of the present interval, for whoever takes them.
    interval: RefCell<Latencies>,
    all: RefCell<Latencies>,
    refused: Cell<u64>,
    progress: &'a dyn Progress,
    ended: Cell<u64>,
}

/// When a saga is to begin.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Now,
    At(Instant),
    Never,
}

impl<'a> Running<'a> {
    pub(crate) fn new(load: Load, progress: &'a dyn Progress) -> Self {
        let body = json!({"definition": load.saga.definition(), "input": load.saga.input()}).to_string();
        Self {
            load,
            start: post("/api/v1/workflows?wait=60s", &body),
            begun: Instant::now(),
            tickets: Cell::new(0),
            interval: RefCell::default(),
            all: RefCell::new(Latencies::with_capacity(4096)),
            refused: Cell::new(0),
            progress,
            ended: Cell::new(0),
        }
    }

    /// Runs it to its end; how long that took.
    pub(crate) async fn run(&self) -> anyhow::Result<Duration> {
        let lanes: FuturesUnordered<_> = (0..self.load.in_flight).map(|_| self.lane()).collect();
        // Safe to cancel: sagas that were started go on by themselves.
        lanes.try_collect::<()>().await?;
        self.progress.advance(self.ended.replace(0));
        Ok(self.begun.elapsed())
    }

    /// Calls that were told to come back later.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// How long each took.
    pub(crate) fn into_latencies(self) -> Latencies {
        self.all.into_inner()
    }

    /// How long those took that ended since this was last asked.
    pub(crate) fn take_interval(&self) -> Latencies {
        self.interval.take()
    }

    fn turn(&self) -> Turn {
        let ticket = self.tickets.get();
        let due = self.load.rate.map(|rate| Duration::from_secs_f64(to_f64(ticket) / f64::from(rate.max(1))));
        let over = match self.load.length {
            Length::Count(count) => ticket >= count,
            Length::Span(span) => due.unwrap_or_else(|| self.begun.elapsed()) >= span,
        };
        if over {
            return Turn::Never;
        }
        self.tickets.set(ticket + 1);
        due.map_or(Turn::Now, |due| Turn::At(self.begun + due))
    }

    async fn lane(&self) -> anyhow::Result<()> {
        let mut connection = Connection::open(self.load.port).await?;
        loop {
            let begun = match self.turn() {
                Turn::Never => return Ok(()),
                Turn::Now => Instant::now(),
                // Where no lane was free in time, the wait for one counts.
                Turn::At(due) if due <= Instant::now() => due,
                Turn::At(due) => {
                    sleep_until(due).await;
                    Instant::now()
                }
            };
            // Safe to cancel: it is the end of the measurement.
            let saga = tokio::time::timeout(PATIENCE, self.saga(&mut connection)).await;
            saga.with_context(|| format!("a saga did not end within {PATIENCE:?}"))??;
            self.record(begun.elapsed());
        }
    }

    fn record(&self, took: Duration) {
        self.all.borrow_mut().add(took);
        if matches!(self.load.length, Length::Span(_)) {
            self.interval.borrow_mut().add(took);
        }
        self.ended.set(self.ended.get() + 1);
        if self.ended.get() == SAID {
            self.progress.advance(self.ended.replace(0));
        }
    }

    /// Starts one, and waits for its end.
    async fn saga(&self, connection: &mut Connection) -> anyhow::Result<()> {
        let response = self.call(connection, &self.start).await?;
        let id = id(response.body).filter(|_| response.status == 201);
        let id =
            id.with_context(|| format!("a start was answered {}: {}", response.status, response.body))?;
        if ended_well(self.load.saga, response.body).is_ok() {
            return Ok(());
        }
        let result = get(&format!("/api/v1/workflows/{id}/result?wait=60s"));
        loop {
            let response = self.call(connection, &result).await?;
            match response.status {
                200 => return ended_well(self.load.saga, response.body),
                202 => {}
                status => bail!("the result was answered {status}: {}", response.body),
            }
        }
    }

    /// One call; where the gateway has too much to do it is repeated when the gateway says.
    async fn call<'b>(&self, connection: &'b mut Connection, request: &[u8]) -> anyhow::Result<Response<'b>> {
        while let Some(seconds) = connection.call(request).await?.retry_after {
            self.refused.set(self.refused.get() + 1);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        connection.last()
    }
}

/// The id that stands in an response.
fn id(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once(r#""id":""#)?;
    rest.split('"').next()
}

/// The workflow, and each of its steps, ended as it should.
fn ended_well(saga: Saga, body: &str) -> anyhow::Result<()> {
    for (wanted, times) in saga.ends() {
        let found = body.matches(wanted).count();
        if found != *times {
            bail!("a saga {} has {found} times {wanted}, not {times}: {body}", saga.name());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Progress for Nobody {
        fn begin(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
    }

    fn running(length: Length, rate: Option<u32>) -> Running<'static> {
        Running::new(Load { port: 0, saga: Saga::Order, in_flight: 1, length, rate }, &Nobody)
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_turns_are_given_out_as_were_asked_for() {
        let load = running(Length::Count(2), None);
        assert_eq!(
            [load.turn(), load.turn(), load.turn(), load.turn()],
            [Turn::Now, Turn::Now, Turn::Never, Turn::Never]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_whatever_the_sagas_take() {
        let load = running(Length::Span(Duration::from_millis(30)), Some(100));
        let at = |millis: u64| Turn::At(load.begun + Duration::from_millis(millis));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(
            [load.turn(), load.turn(), load.turn(), load.turn()],
            [at(0), at(10), at(20), Turn::Never]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_span_ends_by_the_clock_where_there_is_no_rate() {
        let load = running(Length::Span(Duration::from_secs(1)), None);
        assert_eq!(load.turn(), Turn::Now);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(load.turn(), Turn::Never);
    }

    #[test]
    fn an_end_that_is_not_the_right_one_is_found() {
        let step = |status: &str| format!(r#"{{"name":"s","status":"{status}"}}"#);
        let body = |status: &str, steps: [&str; 3]| {
            format!(r#"{{"id":"i","status":"{status}","steps":[{}]}}"#, steps.map(step).join(","))
        };
        let done = ["COMPLETED"; 3];
        assert!(ended_well(Saga::Order, &body("COMPLETED", done)).is_ok());
        assert!(ended_well(Saga::Order, &body("TERMINATED", done)).is_err());
        assert!(ended_well(Saga::Order, &body("COMPLETED", ["COMPLETED", "COMPLETED", "SKIPPED"])).is_err());
        let undone = ["COMPENSATED", "COMPENSATED", "FAILED"];
        assert!(ended_well(Saga::Undo, &body("ROLLED_BACK", undone)).is_ok());
        assert!(ended_well(Saga::Undo, &body("COMPLETED", done)).is_err());
        assert!(
            ended_well(Saga::Undo, &body("ROLLED_BACK", ["COMPENSATED", "COMPLETED", "FAILED"])).is_err()
        );
        assert_eq!(id(&body("X", done)), Some("i"));
    }
}
