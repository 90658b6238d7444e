//! Reads that wait together are one read.

use super::former::Former;
use super::{Limits, writer_closed};
use crate::{DefinitionName, Error, Store, Stored};
use goconductor_saga::WorkflowId;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// One caller's keys, and where what is found goes.
struct Request<K, V> {
    keys: Vec<K>,
    answer: oneshot::Sender<Result<Vec<V>, Error>>,
}

/// What each key stands for, once it is read.
type Found<V> = Pin<Box<dyn Future<Output = Result<Vec<V>, Error>> + Send>>;
/// Reads.
type Read<K, V> = fn(Arc<dyn Store>, Vec<K>) -> Found<V>;

/// Reads of many callers.
#[derive(Debug)]
pub(super) struct Reads<K, V> {
    requests: mpsc::Sender<Request<K, V>>,
}

impl<K: Clone + Send + 'static, V: Send + 'static> Reads<K, V> {
    pub(super) fn new(backend: &Arc<dyn Store>, limits: Limits, read: Read<K, V>) -> Self {
        let (requests, waiting) = mpsc::channel(limits.waiting.max(1));
        let mut former = Former::new(waiting, limits, |request: &Request<K, V>| request.keys.len());
        let backend = Arc::clone(backend);
        tokio::spawn(async move {
            let mut under_way = JoinSet::new();
            while let Some(group) = former.next(&mut under_way).await {
                under_way.spawn(answer(Arc::clone(&backend), group, read));
            }
        });
        Self { requests }
    }

    pub(super) async fn read(&self, keys: &[K]) -> Result<Vec<V>, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { keys: keys.to_vec(), answer }).await.map_err(|_| writer_closed())?;
        answered.await.unwrap_or_else(|_| Err(writer_closed()))
    }
}

async fn answer<K: Clone, V>(backend: Arc<dyn Store>, group: Vec<Request<K, V>>, read: Read<K, V>) {
    let keys: Vec<K> = group.iter().flat_map(|request| request.keys.iter().cloned()).collect();
    match read(backend, keys).await {
        Ok(found) => {
            let mut found = found.into_iter();
            for Request { keys, answer } in group {
                // A caller who went away does not want to know.
                drop(answer.send(Ok(found.by_ref().take(keys.len()).collect())));
            }
        }
        Err(error) => {
            for Request { answer, .. } in group {
                drop(answer.send(Err(error.clone())));
            }
        }
    }
}

/// Workflows as they are stored.
pub(super) fn stored(backend: Arc<dyn Store>, ids: Vec<WorkflowId>) -> Found<Option<Stored>> {
    Box::pin(async move { backend.stored(&ids).await })
}

/// The newest versions of definitions; of those with one name one is read, as many start the same.
pub(super) fn newest(backend: Arc<dyn Store>, names: Vec<DefinitionName>) -> Found<Option<u32>> {
    Box::pin(async move {
        let once: Vec<DefinitionName> = names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let found = backend.newest(&once).await?;
        let found: BTreeMap<DefinitionName, Option<u32>> = once.into_iter().zip(found).collect();
        Ok(names.iter().map(|name| found.get(name).copied().flatten()).collect())
    })
}
