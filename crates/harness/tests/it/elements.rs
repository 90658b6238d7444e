//! Elements that are calls or children, that have compensations with expressions, run under a lock, or wait for an operator.

use crate::world::{World, step};
use serde_json::{Value, json};
use std::collections::BTreeMap;

async fn start(world: &World, yaml: &str, input: Value) -> String {
    let name = world.apply(yaml).await;
    world.dev.api.start(&name, input, None).await.unwrap()
}

fn calls(world: &World) -> String {
    let a = world.participants.url("a");
    format!(
        "workflow: lines
steps:
  - name: pick
    for_each: {{ in: '${{ input.lines }}', as: line, max_parallel: 2 }}
    call: {{ http: {{ url: '{a}/pick', body: {{ id: '${{ line.id }}', script: '${{ line.script }}' }} }} }}
    retry: none
    compensate:
      when: line.id != 2
      call: {{ http: {{ url: '{a}/unpick', body: {{ got: '${{ steps.pick.output }}', id: '${{ line.id }}', at: '${{ index }}', of: '${{ input.name }}' }} }} }}
  - {{ name: ship, run: b/ship, compensate: b/unship, retry: none }}
"
    )
}

fn lines(refused: Option<u64>) -> Value {
    let script = |id| if refused == Some(id) { json!({"pick": "refuse"}) } else { json!({}) };
    (1..=3).map(|id| json!({"id": id, "script": script(id)})).collect()
}

#[tokio::test]
async fn elements_by_calls_are_undone_by_calls_with_their_own_outputs() {
    let world = World::new().await;
    let input = json!({"lines": lines(None), "name": "n", "script": {"ship": "refuse"}});
    let id = start(&world, &calls(&world), input).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "ROLLED_BACK", "{:#}", ended.view);
    let of = |action: &'static str| ended.calls.iter().filter(move |call| call.action == action);
    assert_eq!(of("a/pick").count(), 3);
    let undone: BTreeMap<String, Value> = of("a/unpick")
        .map(|call| {
            let mut body = call.body.clone();
            body["got"] = body["got"]["action"].take();
            (call.key.clone(), body)
        })
        .collect();
    let body = |id: u64| json!({"got": "pick", "id": id, "at": id - 1, "of": "n"});
    let key = |at: u64| format!("{id}/pick[{at}]/compensate");
    assert_eq!(undone, BTreeMap::from([(key(0), body(1)), (key(2), body(3))]));
}

#[tokio::test]
async fn refused_call_of_an_element_rolls_the_others_back() {
    let mut world = World::new().await;
    let yaml = calls(&world);
    let input = json!({"lines": lines(Some(3)), "name": "n", "script": {}});
    let id = start(&world, &yaml, input).await;
    world.dev.kill().await.unwrap();
    world.dev.restart().await.unwrap();
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "ROLLED_BACK", "{:#}", ended.view);
    let undone: Vec<&Value> =
        ended.calls.iter().filter(|call| call.action == "a/unpick").map(|call| &call.body["id"]).collect();
    assert!(undone.contains(&&json!(1)) && !undone.contains(&&json!(2)), "{undone:?}");
}

const TRIP: &str = "workflow: trip
steps:
  - { name: book, run: a/book, compensate: a/cancel, input: { id: '${ input.id }' } }
";
const TOUR: &str = "workflow: tour
steps:
  - name: trips
    for_each: '${ input.trips }'
    child: { workflow: trip, id: 'trip/${ item.id }' }
  - { name: ship, run: b/ship, compensate: b/unship, retry: none }
";

async fn trip(world: &World, id: &str) -> Value {
    let filter = format!("/workflows?filter=idempotency_key%20%3D%20%22trip%2F{id}%22");
    world.dev.api.get(&filter).await.unwrap()["workflows"][0].clone()
}

