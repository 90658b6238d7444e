//! A remote state store passes the conformance cases of the port over gRPC.

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use goconductor_remote::{Endpoints, NameResolver, RemoteStore};
use goconductor_state_store::service;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::flow::{self, Flow};
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClusterStore, Error, Store, WorkflowHead, WorkflowStore};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
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
    for address in &addresses {
        publishes(address, &mut changes).await;
    }
}

/// Starts a workflow at a state store, and returns its head.
async fn start_at(address: &str) -> WorkflowHead {
    let plan = flow::order().unwrap();
    let (flow, write) = Flow::start(&plan, Default::default()).unwrap();
    remote(&[address.to_owned()]).write(vec![flow::unkeyed(write)]).await.unwrap();
    WorkflowHead { id: flow.id(), status: flow.state.status(), seq: flow.state.seq }
}

/// Checks that the feed publishes a write that a state store executes.
async fn publishes(address: &str, changes: &mut broadcast::Receiver<WorkflowHead>) {
    let started = start_at(address).await;
    let seen = async { while changes.recv().await.unwrap() != started {} };
    tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
}

/// A name whose addresses change, like that of a headless Service.
#[derive(Debug, Default)]
struct Name(Mutex<Vec<SocketAddr>>);

impl Name {
    fn set(&self, addresses: &[&String]) {
        let parse = |address: &&String| address.trim_start_matches("http://").parse().unwrap();
        *self.0.lock().unwrap() = addresses.iter().map(parse).collect();
    }
}

#[async_trait]
impl NameResolver for Name {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((host, port), ("state-store.shop", 8471));
        let found = self.0.lock().unwrap().clone();
        if found.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(found) }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(5)
    }
}

#[tokio::test]
async fn feed_follows_every_address_of_a_name_while_they_change() {
    let backend: Arc<dyn Store> = Arc::new(SqliteStore::ephemeral().unwrap());
    let mut stores = Vec::new();
    for _ in 0..3 {
        let stop = CancellationToken::new();
        stores.push((serve(Arc::clone(&backend), stop.clone()).await, stop));
    }
    let [(first, _), (second, _), (third, stop_third)] = &stores[..] else { unreachable!() };
    let name = Arc::new(Name::default());
    let feed = remote(&["http://state-store.shop:8471".to_owned()])
        .changes_with(Arc::clone(&name) as Arc<dyn NameResolver>);
    let mut changes = feed.sender().subscribe();

    // The feed is not open before the name was resolved.
    assert!(feed.open().now_or_never().is_none());
    name.set(&[first, second]);
    feed.open().await;
    publishes(first, &mut changes).await;
    publishes(second, &mut changes).await;

    // A new address is followed. The name is resolved at an interval, so the first writes may precede the stream.
    name.set(&[second, third]);
    let seen_from_third = async {
        loop {
            let started = start_at(third).await;
            let seen = async { while changes.recv().await.unwrap() != started {} };
            if tokio::time::timeout(Duration::from_millis(50), seen).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen_from_third).await.unwrap();
    feed.open().await;

    // An error of the resolution closes no stream, and neither does the end of another state store.
    name.set(&[]);
    stop_third.cancel();
    publishes(second, &mut changes).await;
}
