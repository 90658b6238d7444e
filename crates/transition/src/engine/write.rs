//! One write, until it is known what became of it.

use super::Engine;
use crate::Error;
use goconductor_store::{Write, WriteOutcome};
use std::time::Duration;

/// A write of which nobody can say whether it was done is tried so often, with growing pauses: for longer
/// than a database takes to come back.
const UNKNOWN_TRIES: u32 = 20;
const UNKNOWN_PAUSE: Duration = Duration::from_millis(50);

impl Engine {
    /// Writes; when the answer is lost, writes again until there is one, and knows itself if the first time
    /// it was done.
    pub(super) async fn write_one(&self, write: Write) -> Result<WriteOutcome, Error> {
        let mut tries = 0;
        loop {
            match self.store.write(vec![write.clone()]).await {
                Ok(outcomes) => {
                    let outcome = outcomes.into_iter().next();
                    let outcome =
                        outcome.ok_or_else(|| Error::Internal("the store gave no answer".to_owned()))?;
                    if tries == 0 {
                        return Ok(outcome);
                    }
                    return self.judged_again(&write, outcome).await;
                }
                Err(goconductor_store::Error::OutcomeUnknown { reason, .. }) if tries < UNKNOWN_TRIES => {
                    metrics::counter!("goconductor_writes_unknown_total").increment(1);
                    tracing::info!(reason, "a write is looked after: nobody could say whether it was done");
                    tries += 1;
                    tokio::time::sleep(UNKNOWN_PAUSE * tries).await;
                }
                // What may be done already is not refused as certainly not done.
                Err(error) if tries > 0 && error.is_retryable() && tries < UNKNOWN_TRIES => {
                    tries += 1;
                    tokio::time::sleep(UNKNOWN_PAUSE * tries).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What a second write of the same says: whoever finds his own events where he would have written them
    /// was there before.
    async fn judged_again(&self, write: &Write, outcome: WriteOutcome) -> Result<WriteOutcome, Error> {
        let record = match write {
            Write::Start(new) => &new.write.record,
            Write::Transition(write) => &write.record,
        };
        let present = match &outcome {
            WriteOutcome::Lost(present) | WriteOutcome::Replayed(present) => &present.state,
            WriteOutcome::Written | WriteOutcome::KeyConflict(_) | WriteOutcome::Missing => {
                return Ok(outcome);
            }
        };
        if present.id != record.id || present.seq < record.seq {
            return Ok(outcome);
        }
        let count = u32::try_from(record.events.len()).unwrap_or(u32::MAX);
        let there = self.store.history(record.id, record.from_seq, count).await?;
        Ok(if there == record.decode_events()? { WriteOutcome::Written } else { outcome })
    }
}
