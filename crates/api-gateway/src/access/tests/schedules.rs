//! The permissions that schedules, definitions with a schedule, and batches need besides that of the route.

use super::*;
use goconductor_service_kit::permission::PermissionSet;

const SCHEDULED: &str = r#"{"workflow": "order", "title": "Daily", "schedule": {"cron": "0 3 * * *"},
    "steps": [{"name": "pay", "run": "payments/charge", "compensate": "none"}]}"#;
const SCHEDULE: &str = r#"{"definition": "order", "cron": "0 3 * * *"}"#;

/// A gateway with a workflow of the definition `order`, and custom roles of few permissions.
async fn fixture() -> Fixture {
    let role = |(name, permissions): (&str, &[Permission])| (name.to_owned(), PermissionSet::of(permissions));
    let roles: [(&str, &[Permission]); 4] = [
        ("planner", &[Permission::SchedulesWrite, Permission::SchedulesOperate]),
        ("starter", &[Permission::WorkflowsStart]),
        ("author", &[Permission::DefinitionsWrite]),
        ("batcher", &[Permission::BatchesOperate]),
    ];
    let roles = roles.into_iter().map(role).collect();
    let access =
        AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), roles, ..AccessConfig::default() };
    let fixture = Fixture::new(Some(access)).await;
    fixture.workflow("shop").await;
    fixture
}

impl Fixture {
    /// Sends a request, and returns its status and its error code.
    async fn attempt(&self, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let path = format!("/api/v1{path}");
        let (status, reply, _) = self.call(method, &path, Some(token), "shop", body).await;
        (status.as_u16(), reply["code"].clone())
    }
}

