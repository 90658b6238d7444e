//! How far a topic has been taken.
//!
//! A broker tells how many messages are ready, and nothing of what consumers have fetched, since when the first waits,
//! or how many have gone: to look at a message is to mark it as delivered. So consumers say it, to whom it may
//! concern, by an exchange of the queue's own: often while they take something, now and then otherwise. What is said
//! is lost where nobody listens, and old after a few seconds.

use super::ANSWER;
use super::link::{Link, failed};
use crate::Error;
use futures::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A consumer of which nothing is heard for this long holds nothing any more.
const SILENT: Duration = Duration::from_secs(7);
/// After this it is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long it may take to say something.
const SAY: Duration = Duration::from_secs(1);

/// What a consumer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// Its name, which the broker gave it.
    pub(super) consumer: String,
    /// How many messages it has acknowledged.
    pub(super) taken: u64,
    /// How many it has fetched and not given to its owner.
    pub(super) held: u64,
    /// When the oldest that it has not acknowledged was published; without one, the last that it has.
    pub(super) oldest_ms: Option<i64>,
}

impl Report {
    fn text(&self) -> String {
        let oldest = self.oldest_ms.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!("1 {} {} {} {oldest}", self.consumer, self.taken, self.held)
    }

    /// None: it is none of ours, or of a later release.
    fn read(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        if words.next() != Some("1") {
            return None;
        }
        Some(Self {
            consumer: words.next()?.to_owned(),
            taken: words.next()?.parse().ok()?,
            held: words.next()?.parse().ok()?,
            oldest_ms: words.next()?.parse().ok(),
        })
    }
}

/// Says how far consumers are.
pub(super) struct Speaker {
    link: Arc<Link>,
    exchange: ShortString,
    channel: tokio::sync::Mutex<Option<Channel>>,
}

impl Speaker {
    pub(super) fn new(link: Arc<Link>, exchange: ShortString) -> Self {
        Self { link, exchange, channel: tokio::sync::Mutex::default() }
    }

    /// Says it once; whoever does not hear it hears the next.
    pub(super) async fn say(&self, name: &str, report: &Report) {
        if self.link.blocked().is_some() {
            return;
        }
        let saying = async {
            let mut kept = self.channel.lock().await;
            let channel = match kept.take() {
                Some(channel) if channel.status().connected() => channel,
                Some(_) | None => self.link.channel().await.ok()?,
            };
            let options = BasicPublishOptions::default();
            let properties = BasicProperties::default();
            let text = report.text();
            let said = channel.basic_publish(
                self.exchange.clone(),
                name.into(),
                options,
                text.as_bytes(),
                properties,
            );
            said.await.ok()?;
            *kept = Some(channel);
            Some(())
        };
        if !matches!(tokio::time::timeout(SAY, saying).await, Ok(Some(()))) {
            tracing::debug!(name, "how far a consumer is could not be said");
        }
    }
}

/// Hears how far consumers are.
pub(super) struct Listener {
    link: Arc<Link>,
    exchange: ShortString,
    heard: Arc<Mutex<BTreeMap<String, Heard>>>,
    listening: tokio::sync::Mutex<Option<Listening>>,
}

struct Listening {
    channel: Channel,
    queue: ShortString,
    /// Of which topics it is heard.
    of: BTreeSet<String>,
}

/// What was heard of a topic.
#[derive(Debug, Default)]
pub(super) struct Heard {
    consumers: BTreeMap<String, (Instant, Report)>,
    /// How many have been taken since we listen.
    taken: u64,
}

/// What consumers have of a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fetched {
    /// How many, and not given to anybody.
    pub(super) held: u64,
    /// When the oldest was published; none: nobody said.
    pub(super) oldest_ms: Option<i64>,
    /// How many have gone.
    pub(super) taken: u64,
}

impl Heard {
    fn hear(&mut self, now: Instant, report: Report) {
        self.consumers.retain(|_, (at, _)| now.duration_since(*at) < FORGOTTEN);
        let before = self.consumers.insert(report.consumer.clone(), (now, report.clone()));
        // One that was there before us has taken nothing since.
        let before = before.map_or(report.taken, |(_, before)| before.taken);
        self.taken += report.taken.saturating_sub(before);
    }

