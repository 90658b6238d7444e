//! A write, repeated until its outcome is known.

use super::Engine;
use crate::{Error, metrics, trace};
use goconductor_saga::State;
use goconductor_store::{Write, WriteOutcome};
use goconductor_telemetry::trace::SpanContext;
use std::time::Duration;
use tracing::Instrument;

/// Maximum repetitions of a write whose outcome is unknown. With growing delays, they last about 10 seconds: longer
/// than a database takes to restart.
const MAX_UNKNOWN_RETRIES: u32 = 20;
/// The delay before the first repetition. The n-th repetition waits n times as long.
const UNKNOWN_RETRY_DELAY: Duration = Duration::from_millis(50);

impl Engine {
    /// Writes within a span. `causes` are further spans whose inputs the transition contains.
    pub(super) async fn write_traced(
        &self,
        mut write: Write,
        state: &State,
        causes: &[SpanContext],
    ) -> Result<WriteOutcome, Error> {
        let transition = match &mut write {
            Write::Start(new) => &mut new.write,
            Write::Transition(transition) => transition,
        };
        let (span, trace) = trace::commit_span(&transition.record, state, causes);
        transition.trace = trace;
        let outcome = self.write_one(write).instrument(span.clone()).await;
        trace::record_outcome(&span, &outcome);
        outcome
    }

    /// Writes and, if the response is lost, repeats the write until the store responds.
    ///
    /// A repetition recognizes the effect of the first write, so a write that was committed is reported as written.
    async fn write_one(&self, write: Write) -> Result<WriteOutcome, Error> {
        let mut retries = 0;
        loop {
            match self.store.write(vec![write.clone()]).await {
                Ok(outcomes) => {
                    let outcome = outcomes.into_iter().next();
                    let outcome = outcome.ok_or(Error::Internal("the store returned no outcome"))?;
                    if retries == 0 {
                        return Ok(outcome);
                    }
                    return self.verify_outcome(&write, outcome).await;
                }
                Err(error @ goconductor_store::Error::OutcomeUnknown { .. })
                    if retries < MAX_UNKNOWN_RETRIES =>
                {
                    metrics::WRITES_UNKNOWN.increment(1);
                    tracing::info!(%error, "the write was repeated because its outcome was unknown");
                    retries += 1;
                    tokio::time::sleep(UNKNOWN_RETRY_DELAY * retries).await;
                }
                // The first write may have been committed, so a failed repetition must not report that it was not.
                Err(error) if retries > 0 && error.is_retryable() && retries < MAX_UNKNOWN_RETRIES => {
                    retries += 1;
                    tokio::time::sleep(UNKNOWN_RETRY_DELAY * retries).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the outcome of a repeated write. If the history contains exactly the events of this write at their
    /// position, an earlier repetition was committed.
    async fn verify_outcome(&self, write: &Write, outcome: WriteOutcome) -> Result<WriteOutcome, Error> {
        let record = match write {
            Write::Start(new) => &new.write.record,
            Write::Transition(write) => &write.record,
        };
        let current = match &outcome {
            WriteOutcome::Lost(current) | WriteOutcome::Replayed(current) => &current.state,
            WriteOutcome::Written | WriteOutcome::KeyConflict(_) | WriteOutcome::Missing => {
                return Ok(outcome);
            }
        };
        if current.id != record.id || current.seq < record.seq {
            return Ok(outcome);
        }
        let count = u32::try_from(record.events.len()).unwrap_or(u32::MAX);
        let stored = self.store.history(record.id, record.from_seq, count).await?;
        Ok(if stored == record.decode_events()? { WriteOutcome::Written } else { outcome })
    }
}
