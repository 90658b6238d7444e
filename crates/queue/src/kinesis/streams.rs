//! Streams that are missing are made.

use super::api::Api;
use super::fault::{Fault, Kind, Pauses};
use crate::Error;
use crate::settings::kinesis::StreamCapacity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between looks at one that is being made: AWS takes seconds, an emulator a moment.
const PAUSES: [Duration; 2] = [Duration::from_millis(30), Duration::from_secs(1)];

/// Streams that are known to be there.
pub(super) struct Streams {
    api: Arc<Api>,
    capacity: StreamCapacity,
    known: Mutex<BTreeSet<String>>,
    /// One at a time for each: who comes second finds it made.
    making: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Streams {
    pub(super) fn new(api: Arc<Api>, capacity: StreamCapacity) -> Self {
        Self { api, capacity, known: Mutex::default(), making: Mutex::default() }
    }

    fn is_known(&self, name: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// One that is there, if any is known.
    pub(super) fn any(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    /// It may be gone.
    pub(super) fn forget(&self, name: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn making(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(making.entry(name.to_owned()).or_default())
    }

    /// Makes a stream, unless it is there, and waits until it can be used, but no longer than that.
    pub(super) async fn ensure(&self, name: &str, patience: Duration) -> Result<(), Error> {
        if self.is_known(name) {
            return Ok(());
        }
        let until = Instant::now() + patience;
        let making = self.making(name);
        let Ok(_one) = tokio::time::timeout_at(until, making.lock()).await else {
            return Err(Error::Unavailable { reason: format!("the stream {name} is still being made") });
        };
        if self.is_known(name) {
            return Ok(());
        }
        let [first, longest] = PAUSES;
        let mut pauses = Pauses::new(name, first, longest);
        loop {
            let fault = match self.look(name).await {
                Ok(()) => break,
                Err(fault) => fault,
            };
            let is_over = Instant::now() >= until;
            match fault.kind {
                Kind::Refused => return Err(fault.into()),
                Kind::Throttled
                | Kind::NotSent
                | Kind::Missing
                | Kind::InUse
                | Kind::Iterator
                | Kind::Unknown
                    if is_over =>
                {
                    let reason = format!("the stream {name} can't be used: {fault}");
                    return Err(Error::Unavailable { reason });
                }
                Kind::Throttled
                | Kind::NotSent
                | Kind::Missing
                | Kind::InUse
                | Kind::Iterator
                | Kind::Unknown => tokio::time::sleep(pauses.next()).await,
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }

    /// Whether it can be used; one that is not there is made.
    async fn look(&self, name: &str) -> Result<(), Fault> {
        let being_made = || Fault::new(Kind::InUse, "it is being made");
        match self.api.shards(name).await {
            Ok(shards) if shards.is_empty() => Err(being_made()),
            Ok(_) => Ok(()),
            Err(fault) if fault.kind == Kind::Missing => match self.api.create(name).await {
                Ok(()) => {
                    tracing::info!(stream = name, capacity = ?self.capacity, "the stream is made");
                    Err(being_made())
                }
                // By another process, a moment ago.
                Err(fault) if fault.kind == Kind::InUse => Err(being_made()),
                Err(fault) => Err(fault),
            },
            Err(fault) => Err(fault),
        }
    }
}
