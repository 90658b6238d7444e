//! A signal begins the drain and does not kill.

use std::time::Duration;

use goconductor_service_kit::drain::Drain;

#[tokio::test]
async fn a_signal_begins_the_drain() {
    let drain = Drain::new();
    drain.on_signals().expect("signals can be listened to");
    let stopping = drain.clone();
    drop(drain.spawn("consumer", async move { stopping.draining().await }));
    assert!(!drain.is_draining());
    let own = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &own]).status().expect("kill is there");
    assert!(sent.success());
    let begun = tokio::time::timeout(Duration::from_secs(10), drain.draining()).await;
    assert!(begun.is_ok(), "the drain did not begin");
    assert_eq!(drain.drain(Duration::from_secs(10)).await, Ok(()));
}
