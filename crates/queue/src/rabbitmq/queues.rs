//! Queues that are missing are made.

use super::ANSWER;
use super::link::{Link, failed, is_missing};
use crate::Error;
use crate::settings::rabbitmq::Settings;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A broker writes down a moment later what a new quorum queue is called in its log. One that is killed before that
/// has lost what the queue held, though it had confirmed it, and never chooses who leads it: nothing goes in before.
const WRITTEN_DOWN: Duration = Duration::from_secs(2);

/// Queues that are known to be there.
#[derive(Default)]
pub(super) struct Queues {
    /// From when on each can be used; none: it was there already.
    known: Mutex<BTreeMap<String, Option<Instant>>>,
    /// One at a time: who comes second finds it made.
    making: tokio::sync::Mutex<()>,
}

impl Queues {
    fn known(&self, name: &str) -> Option<Option<Instant>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// It may be gone.
    pub(super) fn forget(&self, name: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Makes a queue, unless it is there, and waits until it can be used.
    pub(super) async fn ensure(&self, link: &Link, settings: &Settings, name: &str) -> Result<(), Error> {
        let usable = match self.known(name) {
            Some(usable) => usable,
            None => self.make(link, settings, name).await?,
        };
        if let Some(usable) = usable {
            tokio::time::sleep_until(usable).await;
        }
        Ok(())
    }

    async fn make(&self, link: &Link, settings: &Settings, name: &str) -> Result<Option<Instant>, Error> {
        let _one = self.making.lock().await;
        if let Some(usable) = self.known(name) {
            return Ok(usable);
        }
        let made = tokio::time::timeout(ANSWER, declare(link, settings, name)).await;
        let silent = || Error::Unavailable { reason: "no answer to the making of a queue".to_owned() };
        let is_new = made.map_err(|_| silent())?.map_err(|error| {
            let Error::Configuration { reason } = error else { return error };
            Error::Configuration { reason: format!("the queue {name}: {reason}") }
        })?;
        #[allow(clippy::disallowed_methods, reason = "a pause counts by the monotonic clock")]
        let usable = is_new.then(|| Instant::now() + WRITTEN_DOWN);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), usable);
        Ok(usable)
    }
}

/// Declares a queue, and the exchange for progress; whether the queue is new.
async fn declare(link: &Link, settings: &Settings, name: &str) -> Result<bool, Error> {
    // Of its own: what is refused, or missing, ends its channel.
    let mut channel = link.channel().await?;
    let (look, none) = (QueueDeclareOptions::durable().passive(), FieldTable::default);
    let is_new = match channel.queue_declare(name.into(), look, none()).await {
        Ok(_) => false,
        Err(error) if is_missing(&error) => {
            channel = link.channel().await?;
            true
        }
        Err(error) => return Err(failed(&error)),
    };
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let exchange = channel.exchange_declare(settings.progress(), ExchangeKind::Direct, durable, none()).await;
    exchange.map_err(|error| failed(&error))?;
    let queue =
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), settings.arguments()).await;
    queue.map_err(|error| failed(&error))?;
    Ok(is_new)
}
