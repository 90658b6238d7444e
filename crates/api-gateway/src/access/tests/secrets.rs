//! References to secrets in services, and keys without access control.

use super::*;

#[tokio::test]
async fn service_refers_to_secrets_of_the_configuration_only_with_their_permission() {
    let fixture = Fixture::with_access_control().await;
    let (developer, _) = fixture.key(&["developer"], &["default", "shop"]).await;
    let plain = r#"{"http": {"url": "http://127.0.0.1:9101"}}"#;
    let refers = r#"{"http": {"url": "http://127.0.0.1:9101", "headers": {"x-token": "secret://broker"}}}"#;
    let url = r#"{"http": {"url": "secret://broker"}}"#;
    for (token, namespace, body, expected) in [
        (&*developer, "default", plain, StatusCode::OK),
        (&*developer, "default", refers, StatusCode::FORBIDDEN),
        (&*developer, "default", url, StatusCode::FORBIDDEN),
        (&*developer, "shop", refers, StatusCode::OK),
        (ADMIN, "default", refers, StatusCode::OK),
    ] {
        let path = "/api/v1/services/payments";
        let (status, reply, _) = fixture.call("PUT", path, Some(token), namespace, body).await;
        assert_eq!(status, expected, "{namespace} {body}: {reply}");
    }
}

#[tokio::test]
async fn no_key_is_created_while_the_caller_is_unknown() {
    let fixture = Fixture::new(None).await;
    let body = r#"{"name": "mine", "roles": ["admin"], "namespaces": ["*"]}"#;
    let (status, reply, _) = fixture.call("POST", "/api/v1/access/keys", None, "default", body).await;
    assert_eq!((status, &reply["code"]), (StatusCode::FORBIDDEN, &json!("GC2063")), "{reply}");
}
