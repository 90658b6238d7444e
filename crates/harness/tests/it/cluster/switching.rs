//! All processes move from one queue to another while orders run.

use super::*;
use goconductor_harness::goconductor;

/// The time limit of a move. A killed process is missed after seven seconds in each phase.
const MOVED: Duration = Duration::from_secs(90);

async fn cluster_over_any(queue: Broker, more_queues: Vec<Broker>) -> (Cluster, Participants) {
    cluster_of(queue, more_queues, ElectionServers::Postgres).await
}

/// Requests a move at any gateway that answers.
async fn ask(gateways: &[Api], to: &str) {
    let give_up = Instant::now() + MOVED;
    for api in gateways.iter().cycle() {
        match api.send("POST", "/queues/switch", Some(json!({"to": to}))).await {
            Ok((200, _)) => return,
            other => assert!(Instant::now() < give_up, "the move to {to} did not begin: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The state of the queues, from any gateway that answers.
async fn standing(gateways: &[Api]) -> Value {
    for api in gateways.iter().cycle().take(200) {
        let asked = tokio::time::timeout(Duration::from_secs(8), api.get("/queues/switch")).await;
        if let Ok(Ok(standing)) = asked {
            return standing;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no gateway reports the state of the queues")
}

/// Waits until a move has reached a phase, or has ended if `phase` is `None`.
async fn phase(gateways: &[Api], to: &str, phase: Option<&str>) {
    let order = ["CONSUMING_BOTH", "PRODUCING", "DRAINING"];
    let place =
        |phase: Option<&str>| order.iter().position(|each| Some(*each) == phase).unwrap_or(order.len());
    let give_up = Instant::now() + MOVED;
    loop {
        let now = standing(gateways).await;
        let is_over = now["to"].is_null() && now["queue"] == to;
        let found = if is_over { None } else { now["phase"].as_str().or(Some("CONSUMING_BOTH")) };
        if place(found) >= place(phase) {
            return;
        }
        assert!(Instant::now() < give_up, "the move to {to} did not reach {phase:?}: {now:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The output of a command.
async fn command(api: &Api, arguments: &[&str]) -> String {
    let mut command = goconductor().unwrap();
    let output = command.args(arguments).args(["--server", api.base()]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The list of the queues, once executors have announced that they serve each service. They announce it at their next
/// heartbeat.
async fn served_queues(api: &Api) -> Value {
    let give_up = Instant::now() + MOVED;
    loop {
        let listed = command(api, &["queue", "list", "-o", "json"]).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let services = listed["services"].as_array().unwrap();
        if services.iter().all(|service| service["served"] == true) {
            return listed;
        }
        assert!(Instant::now() < give_up, "a service is not served: {listed:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The number of commands that the executors have received since their start.
async fn taken(cluster: &Cluster) -> f64 {
    cluster.measured("saga-executor", "goconductor_queue_taken_total").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_migration_survives_kills_in_every_phase() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let more = vec![Broker::Nats(1), Broker::Kinesis, Broker::RabbitMq];
    let (mut cluster, participants) = cluster_over_any(Broker::Kafka(1), more).await;
    let load = Load::begin(&cluster);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let phases = ["CONSUMING_BOTH", "PRODUCING", "DRAINING"];
    // Kill each kind of process in each phase.
    let killed = [
        ("nats", ["executor-stock-1", "gateway-1", "store-1"]),
        ("kinesis", ["gateway-2", "store-2", "executor-payments-1"]),
        ("rabbitmq", ["store-1", "executor-stock-2", "gateway-1"]),
        ("kafka", ["elector-1", "executor-payments-2", "executor-stock-1"]),
    ];
    for (to, names) in killed {
        ask(&cluster.gateways, to).await;
        for (at, name) in phases.into_iter().zip(names) {
            phase(&cluster.gateways, to, Some(at)).await;
            cluster.kill(name).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.restart(name).await.unwrap();
        }
        phase(&cluster.gateways, to, None).await;
        let before = taken(&cluster).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = taken(&cluster).await;
        assert!(after > before, "no command was delivered by {to}: {before} commands, then {after}");
    }
    let starts = load.end(orders()).await;
    let coverage = all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    eprintln!("{coverage:#?}");
    assert_eq!(dead_letters(&cluster.gateways[0]).await, 0);
    cluster.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_old_queue_loses_no_saga() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (cluster, participants) = cluster_over_any(Broker::Kafka(1), vec![Broker::Nats(1)]).await;
    let load = Load::begin(&cluster);
    tokio::time::sleep(Duration::from_secs(3)).await;
    ask(&cluster.gateways, "nats").await;
    phase(&cluster.gateways, "nats", Some("PRODUCING")).await;
    cluster.services().call("kafka.sh", &["wipe"]).await.unwrap();
    phase(&cluster.gateways, "nats", None).await;
    let starts = load.end(orders() / 2).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    cluster.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_migrations_are_refused_and_a_migration_can_be_turned_back() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, participants) = cluster_over_any(Broker::Kafka(1), vec![Broker::Nats(1)]).await;
    let gateways = cluster.gateways.clone();
    let refused = async |to: &str| {
        let (status, problem) =
            gateways[0].send("POST", "/queues/switch", Some(json!({"to": to}))).await.unwrap();
        (status, problem["code"].as_str().unwrap_or_default().to_owned(), problem["detail"].to_string())
    };
    for (to, status, code, part) in [
        ("pigeons", 422, "GC2034", "queue pigeons does not exist"),
        ("memory", 422, "GC2034", "queue memory does not exist"),
        ("kafka", 409, "GC2035", "is already in use"),
        ("rabbitmq", 409, "GC2035", "is not configured for"),
    ] {
        let found = refused(to).await;
        assert_eq!((found.0, &*found.1), (status, code), "{found:?}");
        assert!(found.2.contains(part), "{found:?}");
    }
    cluster.services().call("nats.sh", &["kill"]).await.unwrap();
    let found = refused("nats").await;
    assert_eq!((found.0, &*found.1), (503, "GC2036"), "{found:?}");
    cluster.services().call("nats.sh", &["start"]).await.unwrap();
    let load = Load::begin(&cluster);
    // The lost queue delays the move, which leaves time to turn it back.
    cluster.pause("executor-stock-1").await.unwrap();
    ask(&gateways, "nats").await;
    let other = refused("rabbitmq").await;
    assert_eq!((other.0, &*other.1), (409, "GC2035"), "{other:?}");
    assert!(other.2.contains("from kafka to nats is in progress"), "{other:?}");
    ask(&gateways, "kafka").await;
    cluster.resume("executor-stock-1").await.unwrap();
    phase(&gateways, "kafka", None).await;
    let listed = served_queues(&gateways[0]).await;
    assert_eq!(listed["queue"], "kafka");
    for service in listed["services"].as_array().unwrap() {
        assert!(service["execute"]["waiting"].is_u64(), "{listed:#}");
    }
    assert_eq!(listed["services"].as_array().unwrap().len(), 2, "{listed:#}");
    // Use the command line, as a person would.
    let moved = command(&gateways[1], &["queue", "switch", "nats", "--wait", "--timeout", "90s"]).await;
    assert!(moved.contains("nats"), "{moved}");
    assert_eq!(command(&gateways[0], &["queue", "status", "-o", "name"]).await.trim(), "nats");
    let starts = load.end(orders() / 8).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    cluster.down().await.unwrap();
}
