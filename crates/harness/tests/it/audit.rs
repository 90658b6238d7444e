//! The audit log: who changed what, over REST, gRPC and the command line, and rows that were changed by SQL.

use goconductor_harness::{Dev, DevOptions, goconductor};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::audit_service_client::AuditServiceClient;
use goconductor_wire::v1::service_service_client::ServiceServiceClient;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::path::Path;
use tonic::transport::{Channel, Endpoint};

async fn command(dev: &Dev, arguments: &[&str]) -> (i32, String) {
    let output = goconductor()
        .unwrap()
        .env("GOCONDUCTOR_SERVER", dev.api.base())
        .args(arguments)
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

async fn channel(dev: &Dev) -> Channel {
    Endpoint::from_shared(dev.api.base().to_owned()).unwrap().connect().await.unwrap()
}

async fn records(dev: &Dev, query: &str) -> Vec<Value> {
    let page = dev.api.get(&format!("/audit?order=oldest{query}")).await.unwrap();
    page["records"].as_array().unwrap().clone()
}

async fn sql(folder: &Path, statements: &'static str) {
    let url = format!("sqlite://{}", folder.join("data/goconductor.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn set_service(dev: &Dev, name: &str, limit: u32) {
    let body = json!({"http": {"url": "http://user:planted@127.0.0.1:9101"}, "max_in_flight": limit});
    let (status, reply) = dev.api.send("PUT", &format!("/services/{name}"), Some(body)).await.unwrap();
    assert_eq!(status, 200, "{reply}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_is_recorded_with_both_values_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    set_service(&dev, "payments", 7).await;
    set_service(&dev, "payments", 8).await;
    let mut services = ServiceServiceClient::new(channel(&dev).await);
    services.delete_service(wire::DeleteServiceRequest { name: "payments".to_owned() }).await.unwrap();
    services.delete_service(wire::DeleteServiceRequest { name: "payments".to_owned() }).await.unwrap_err();
    dev.api.get("/services").await.unwrap();
    let found = records(&dev, "").await;
    let shown: Vec<String> = found
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
            let names = ["action", "target_kind", "target_name", "outcome", "code", "namespace", "source"];
            format!("{} {}", record["seq"], names.map(text).join(" "))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 services.put service payments ALLOWED - default 127.0.0.1",
            "2 services.put service payments ALLOWED - default 127.0.0.1",
            "3 services.delete service payments ALLOWED - default 127.0.0.1",
            "4 services.delete service payments FAILED GC2012 default 127.0.0.1",
        ]
    );
    let value = |record: usize, name: &str| -> Value {
        found[record][name].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    };
    assert_eq!(value(0, "before"), Value::Null);
    assert_eq!((value(1, "before"), value(2, "before")), (value(0, "after"), value(1, "after")));
    assert_eq!(value(1, "after")["max_in_flight"], 8);
    assert!(!json!(found).to_string().contains("planted"), "{found:?}");
    assert_eq!(records(&dev, "&outcome=FAILED").await.len(), 1);
    assert_eq!(records(&dev, "&target_name=other").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_by_sql_is_found_by_the_command_and_over_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    for number in 1..=5 {
        set_service(&dev, &format!("service-{number}"), number).await;
    }
    let (exit, anchor) = command(&dev, &["audit", "head", "-o", "json"]).await;
    assert_eq!(exit, 0, "{anchor}");
    let file = folder.path().join("anchor.json");
    std::fs::write(&file, anchor).unwrap();
    let verify = ["audit", "verify", "--anchor", file.to_str().unwrap()];
    let (exit, text) = command(&dev, &verify).await;
    assert_eq!((exit, text.trim()), (0, "records checked: 5, problems: 0"));
    let (_, export) = command(&dev, &["audit", "export"]).await;
    assert_eq!(export.lines().count(), 5);
    let exported = folder.path().join("audit.jsonl");
    std::fs::write(&exported, export.replacen("\"service-2\"", "\"service-9\"", 1)).unwrap();
    let (exit, text) = command(&dev, &["audit", "verify", "--file", exported.to_str().unwrap()]).await;
    assert!(exit == 1 && text.contains("the content of record 2 was altered"), "{text}");
    let removal = "DELETE FROM audit_log WHERE seq > 4;
        UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit_log WHERE seq = 4)";
    sql(folder.path(), removal).await;
    assert_eq!(command(&dev, &["audit", "verify"]).await.0, 0, "only the anchor shows it");
    let (exit, text) = command(&dev, &verify).await;
    assert!(exit == 1 && text.contains("record 5 was removed"), "{text}");
    sql(
        folder.path(),
        "UPDATE audit_log SET actor = 'eve' WHERE seq = 2; DELETE FROM audit_log WHERE seq = 3",
    )
    .await;
    let (exit, text) = command(&dev, &["audit", "verify", "-o", "json"]).await;
    let report: Value = serde_json::from_str(&text).unwrap();
    let found: Vec<String> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| format!("{} {}", problem["seq"], problem["kind"].as_str().unwrap()))
        .collect();
    assert_eq!((exit, found), (1, vec!["2 ALTERED".to_owned(), "3 REMOVED".to_owned()]));
    let mut audit = AuditServiceClient::new(channel(&dev).await);
    let report = audit.verify_audit(wire::VerifyAuditRequest { anchor: None }).await.unwrap().into_inner();
    assert_eq!(report.problems.iter().map(|problem| problem.seq).collect::<Vec<_>>(), [2, 3]);
    // The log continues behind the break.
    set_service(&dev, "later", 1).await;
    let (_, text) = command(&dev, &["audit", "list", "--target-name", "later"]).await;
    assert!(text.contains("services.put"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_is_refused_while_the_log_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    set_service(&dev, "first", 1).await;
    sql(folder.path(), "ALTER TABLE audit_head RENAME TO audit_head_hidden").await;
    let body = json!({"http": {"url": "http://127.0.0.1:9101"}});
    let (status, reply) = dev.api.send("PUT", "/services/second", Some(body.clone())).await.unwrap();
    assert_eq!((status, &reply["code"]), (503, &json!("GC2071")), "{reply}");
    let (status, reply) = dev.api.send("PUT", "/services/third", Some(body.clone())).await.unwrap();
    assert_eq!(
        (status, &reply["code"], &reply["retryable"]),
        (503, &json!("GC2070"), &json!(true)),
        "{reply}"
    );
    assert_eq!(dev.api.send("GET", "/services/third", None).await.unwrap().0, 404);
    sql(folder.path(), "ALTER TABLE audit_head_hidden RENAME TO audit_head").await;
    for _ in 0..100 {
        if dev.api.send("PUT", "/services/third", Some(body.clone())).await.unwrap().0 == 200 {
            let names: Vec<Value> =
                records(&dev, "").await.iter().map(|record| record["target_name"].clone()).collect();
            return assert_eq!(names, ["first", "second", "third"]);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("changes are still refused");
}
