//! A remote state store passes the conformance cases of the port over gRPC.

use async_trait::async_trait;
use futures::StreamExt;
use goconductor_remote::{Endpoints, RemoteStore};
use goconductor_state_store::service;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClusterStore, Error, Store, WorkflowHead, WorkflowStore};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// Serves a store until the token is cancelled, and returns its address.
async fn serve(backend: Arc<dyn Store>, stop: CancellationToken) -> String {
    let store = BatchingStore::new(backend, Limits::default());
    let changes = store.changes();
    let served = service(Arc::new(store), changes, stop.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = TcpListenerStream::new(listener)
        .inspect(|connection| connection.as_ref().unwrap().set_nodelay(true).unwrap());
    tokio::spawn(async move {
        Server::builder()
            .add_service(served)
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await
    });
    address
}

fn remote(addresses: &[String]) -> RemoteStore {
    RemoteStore::new(Endpoints::new(addresses).unwrap())
}

#[derive(Debug, Default)]
struct Remote {
    /// The directory of each open store, by the store's address in memory.
    directories: Mutex<BTreeMap<usize, (Arc<tempfile::TempDir>, CancellationToken)>>,
}

impl Remote {
    async fn open_in(&self, directory: Arc<tempfile::TempDir>) -> Result<Arc<dyn Store>, String> {
        let mut backend = Err("not opened".to_owned());
        for _ in 0..200 {
            match SqliteStore::open(&directory.path().join("store.db")) {
                Ok(store) => {
                    backend = Ok(store);
                    break;
                }
                // The previous server still holds the lock of the file.
                Err(error) => backend = Err(error.to_string()),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let stop = CancellationToken::new();
        let store: Arc<dyn Store> = Arc::new(remote(&[serve(Arc::new(backend?), stop.clone()).await]));
        let key = Arc::as_ptr(&store).cast::<()>() as usize;
        self.directories.lock().unwrap().insert(key, (directory, stop));
        Ok(store)
    }
}

#[async_trait]
impl Factory for Remote {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        self.open_in(Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        let key = Arc::as_ptr(&store).cast::<()>() as usize;
        let (directory, stop) = self.directories.lock().unwrap().remove(&key).ok_or("no such store")?;
        stop.cancel();
        drop(store);
        self.open_in(directory).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn remote_store_passes_all_cases() {
    let factory: Arc<dyn Factory> = Arc::new(Remote::default());
    let mut failed = Vec::new();
    for case in CASES {
        if let Err(why) = case.check(Arc::clone(&factory)).await {
            failed.push(format!("{}: {why}", case.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn unreachable_endpoint_is_skipped() {
    let stop = CancellationToken::new();
    let backend: Arc<dyn Store> = Arc::new(SqliteStore::ephemeral().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unreachable = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let reachable = serve(backend, stop).await;
    for order in [[unreachable.clone(), reachable.clone()], [reachable, unreachable.clone()]] {
        let store = remote(&order);
        for _ in 0..3 {
            store.check().await.unwrap();
            assert!(store.write(Vec::new()).await.unwrap().is_empty());
        }
    }
    let store = remote(&[unreachable]);
    let refused = store.write(Vec::new()).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
}

#[tokio::test]
async fn feed_contains_the_changes_of_every_state_store() {
    let backend: Arc<dyn Store> = Arc::new(SqliteStore::ephemeral().unwrap());
    let mut addresses = Vec::new();
    for _ in 0..2 {
        addresses.push(serve(Arc::clone(&backend), CancellationToken::new()).await);
    }
    let feed = remote(&addresses).changes();
    let mut changes = feed.sender().subscribe();
    feed.open().await;
    let plan = goconductor_store::conformance::flow::order().unwrap();
    for address in &addresses {
        let (flow, write) =
            goconductor_store::conformance::flow::Flow::start(&plan, Default::default()).unwrap();
        let write = goconductor_store::conformance::flow::unkeyed(write);
        remote(std::slice::from_ref(address)).write(vec![write]).await.unwrap();
        let seen: WorkflowHead =
            tokio::time::timeout(Duration::from_secs(5), changes.recv()).await.unwrap().unwrap();
        assert_eq!((seen.id, seen.status), (flow.id(), flow.state.status()));
        assert_eq!(seen.seq, flow.state.seq);
    }
}
