//! A consumer: asks for what it can take, and speaks for what it holds.

use super::ANSWER;
use super::held::Shared;
use super::link::{Connected, News};
use super::options::Names;
use super::receiver::{Receiver, ask, speak};
use super::streams::CONSUMER;
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_nats::Client;
use async_trait::async_trait;
use futures::future::join_all;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// Before an acknowledgement is said again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long the servers are waited for to hear that a consumer leaves.
const LEAVE: Duration = Duration::from_secs(3);

/// Takes messages of one topic.
#[derive(Debug)]
pub(super) struct NatsConsumer {
    name: String,
    client: Client,
    shared: Arc<Shared>,
    /// Rings when everything was given back.
    left: Option<oneshot::Receiver<()>>,
}

impl NatsConsumer {
    pub(super) async fn begin(
        connected: Connected,
        news: Arc<News>,
        names: Names,
        lease: Duration,
    ) -> Result<Self, Error> {
        let Connected { client, jetstream } = connected;
        let inbox = client.new_inbox();
        // Each request has a subject of its own, so that the end of one is not taken for that of another.
        let subscribed = tokio::time::timeout(ANSWER, client.subscribe(format!("{inbox}.*"))).await;
        let unavailable = |reason: String| Error::Unavailable { reason };
        let subscriber = subscribed
            .map_err(|_| unavailable("no answer to a subscription".to_owned()))?
            .map_err(|error| unavailable(error.to_string()))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            came: Notify::new(),
            wanted: Notify::new(),
            stop: CancellationToken::new(),
            lease,
        });
        let (tell, left) = oneshot::channel();
        let receiver = Receiver {
            client: client.clone(),
            jetstream,
            shared: Arc::clone(&shared),
            subscriber,
            inbox,
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}", names.stream),
            number: 0,
            silent_since: None,
        };
        tokio::spawn(async move {
            receiver.run(news.connections()).await;
            tell.send(()).ok();
        });
        tokio::spawn(speak(client.clone(), Arc::clone(&shared)));
        Ok(Self { name: names.subject, client, shared, left: Some(left) })
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let came = self.shared.came.notified();
            tokio::pin!(came);
            // From here on no message is missed.
            came.as_mut().enable();
            let given = self.shared.state().give(max).map_err(|reason| Error::Unavailable { reason })?;
            if !given.is_empty() {
                let count = u64::try_from(given.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_taken_total", "topic" => self.name.clone())
                    .increment(count);
                return Ok(given);
            }
            self.shared.wanted.notify_one();
            came.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut gone = Vec::new();
        let mut left = self.shared.state().settle(deliveries, &mut gone);
        while !left.is_empty() {
            let asked = left.iter().map(async |(_, reply)| ask(&self.client, reply.clone(), "+ACK").await);
            let heard = join_all(asked).await;
            left = self.shared.state().settled(left.into_iter().zip(heard), &mut gone).map_err(|()| {
                let reason = "no answer to an acknowledgement".to_owned();
                Error::Unavailable { reason }
            })?;
            if !left.is_empty() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        Ok(gone)
    }

    async fn leave(mut self: Box<Self>) {
        let left = self.left.take();
        drop(self);
        if let Some(left) = left {
            drop(tokio::time::timeout(LEAVE, left).await);
        }
    }
}

impl Drop for NatsConsumer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
