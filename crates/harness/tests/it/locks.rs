//! Locks and elections for any client: over REST, gRPC, the command line and the SDK.

use goconductor::Conductor;
use goconductor_harness::{Dev, DevOptions, goconductor};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::campaign_response::Message;
use goconductor_wire::v1::election_service_client::ElectionServiceClient;
use goconductor_wire::v1::lock_service_client::LockServiceClient;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

async fn dev() -> (tempfile::TempDir, Dev) {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    (folder, dev)
}

async fn post(dev: &Dev, path: &str, body: Value) -> (u16, Value) {
    dev.api.send("POST", path, Some(body)).await.unwrap()
}

async fn channel(dev: &Dev) -> Channel {
    Endpoint::from_shared(dev.api.base().to_owned()).unwrap().connect().await.unwrap()
}

fn code_of(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Runs the command and returns exit code, standard output and standard error.
async fn command(dev: &Dev, arguments: &[&str]) -> (i32, String, String) {
    let output = goconductor()
        .unwrap()
        .env("GOCONDUCTOR_SERVER", dev.api.base())
        .args(arguments)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_over_rest_is_acquired_renewed_and_released() {
    let (_folder, mut dev) = dev().await;
    // A key can be any text.
    let path = "/locks/account%2F7";
    let (status, held) = post(&dev, &format!("{path}/acquire"), json!({"owner": "a", "ttl": "30s"})).await;
    assert_eq!((status, &held["key"], &held["owner"]), (200, &json!("account/7"), &json!("a")), "{held}");
    let token = held["fencing_token"].as_u64().unwrap();
    let (status, refused) = post(&dev, &format!("{path}/acquire"), json!({"owner": "b", "ttl": "30s"})).await;
    assert_eq!((status, &refused["code"], &refused["retryable"]), (409, &json!("GC2026"), &json!(true)));
    assert!(refused["detail"].as_str().unwrap().contains("held by a"), "{refused}");
    // The lock survives a crash of the server.
    dev.kill().await.unwrap();
    dev.restart().await.unwrap();
    let (status, again) = post(&dev, &format!("{path}/acquire"), json!({"owner": "a", "ttl": "60s"})).await;
    assert_eq!((status, again["fencing_token"].as_u64()), (200, Some(token)), "{again}");
    let (status, renewed) = post(&dev, &format!("{path}/renew"), json!({"owner": "a", "ttl": "2m"})).await;
    assert_eq!(status, 200, "{renewed}");
    assert!(renewed["expires_at"].as_str() > again["expires_at"].as_str(), "{renewed} after {again}");
    let list = dev.api.get("/locks").await.unwrap();
    assert_eq!(list["locks"].as_array().unwrap().len(), 1, "{list}");
    let stale = json!({"owner": "a", "fencing_token": token + 1});
    let (status, lost) = post(&dev, &format!("{path}/release"), stale).await;
    assert_eq!((status, &lost["code"], &lost["retryable"]), (409, &json!("GC2027"), &json!(false)), "{lost}");
    let other = json!({"owner": "b", "ttl": "1m"});
    let (status, lost) = post(&dev, &format!("{path}/renew"), other).await;
    assert_eq!((status, &lost["code"]), (409, &json!("GC2027")));
    assert!(lost["detail"].as_str().unwrap().contains("is held by a with token"), "{lost}");
    let (status, released) = post(&dev, &format!("{path}/release"), json!({"owner": "a"})).await;
    assert_eq!((status, released), (200, json!({"released": true})));
    let (status, released) = post(&dev, &format!("{path}/release"), json!({"owner": "a"})).await;
    assert_eq!((status, released), (200, json!({"released": false})));
    let (status, lost) = post(&dev, &format!("{path}/renew"), json!({"owner": "a", "ttl": "1s"})).await;
    assert_eq!((status, &lost["code"]), (409, &json!("GC2027")));
    let (_, next) = post(&dev, &format!("{path}/acquire"), json!({"owner": "b", "ttl": "30s"})).await;
    assert!(next["fencing_token"].as_u64() > Some(token), "{next}");
    for (body, code) in [
        (json!({"owner": "", "ttl": "1s"}), "GC2002"),
        (json!({"owner": "a", "ttl": "1"}), "GC2002"),
        (json!({"owner": "a", "ttl": "1ms"}), "GC2002"),
        (json!({"owner": "a", "ttl": "25h"}), "GC2002"),
        (json!({"owner": "a"}), "GC2002"),
        (json!({"owner": "a", "ttl": "1s", "why": 1}), "GC2002"),
    ] {
        let (status, problem) = post(&dev, "/locks/x/acquire", body.clone()).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_are_paged_and_expire_with_their_leases() {
    let (_folder, dev) = dev().await;
    for key in ["c", "a", "b"] {
        assert_eq!(
            post(&dev, &format!("/locks/{key}/acquire"), json!({"owner": "a", "ttl": "30s"})).await.0,
            200
        );
    }
    assert_eq!(post(&dev, "/locks/short/acquire", json!({"owner": "a", "ttl": "100ms"})).await.0, 200);
    tokio::time::sleep(Duration::from_millis(150)).await;
    let first = dev.api.get("/locks?page_size=2").await.unwrap();
    let keys = |page: &Value| -> Vec<String> {
        page["locks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|lock| lock["key"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys(&first), ["a", "b"]);
    let token = first["next_page_token"].as_str().unwrap();
    let second = dev.api.get(&format!("/locks?page_size=2&page_token={token}")).await.unwrap();
    assert_eq!((keys(&second), &second["next_page_token"]), (vec!["c".to_owned()], &json!("")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_over_grpc_is_acquired_renewed_and_released() {
    let (_folder, dev) = dev().await;
    let mut locks = LockServiceClient::new(channel(&dev).await);
    let ttl = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let acquire =
        |owner: &str| wire::AcquireLockRequest { key: "account/7".to_owned(), owner: owner.to_owned(), ttl };
    let held = locks.acquire_lock(acquire("a")).await.unwrap().into_inner().lock.unwrap();
    assert_eq!((held.key.as_str(), held.owner.as_str()), ("account/7", "a"));
    assert!(held.expires_at.is_some() && held.acquired_at.is_some());
    let refused = locks.acquire_lock(acquire("b")).await.unwrap_err();
    assert_eq!((refused.code(), code_of(&refused).as_str()), (Code::FailedPrecondition, "GC2026"));
    let without = wire::AcquireLockRequest { ttl: None, ..acquire("c") };
    let refused = locks.acquire_lock(without).await.unwrap_err();
    assert_eq!((refused.code(), code_of(&refused).as_str()), (Code::InvalidArgument, "GC2002"));
    for key in ["", ".", "..", "a\nb"] {
        let refused = locks.acquire_lock(wire::AcquireLockRequest { key: key.to_owned(), ..acquire("c") });
        let refused = refused.await.unwrap_err();
        assert_eq!(
            (refused.code(), code_of(&refused).as_str()),
            (Code::InvalidArgument, "GC2007"),
            "{key:?}"
        );
    }
    let renew = wire::RenewLockRequest {
        key: held.key.clone(),
        owner: "a".to_owned(),
        fencing_token: Some(held.fencing_token),
        ttl,
    };
    let renewed = locks.renew_lock(renew.clone()).await.unwrap().into_inner().lock.unwrap();
    assert_eq!(renewed.fencing_token, held.fencing_token);
    let listed = locks.list_locks(wire::ListLocksRequest::default()).await.unwrap().into_inner().locks;
    assert_eq!(listed, [renewed]);
    let release = wire::ReleaseLockRequest { key: held.key, owner: "a".to_owned(), fencing_token: None };
    assert!(locks.release_lock(release.clone()).await.unwrap().into_inner().released);
    assert!(!locks.release_lock(release).await.unwrap().into_inner().released);
    let lost = locks.renew_lock(renew).await.unwrap_err();
    assert_eq!((lost.code(), code_of(&lost).as_str()), (Code::FailedPrecondition, "GC2027"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_on_the_command_line_is_acquired_renewed_and_released() {
    let (_folder, dev) = dev().await;
    let (code, token, _) =
        command(&dev, &["lock", "acquire", "account/7", "--owner", "a", "-o", "name"]).await;
    assert_eq!(code, 0);
    let (code, _, said) = command(&dev, &["lock", "acquire", "account/7", "--owner", "b"]).await;
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("lock account/7 was not acquired: it is held by a ")
            && said.contains("goconductor explain GC2026"),
        "{said}"
    );
    let (code, list, _) = command(&dev, &["lock", "list"]).await;
    assert!(code == 0 && list.contains("account/7") && list.contains(token.trim()), "{list}");
    let renew =
        ["lock", "renew", "account/7", "--owner", "a", "--token", token.trim(), "--ttl", "1m", "-o", "json"];
    let (code, renewed, said) = command(&dev, &renew).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(serde_json::from_str::<Value>(&renewed).unwrap()["owner"], "a");
    for said in ["released", "was not held"] {
        let (code, _, message) = command(&dev, &["lock", "release", "account/7", "--owner", "a"]).await;
        assert!(code == 0 && message.contains(said), "{message}");
    }
    let (code, _, said) = command(&dev, &["lock", "list"]).await;
    assert!(code == 0 && said.contains("no locks"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_of_the_sdk_renews_itself() {
    let (_folder, dev) = dev().await;
    let conductor = Conductor::connect(dev.api.base()).unwrap();
    let ttl = Duration::from_secs(2);
    let held = conductor.lock("account/7", ttl).await.unwrap();
    assert!(conductor.try_lock("account/7", ttl).await.unwrap().is_none());
    tokio::time::sleep(ttl * 2).await;
    assert!(held.is_held());
    let next = {
        let conductor = conductor.clone();
        tokio::spawn(async move { conductor.lock("account/7", ttl).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!next.is_finished(), "two owners hold one lock");
    let token = held.fencing_token();
    assert!(held.release().await.unwrap());
    let next = next.await.unwrap().unwrap();
    assert!(next.fencing_token() > token);
    // Another client releases the lock in the owner's name.
    let owner = dev.api.get("/locks").await.unwrap()["locks"][0]["owner"].clone();
    assert_eq!(post(&dev, "/locks/account%2F7/release", json!({"owner": owner})).await.0, 200);
    tokio::time::timeout(ttl * 2, next.lost()).await.expect("told");
    assert!(!next.is_held() && !next.release().await.unwrap());
}

async fn elected(stream: &mut Streaming<wire::CampaignResponse>) -> wire::Leader {
    loop {
        let told = stream.message().await.unwrap().expect("the stream continues");
        if let Some(Message::Elected(leader)) = told.message {
            return leader;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_client_can_campaign_and_the_leader_can_be_deposed() {
    let (_folder, dev) = dev().await;
    let mut elections = ElectionServiceClient::new(channel(&dev).await);
    let campaign = |name: &str, candidate: &str| wire::CampaignRequest {
        name: name.to_owned(),
        candidate: candidate.to_owned(),
    };
    let mut first = elections.campaign(campaign("shop/reports", "a")).await.unwrap().into_inner();
    let leader = elected(&mut first).await;
    let mut second = elections.campaign(campaign("shop/reports", "b")).await.unwrap().into_inner();
    let observe = wire::ObserveRequest { name: "shop/reports".to_owned() };
    let observed = elections.observe(observe.clone()).await.unwrap().into_inner().leader;
    assert_eq!(observed.as_ref(), Some(&leader));
    // REST and the command line show the leader and make it step down.
    let shown = dev.api.get("/elections/shop%2Freports").await.unwrap();
    assert_eq!(shown["candidate"], "a");
    assert_eq!(shown["fencing_token"].as_u64(), Some(leader.fencing_token));
    let all = dev.api.get("/elections").await.unwrap();
    let names: Vec<&str> =
        all["elections"].as_array().unwrap().iter().map(|each| each["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["duties/0-of-1", "duties/schedules", "shop/reports"],
        "the executor leads its duties as well"
    );
    let (code, list, _) = command(&dev, &["election", "list"]).await;
    assert!(code == 0 && list.contains("shop/reports") && list.contains("duties/0-of-1"), "{list}");
    let (code, one, _) = command(&dev, &["election", "describe", "shop/reports", "-o", "json"]).await;
    assert_eq!((code, &serde_json::from_str::<Value>(&one).unwrap()["candidate"]), (0, &json!("a")));
    let (code, _, said) = command(&dev, &["election", "step-down", "shop/reports"]).await;
    assert!(code == 0 && said.contains("has stepped down"), "{said}");
    while first.message().await.unwrap().is_some() {}
    let next = elected(&mut second).await;
    assert!(next.candidate == "b" && next.fencing_token > leader.fencing_token);
    let resign = wire::ResignRequest { name: "shop/reports".to_owned(), fencing_token: next.fencing_token };
    assert!(elections.resign(resign).await.unwrap().into_inner().resigned);
    assert_eq!(elections.observe(observe).await.unwrap().into_inner().leader, None);
    let (code, _, said) = command(&dev, &["election", "step-down", "shop/reports"]).await;
    assert!(code == 3 && said.contains("GC2025"), "{said}");
    assert_eq!(command(&dev, &["election", "describe", "shop/reports"]).await.0, 3);
    let (status, answer) = post(&dev, "/elections/shop%2Freports/step-down", json!({})).await;
    assert_eq!((status, answer), (200, json!({"ended": false})));
    // No client can take over the duties of executors with a campaign.
    let refused = elections.campaign(campaign("duties/0-of-1", "a")).await.unwrap_err();
    assert_eq!((refused.code(), code_of(&refused).as_str()), (Code::InvalidArgument, "GC2007"));
    let refused = elections.observe(wire::ObserveRequest { name: String::new() }).await.unwrap_err();
    assert_eq!((refused.code(), code_of(&refused).as_str()), (Code::InvalidArgument, "GC2007"));
}

/// A candidate that leads and then stops, like a paused process. Returns its term, a handle that wakes it, and the end of
/// its term as it sees it afterwards.
fn asleep(base: String) -> (wire::Leader, std::sync::mpsc::Sender<()>, std::thread::JoinHandle<Status>) {
    let (elected_one, led) = std::sync::mpsc::channel();
    let (wake, woken) = std::sync::mpsc::channel::<()>();
    let sleeper = std::thread::spawn(move || {
        // Its connection is not served in the meantime either.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut stream = runtime.block_on(async {
            let channel = Endpoint::from_shared(base).unwrap().connect().await.unwrap();
            let campaign =
                wire::CampaignRequest { name: "reports".to_owned(), candidate: "asleep".to_owned() };
            let mut stream =
                ElectionServiceClient::new(channel).campaign(campaign).await.unwrap().into_inner();
            elected_one.send(elected(&mut stream).await).unwrap();
            stream
        });
        woken.recv().unwrap();
        runtime.block_on(async move {
            loop {
                match stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the stream ended without a status"),
                    Err(status) => return status,
                }
            }
        })
    });
    (led.recv().unwrap(), wake, sleeper)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_leader_is_replaced_within_its_lease() {
    let (_folder, dev) = dev().await;
    let base = dev.api.base().to_owned();
    let (first, wake, sleeper) = tokio::task::spawn_blocking(move || asleep(base)).await.unwrap();
    let campaign = wire::CampaignRequest { name: "reports".to_owned(), candidate: "b".to_owned() };
    let begun = std::time::Instant::now();
    let mut stream =
        ElectionServiceClient::new(channel(&dev).await).campaign(campaign).await.unwrap().into_inner();
    let next = tokio::time::timeout(Duration::from_secs(7), elected(&mut stream)).await.expect("in time");
    println!("replaced after {:?}", begun.elapsed());
    assert!(next.fencing_token > first.fencing_token, "{next:?} after {first:?}");
    wake.send(()).unwrap();
    let told = tokio::task::spawn_blocking(move || sleeper.join().unwrap()).await.unwrap();
    assert_ne!(told.code(), Code::Ok, "the stale leader learns that its term has ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn term_ends_with_its_server_and_later_tokens_are_higher() {
    let (_folder, mut dev) = dev().await;
    let campaign = wire::CampaignRequest { name: "reports".to_owned(), candidate: "a".to_owned() };
    let mut stream = ElectionServiceClient::new(channel(&dev).await)
        .campaign(campaign.clone())
        .await
        .unwrap()
        .into_inner();
    let first = elected(&mut stream).await;
    dev.kill().await.unwrap();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a killed server cannot end a term in order"),
            Err(status) => break status,
        }
    };
    assert_ne!(end.code(), Code::Ok);
    dev.restart().await.unwrap();
    let mut stream =
        ElectionServiceClient::new(channel(&dev).await).campaign(campaign).await.unwrap().into_inner();
    assert!(elected(&mut stream).await.fencing_token > first.fencing_token);
}
