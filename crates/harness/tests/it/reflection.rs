//! gRPC reflection of a real server: it lists the services that the server serves, and describes their messages.

use goconductor_harness::{Dev, DevOptions};
use std::collections::BTreeSet;
use tonic::transport::Endpoint;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Asks reflection one question. `None` if it refuses the question.
async fn ask(base: &str, question: MessageRequest) -> Option<MessageResponse> {
    let channel = Endpoint::from_shared(base.to_owned()).unwrap().connect().await.unwrap();
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let questions = futures::stream::iter([request]);
    let mut answers =
        ServerReflectionClient::new(channel).server_reflection_info(questions).await.unwrap().into_inner();
    answers.message().await.ok().flatten()?.message_response
}

async fn describes(base: &str, symbol: &str, part: &str) -> bool {
    let question = MessageRequest::FileContainingSymbol(symbol.to_owned());
    let Some(MessageResponse::FileDescriptorResponse(found)) = ask(base, question).await else {
        return false;
    };
    found.file_descriptor_proto.iter().any(|file| String::from_utf8_lossy(file).contains(part))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_lists_exactly_the_services_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    let base = dev.api.base();
    let listed = ask(base, MessageRequest::ListServices(String::new())).await;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else { panic!("{listed:?}") };
    let names: BTreeSet<_> = listed.service.iter().map(|service| service.name.as_str()).collect();
    let expected = [
        "goconductor.v1.AccessService",
        "goconductor.v1.AuditService",
        "goconductor.v1.BatchService",
        "goconductor.v1.ConfigService",
        "goconductor.v1.DefinitionService",
        "goconductor.v1.ElectionService",
        "goconductor.v1.LockService",
        "goconductor.v1.QueueService",
        "goconductor.v1.ScheduleService",
        "goconductor.v1.SecretService",
        "goconductor.v1.ServiceService",
        // `goconductor dev` contains the executor.
        "goconductor.v1.WorkerService",
        "goconductor.v1.WorkflowService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for name in expected {
        assert!(describes(base, name, name.rsplit('.').next().unwrap()).await, "{name}");
    }
    // A client decodes the details of a refusal with these.
    for detail in ["ErrorInfo", "BadRequest", "RequestInfo", "RetryInfo"] {
        assert!(describes(base, &format!("google.rpc.{detail}"), detail).await, "{detail}");
    }
    for imported in ["google.protobuf.Duration", "google.protobuf.Timestamp"] {
        assert!(describes(base, imported, "seconds").await, "{imported}");
    }
    assert!(!describes(base, "goconductor.internal.v1.StateStoreService", "StateStoreService").await);
}
