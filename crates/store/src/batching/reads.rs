//! Batches of reads: concurrent reads become one query.

use super::batcher::Batcher;
use super::{Limits, writer_closed};
use crate::{DefinitionName, EncodedWorkflow, Error, Store};
use goconductor_saga::WorkflowId;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument;

/// The keys of one caller.
struct QueuedRead<K, V> {
    keys: Vec<K>,
    reply: oneshot::Sender<Result<Vec<V>, Error>>,
}

/// The values of the keys, in their order.
type Values<V> = Pin<Box<dyn Future<Output = Result<Vec<V>, Error>> + Send>>;
/// A query for many keys.
type BatchQuery<K, V> = fn(Arc<dyn Store>, Vec<K>) -> Values<V>;

/// A task that batches reads of one kind.
#[derive(Debug)]
pub(super) struct Reads<K, V> {
    requests: mpsc::Sender<QueuedRead<K, V>>,
}

impl<K: Clone + Send + 'static, V: Send + 'static> Reads<K, V> {
    pub(super) fn new(backend: &Arc<dyn Store>, limits: Limits, query: BatchQuery<K, V>) -> Self {
        let (requests, queue) = mpsc::channel(limits.queue_depth.max(1));
        let mut batcher = Batcher::new(queue, limits, |request: &QueuedRead<K, V>| request.keys.len());
        let backend = Arc::clone(backend);
        goconductor_supervisor::spawn("store-reads", async move {
            let mut in_flight = JoinSet::new();
            while let Some(batch) = batcher.next(&mut in_flight).await {
                let span = tracing::debug_span!("read_batch", requests = batch.len());
                in_flight.spawn(read_batch(Arc::clone(&backend), batch, query).instrument(span));
            }
        });
        Self { requests }
    }

    pub(super) async fn read(&self, keys: &[K]) -> Result<Vec<V>, Error> {
        let (reply, response) = oneshot::channel();
        self.requests.send(QueuedRead { keys: keys.to_vec(), reply }).await.map_err(|_| writer_closed())?;
        response.await.unwrap_or_else(|_| Err(writer_closed()))
    }
}

async fn read_batch<K: Clone, V>(
    backend: Arc<dyn Store>,
    batch: Vec<QueuedRead<K, V>>,
    query: BatchQuery<K, V>,
) {
    let keys: Vec<K> = batch.iter().flat_map(|request| request.keys.iter().cloned()).collect();
    match query(backend, keys).await {
        Ok(values) => {
            let mut values = values.into_iter();
            for QueuedRead { keys, reply } in batch {
                // Fails if the caller was cancelled.
                drop(reply.send(Ok(values.by_ref().take(keys.len()).collect())));
            }
        }
        Err(error) => {
            for QueuedRead { reply, .. } in batch {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
}

/// Loads workflows without decoding them.
pub(super) fn load_encoded(backend: Arc<dyn Store>, ids: Vec<WorkflowId>) -> Values<Option<EncodedWorkflow>> {
    Box::pin(async move { backend.load_encoded(&ids).await })
}

/// Loads the newest versions of definitions. Each name is queried once, because many workflows start with the same
/// definition.
pub(super) fn newest(backend: Arc<dyn Store>, names: Vec<DefinitionName>) -> Values<Option<u32>> {
    Box::pin(async move {
        let distinct: Vec<DefinitionName> =
            names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let versions = backend.newest(&distinct).await?;
        let versions: BTreeMap<DefinitionName, Option<u32>> = distinct.into_iter().zip(versions).collect();
        Ok(names.iter().map(|name| versions.get(name).copied().flatten()).collect())
    })
}
