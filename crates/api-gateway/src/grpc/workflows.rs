//! `WorkflowService`.

use super::answer::{each, event, number, text, workflow};
use super::{Door, Rest, json_field, refusal};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use goconductor_wire::v1::workflow_service_server::WorkflowService;
use goconductor_wire::v1::{self as wire};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// An operator's help: a verb about a workflow, or about one of its steps.
async fn operate<T>(
    door: &Door,
    request: &Request<T>,
    path: &[&str],
    reason: &str,
    output: Option<Value>,
) -> Result<Option<wire::Workflow>, Status> {
    let mut body = Map::new();
    if !reason.is_empty() {
        body.insert("reason".to_owned(), reason.into());
    }
    if let Some(output) = output {
        body.insert("output".to_owned(), output);
    }
    let rest = Rest::of(Method::POST, path).json(&Value::Object(body));
    let (_, body) = door.call(request, rest).await?;
    Ok(Some(workflow(&body)))
}

#[tonic::async_trait]
impl WorkflowService for Door {
    type FollowEventsStream = BoxStream<'static, Result<wire::FollowEventsResponse, Status>>;

    async fn start_workflow(
        &self,
        request: Request<wire::StartWorkflowRequest>,
    ) -> Answer<wire::StartWorkflowResponse> {
        let start = request.get_ref();
        let mut body = json!({"definition": start.definition, "labels": start.labels});
        if let Some(fields) = body.as_object_mut() {
            let key = Some(&start.idempotency_key).filter(|key| !key.is_empty());
            fields.extend(start.version.map(|version| ("version".to_owned(), version.into())));
            fields.extend(
                json_field("input_json", &start.input_json)?.map(|input| ("input".to_owned(), input)),
            );
            fields.extend(key.map(|key| ("idempotency_key".to_owned(), key.as_str().into())));
        }
        let mut rest = Rest::of(Method::POST, &["workflows"]).json(&body);
        if let Some(wait) = start.wait.and_then(|wait| Duration::try_from(wait).ok()) {
            rest = rest.query("wait", format!("{}ms", wait.as_millis()));
        }
        let (status, body) = self.call(&request, rest).await?;
        let replayed = status == StatusCode::OK;
        Ok(Response::new(wire::StartWorkflowResponse { workflow: Some(workflow(&body)), replayed }))
    }

    async fn get_workflow(
        &self,
        request: Request<wire::GetWorkflowRequest>,
    ) -> Answer<wire::GetWorkflowResponse> {
        let (_, body) = self.call(&request, Rest::get(&["workflows", &request.get_ref().id])).await?;
        Ok(Response::new(wire::GetWorkflowResponse { workflow: Some(workflow(&body)) }))
    }

    async fn list_workflows(
        &self,
        request: Request<wire::ListWorkflowsRequest>,
    ) -> Answer<wire::ListWorkflowsResponse> {
        let wire::ListWorkflowsRequest { filter, page_size, page_token } = request.get_ref();
        let mut rest = Rest::get(&["workflows"]).query("filter", filter).query("page_token", page_token);
        if *page_size > 0 {
            rest = rest.query("page_size", page_size);
        }
        let (_, body) = self.call(&request, rest).await?;
        let workflows = each(&body, "workflows").map(workflow).collect();
        let next_page_token = text(&body, "next_page_token");
        Ok(Response::new(wire::ListWorkflowsResponse { workflows, next_page_token }))
    }

