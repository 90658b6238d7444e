//! Hostile definitions and inputs cost little, and other requests are answered meanwhile.

use crate::world::World;
use serde_json::{Value, json};
use std::time::Duration;

/// Peak memory of `dev`. Without budgets, each of the bombs below takes gigabytes.
const MAX_PEAK_KIB: u64 = 700 << 10;

/// Applies a definition in JSON. Returns the status and the body of the response.
async fn apply(world: &World, definition: &Value) -> (u16, Value) {
    let path = format!("/definitions/{}", definition["workflow"].as_str().unwrap());
    world.dev.api.send("PUT", &path, Some(definition.clone())).await.unwrap()
}

/// Returns a definition whose input schema refers twice to the next level at each of its levels.
fn nested(levels: usize, step: impl Fn(Value) -> Value) -> Value {
    let mut defs = serde_json::Map::new();
    for level in 0..levels {
        defs.insert(format!("d{level}"), step(json!({"$ref": format!("#/$defs/d{}", level + 1)})));
    }
    defs.insert(format!("d{levels}"), json!({"required": ["b"]}));
    json!({"workflow": "bomb", "input": {"$ref": "#/$defs/d0", "$defs": defs},
        "steps": [{"name": "s", "run": "a/s", "compensate": "none"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_that_multiplies_checks_is_refused_when_applied() {
    let world = World::new().await;
    let bombs = [
        nested(20, |next| json!({"anyOf": [next, next]})),
        nested(22, |next| json!({"oneOf": [next, next, next]})),
        nested(24, |next| json!({"allOf": [next, {"not": next}]})),
        nested(30, |next| json!({"anyOf": [{"properties": {"a": next}}, {"properties": {"a": next}}]})),
    ];
    for bomb in bombs {
        let (status, problem) = apply(&world, &bomb).await;
        assert_eq!(status, 422, "{problem}");
        assert_eq!(problem["errors"][0]["code"], "GC1002", "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], "/input", "{problem}");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("limit"), "{problem}");
    }
    // Fewer levels are a schema like others.
    assert_eq!(apply(&world, &nested(3, |next| json!({"anyOf": [next, next]}))).await.0, 201);
    let refused = json!({"definition": "bomb", "input": {"a": 1}});
    let (status, problem) = world.dev.api.send("POST", "/workflows", Some(refused)).await.unwrap();
    assert_eq!((status, &problem["code"]), (422, &json!("GC2016")), "{problem}");
    assert!(world.dev.peak_kib().unwrap() < MAX_PEAK_KIB, "{:?}", world.dev.peak_kib());
}

#[tokio::test(flavor = "multi_thread")]
async fn expression_that_makes_many_values_fails_its_step_and_takes_little_memory() {
    let world = World::new().await;
    let definition = |name: &str, expression: &str| {
        json!({"workflow": name, "steps": [{"name": "s", "run": "a/s", "compensate": "none",
            "input": {"v": format!("${{ {expression} }}")}}]})
    };
    let ten = "[x, x, x, x, x, x, x, x, x, x]";
    let bomb = format!("size(input.l.map(x, {ten}).map(x, {ten}).map(x, {ten}).map(x, {ten}))");
    assert_eq!(apply(&world, &definition("bomb", &bomb)).await.0, 201);
    assert_eq!(
        apply(&world, &definition("long", "size(input.l.filter(x, x > 1).map(x, x * 2))")).await.0,
        201
    );
    let list: Vec<u32> = (0..50_000).collect();
    let mut started = Vec::new();
    for definition in ["bomb", "long", "bomb", "long", "bomb"] {
        let id = world.dev.api.start(definition, json!({"l": list}), None).await.unwrap();
        started.push((definition, id));
    }
    for (definition, id) in &started {
        let workflow = world.dev.api.ended(id, Duration::from_secs(20)).await.unwrap();
        let step = &workflow["steps"][0];
        if *definition == "long" {
            assert_eq!(step["status"], "COMPLETED", "{step}");
        } else {
            assert_eq!(step["error"]["code"], "INPUT_EXPRESSION_FAILED", "{step}");
            let message = step["error"]["message"].as_str().unwrap();
            assert!(message.contains("too large") && message.contains("shorter lists"), "{message}");
        }
    }
    assert!(world.dev.peak_kib().unwrap() < MAX_PEAK_KIB, "{:?}", world.dev.peak_kib());
}

/// Reads a watch until a workflow has completed. Returns the messages.
async fn until_completed(watch: &mut reqwest::Response) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains("COMPLETED") {
            text.push_str(&String::from_utf8_lossy(&watch.chunk().await.unwrap().unwrap()));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn change_is_rendered_once_for_all_watches() {
    const WATCHES: usize = 30;
    let world = World::new().await;
    for name in ["order", "other"] {
        let steps = json!([{"name": "s", "run": "a/s", "compensate": "none"}]);
        assert_eq!(apply(&world, &json!({"workflow": name, "steps": steps})).await.0, 201);
    }
    let watch = |filter: &str| reqwest::get(format!("{}/api/v1/watch{filter}", world.dev.api.base()));
    let filters = ["", "?filter=definition%3Dorder", "?filter=created_at%20%3E%20%22-24h%22"];
    let mut watches = Vec::new();
    for number in 0..WATCHES {
        // The response begins after the subscription.
        watches.push(watch(filters[number % filters.len()]).await.unwrap());
    }
    let mut of_other = watch("?filter=definition%3Dother").await.unwrap();
    let id = world.dev.api.start("order", json!({}), None).await.unwrap();
    let mut seen = Vec::new();
    for watch in &mut watches {
        let text = until_completed(watch).await;
        assert!(text.contains(&id), "{text}");
        seen.push(text.matches("event: workflow").count());
    }
    let metrics = reqwest::get(format!("{}/metrics", world.dev.api.base())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let line = metrics.lines().find(|line| line.starts_with("goconductor_watch_renderings_total"));
    let rendered: usize = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(seen.iter().all(|count| *count == rendered), "{rendered} rendered, {seen:?} seen");
    // A watch with another filter gets only its own workflows.
    let other = world.dev.api.start("other", json!({}), None).await.unwrap();
    let text = until_completed(&mut of_other).await;
    assert!(text.contains(&other) && !text.contains(&id), "{text}");
}
