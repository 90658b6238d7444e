//! Terms that belong to the credential that campaigned for them.

use super::*;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::campaign_response::Message as Update;

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

/// Reads a stream until its candidate leads. Returns the fencing token.
async fn elected(body: &mut Body) -> u64 {
    loop {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let mut messages = &frame[..];
        while !messages.is_empty() {
            let length = usize::try_from(u32::from_be_bytes(messages[1..5].try_into().unwrap())).unwrap();
            let (message, rest) = messages[5..].split_at(length);
            let response = wire::CampaignResponse::decode(message).unwrap();
            if let Some(Update::Elected(leader)) = response.message {
                return leader.fencing_token;
            }
            messages = rest;
        }
    }
}

#[tokio::test]
async fn term_is_ended_by_its_owner_or_an_operator_and_recorded() {
    let fixture = Fixture::with_access_control().await;
    let (owner, owner_id) = fixture.key(&["developer"], &["*"]).await;
    let (other, _) = fixture.key(&["developer"], &["*"]).await;
    let campaign = wire::CampaignRequest { name: "reports".to_owned(), candidate: "a".to_owned() };
    let mut stream = fixture.rpc("Campaign", &owner, &campaign).await.into_body();
    let token = elected(&mut stream).await;
    assert_eq!(fixture.resign(&other, token).await, "7", "another credential");
    assert_eq!(fixture.resign(&owner, token).await, "0");
    stream.collect().await.unwrap();
    let mut stream = fixture.rpc("Campaign", &owner, &campaign).await.into_body();
    let token = elected(&mut stream).await;
    assert_eq!(fixture.resign(ADMIN, token).await, "0", "an operator");
    drop(stream);
    let records = fixture.audit(7).await;
    let of_streams = |action: &str| {
        let of_owner = |record: &&goconductor_store::AuditRecord| {
            let event = &record.event;
            event.actor == format!("key:{owner_id}") && event.action == action
        };
        records.iter().find(of_owner).unwrap_or_else(|| panic!("{action} is not in {records:?}"))
    };
    assert_eq!(of_streams("elections.campaign").event.target_name.as_deref(), Some("reports"));
    assert!(of_streams("elections.campaign.end").event.after.as_ref().unwrap().contains("the term ended"));
    let refused = |record: &&goconductor_store::AuditRecord| record.event.code.as_deref() == Some("GC2063");
    assert_eq!(records.iter().filter(refused).count(), 1);
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