#[tokio::test]
async fn children_of_elements_have_ids_and_are_rolled_back() {
    let world = World::new().await;
    world.apply(TRIP).await;
    let input = json!({"trips": [{"id": "x"}, {"id": "y"}], "script": {"ship": "refuse"}});
    let id = start(&world, TOUR, input).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "ROLLED_BACK", "{:#}", ended.view);
    for id in ["x", "y"] {
        assert_eq!(trip(&world, id).await["status"], "ROLLED_BACK");
    }
    let actions: Vec<String> = world.participants.calls().into_iter().map(|call| call.action).collect();
    assert_eq!(actions.iter().filter(|action| *action == "a/cancel").count(), 2, "{actions:?}");
}

#[tokio::test]
async fn id_of_a_child_that_another_workflow_has_is_a_conflict() {
    let world = World::new().await;
    world.apply(TRIP).await;
    let other = world.dev.api.start("trip", json!({"id": "z"}), Some("trip/z")).await.unwrap();
    let input = json!({"trips": [{"id": "z"}], "script": {}});
    let id = start(&world, TOUR, input).await;
    let ended = world.ended(&id).await;
    assert_eq!(ended.status(), "ROLLED_BACK", "{:#}", ended.view);
    assert_eq!(ended.view["error"]["code"], "CHILD_KEY_CONFLICT", "{:#}", ended.view);
    assert!(ended.view["error"]["message"].as_str().unwrap().contains(&other), "{:#}", ended.view);
    assert_eq!(world.ended(&other).await.status(), "COMPLETED");
}

#[tokio::test]
async fn elements_run_under_the_lock_of_their_step() {
    const LOCKED: &str = "workflow: locked
steps:
  - name: pick
    for_each: '${ input.lines }'
    run: a/pick
    compensate: a/unpick
    lock: 'shelf/${ input.shelf }'
";
    let world = World::new().await;
    world.apply(LOCKED).await;
    let slow = json!({"script": {"pick": "slow:100"}});
    let input = json!({"shelf": 1, "lines": [slow, slow, slow]});
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.dev.api.start("locked", input.clone(), None).await.unwrap());
    }
    let mut held = Vec::new();
    for id in &ids {
        let ended = world.ended(id).await;
        assert_eq!(ended.status(), "COMPLETED", "{:#}", ended.view);
        let tokens: Vec<_> = ended.calls.iter().flat_map(|call| call.lock_tokens.clone()).collect();
        assert_eq!(tokens.len(), 3, "{tokens:?}");
        assert!(tokens.iter().all(|token| *token == tokens[0] && token.0 == "shelf/1"), "{tokens:?}");
        let from = ended.calls.iter().map(|call| call.wall_clock).min().unwrap();
        let to = ended.calls.iter().filter_map(|call| call.answered).max().unwrap();
        held.push((from, to, tokens[0].1));
    }
    held.sort_unstable();
    for pair in held.windows(2) {
        assert!(pair[0].1 <= pair[1].0 && pair[0].2 < pair[1].2, "{held:?}");
    }
}

#[tokio::test]
async fn element_waits_for_an_operator() {
    const PAUSED: &str = "workflow: paused
steps:
  - { name: pick, for_each: '${ input.lines }', run: a/pick, compensate: a/unpick, retry: none, on_error: pause }
";
    let world = World::new().await;
    let input = json!({"lines": [{}, {"script": {"pick": ["refuse", "ok"]}}]});
    let id = start(&world, PAUSED, input).await;
    let filter = "/workflows?filter=definition%20%3D%20%22paused%2Fpick%5B0..2%5D%22";
    let leaf = loop {
        let page = world.dev.api.get(filter).await.unwrap();
        if page["workflows"][0]["status"] == "ERROR" {
            break page["workflows"][0]["id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(step(&world.view(&id).await, "pick")["status"], "IN_PROGRESS");
    let (status, body) = world.verb(&leaf, "steps/pick%5B1%5D/retry", json!({"reason": "restocked"})).await;
    assert_eq!(status, 200, "{body:#}");
    assert_eq!(world.ended(&id).await.status(), "COMPLETED");
}
