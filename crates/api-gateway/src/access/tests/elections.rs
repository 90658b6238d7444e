//! Calls of elections, which the gate and the limits of the rate apply to.

use super::*;
use goconductor_wire::v1 as wire;

impl Fixture {
    /// Sends a call, and returns its response.
    async fn rpc(&self, method: &str, token: &str, message: &impl Message) -> Response {
        let encoded = message.encode_to_vec();
        let mut body = vec![0];
        body.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
        body.extend(encoded);
        let request = Request::post(format!("/goconductor.v1.ElectionService/{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header("goconductor-namespace", "shop")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Returns the status of a call whose response has no message or one.
    async fn resign(&self, token: &str, fencing_token: u64) -> String {
        let message = wire::ResignRequest { name: "reports".to_owned(), fencing_token };
        let response = self.rpc("Resign", token, &message).await;
        let of_headers = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.unwrap();
        let status = of_headers.or_else(|| body.trailers()?.get("grpc-status").cloned());
        status.unwrap().to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn campaigns_count_for_the_limit_of_the_rate() {
    let policy = RatePolicy { per_second: 1, burst: 2 };
    let rate = RateConfig { caller: Some(policy), ..RateConfig::default() };
    let access = AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
    let fixture = Fixture::with_rate(Some(access), rate).await;
    let statuses =
        [fixture.resign(ADMIN, 1).await, fixture.resign(ADMIN, 1).await, fixture.resign(ADMIN, 1).await];
    assert_eq!(statuses, ["0", "0", "8"]);
}
