//! The gRPC service of the elector and its client meet the guarantees of an election.

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::{Election, LocalElection};
use goconductor_leader_elector::{LeaderElector, service};
use goconductor_remote::{Endpoints, RemoteElection};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::campaign_response::Message;
use goconductor_wire::v1::election_service_client::ElectionServiceClient;
use std::sync::Arc;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Server};

/// Starts an elector that ends when `stop` is cancelled, and returns its address.
async fn listening(stop: CancellationToken) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("the listener is bound"));
    let elector = Arc::new(LeaderElector::new(Arc::new(LocalElection::new(1))));
    let serving = Server::builder()
        .add_service(service(elector, stop.clone()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned());
    drop(tokio::spawn(serving));
    address
}

#[derive(Debug)]
struct Remote;

#[async_trait]
impl Factory for Remote {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        let endpoints = Endpoints::new(&[listening(CancellationToken::new()).await]);
        Ok(Arc::new(RemoteElection::new(endpoints.map_err(|error| error.to_string())?)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn remote_election_meets_every_guarantee() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Remote)).await, Ok(()), "{}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn term_ends_with_its_stream() {
    let stop = CancellationToken::new();
    let mut client = client(listening(stop.clone()).await);
    let request =
        |candidate: &str| wire::CampaignRequest { name: "relay".to_owned(), candidate: candidate.to_owned() };
    let mut first = client.campaign(request("a")).await.expect("stands").into_inner();
    let leader = elected(&mut first).await;
    assert_eq!(leader.candidate, "a");
    let mut second = client.campaign(request("b")).await.expect("stands").into_inner();
    let resign = |fencing_token| wire::ResignRequest { name: "relay".to_owned(), fencing_token };
    let mine = client.resign(resign(leader.fencing_token + 1)).await.expect("answers").into_inner();
    assert!(!mine.resigned, "the token is unknown");
    drop(first);
    let next = elected(&mut second).await;
    assert!(next.fencing_token > leader.fencing_token);
    let mine = client.resign(resign(next.fencing_token)).await.expect("answers").into_inner();
    assert!(mine.resigned);
    while let Some(update) = second.message().await.expect("the stream ends without an error") {
        assert!(matches!(update.message, Some(Message::Beat(_))), "{update:?}");
    }
    // The end of the elector is reported and ends its terms.
    let mut third = client.campaign(request("c")).await.expect("stands").into_inner();
    elected(&mut third).await;
    stop.cancel();
    let end = loop {
        match third.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the shutdown of the elector was reported as the end of the term"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
}

#[tokio::test]
async fn invalid_name_is_refused() {
    let mut client = client(listening(CancellationToken::new()).await);
    for name in [String::new(), "a\u{0}".to_owned(), "a".repeat(257)] {
        let request = wire::CampaignRequest { name, candidate: "a".to_owned() };
        let status = client.campaign(request).await.expect_err("no name");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

fn client(address: String) -> ElectionServiceClient<Channel> {
    ElectionServiceClient::new(Channel::from_shared(address).expect("an address").connect_lazy())
}

async fn elected(stream: &mut tonic::Streaming<wire::CampaignResponse>) -> wire::Leader {
    loop {
        let update = stream.message().await.expect("the stream has no error").expect("the stream continues");
        if let Some(Message::Elected(leader)) = update.message {
            return leader;
        }
    }
}