    async fn count_workflows(
        &self,
        request: Request<wire::CountWorkflowsRequest>,
    ) -> Answer<wire::CountWorkflowsResponse> {
        let wire::CountWorkflowsRequest { by, filter } = request.get_ref();
        let rest = Rest::get(&["workflow-counts"]).query("by", by).query("filter", filter);
        let (_, body) = self.call(&request, rest).await?;
        let count = |of: &Value| wire::WorkflowCount { value: text(of, "value"), count: number(of, "count") };
        let counts = each(&body, "counts").map(count).collect();
        Ok(Response::new(wire::CountWorkflowsResponse { counts }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> Answer<wire::ListEventsResponse> {
        let wire::ListEventsRequest { id, after_seq, page_size } = request.get_ref();
        let mut rest = Rest::get(&["workflows", id, "events"]).query("after_seq", after_seq);
        if *page_size > 0 {
            rest = rest.query("page_size", page_size);
        }
        let (_, body) = self.call(&request, rest).await?;
        Ok(Response::new(wire::ListEventsResponse { events: each(&body, "events").map(event).collect() }))
    }

    async fn follow_events(
        &self,
        request: Request<wire::FollowEventsRequest>,
    ) -> Answer<Self::FollowEventsStream> {
        let wire::FollowEventsRequest { id, after_seq } = request.get_ref();
        let rest = Rest::get(&["workflows", id, "events"])
            .query("after_seq", after_seq)
            .header("accept", "text/event-stream");
        let response = self.send(&request, rest).await?;
        let (head, body) = response.into_parts();
        let status = head.status;
        if !status.is_success() {
            let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
            let problem = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            return Err(refusal::status(status, &head.headers, &problem));
        }
        Ok(Response::new(followed(body.into_data_stream()).boxed()))
    }

    async fn get_result(&self, request: Request<wire::GetResultRequest>) -> Answer<wire::GetResultResponse> {
        let wire::GetResultRequest { id, wait } = request.get_ref();
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        let rest = Rest::get(&["workflows", id, "result"]).query("wait", format!("{}ms", wait.as_millis()));
        let (status, body) = self.call(&request, rest).await?;
        let ended = status == StatusCode::OK;
        Ok(Response::new(wire::GetResultResponse { workflow: Some(workflow(&body)), ended }))
    }

    async fn cancel_workflow(
        &self,
        request: Request<wire::CancelWorkflowRequest>,
    ) -> Answer<wire::CancelWorkflowResponse> {
        let wire::CancelWorkflowRequest { id, reason } = request.get_ref();
        let workflow = operate(self, &request, &["workflows", id, "cancel"], reason, None).await?;
        Ok(Response::new(wire::CancelWorkflowResponse { workflow }))
    }

    async fn terminate_workflow(
        &self,
        request: Request<wire::TerminateWorkflowRequest>,
    ) -> Answer<wire::TerminateWorkflowResponse> {
        let wire::TerminateWorkflowRequest { id, reason } = request.get_ref();
        let workflow = operate(self, &request, &["workflows", id, "terminate"], reason, None).await?;
        Ok(Response::new(wire::TerminateWorkflowResponse { workflow }))
    }

    async fn pause_workflow(
        &self,
        request: Request<wire::PauseWorkflowRequest>,
    ) -> Answer<wire::PauseWorkflowResponse> {
        let wire::PauseWorkflowRequest { id, reason } = request.get_ref();
        let workflow = operate(self, &request, &["workflows", id, "pause"], reason, None).await?;
        Ok(Response::new(wire::PauseWorkflowResponse { workflow }))
    }

    async fn resume_workflow(
        &self,
        request: Request<wire::ResumeWorkflowRequest>,
    ) -> Answer<wire::ResumeWorkflowResponse> {
        let wire::ResumeWorkflowRequest { id, reason } = request.get_ref();
        let workflow = operate(self, &request, &["workflows", id, "resume"], reason, None).await?;
        Ok(Response::new(wire::ResumeWorkflowResponse { workflow }))
    }

    async fn signal_workflow(
        &self,
        request: Request<wire::SignalWorkflowRequest>,
    ) -> Answer<wire::SignalWorkflowResponse> {
        let wire::SignalWorkflowRequest { id, name, payload_json } = request.get_ref();
        let payload = json_field("payload_json", payload_json)?.unwrap_or(Value::Null);
        let rest = Rest::of(Method::POST, &["workflows", id, "signals", name]).json(&payload);
        let (_, body) = self.call(&request, rest).await?;
        Ok(Response::new(wire::SignalWorkflowResponse { workflow: Some(workflow(&body)) }))
    }

    async fn retry_step(&self, request: Request<wire::RetryStepRequest>) -> Answer<wire::RetryStepResponse> {
        let wire::RetryStepRequest { id, step, reason } = request.get_ref();
        let workflow =
            operate(self, &request, &["workflows", id, "steps", step, "retry"], reason, None).await?;
        Ok(Response::new(wire::RetryStepResponse { workflow }))
    }

    async fn skip_step(&self, request: Request<wire::SkipStepRequest>) -> Answer<wire::SkipStepResponse> {
        let wire::SkipStepRequest { id, step, reason } = request.get_ref();
        let workflow =
            operate(self, &request, &["workflows", id, "steps", step, "skip"], reason, None).await?;
        Ok(Response::new(wire::SkipStepResponse { workflow }))
    }

    async fn complete_step(
        &self,
        request: Request<wire::CompleteStepRequest>,
    ) -> Answer<wire::CompleteStepResponse> {
        let wire::CompleteStepRequest { id, step, reason, output_json } = request.get_ref();
        let output = json_field("output_json", output_json)?;
        let path = ["workflows", id, "steps", step, "complete"];
        let workflow = operate(self, &request, &path, reason, output).await?;
        Ok(Response::new(wire::CompleteStepResponse { workflow }))
    }
}

/// The events of a stream of server-sent ones.
fn followed(
    body: impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
) -> impl Stream<Item = Result<wire::FollowEventsResponse, Status>> + Send {
    let mut rest: Vec<u8> = Vec::new();
    body.flat_map(move |part| {
        let mut told = Vec::new();
        match part {
            Ok(bytes) => {
                rest.extend_from_slice(&bytes);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
                    if let Some(Ok(value)) = data.map(serde_json::from_slice::<Value>)
                        && value.get("seq").is_some()
                    {
                        told.push(Ok(wire::FollowEventsResponse { event: Some(event(&value)) }));
                    }
                }
            }
            Err(error) => told.push(Err(Status::unavailable(error.to_string()))),
        }
        futures::stream::iter(told)
    })
}
