//! The whole system with its leaders chosen by etcd or by ZooKeeper: one of three servers is lost, leaders are
//! killed and paused, and the sagas go on.

use crate::cluster::{Load, ONE, all_end_right, cluster_with, orders, possible};
use goconductor_harness::{Api, Broker, Cluster, ElectionServers};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One who leads and is not heard of for this long is replaced: the default.
const LEASE: Duration = Duration::from_secs(5);
/// What a change of leader may take beyond it.
const BEYOND: Duration = Duration::from_secs(2);
/// In as many shares the duties are led.
const SHARES: usize = 4;

/// Who leads each share of the duties, and by which token.
async fn leaders(api: &Api) -> BTreeMap<String, (String, u64)> {
    let Ok((200, body)) = api.send("GET", "/elections", None).await else { return BTreeMap::new() };
    let text = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();
    let elections = body["elections"].as_array().unwrap().iter();
    elections
        .map(|each| (text(each, "name"), (text(each, "candidate"), each["fencing_token"].as_u64().unwrap())))
        .collect()
}

/// Waits until all shares are led, by those who fit; how long that took.
async fn all_led(api: &Api, fits: impl Fn(&str, &str, u64) -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        let leaders = leaders(api).await;
        let fit = leaders.iter().all(|(name, (candidate, token))| fits(name, candidate, *token));
        if leaders.len() == SHARES && fit {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not all are led: {leaders:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The cluster's name for the process that leads the first share.
async fn name_of_leader(cluster: &Cluster) -> (String, String) {
    let api = &cluster.gateways[0];
    let begun = Instant::now();
    loop {
        // Who has just been started again may not answer yet, or not be known.
        let led = leaders(api).await.into_values().next();
        if let (Some((candidate, _)), Ok(known)) = (led, api.get("/processes").await) {
            let processes = known["processes"].as_array().unwrap();
            if let Some(process) = processes.iter().find(|each| each["instance"] == candidate) {
                let address = format!("http://{}", process["address"].as_str().unwrap());
                let is_it = |name: &String| cluster.address(name).as_deref() == Some(&address);
                return (cluster.names().into_iter().find(is_it).unwrap(), candidate);
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not known who leads");
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
    let load = Load::begin(&cluster, Duration::from_millis(60));
    // Each server once.
    for server in ["1", "2", "3"] {
        cluster.services().call(script, &["kill", server]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        all_led(&api, |_, _, _| true).await;
        cluster.services().call(script, &["start", server]).await.unwrap();
    }
    // Whoever leads a share is killed: its elector hears of it at once.
    let (name, gone) = name_of_leader(&cluster).await;
    cluster.kill(&name).await.unwrap();
    let took = all_led(&api, |_, candidate, _| candidate != gone).await;
    eprintln!("{election:?}: an executor that was killed is replaced after {took:?}");
    assert!(took < LEASE + BEYOND, "replaced after {took:?}");
    cluster.restart(&name).await.unwrap();
    // An elector is killed with all terms that hang on it: the servers hear of that by its lease.
    let before = leaders(&api).await;
    for elector in ["elector-1", "elector-2"] {
        cluster.kill(elector).await.unwrap();
        tokio::time::sleep(LEASE + BEYOND).await;
        let led = leaders(&api).await;
        assert_eq!(led.len(), SHARES, "without {elector}, only these are led: {led:?}");
        cluster.restart(elector).await.unwrap();
    }
    all_led(&api, |name, _, token| before.get(name).is_none_or(|(_, last)| token >= *last)).await;
    // One that is paused past its lease comes back and believes that it leads: what it writes is refused.
    let (name, asleep) = name_of_leader(&cluster).await;
    cluster.pause(&name).await.unwrap();
    let took = all_led(&api, |_, candidate, _| candidate != asleep).await;
    eprintln!("{election:?}: an executor that was paused is replaced after {took:?}");
    assert!(took < LEASE + BEYOND, "replaced after {took:?}");
    tokio::time::sleep(LEASE).await;
    cluster.resume(&name).await.unwrap();
    let starts = load.end(orders() / 2).await;
    all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    cluster.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_go_on_without_one_of_three_etcds_and_without_their_leaders() {
    sagas_go_on(ElectionServers::Etcd(3), "etcd.sh").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_go_on_without_one_of_three_zookeepers_and_without_their_leaders() {
    sagas_go_on(ElectionServers::ZooKeeper(3), "zookeeper.sh").await;
}
