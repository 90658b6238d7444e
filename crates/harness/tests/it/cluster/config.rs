//! Changes of the configuration while all processes run.

use super::*;

/// The time after which a live setting has no effect in some process. Where the processors are free, it takes less than two
/// seconds.
const EFFECT: Duration = Duration::from_secs(10);
/// The time within which every process has published a change with its membership.
const PUBLISHED: Duration = Duration::from_secs(4);

async fn patch(api: &Api, settings: Value) -> (u16, Value) {
    api.send("PATCH", "/config", Some(settings)).await.unwrap()
}

/// Waits until all processes use a version.
async fn all_use(api: &Api, version: u64, within: Duration) -> Value {
    let since = Instant::now();
    loop {
        let shown = api.get("/config").await.unwrap();
        let processes = shown["processes"].as_array().unwrap();
        if processes.iter().all(|process| process["version"] == version && process["error"].is_null()) {
            return shown;
        }
        assert!(since.elapsed() < within, "not every process uses version {version}: {shown:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The queue is moved by the existing migration.
async fn moves_to_nats(api: &Api) {
    let (status, changed) = patch(api, json!({"queue": {"backend": "nats"}})).await;
    assert_eq!(status, 200, "{changed}");
    let since = Instant::now();
    loop {
        let queues = api.get("/queues/switch").await.unwrap();
        if queues["queue"] == "nats" && queues["to"].is_null() {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(90), "{queues}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let id = api.start("order", json!({}), None).await.unwrap();
    let ended = api.ended(&id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_changes_in_every_process_within_two_seconds() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, _participants) =
        cluster_of(Broker::Kafka(1), vec![Broker::Nats(1)], ElectionServers::Postgres).await;
    let [first, second] = [0, 1].map(|index| cluster.gateways[index].clone());
    for _ in 0..5 {
        first.start("order", json!({}), None).await.unwrap();
    }

    // A limit that is changed at one gateway applies to the other one, and every process reports the version.
    let began = Instant::now();
    let (status, changed) =
        patch(&first, json!({"limits": {"page_size": 3}, "telemetry": {"log_level": "debug"}})).await;
    assert_eq!(status, 200, "{changed}");
    loop {
        let listed = second.get("/workflows").await.unwrap();
        if listed["workflows"].as_array().unwrap().len() == 3 {
            break;
        }
        assert!(began.elapsed() < EFFECT, "{listed}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let shown = all_use(&second, 1, EFFECT).await;
    assert_eq!(shown["pending"], json!([]));
    let kinds: std::collections::BTreeSet<&str> = shown["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| process["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.is_superset(&["api-gateway", "saga-executor", "state-store"].into()), "{shown:#}");

    // A broker that does not respond is refused with the reason, and nothing changes.
    let (status, refused) = patch(&first, json!({"queue": {"nats": {"servers": ["127.0.0.1:1"]}}})).await;
    assert_eq!((status, &refused["code"]), (422, &json!("GC2088")), "{refused}");
    assert_eq!(refused["errors"][0]["pointer"], "/queue/nats/servers");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("127.0.0.1:1") && detail.to_lowercase().contains("refused"), "{detail}");
    let moved = json!({"election": {"backend": "etcd", "endpoints": ["127.0.0.1:1"]}});
    let (status, refused) = patch(&first, moved).await;
    assert_eq!((status, &refused["code"]), (422, &json!("GC2090")), "{refused}");
    let moved = json!({"election": {"backend": "etcd", "endpoints": ["127.0.0.1:1"], "era": 1}});
    let (status, refused) = patch(&first, moved).await;
    assert_eq!((status, &refused["code"]), (422, &json!("GC2088")), "{refused}");
    assert_eq!(first.get("/config").await.unwrap()["version"], 1);

    // A setting that needs a restart is pending in each process until that process is restarted.
    let (status, changed) = patch(&first, json!({"limits": {"bodies_bytes": "96MiB"}})).await;
    assert_eq!(status, 200, "{changed}");
    let shown = all_use(&first, 2, PUBLISHED).await;
    let pending = shown["pending"].as_array().unwrap();
    assert_eq!(pending.len(), shown["processes"].as_array().unwrap().len(), "{shown:#}");
    assert!(pending.iter().all(|each| each["setting"] == "limits.bodies_bytes"), "{shown:#}");
    let of_gateways = |shown: &Value| {
        shown["pending"].as_array().unwrap().iter().filter(|each| each["kind"] == "api-gateway").count()
    };
    assert_eq!(of_gateways(&shown), 2);
    cluster.terminate("gateway-2").await.unwrap();
    cluster.restart("gateway-2").await.unwrap();
    let shown = all_use(&first, 2, Duration::from_secs(20)).await;
    assert_eq!(of_gateways(&shown), 1, "{shown:#}");

    moves_to_nats(&first).await;
    cluster.down().await.unwrap();
}