    fn fetched(&self, now: Instant) -> Fetched {
        let fresh = self.consumers.values().filter(|(at, _)| now.duration_since(*at) < SILENT);
        let mut all = Fetched { taken: self.taken, ..Fetched::default() };
        for (_, report) in fresh {
            all.held += report.held;
            all.oldest_ms = match (all.oldest_ms, report.oldest_ms) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        all
    }
}

#[allow(clippy::disallowed_methods, reason = "what was said grows old by the monotonic clock")]
fn now() -> Instant {
    Instant::now()
}

impl Listener {
    pub(super) fn new(link: Arc<Link>, exchange: ShortString) -> Self {
        Self { link, exchange, heard: Arc::default(), listening: tokio::sync::Mutex::default() }
    }

    /// What consumers have of a topic, as far as it is known. From now on it is listened to.
    pub(super) async fn fetched(&self, name: &str) -> Result<Fetched, Error> {
        let listening = tokio::time::timeout(ANSWER, self.listen(name)).await;
        listening.map_err(|_| Error::Unavailable { reason: "no answer to a listener".to_owned() })??;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(heard.get(name).map(|heard| heard.fetched(now())).unwrap_or_default())
    }

    async fn listen(&self, name: &str) -> Result<(), Error> {
        let mut kept = self.listening.lock().await;
        if kept.as_ref().is_none_or(|listening| !listening.channel.status().connected()) {
            *kept = None;
            *kept = Some(self.begin().await?);
        }
        let Some(listening) = &mut *kept else { return Ok(()) };
        if !listening.of.contains(name) {
            let (queue, exchange) = (listening.queue.clone(), self.exchange.clone());
            let options = QueueBindOptions::default();
            let bound =
                listening.channel.queue_bind(queue, exchange, name.into(), options, FieldTable::default());
            bound.await.map_err(|error| failed(&error))?;
            listening.of.insert(name.to_owned());
        }
        Ok(())
    }

    async fn begin(&self) -> Result<Listening, Error> {
        let channel = self.link.channel().await?;
        // A queue of our own, which goes with us.
        let options = QueueDeclareOptions::exclusive().auto_delete();
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await;
        let queue = queue.map_err(|error| failed(&error))?.name().clone();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await;
        let mut consumer = consumer.map_err(|error| failed(&error))?;
        let heard = Arc::clone(&self.heard);
        tokio::spawn(async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                if let Some(report) = Report::read(&delivery.data) {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    let of = heard.entry(delivery.routing_key.as_str().to_owned()).or_default();
                    of.hear(now(), report);
                }
            }
        });
        Ok(Listening { channel, queue, of: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(consumer: &str, taken: u64, held: u64, oldest_ms: Option<i64>) -> Report {
        Report { consumer: consumer.to_owned(), taken, held, oldest_ms }
    }

    #[test]
    fn what_is_said_is_read() {
        for said in [report("amq.ctag-1", 7, 3, Some(-5)), report("c", 0, 0, None)] {
            assert_eq!(Report::read(said.text().as_bytes()), Some(said));
        }
        for text in ["", "1", "2 c 0 0 -", "1 c many 0 -", "1 c 0"] {
            assert_eq!(Report::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn consumers_are_added_up_and_those_who_are_silent_hold_nothing() {
        let (mut heard, begun) = (Heard::default(), now());
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(heard.fetched(begun), Fetched::default());
        // The one was there before us.
        heard.hear(begun, report("a", 100, 2, Some(20)));
        heard.hear(begun, report("b", 0, 0, None));
        assert_eq!(heard.fetched(begun), Fetched { held: 2, oldest_ms: Some(20), taken: 0 });
        heard.hear(later(6), report("a", 105, 1, Some(30)));
        heard.hear(later(6), report("b", 2, 4, Some(25)));
        assert_eq!(heard.fetched(later(6)), Fetched { held: 5, oldest_ms: Some(25), taken: 7 });
        heard.hear(later(12), report("a", 106, 0, Some(40)));
        assert_eq!(heard.fetched(later(14)), Fetched { held: 0, oldest_ms: Some(40), taken: 8 });
        heard.hear(later(90), report("a", 106, 0, None));
        assert_eq!(heard.consumers.len(), 1, "the other was forgotten");
        assert_eq!(heard.fetched(later(90)).taken, 8);
    }
}
