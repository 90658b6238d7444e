//! Orders over every queue with every election backend, while queue servers, election servers and processes of each kind
//! are killed and one process is paused past its lease.

use super::*;

/// Longer than any lease.
const PAUSED: Duration = Duration::from_secs(12);

async fn all_end_right_over(queue: Broker, election: ElectionServers) {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, participants) = cluster_with(queue, election).await;
    let traced = crate::traces::check_order_of_a_caller(&cluster.gateways[0], &participants).await;
    let load = Load::begin(&cluster);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The process is paused for the rest of the faults, and past its lease.
    cluster.pause("executor-payments-1").await.unwrap();
    let paused = Instant::now();
    for name in ["executor-stock-1", "store-1", "elector-1", "gateway-1"] {
        cluster.kill(name).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.restart(name).await.unwrap();
    }
    for script in [Some(queue.script()), election.script()].into_iter().flatten() {
        cluster.services().call(script, &["kill"]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.services().call(script, &["start"]).await.unwrap();
    }
    tokio::time::sleep(PAUSED.saturating_sub(paused.elapsed())).await;
    cluster.resume("executor-payments-1").await.unwrap();
    let mut starts = load.end(orders() / 4).await;
    starts.extend(traced);
    let coverage = all_end_right(&cluster, &participants, starts, Duration::from_secs(180)).await;
    eprintln!("{queue:?} with {election:?}: {coverage:#?}");
    let published = cluster.measured("saga-executor", "goconductor_queue_published_total").await.unwrap();
    let taken = cluster.measured("saga-executor", "goconductor_queue_taken_total").await.unwrap();
    assert!(published > 0.0 && taken > 0.0, "{published} commands were published, {taken} delivered");
    assert_eq!(dead_letters(&cluster.gateways[0]).await, 0);
    cluster.down().await.unwrap();
}

/// Defines a test for each pair.
macro_rules! pairs {
    ($($name:ident: $queue:expr, $election:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            all_end_right_over($queue, $election).await;
        }
    )*};
}

// Each queue and each election backend is in one of these pairs. The two adapters of a pair do not know each other, so that
// the other pairs, which scripts/soak runs, seldom find what these do not.
pairs! {
    kafka_with_zookeeper: Broker::Kafka(1), ElectionServers::ZooKeeper(1);
    kinesis_with_postgres: Broker::Kinesis, ElectionServers::Postgres;
    nats_with_etcd: Broker::Nats(1), ElectionServers::Etcd(1);
    rabbitmq_with_postgres: Broker::RabbitMq, ElectionServers::Postgres;
}

/// The rest of the matrix. The default profile of cargo-nextest leaves out each module of this name.
mod soak {
    use super::*;

    pairs! {
        kafka_with_postgres: Broker::Kafka(1), ElectionServers::Postgres;
        kafka_with_etcd: Broker::Kafka(1), ElectionServers::Etcd(1);
        kinesis_with_etcd: Broker::Kinesis, ElectionServers::Etcd(1);
        kinesis_with_zookeeper: Broker::Kinesis, ElectionServers::ZooKeeper(1);
        nats_with_postgres: Broker::Nats(1), ElectionServers::Postgres;
        nats_with_zookeeper: Broker::Nats(1), ElectionServers::ZooKeeper(1);
        rabbitmq_with_etcd: Broker::RabbitMq, ElectionServers::Etcd(1);
        rabbitmq_with_zookeeper: Broker::RabbitMq, ElectionServers::ZooKeeper(1);
    }
}
