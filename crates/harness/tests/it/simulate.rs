//! Simulation of definitions over REST, compared with what the engine does.

use goconductor_harness::{Dev, DevOptions, Participants};
use reqwest::Client;
use serde_json::{Value, json};

const ORDER: &str = "workflow: order
input: { type: object, required: [amount], properties: { amount: { type: integer, minimum: 5 } } }
steps:
  - { name: reserve, run: a/reserve, compensate: a/release }
  - { name: charge, run: a/charge, compensate: { run: a/refund, retry: 2 } }
";

async fn post(dev: &Dev, http: &Client, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}{path}", dev.api.base());
    let response = http.post(url).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

fn names(course: &Value, key: &str) -> Vec<String> {
    let sides = course[key].as_array().unwrap().iter();
    sides.map(|side| side["step"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn definitions_are_simulated_without_an_effect() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let participants = Participants::start().await.unwrap();
    dev.api.serve("a", &participants.url("a")).await.unwrap();
    let http = Client::new();
    let put = http.put(format!("{}/api/v1/definitions/order", dev.api.base()));
    let applied = put.header("content-type", "application/yaml").body(ORDER).send().await.unwrap();
    assert_eq!(applied.status(), 201);

    let path = "/api/v1/definitions/order/simulate";
    let (status, report) = post(&dev, &http, path, &json!({})).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!((&report["holds"], &report["input"]), (&json!(false), &json!({"amount": 5})), "{report}");
    let courses = report["courses"].as_array().unwrap();
    assert_eq!(courses.len(), 9, "{report}");
    let course = |step: &str, fault: &str| {
        courses.iter().find(|course| course["step"] == step && course["fault"] == fault).unwrap()
    };
    let forward = &courses[0];
    assert_eq!(
        (&forward["end"], names(forward, "forward")),
        (&json!("COMPLETED"), vec!["reserve".to_owned(), "charge".to_owned()])
    );
    let refused = course("charge", "refused");
    assert_eq!(
        (&refused["end"], names(refused, "undo")),
        (&json!("ROLLED_BACK"), vec!["reserve".to_owned()])
    );
    let limited = course("charge", "compensation");
    assert_eq!((&limited["end"], &limited["standing"]), (&json!("ERROR"), &json!(["reserve", "charge"])));

    let (status, one) = post(&dev, &http, path, &json!({"fail": "charge=unknown"})).await;
    assert_eq!((status, one["courses"].as_array().unwrap().len()), (200, 1), "{one}");
    let timeline = one["courses"][0]["timeline"].as_array().unwrap();
    assert_eq!(timeline.last().unwrap()["type"], "WORKFLOW_ROLLED_BACK");

    let given = ORDER.replace(", retry: 2", "");
    let (status, report) = post(&dev, &http, path, &json!({"definition": given})).await;
    assert_eq!((status, &report["holds"]), (200, &json!(true)), "{report}");

    for (body, expected) in [
        (json!({"input": {"amount": 1}}), 422),
        (json!({"version": 7}), 404),
        (json!({"fail": "nope"}), 404),
        (json!({"fail": "charge=late"}), 422),
        (json!({"definition": "workflow: other\nsteps: []\n"}), 422),
        (json!({"frobnicate": 1}), 422),
    ] {
        let (status, problem) = post(&dev, &http, path, &body).await;
        assert_eq!(status, expected, "{body}: {problem}");
        assert!(problem["code"].as_str().unwrap().starts_with("GC"), "{problem}");
    }
    // No workflow was started.
    let list = http.get(format!("{}/api/v1/workflows", dev.api.base())).send().await.unwrap();
    assert_eq!(list.json::<Value>().await.unwrap()["workflows"], json!([]));
}
