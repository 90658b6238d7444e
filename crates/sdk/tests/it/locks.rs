//! Locks of the SDK.

use crate::server::Server;
use goconductor::Error;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_is_renewed_until_it_is_released() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let guard = conductor.lock("account/7", TTL).await.unwrap();
    assert_eq!(guard.key(), "account/7");
    assert!(conductor.try_lock("account/7", TTL).await.unwrap().is_none());
    tokio::time::sleep(TTL * 2).await;
    assert!(guard.is_held());
    assert!(conductor.try_lock("account/7", TTL).await.unwrap().is_none(), "it was renewed");
    let token = guard.fencing_token();
    assert!(guard.release().await.unwrap());
    let next = conductor.try_lock("account/7", TTL).await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_owner_acquires_dropped_lock() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let ttl = Duration::from_secs(60);
    let guard = conductor.lock("report", ttl).await.unwrap();
    let waiting = tokio::spawn({
        let conductor = conductor.clone();
        async move { conductor.lock("report", ttl).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    drop(guard);
    let next = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("the lock is free");
    assert!(next.unwrap().unwrap().is_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_of_unreachable_server_is_lost_after_its_lease() {
    let server = Server::start().await;
    let guard = server.conductor().lock("account/7", TTL).await.unwrap();
    server.stop().await;
    tokio::time::timeout(TTL * 5, guard.lost()).await.expect("the lease expires");
    assert!(!guard.is_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_that_was_taken_over_is_not_released() {
    let server = Server::start().await;
    let conductor = server.conductor();
    let guard = conductor.lock("account/7", TTL).await.unwrap();
    let locks = conductor.client().locks(None, None).await.unwrap().value.locks;
    let owner = locks.first().unwrap().owner.clone();
    conductor.client().release_lock("account/7", &owner, None).await.unwrap();
    let _other = conductor.try_lock("account/7", TTL).await.unwrap().unwrap();
    assert!(!guard.release().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_lease_is_refused() {
    let server = Server::start().await;
    let lock = server.conductor().lock("account/7", Duration::from_millis(1)).await;
    assert!(matches!(lock, Err(Error::Call(_))), "{lock:?}");
}
