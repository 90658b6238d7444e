//! The routes of the virtual clock, which a server without one does not serve.

use super::*;

#[tokio::test]
async fn clock_of_another_server_cannot_be_moved() {
    let fixture = Fixture::with_access_control().await;
    let by = r#"{"by": "30d"}"#;
    for (method, path, body) in [("GET", "/dev/clock", ""), ("POST", "/dev/clock/advance", by)] {
        let (status, problem, _) = fixture.call(method, path, Some(ADMIN), "default", body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {problem}");
        assert_eq!(problem["code"], "GC2005", "{method} {path}: {problem}");
    }
    assert_eq!(clock::offset(), Duration::ZERO);
}
