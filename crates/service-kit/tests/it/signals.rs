//! A signal starts the drain and does not kill the process.

use std::time::Duration;

use goconductor_service_kit::drain::Drain;

#[tokio::test]
async fn signal_starts_the_drain() {
    let drain = Drain::new();
    drain.on_signals(Duration::from_secs(60)).expect("signal handlers can be installed");
    let stopping = drain.clone();
    drop(drain.spawn("consumer", async move { stopping.draining().await }));
    assert!(!drain.is_draining());
    let own = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &own]).status().expect("kill is installed");
    assert!(sent.success());
    let begun = tokio::time::timeout(Duration::from_secs(10), drain.draining()).await;
    assert!(begun.is_ok(), "the drain did not start");
    assert_eq!(drain.drain(Duration::from_secs(10)).await, Ok(()));
}
