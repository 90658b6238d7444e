//! Refused requests and changes in the audit log.

use super::*;
use futures::future::BoxFuture;
use goconductor_store::{AuditRecord, AuditRequest, AuditVerifier};

impl Fixture {
    /// Waits until the log has `number` records, and returns all.
    pub(super) async fn audit(&self, number: usize) -> Vec<AuditRecord> {
        let request = AuditRequest { limit: u32::MAX, ..AuditRequest::default() };
        for _ in 0..1000 {
            if self.store.audit_records(&request).await.unwrap().len() >= number {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let records = self.store.audit_records(&request).await.unwrap();
        let mut verifier = AuditVerifier::new(None);
        records.iter().for_each(|record| verifier.check(record));
        assert_eq!(verifier.finish(&self.store.audit_head().await.unwrap()).problems, []);
        records
    }
}

fn summary(record: &AuditRecord) -> String {
    let event = &record.event;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let (kind, name) = (text(&event.target_kind), text(&event.target_name));
    format!("{} {} {kind} {name} {} {}", event.actor, event.action, event.outcome, text(&event.code))
}

#[tokio::test]
async fn every_refused_route_is_recorded_once() {
    let fixture = Fixture::with_access_control().await;
    let id = "0190b5a8-0000-7000-8000-000000000000";
    for _ in 0..3 {
        for (method, route, ..) in checked() {
            fixture.call(method, &concrete(route, id), None, "shop", "{}").await;
            fixture.call(method, &concrete(route, id), Some("nonsense"), "shop", "{}").await;
        }
        for (path, rule) in GRPC.iter().filter(|(_, rule)| rule.permission.is_some()) {
            assert_eq!(fixture.grpc(path, None, "shop").await, 16, "{path} {rule:?}");
        }
        for number in 0..10 {
            fixture.call("POST", &format!("/api/v1/nothing-{number}"), None, "shop", "{}").await;
        }
    }
    let methods = GRPC.iter().filter(|(_, rule)| rule.permission.is_some()).count();
    // A list and its elements are read by the same action.
    let actions: BTreeSet<String> =
        checked().map(|(method, route, ..)| crate::audit::action_name(method, route)).collect();
    let expected = 2 * actions.len() + methods + 1;
    let records = fixture.audit(expected).await;
    assert_eq!(records.len(), expected, "equal refusals are counted");
    assert!(records.iter().all(|record| record.event.outcome == "REFUSED"), "{records:?}");
    let shown: BTreeSet<String> = records.iter().map(summary).collect();
    for expected in [
        format!("anonymous workflows.cancel request POST /api/v1/workflows/{id}/cancel REFUSED GC2061"),
        format!("anonymous workflows.cancel request POST /api/v1/workflows/{id}/cancel REFUSED GC2062"),
        "anonymous goconductor.v1.WorkflowService/CancelWorkflow request gRPC \
         /goconductor.v1.WorkflowService/CancelWorkflow REFUSED GC2061"
            .to_owned(),
        "anonymous unknown request POST /api/v1/nothing-0 REFUSED GC2061".to_owned(),
    ] {
        assert!(shown.contains(&expected), "{expected} is not among {shown:#?}");
    }
}

#[tokio::test]
async fn changes_and_refusals_name_their_caller() {
    let fixture = Fixture::with_access_control().await;
    let id = fixture.workflow("shop").await;
    let (viewer, viewer_id) = fixture.key(&["viewer"], &["shop"]).await;
    let cancel = format!("/api/v1/workflows/{id}/cancel");
    let (status, ..) = fixture.call("POST", &cancel, Some(&viewer), "shop", "{}").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, ..) = fixture.call("POST", &cancel, Some(ADMIN), "other", "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, ..) = fixture.call("POST", &cancel, Some(ADMIN), "shop", r#"{"reason": "test"}"#).await;
    assert_eq!(status, StatusCode::OK);
    let (status, ..) = fixture.call("GET", "/api/v1/workflows", Some(&viewer), "shop", "").await;
    assert_eq!(status, StatusCode::OK);
    let (status, ..) = fixture.call("GET", "/api/v1/audit", Some(&viewer), "shop", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let records = fixture.audit(6).await;
    // Refusals are recorded in the background, so the order is not that of the requests.
    let mut shown: Vec<String> = records.iter().map(summary).collect();
    shown.sort();
    let mut expected = vec![
        "key:bootstrap definitions.put definition order ALLOWED -".to_owned(),
        format!("key:bootstrap access.keys.create access_key {viewer_id} ALLOWED -"),
        format!("key:{viewer_id} workflows.cancel request POST {cancel} REFUSED GC2063"),
        format!("key:bootstrap workflows.cancel workflow {id} FAILED GC2010"),
        format!("key:bootstrap workflows.cancel workflow {id} ALLOWED -"),
        format!("key:{viewer_id} audit.get request GET /api/v1/audit REFUSED GC2063"),
    ];
    expected.sort();
    assert_eq!(shown, expected);
    let is_cancelled = |record: &&AuditRecord| {
        record.event.target_name.as_ref() == Some(&id) && record.event.outcome == "ALLOWED"
    };
    let cancelled = records.iter().find(is_cancelled).unwrap();
    assert!(cancelled.event.before.as_ref().unwrap().contains("\"status\":\""), "{cancelled:?}");
    assert_eq!(cancelled.event.after.as_deref(), Some(r#"{"reason":"test"}"#));
    let text = format!("{records:?}");
    assert!(!text.contains(ADMIN) && !text.contains(&viewer), "no record contains a credential");
}

#[tokio::test]
async fn change_whose_process_ended_is_recorded_with_an_unknown_outcome() {
    let fixture = Fixture::with_access_control().await;
    fixture.key(&["viewer"], &["shop"]).await;
    let settle = async || fixture.store.settle_audit_intents(Duration::ZERO).await.unwrap();
    assert_eq!(settle().await, 0, "the record of a complete change has replaced its intent");
    let caller = crate::recorded::subject(&HeaderMap::new(), &axum::http::Extensions::new());
    let (action, target) = ("services.put".to_owned(), "PUT /api/v1/services/payments".to_owned());
    let subject = crate::audit::Subject { action, target, ..caller };
    drop(fixture.api.audit.intend(&subject).await.unwrap());
    assert_eq!(settle().await, 1);
    let records = fixture.audit(2).await;
    assert_eq!(
        summary(records.last().unwrap()),
        "anonymous services.put request PUT /api/v1/services/payments UNKNOWN -"
    );
}

#[tokio::test]
async fn handler_that_panics_is_recorded_as_failed() {
    let fixture = Fixture::with_access_control().await;
    let begin = |name: &'static str| {
        let caller = || crate::recorded::subject(&HeaderMap::new(), &axum::http::Extensions::new());
        let route = "/api/v1/services/{name}";
        crate::recorded::begin(&fixture.api, "PUT", route, || name.to_owned(), caller).unwrap().unwrap()
    };
    let panics: BoxFuture<crate::error::ApiResult<()>> = Box::pin(async { panic!("planted in rpc") });
    let problem = begin("rpc").rpc(panics).await.unwrap_err();
    assert!(!problem.to_string().contains("planted"), "{problem}");
    let code = problem.code();
    let panics: BoxFuture<Response> = Box::pin(async { panic!("planted in REST") });
    let response = begin("rest").rest(panics).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let records = fixture.audit(2).await;
    let shown: Vec<String> = records.iter().map(summary).collect();
    assert_eq!(
        shown,
        [
            format!("anonymous services.put request rpc FAILED {code}"),
            format!("anonymous services.put request rest FAILED {code}"),
        ]
    );
}
