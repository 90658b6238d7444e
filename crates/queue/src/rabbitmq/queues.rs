//! Queues that are missing are made.

use super::ANSWER;
use super::link::{Link, failed};
use super::settings::Settings;
use crate::Error;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Queues that are known to be there.
#[derive(Default)]
pub(super) struct Queues {
    known: Mutex<BTreeSet<String>>,
    /// One at a time: who comes second finds it made.
    making: tokio::sync::Mutex<()>,
}

impl Queues {
    fn is_known(&self, name: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// It may be gone.
    pub(super) fn forget(&self, name: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Makes a queue, unless it is there.
    pub(super) async fn ensure(&self, link: &Link, settings: &Settings, name: &str) -> Result<(), Error> {
        if self.is_known(name) {
            return Ok(());
        }
        let _one = self.making.lock().await;
        if self.is_known(name) {
            return Ok(());
        }
        // Of its own: what is refused ends its channel.
        let channel = link.channel().await?;
        let making = async {
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let none = FieldTable::default;
            channel.exchange_declare(settings.progress(), ExchangeKind::Direct, durable, none()).await?;
            channel.queue_declare(name.into(), QueueDeclareOptions::durable(), settings.arguments()).await
        };
        let silent = || Error::Unavailable { reason: "no answer to the making of a queue".to_owned() };
        let made = tokio::time::timeout(ANSWER, making).await.map_err(|_| silent())?;
        made.map_err(|error| {
            let error = failed(&error);
            let Error::Configuration { reason } = error else { return error };
            Error::Configuration { reason: format!("the queue {name}: {reason}") }
        })?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok(())
    }
}