#[tokio::test]
async fn what_starts_workflows_needs_the_permission_to_start_them() {
    let fixture = fixture().await;
    let (planner, _) = fixture.key(&["planner"], &["shop"]).await;
    let (both, _) = fixture.key(&["planner", "starter"], &["shop"]).await;
    let range = r#"{"from": "2024-01-01T00:00:00Z", "until": "2024-01-03T00:00:00Z"}"#;
    for (method, path, body, expected) in [
        ("PUT", "/schedules/daily", SCHEDULE, 201),
        ("POST", "/schedules/daily/trigger", "", 201),
        ("POST", "/schedules/daily/backfill", range, 200),
    ] {
        let before = fixture.contents().await;
        let refused = fixture.attempt(method, path, &planner, body).await;
        assert_eq!(refused, (403, json!("GC2063")), "{path}");
        assert_eq!(fixture.contents().await, before, "{path}");
        assert_eq!(fixture.attempt(method, path, &both, body).await, (expected, Value::Null), "{path}");
    }
    for (method, path, expected) in [("POST", "/pause", 200), ("POST", "/resume", 200), ("DELETE", "", 204)] {
        let path = format!("/schedules/daily{path}");
        assert_eq!(fixture.attempt(method, &path, &planner, "").await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn definition_changes_its_schedule_only_with_the_permissions() {
    let fixture = fixture().await;
    let (author, _) = fixture.key(&["author"], &["shop"]).await;
    let (planner, _) = fixture.key(&["author", "planner"], &["shop"]).await;
    let path = "/definitions/order";
    for token in [&author, &planner] {
        assert_eq!(fixture.attempt("PUT", path, token, SCHEDULED).await, (403, json!("GC2063")));
    }
    assert_eq!(fixture.attempt("GET", "/schedules/order", ADMIN, "").await.0, 404);
    assert!(fixture.attempt("PUT", path, ADMIN, SCHEDULED).await.0 < 300);
    let before = fixture.contents().await;
    assert_eq!(fixture.attempt("PUT", path, &author, DEFINITION).await, (403, json!("GC2063")));
    assert_eq!(fixture.contents().await, before, "the definition is not stored");
    assert_eq!(fixture.attempt("GET", "/schedules/order", ADMIN, "").await.0, 200);
    assert!(fixture.attempt("PUT", path, &planner, DEFINITION).await.0 < 300);
    assert_eq!(fixture.attempt("GET", "/schedules/order", ADMIN, "").await.0, 404);
}

#[tokio::test]
async fn definition_does_not_take_over_a_schedule_of_the_api() {
    let fixture = fixture().await;
    let (author, _) = fixture.key(&["author"], &["shop"]).await;
    assert_eq!(fixture.attempt("PUT", "/schedules/order", ADMIN, SCHEDULE).await.0, 201);
    let before = fixture.contents().await;
    for path in ["/definitions/order", "/definitions/order?dry_run=true"] {
        assert_eq!(fixture.attempt("PUT", path, ADMIN, SCHEDULED).await, (409, json!("GC2119")), "{path}");
    }
    assert_eq!(fixture.contents().await, before, "the definition is not stored");
    // Without the key, the definition has nothing to do with the schedule.
    assert!(fixture.attempt("PUT", "/definitions/order", &author, DEFINITION).await.0 < 300);
    let path = "/api/v1/schedules/order";
    let (_, schedule, _) = fixture.call("GET", path, Some(ADMIN), "shop", "").await;
    assert_eq!((&schedule["origin"], &schedule["generation"]), (&json!("api"), &json!(1)), "{schedule}");
}

#[tokio::test]
async fn repeated_trigger_returns_the_same_workflow() {
    let fixture = fixture().await;
    let schedule = r#"{"definition": "order", "cron": "0 3 * * *", "input": {"at": "${ schedule.time }"}}"#;
    assert_eq!(fixture.attempt("PUT", "/schedules/daily", ADMIN, schedule).await.0, 201);
    let trigger = async |key: Option<&str>| {
        let mut request = Request::post("/api/v1/schedules/daily/trigger")
            .header("goconductor-namespace", "shop")
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = fixture.send(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (parts.status.as_u16(), parts.headers.contains_key("idempotency-replayed"), body)
    };
    let (status, is_replayed, first) = trigger(Some("k")).await;
    assert_eq!((status, is_replayed), (201, false), "{first}");
    let (status, is_replayed, again) = trigger(Some("k")).await;
    assert_eq!((status, is_replayed, &again), (200, true, &first));
    for key in [Some("other"), None] {
        let (status, _, next) = trigger(key).await;
        assert_eq!(status, 201, "{next}");
        assert_ne!(next["workflow"], first["workflow"], "{next}");
    }
    let (_, shown, _) = fixture.call("GET", "/api/v1/schedules/daily", Some(ADMIN), "shop", "").await;
    assert_eq!(shown["started"], 3, "{shown}");
    // The key of a start that is not one of the schedule.
    let start = r#"{"definition": "order", "idempotency_key": "mine"}"#;
    assert_eq!(fixture.attempt("POST", "/workflows", ADMIN, start).await.0, 201);
    assert_eq!(trigger(Some("mine")).await.0, 409);
}

#[tokio::test]
async fn paused_batch_is_resumed_only_with_the_permission_of_its_operation() {
    let fixture = fixture().await;
    let (batcher, _) = fixture.key(&["batcher"], &["shop"]).await;
    for _ in 0..4 {
        fixture.workflow("shop").await;
    }
    // One workflow per second, so that the batch is still running when it is paused.
    let create =
        r#"{"operation": "terminate", "filter": "", "reason": "test", "expected_count": 5, "rate": 1}"#;
    let path = "/api/v1/batches";
    let (status, batch, _) = fixture.call("POST", path, Some(ADMIN), "shop", create).await;
    assert_eq!(status, StatusCode::CREATED, "{batch}");
    let path = format!("/batches/{}", batch["id"].as_str().unwrap());
    let (pause, resume) = (format!("{path}/pause"), format!("{path}/resume"));
    assert_eq!(fixture.attempt("POST", &pause, &batcher, "").await.0, 200);
    assert_eq!(fixture.attempt("POST", &resume, &batcher, "").await, (403, json!("GC2063")));
    let (_, batch, _) = fixture.call("GET", &format!("/api/v1{path}"), Some(ADMIN), "shop", "").await;
    assert_eq!(batch["status"], "PAUSED", "{batch}");
    assert_eq!(fixture.attempt("POST", &resume, ADMIN, "").await.0, 200);
}

/// A workflow with the key of a due time would count as the one that the schedule started.
#[tokio::test]
async fn start_with_the_key_of_a_due_time_is_refused() {
    let fixture = fixture().await;
    let (starter, _) = fixture.key(&["starter"], &["shop"]).await;
    let before = fixture.contents().await;
    let start = |key: &str| json!({"definition": "order", "idempotency_key": key}).to_string();
    let due = start("schedule/daily/2030-01-01T03:00:00Z");
    assert_eq!(fixture.attempt("POST", "/workflows", &starter, &due).await.0, 422);
    let request = Request::post("/api/v1/workflows")
        .header(header::AUTHORIZATION, format!("Bearer {starter}"))
        .header("goconductor-namespace", "shop")
        .header("idempotency-key", "schedule/daily/2030-01-01T03:00:00Z")
        .header(header::CONTENT_TYPE, "application/json");
    let response = fixture.send(request.body(Body::from(r#"{"definition": "order"}"#)).unwrap()).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fixture.contents().await, before, "nothing was started");
    assert_eq!(fixture.attempt("POST", "/workflows", &starter, &start("scheduled-1")).await.0, 201);
}
