//! A consumer: it requests messages when its owner wants some, and renews their leases.

use super::connector::Connection;
use super::limits::REQUEST_TIMEOUT;
use super::options::StreamNames;
use super::receiver::{Receiver, confirm, renew_leases};
use super::state::Shared;
use super::status::ConnectionStatus;
use super::streams::CONSUMER;
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_nats::Client;
use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// Delay before an unconfirmed acknowledgement is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long closing a consumer waits until its messages are released.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A consumer of one topic.
#[derive(Debug)]
pub(super) struct NatsConsumer {
    client: Client,
    shared: Arc<Shared>,
    /// Resolves when all messages are released.
    closed: Option<oneshot::Receiver<()>>,
}

impl NatsConsumer {
    pub(super) async fn start(
        connection: Connection,
        status: &ConnectionStatus,
        names: &StreamNames,
        lease: Duration,
    ) -> Result<Self, Error> {
        let Connection { client, jetstream } = connection;
        let inbox = client.new_inbox();
        // Each request has its own subject, so that the end of one request is not mistaken for that of another.
        let subscribed = tokio::time::timeout(REQUEST_TIMEOUT, client.subscribe(format!("{inbox}.*"))).await;
        let subscriber = subscribed
            .map_err(|_| Error::unavailable("subscription timed out"))?
            .map_err(|error| Error::unavailable("failed to subscribe").with_source(error))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            arrived: Notify::new(),
            demanded: Notify::new(),
            stop: CancellationToken::new(),
            lease,
        });
        let (notify_closed, closed) = oneshot::channel();
        let receiver = Receiver {
            client: client.clone(),
            jetstream,
            shared: Arc::clone(&shared),
            subscriber,
            inbox,
            next: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{CONSUMER}", names.stream),
            requests: 0,
            no_responders_since: None,
        };
        let connections = status.connections();
        goconductor_supervisor::spawn("nats-consumer", async move {
            receiver.run(connections).await;
            notify_closed.send(()).ok();
        });
        goconductor_supervisor::spawn("nats-leases", renew_leases(client.clone(), Arc::clone(&shared)));
        Ok(Self { client, shared, closed: Some(closed) })
    }
}

#[async_trait]
impl Consumer for NatsConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the state is read, so that no message is missed.
            arrived.as_mut().enable();
            let received = self.shared.state().try_receive(max)?;
            if !received.is_empty() {
                return Ok(received);
            }
            self.shared.demanded.notify_one();
            arrived.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut lost = Vec::new();
        let mut pending = self.shared.state().begin_acknowledge(deliveries, &mut lost);
        while !pending.is_empty() {
            let sent =
                pending.iter().map(async |(_, reply)| confirm(&self.client, reply.clone(), "+ACK").await);
            let confirmed = join_all(sent).await;
            let results = pending.into_iter().zip(confirmed);
            pending = self.shared.state().finish_acknowledge(results, &mut lost)?;
            if !pending.is_empty() {
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
        Ok(lost)
    }

    async fn close(mut self: Box<Self>) {
        let closed = self.closed.take();
        drop(self);
        if let Some(closed) = closed {
            drop(tokio::time::timeout(CLOSE_TIMEOUT, closed).await);
        }
    }
}

impl Drop for NatsConsumer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
