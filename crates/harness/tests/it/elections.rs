//! The whole system with elections by etcd or ZooKeeper. One of three servers is lost, leaders are killed and paused, and
//! sagas make progress.

use crate::cluster::{Load, ONE, all_end_right, cluster_with, orders, possible};
use goconductor_harness::{Api, Broker, Cluster, ElectionServers};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The default lease, after which a silent leader is replaced.
const LEASE: Duration = Duration::from_secs(5);
/// The time that a takeover may need in addition to the lease.
const BEYOND: Duration = Duration::from_secs(2);
/// The number of shards of the duties.
const SHARES: usize = 4;

/// The leader and the token of each shard of the duties.
async fn leaders(api: &Api) -> BTreeMap<String, (String, u64)> {
    let Ok((200, body)) = api.send("GET", "/elections", None).await else { return BTreeMap::new() };
    let text = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();
    let elections = body["elections"].as_array().unwrap().iter();
    // Without the election of the scheduler.
    elections
        .filter(|each| each["name"].as_str().unwrap().contains("-of-"))
        .map(|each| (text(each, "name"), (text(each, "candidate"), each["fencing_token"].as_u64().unwrap())))
        .collect()
}

/// Waits until every shard has a leader that `fits`, and returns the duration.
async fn all_led(api: &Api, fits: impl Fn(&str, &str, u64) -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        let leaders = leaders(api).await;
        let fit = leaders.iter().all(|(name, (candidate, token))| fits(name, candidate, *token));
        if leaders.len() == SHARES && fit {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "some shards have no leader: {leaders:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The name of the process that leads the first shard.
async fn name_of_leader(cluster: &Cluster) -> (String, String) {
    let api = &cluster.gateways[0];
    let begun = Instant::now();
    loop {
        // A process that was just restarted may not answer or not be listed yet.
        let led = leaders(api).await.into_values().next();
        if let (Some((candidate, _)), Ok(known)) = (led, api.get("/processes").await) {
            let processes = known["processes"].as_array().unwrap();
            if let Some(process) = processes.iter().find(|each| each["instance"] == candidate) {
                let address = format!("http://{}", process["address"].as_str().unwrap());
                let is_it = |name: &String| cluster.address(name).as_deref() == Some(&address);
                return (cluster.names().into_iter().find(is_it).unwrap(), candidate);
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the first shard has no known leader");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn sagas_go_on(election: ElectionServers, script: &str) {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, participants) = cluster_with(Broker::Kafka(1), election).await;
    let api = cluster.gateways[0].clone();
    all_led(&api, |_, _, _| true).await;
    let load = Load::begin(&cluster);
    // Stop each server in turn.
    for server in ["1", "2", "3"] {
        cluster.services().call(script, &["kill", server]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        all_led(&api, |_, _, _| true).await;
        cluster.services().call(script, &["start", server]).await.unwrap();
    }
    // Kill the leader of a shard. Its elector detects this at once.
    let (name, gone) = name_of_leader(&cluster).await;
    cluster.kill(&name).await.unwrap();
    let took = all_led(&api, |_, candidate, _| candidate != gone).await;
    eprintln!("{election:?}: a killed executor was replaced after {took:?}");
    assert!(took < LEASE + BEYOND, "replaced after {took:?}");
    cluster.restart(&name).await.unwrap();
    // Kill an elector with all of its terms. The servers detect this when its lease expires.
    let before = leaders(&api).await;
    for elector in ["elector-1", "elector-2"] {
        cluster.kill(elector).await.unwrap();
        tokio::time::sleep(LEASE + BEYOND).await;
        let led = leaders(&api).await;
        assert_eq!(led.len(), SHARES, "without {elector}, only these shards have a leader: {led:?}");
        cluster.restart(elector).await.unwrap();
    }
    all_led(&api, |name, _, token| before.get(name).is_none_or(|(_, last)| token >= *last)).await;
    // A leader that is paused past its lease still assumes that it leads. Its writes are refused.
    let (name, asleep) = name_of_leader(&cluster).await;
    cluster.pause(&name).await.unwrap();
    let took = all_led(&api, |_, candidate, _| candidate != asleep).await;
    eprintln!("{election:?}: a paused executor was replaced after {took:?}");
    assert!(took < LEASE + BEYOND, "replaced after {took:?}");
    tokio::time::sleep(LEASE).await;
    cluster.resume(&name).await.unwrap();
    let starts = load.end(orders() / 2).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    cluster.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_continue_without_one_of_three_etcd_members_and_without_leaders() {
    sagas_go_on(ElectionServers::Etcd(3), "etcd.sh").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_continue_without_one_of_three_zookeeper_servers_and_without_leaders() {
    sagas_go_on(ElectionServers::ZooKeeper(3), "zookeeper.sh").await;
}

/// Moves the election to another backend by a change of the configuration, while a leader is paused and an elector is
/// killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn election_moves_to_another_backend_while_sagas_run() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, participants) = cluster_with(Broker::Kafka(1), ElectionServers::Etcd(1)).await;
    let api = cluster.gateways[0].clone();
    let exported = cluster.services().call("zookeeper.sh", &["up", "1"]).await.unwrap();
    let servers: Vec<&str> = exported["ZOOKEEPER_SERVERS"].split(',').collect();
    all_led(&api, |_, _, _| true).await;
    let load = Load::begin(&cluster);
    let (paused, _) = name_of_leader(&cluster).await;
    cluster.pause(&paused).await.unwrap();

    let place = |era: u8| json!({"election": {"backend": "zookeeper", "endpoints": servers, "era": era}});
    let (status, refused) = api.send("PATCH", "/config", Some(place(0))).await.unwrap();
    assert_eq!((status, &refused["code"]), (422, &json!("GC2090")), "{refused}");
    let (status, changed) = api.send("PATCH", "/config", Some(place(1))).await.unwrap();
    assert_eq!(status, 200, "{changed}");
    assert!(
        changed["changes"].as_array().unwrap().iter().all(|change| change["apply"] == "live"),
        "{changed}"
    );
    cluster.kill("elector-1").await.unwrap();
    cluster.restart("elector-1").await.unwrap();
    let took = all_led(&api, |_, _, token| token >> 56 == 1).await;
    eprintln!("the election moved after {took:?}");
    assert!(took < Duration::from_secs(30), "moved after {took:?}");

    // The paused leader holds a token of the previous era. It follows when it continues, and nothing needs etcd.
    cluster.resume(&paused).await.unwrap();
    cluster.services().call("etcd.sh", &["kill", "1"]).await.unwrap();
    let begun = Instant::now();
    loop {
        let shown = api.get("/elections").await.unwrap();
        let processes = shown["processes"].as_array().unwrap();
        let is_moved = |process: &Value| process["backend"] == "zookeeper" && process["era"] == 1;
        if shown["moving"] == false && processes.len() >= 6 && processes.iter().all(is_moved) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{shown:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    all_led(&api, |_, _, token| token >> 56 == 1).await;
    assert_eq!(api.get("/config").await.unwrap()["pending"], json!([]));
    let starts = load.end(orders() / 2).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    cluster.down().await.unwrap();
}
