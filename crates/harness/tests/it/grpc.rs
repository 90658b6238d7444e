//! The API over gRPC: the same behaviour as REST, on the same port.

use crate::world::World;
use goconductor_harness::ORDER;
use goconductor_wire::v1::definition_service_client::DefinitionServiceClient;
use goconductor_wire::v1::queue_service_client::QueueServiceClient;
use goconductor_wire::v1::service_service_client::ServiceServiceClient;
use goconductor_wire::v1::worker_service_client::WorkerServiceClient;
use goconductor_wire::v1::workflow_service_client::WorkflowServiceClient;
use goconductor_wire::v1::{self as wire, WorkflowStatus};
use serde_json::json;
use std::collections::BTreeMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// A world with the order saga.
async fn world() -> World {
    let world = World::new().await;
    for service in ["stock", "payments", "shipping"] {
        world.dev.api.serve(service, &world.participants.url(service)).await.unwrap();
    }
    world.dev.api.apply("order", ORDER).await.unwrap();
    world
}

async fn channel(world: &World) -> Channel {
    Endpoint::from_shared(world.dev.api.base().to_owned()).unwrap().connect().await.unwrap()
}

fn code_of(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_over_grpc_runs_from_definition_to_end() {
    let world = world().await;
    let channel = channel(&world).await;
    let mut definitions = DefinitionServiceClient::new(channel.clone());
    let apply = wire::ApplyDefinitionRequest {
        name: "order".to_owned(),
        source: ORDER.replace("timeout: 2s", "timeout: 3s"),
        format: wire::DefinitionFormat::Yaml.into(),
        dry_run: false,
    };
    let applied = definitions.apply_definition(apply.clone()).await.unwrap().into_inner();
    assert!(applied.created);
    assert!(!definitions.apply_definition(apply).await.unwrap().into_inner().created);
    let versions = wire::ListDefinitionVersionsRequest { name: "order".to_owned() };
    let versions = definitions.list_definition_versions(versions).await.unwrap().into_inner().versions;
    assert_eq!(versions[0].version, applied.version);

    let mut workflows = WorkflowServiceClient::new(channel.clone());
    let start = wire::StartWorkflowRequest {
        definition: "order".to_owned(),
        input_json: json!({"amount": 12345678901234567_u64, "script": {"ship": "refuse"}}).to_string(),
        idempotency_key: "grpc-1".to_owned(),
        ..Default::default()
    };
    let started = workflows.start_workflow(start.clone()).await.unwrap().into_inner();
    assert!(!started.replayed);
    let id = started.workflow.unwrap().id;
    let again = workflows.start_workflow(start.clone()).await.unwrap().into_inner();
    assert!(again.replayed && again.workflow.unwrap().id == id);
    let follow = wire::FollowEventsRequest { id: id.clone(), after_seq: 0 };
    let mut follow = workflows.follow_events(follow).await.unwrap().into_inner();
    let mut followed = Vec::new();
    while let Some(told) = follow.message().await.unwrap() {
        followed.push(told.event.unwrap());
    }
    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let result = workflows.get_result(wire::GetResultRequest { id: id.clone(), wait }).await.unwrap();
    let ended = result.into_inner();
    assert!(ended.ended);
    let ended = ended.workflow.unwrap();
    assert_eq!(ended.status(), WorkflowStatus::RolledBack);
    assert_eq!(ended.cause(), wire::RollbackCause::StepFailed);
    assert_eq!(ended.steps[1].status(), wire::StepStatus::Compensated);
    assert!(ended.input_json.contains("12345678901234567"), "numbers are not converted to doubles");
    let events = wire::ListEventsRequest { id: id.clone(), ..Default::default() };
    let events = workflows.list_events(events).await.unwrap().into_inner().events;
    assert_eq!(events, followed);
    assert_eq!(events.len() as u64, ended.seq);
    // REST shows the same on the same port.
    let rest = world.dev.api.get(&format!("/workflows/{id}")).await.unwrap();
    assert_eq!(rest["status"], "ROLLED_BACK");
    let list = wire::ListWorkflowsRequest { filter: "status = ROLLED_BACK".to_owned(), ..Default::default() };
    assert_eq!(workflows.list_workflows(list).await.unwrap().into_inner().workflows.len(), 1);
    let counts = workflows.count_workflows(wire::CountWorkflowsRequest::default()).await.unwrap();
    assert_eq!(counts.into_inner().counts[0].value, "ROLLED_BACK");
    let mut services = ServiceServiceClient::new(channel);
    let all = services.list_services(wire::ListServicesRequest {}).await.unwrap().into_inner().services;
    assert!(all.len() == 7 && all.iter().all(|service| service.served));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_refuses_with_the_codes_of_rest() {
    let world = world().await;
    let mut workflows = WorkflowServiceClient::new(channel(&world).await);
    let start = |definition: &str, input: &str, key: &str| wire::StartWorkflowRequest {
        definition: definition.to_owned(),
        input_json: input.to_owned(),
        idempotency_key: key.to_owned(),
        ..Default::default()
    };
    let id =
        workflows.start_workflow(start("order", "{}", "k")).await.unwrap().into_inner().workflow.unwrap().id;
    let missing = "01890000-0000-7000-8000-000000000000".to_owned();
    let refused = [
        (workflows.start_workflow(start("nothing", "{}", "")).await.err(), Code::NotFound, "GC2011"),
        (workflows.start_workflow(start("order", "{", "")).await.err(), Code::InvalidArgument, "GC2001"),
        (
            workflows.start_workflow(start("order", "{\"a\":1}", "k")).await.err(),
            Code::AlreadyExists,
            "GC2014",
        ),
        (
            workflows.get_workflow(wire::GetWorkflowRequest { id: missing }).await.err(),
            Code::NotFound,
            "GC2010",
        ),
        (
            workflows
                .list_workflows(wire::ListWorkflowsRequest {
                    filter: "status ==".to_owned(),
                    ..Default::default()
                })
                .await
                .err(),
            Code::InvalidArgument,
            "GC2008",
        ),
        (
            workflows
                .terminate_workflow(wire::TerminateWorkflowRequest { id: id.clone(), reason: String::new() })
                .await
                .err(),
            Code::InvalidArgument,
            "GC2017",
        ),
        (
            workflows
                .retry_step(wire::RetryStepRequest {
                    id: id.clone(),
                    step: "no/such".to_owned(),
                    ..Default::default()
                })
                .await
                .err(),
            Code::NotFound,
            "GC2013",
        ),
    ];
    for (status, code, reason) in refused {
        let status = status.unwrap_or_else(|| panic!("{reason} was not refused"));
        assert_eq!((status.code(), code_of(&status).as_str()), (code, reason), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_grpc_calls_are_refused() {
    let world = world().await;
    let mut workflows = WorkflowServiceClient::new(channel(&world).await);
    let signal =
        wire::SignalWorkflowRequest { id: "x".to_owned(), name: "s".to_owned(), ..Default::default() };
    let status = workflows.signal_workflow(signal).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status).as_str()), (Code::NotFound, "GC2010"));
    let mut call = Request::new(wire::GetWorkflowRequest { id: "x".to_owned() });
    call.metadata_mut().insert("goconductor-namespace", "NOT-ONE".parse().unwrap());
    let status = workflows.get_workflow(call).await.unwrap_err();
    assert_eq!((status.code(), code_of(&status).as_str()), (Code::InvalidArgument, "GC2007"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_over_grpc_is_never_an_internal_error() {
    let world = world().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    for service in [
        "WorkflowService/StartWorkflow",
        "WorkflowService/GetResult",
        "DefinitionService/ApplyDefinition",
        "WorkerService/Connect",
        "AuditService/ListAuditRecords",
        "BatchService/CreateBatch",
        "LockService/AcquireLock",
        "ElectionService/Campaign",
        "ElectionService/StepDown",
        "Nothing/AtAll",
    ] {
        for body in [&b""[..], b"\0\0\0\0\x05hello", b"\0\xff\xff\xff\xff", b"\x01\0\0\0\x01\0", &[0xff; 300]]
        {
            let answer = client
                .post(format!("{}/goconductor.v1.{service}", world.dev.api.base()))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .timeout(std::time::Duration::from_secs(20))
                .body(body.to_vec())
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{service}: gRPC reports errors in its own status");
            let status =
                answer.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
            // Without this header the status is in the trailers.
            assert!(!matches!(status.as_deref(), Some("0" | "2")), "{service} accepted {body:?}: {status:?}");
        }
    }
    assert!(world.dev.api.is_ready().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backlog_is_listed_and_dev_refuses_a_queue_migration() {
    let world = world().await;
    let mut queues = QueueServiceClient::new(channel(&world).await);
    let listed = queues.list_queues(wire::ListQueuesRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.queue, "memory");
    // Other tests register services at the same time.
    for name in ["payments", "shipping", "stock"] {
        let service = listed.services.iter().find(|each| each.service == name).expect("it is listed");
        let waiting = |lane: &Option<wire::QueueLane>| lane.as_ref().and_then(|lane| lane.waiting);
        assert!(waiting(&service.execute).is_some() && waiting(&service.compensate).is_some(), "{service:?}");
    }
    let stands =
        queues.get_queue_move(wire::GetQueueMoveRequest {}).await.unwrap().into_inner().r#move.unwrap();
    assert_eq!((&*stands.queue, &*stands.to, stands.phase()), ("memory", "", wire::QueuePhase::Unspecified));
    let to = "nats".to_owned();
    let refused = queues.switch_queue(wire::SwitchQueueRequest { to }).await.unwrap_err();
    assert_eq!((refused.code(), &*code_of(&refused)), (Code::FailedPrecondition, "GC2035"), "{refused}");
    assert!(refused.message().contains("is in its one process"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversize_result_of_a_worker_ends_its_own_task_and_no_other() {
    use wire::connect_request::Message as ToExecutor;
    use wire::connect_response::Message as FromExecutor;
    use wire::task_result::Outcome;
    let world = World::with_settings(&["limits.output_bytes=512KiB"]).await;
    let (sender, requests) = tokio::sync::mpsc::channel(8);
    let send = |message| sender.send(wire::ConnectRequest { message: Some(message) });
    let hello = wire::Hello {
        service: "w".to_owned(),
        actions: ["large", "huge", "small"].map(str::to_owned).to_vec(),
        capacity: 3,
        ..Default::default()
    };
    send(ToExecutor::Hello(hello)).await.unwrap();
    let mut worker = WorkerServiceClient::new(channel(&world).await);
    let requests = futures::stream::unfold(requests, |mut requests| async move {
        requests.recv().await.map(|request| (request, requests))
    });
    let mut messages = worker.connect(requests).await.unwrap().into_inner();
    let id = world
        .start(
            "workflow: oversize
defaults: { service: w, retry: none }
steps:
  - name: all
    parallel:
      a: [{ name: large, run: large, compensate: none }]
      b: [{ name: huge, run: huge, compensate: none }]
      c: [{ name: small, run: small, compensate: none }]
",
            json!({}),
        )
        .await;
    let mut limit = 0;
    let mut tasks = BTreeMap::new();
    while tasks.len() < 3 {
        match messages.message().await.unwrap().unwrap().message {
            Some(FromExecutor::Welcome(welcome)) => limit = welcome.max_output_bytes,
            Some(FromExecutor::Task(task)) => drop(tasks.insert(task.step, task.task_id)),
            Some(_) | None => {}
        }
    }
    assert_eq!(limit, 512 << 10);
    for (step, bytes) in [("large", 700 << 10), ("huge", 6 << 20), ("small", 10)] {
        let done = wire::Done { output_json: json!("x".repeat(bytes)).to_string() };
        let result = wire::TaskResult { task_id: tasks[step], outcome: Some(Outcome::Done(done)) };
        send(ToExecutor::Result(result)).await.unwrap();
    }
    let ended = world.ended(&id).await;
    assert_eq!(ended.steps(), ["large=UNKNOWN", "huge=UNKNOWN", "small=COMPLETED"]);
    for step in ["large", "huge"] {
        assert_eq!(ended.step(step)["error"]["code"], "OUTPUT_TOO_LARGE", "{:#}", ended.step(step));
    }
}
