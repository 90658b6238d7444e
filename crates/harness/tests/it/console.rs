//! The reads of the console and its files, over a running server.

use crate::world::World;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const ORDER: &str = "workflow: order
steps:
  - { name: charge, run: a/charge, compensate: a/refund, retry: { initial: 10ms } }
  - { name: note, run: a/note, compensate: none }
  - { name: ship, run: b/ship, compensate: b/unship, retry: none }
";

#[tokio::test]
async fn rolled_back_order_shows_its_graph_its_attempts_and_why() {
    let world = World::new().await;
    let ended = world.run(ORDER, json!({"charge": ["fail", "ok"], "ship": "refuse"})).await;
    assert_eq!(ended.status(), "ROLLED_BACK");
    let api = &world.dev.api;
    let graph = api.get(&format!("/workflows/{}/graph", ended.id)).await.unwrap();
    let names = |edges: &Value| -> Vec<String> {
        let edges = edges.as_array().unwrap().iter();
        edges
            .map(|edge| format!("{}>{}", edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(names(&graph["edges"]), ["charge>note", "note>ship"], "{graph}");
    assert_eq!(names(&graph["undo_edges"]), ["ship>charge"], "{graph}");
    assert_eq!(graph["rollback_order"], "reverse", "{graph}");
    assert_eq!(api.get("/definitions/order/graph").await.unwrap(), graph, "that of the definition");

    let charge = api.get(&format!("/workflows/{}/steps/charge", ended.id)).await.unwrap();
    assert_eq!(charge["step"]["status"], "COMPENSATED", "{charge}");
    let attempts: Vec<_> = charge["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| (attempt["side"].as_str().unwrap(), attempt["outcome"].as_str().unwrap()))
        .collect();
    let expected = [("execute", "RETRYING"), ("execute", "COMPLETED"), ("compensate", "COMPLETED")];
    assert_eq!(attempts, expected, "{charge}");
    assert!(charge["attempts"][0]["error"]["code"].is_string(), "{charge}");
    assert_eq!(charge["attempts"][1]["output"], charge["step"]["output"], "{charge}");
    assert_eq!(charge["input"], ended.view["input"], "{charge}");
    assert_eq!(charge["compensation_input"]["output"], charge["step"]["output"], "{charge}");
    let ship = api.get(&format!("/workflows/{}/steps/ship", ended.id)).await.unwrap();
    assert_eq!(ship["attempts"][0]["error"]["code"], "REFUSED", "{ship}");
    assert_eq!(
        (&ship["attempts"][0]["outcome"], &ship["compensation_input"]),
        (&json!("FAILED"), &Value::Null)
    );
    let (status, problem) =
        api.send("GET", &format!("/workflows/{}/steps/nope", ended.id), None).await.unwrap();
    assert_eq!(status, 404, "{problem}");
    let other = api.send("GET", "/workflows/0190b5a8-0000-7000-8000-000000000000/graph", None).await.unwrap();
    assert_eq!((other.0, &other.1["code"]), (404, &json!("GC2010")));

    let relations = api.get(&format!("/workflows/{}/relations", ended.id)).await.unwrap();
    assert_eq!((&relations["parent"], &relations["children"]), (&Value::Null, &json!([])), "{relations}");
    let overview = api.get("/overview").await.unwrap();
    assert_eq!(overview["workflows"], json!([{"value": "ROLLED_BACK", "count": 1}]), "{overview}");
    let recent = &overview["recent"];
    assert_eq!((&recent["sampled"], &recent["undo_ratio"]), (&json!(1), &json!(1.0)), "{overview}");
    assert_eq!(overview["errors"], json!({"count": 0, "workflows": []}), "{overview}");
}

#[tokio::test]
async fn parent_and_child_name_each_other() {
    let world = World::new().await;
    let api = &world.dev.api;
    api.apply("leaf", "workflow: leaf\nsteps: [{ name: one, run: a/one, compensate: a/undo_one }]\n")
        .await
        .unwrap();
    let yaml = "workflow: parent
steps:
  - { name: nested, child: leaf }
";
    let ended = world.run(yaml, json!({})).await;
    let relations = api.get(&format!("/workflows/{}/relations", ended.id)).await.unwrap();
    let child = &relations["children"][0];
    assert_eq!((&child["step"], &child["definition"]), (&json!("nested"), &json!("leaf")), "{relations}");
    assert_eq!(child["status"], "COMPLETED", "{relations}");
    let relations =
        api.get(&format!("/workflows/{}/relations", child["id"].as_str().unwrap())).await.unwrap();
    let parent = &relations["parent"];
    assert_eq!((&parent["id"], &parent["step"]), (&json!(ended.id), &json!("nested")), "{relations}");
    assert_eq!(parent["definition"], "parent", "{relations}");
}

#[tokio::test]
async fn console_is_one_page_with_immutable_files() {
    let world = World::new().await;
    let http = Client::builder().redirect(Policy::none()).build().unwrap();
    let base = world.dev.api.base();
    let mut pages = Vec::new();
    for path in ["/", "/ui", "/ui/", "/ui/workflows/1?tab=graph", "/ui/definitions/order.v2"] {
        let response = http.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers().clone();
        assert_eq!(headers["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(headers["cache-control"], "no-cache", "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
        let known = http.get(format!("{base}{path}")).header("if-none-match", headers["etag"].clone());
        assert_eq!(known.send().await.unwrap().status(), StatusCode::NOT_MODIFIED, "{path}");
        pages.push(response.text().await.unwrap());
    }
    assert!(pages.iter().all(|page| *page == pages[0] && page.contains("<title>GoConductor")), "{pages:?}");
    let compressed = http.get(format!("{base}/ui/")).header("accept-encoding", "br").send().await.unwrap();
    assert_eq!(compressed.headers()["vary"], "accept-encoding");
    for (path, status) in [("/ui/assets/nope.js", 404), ("/assets/nope.js", 404), ("/ui%2f", 404)] {
        let response = http.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
    let files = pages[0].split('"').filter(|part| part.starts_with("/ui/assets/"));
    for file in files {
        let response = http.get(format!("{base}{file}")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{file}");
        assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable", "{file}");
    }
}
