//! `WorkflowService`.

use super::{
    GrpcServices, RpcResult, json_field, message, operation, optional, optional_number, page, path_name, wait,
};
use crate::api::repair::{MigrationRequest, RerunRequest};
use crate::api::workflows::{AwaitedWorkflow, CountField, CountView, StartedWorkflow, WorkflowStart};
use axum::http::StatusCode;
use futures::stream::{BoxStream, StreamExt};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::workflow_service_server::WorkflowService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl WorkflowService for GrpcServices {
    type FollowEventsStream = BoxStream<'static, Result<wire::FollowEventsResponse, Status>>;
    type ReadPayloadStream = BoxStream<'static, Result<wire::ReadPayloadResponse, Status>>;

    async fn start_workflow(
        &self,
        request: Request<wire::StartWorkflowRequest>,
    ) -> RpcResult<wire::StartWorkflowResponse> {
        let status = |started: &StartedWorkflow| {
            if started.is_replayed { StatusCode::OK } else { StatusCode::CREATED }
        };
        let started = self
            .serve_with_status(operation::START_WORKFLOW, request, status, |api, call| async move {
                let context = call.context()?.with_idempotency_key(&call.headers)?;
                let message = call.message;
                let start = WorkflowStart {
                    input: json_field(&api, "input_json", &message.input_json)?,
                    definition: message.definition,
                    version: message.version,
                    idempotency_key: optional(message.idempotency_key),
                    labels: message.labels.into_iter().collect(),
                    wait: wait(message.wait)?,
                };
                api.start_workflow(&context, start).await
            })
            .await?;
        Ok(Response::new(wire::StartWorkflowResponse {
            workflow: Some(message::workflow(started.workflow)),
            replayed: started.is_replayed,
        }))
    }

    async fn get_workflow(
        &self,
        request: Request<wire::GetWorkflowRequest>,
    ) -> RpcResult<wire::GetWorkflowResponse> {
        let workflow = self
            .serve(operation::GET_WORKFLOW, request, |api, call| async move {
                let id = path_name("id", &call.message.id)?;
                api.workflow(&call.context()?, id).await
            })
            .await?;
        Ok(Response::new(wire::GetWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn list_workflows(
        &self,
        request: Request<wire::ListWorkflowsRequest>,
    ) -> RpcResult<wire::ListWorkflowsResponse> {
        let list = self
            .serve(operation::LIST_WORKFLOWS, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListWorkflowsRequest { filter, page_size, page_token } = call.message;
                api.list_workflows(&context, &filter, &page(page_size, page_token)).await
            })
            .await?;
        let workflows = list.workflows.into_iter().map(message::summary).collect();
        Ok(Response::new(wire::ListWorkflowsResponse { workflows, next_page_token: list.next_page_token }))
    }

    async fn count_workflows(
        &self,
        request: Request<wire::CountWorkflowsRequest>,
    ) -> RpcResult<wire::CountWorkflowsResponse> {
        let counts = self
            .serve(operation::COUNT_WORKFLOWS, request, |api, call| async move {
                let context = call.context()?;
                let wire::CountWorkflowsRequest { by, filter } = call.message;
                let by = CountField::parse(optional(by).as_deref())?;
                api.count_workflows(&context, by, &filter).await
            })
            .await?;
        let count = |CountView { value, count }| wire::WorkflowCount { value, count };
        let counts = counts.counts.into_iter().map(count).collect();
        Ok(Response::new(wire::CountWorkflowsResponse { counts }))
    }

    async fn list_events(
        &self,
        request: Request<wire::ListEventsRequest>,
    ) -> RpcResult<wire::ListEventsResponse> {
        let page = self
            .serve(operation::LIST_EVENTS, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListEventsRequest { id, after_seq, page_size } = call.message;
                let id = path_name("id", &id)?;
                api.list_events(&context, id, after_seq, optional_number(page_size)).await
            })
            .await?;
        let events = page.events.into_iter().map(message::event).collect();
        Ok(Response::new(wire::ListEventsResponse { events }))
    }

    async fn follow_events(
        &self,
        request: Request<wire::FollowEventsRequest>,
    ) -> RpcResult<Self::FollowEventsStream> {
        let events = self
            .serve(operation::LIST_EVENTS, request, |api, call| async move {
                let context = call.context()?;
                let wire::FollowEventsRequest { id, after_seq } = call.message;
                api.follow_events(&context, path_name("id", &id)?, after_seq).await
            })
            .await?;
        let messages =
            events.map(|event| Ok(wire::FollowEventsResponse { event: Some(message::event(event?)) }));
        Ok(Response::new(messages.boxed()))
    }

    async fn read_payload(
        &self,
        request: Request<wire::ReadPayloadRequest>,
    ) -> RpcResult<Self::ReadPayloadStream> {
        let parts = self
            .serve(operation::READ_PAYLOAD, request, |api, call| async move {
                let context = call.context()?;
                let wire::ReadPayloadRequest { id, sha256 } = call.message;
                api.read_payload(&context, path_name("id", &id)?, path_name("sha256", &sha256)?).await
            })
            .await?;
        let messages = parts.map(|part| Ok(wire::ReadPayloadResponse { json_part: part? }));
        Ok(Response::new(messages.boxed()))
    }

    async fn get_result(
        &self,
        request: Request<wire::GetResultRequest>,
    ) -> RpcResult<wire::GetResultResponse> {
        let status = |result: &AwaitedWorkflow| {
            if result.has_ended { StatusCode::OK } else { StatusCode::ACCEPTED }
        };
        let result = self
            .serve_with_status(operation::GET_RESULT, request, status, |api, call| async move {
                let id = path_name("id", &call.message.id)?;
                api.workflow_result(&call.context()?, id, wait(call.message.wait)?).await
            })
            .await?;
        Ok(Response::new(wire::GetResultResponse {
            workflow: Some(message::workflow(result.workflow)),
            ended: result.has_ended,
        }))
    }

    async fn cancel_workflow(
        &self,
        request: Request<wire::CancelWorkflowRequest>,
    ) -> RpcResult<wire::CancelWorkflowResponse> {
        let workflow = self
            .serve(operation::CANCEL_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let wire::CancelWorkflowRequest { id, reason } = call.message;
                api.cancel_workflow(&context, path_name("id", &id)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::CancelWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn compensate_workflow(
        &self,
        request: Request<wire::CompensateWorkflowRequest>,
    ) -> RpcResult<wire::CompensateWorkflowResponse> {
        let workflow = self
            .serve(operation::COMPENSATE_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let wire::CompensateWorkflowRequest { id, reason } = call.message;
                api.compensate_workflow(&context, path_name("id", &id)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::CompensateWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn rerun_workflow(
        &self,
        request: Request<wire::RerunWorkflowRequest>,
    ) -> RpcResult<wire::RerunWorkflowResponse> {
        let workflow = self
            .serve(operation::RERUN_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let effects = match call.message.effects() {
                    wire::RerunEffects::Unspecified | wire::RerunEffects::Undo => None,
                    wire::RerunEffects::Keep => Some("keep".to_owned()),
                };
                let wire::RerunWorkflowRequest { id, step, reason, .. } = call.message;
                let rerun = RerunRequest { step: optional(step), effects, reason: optional(reason) };
                api.rerun_workflow(&context, path_name("id", &id)?, rerun).await
            })
            .await?;
        Ok(Response::new(wire::RerunWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn migrate_workflow(
        &self,
        request: Request<wire::MigrateWorkflowRequest>,
    ) -> RpcResult<wire::MigrateWorkflowResponse> {
        let migrated = self
            .serve(operation::MIGRATE_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let wire::MigrateWorkflowRequest { id, to_version, reason, dry_run } = call.message;
                let migration = MigrationRequest { to_version, reason: optional(reason), dry_run };
                api.migrate_workflow(&context, path_name("id", &id)?, migration).await
            })
            .await?;
        Ok(Response::new(message::migrated(migrated)))
    }

    async fn terminate_workflow(
        &self,
        request: Request<wire::TerminateWorkflowRequest>,
    ) -> RpcResult<wire::TerminateWorkflowResponse> {
        let workflow = self
            .serve(operation::TERMINATE_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let wire::TerminateWorkflowRequest { id, reason } = call.message;
                api.terminate_workflow(&context, path_name("id", &id)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::TerminateWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn pause_workflow(
        &self,
        request: Request<wire::PauseWorkflowRequest>,
    ) -> RpcResult<wire::PauseWorkflowResponse> {
        let workflow = self
            .serve(operation::PAUSE_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let wire::PauseWorkflowRequest { id, reason } = call.message;
                api.pause_workflow(&context, path_name("id", &id)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::PauseWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn resume_workflow(
        &self,
        request: Request<wire::ResumeWorkflowRequest>,
    ) -> RpcResult<wire::ResumeWorkflowResponse> {
        let workflow = self
            .serve(operation::RESUME_WORKFLOW, request, |api, call| async move {
                let context = call.context()?;
                let wire::ResumeWorkflowRequest { id, reason } = call.message;
                api.resume_workflow(&context, path_name("id", &id)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::ResumeWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn signal_workflow(
        &self,
        request: Request<wire::SignalWorkflowRequest>,
    ) -> RpcResult<wire::SignalWorkflowResponse> {
        let workflow = self
            .serve(operation::SIGNAL_WORKFLOW, request, |api, call| async move {
                let mut context = call.context()?.with_idempotency_key(&call.headers)?;
                let wire::SignalWorkflowRequest { id, name, payload_json, idempotency_key } = call.message;
                if let Some(key) = optional(idempotency_key) {
                    context.idempotency_key = Some(key);
                }
                let (id, name) = (path_name("id", &id)?, path_name("name", &name)?);
                let payload = json_field(&api, "payload_json", &payload_json)?.unwrap_or_default();
                api.signal_workflow(&context, id, name, payload).await
            })
            .await?;
        Ok(Response::new(wire::SignalWorkflowResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn retry_step(
        &self,
        request: Request<wire::RetryStepRequest>,
    ) -> RpcResult<wire::RetryStepResponse> {
        let workflow = self
            .serve(operation::RETRY_STEP, request, |api, call| async move {
                let context = call.context()?;
                let wire::RetryStepRequest { id, step, reason } = call.message;
                let (id, step) = (path_name("id", &id)?, path_name("step", &step)?);
                api.retry_step(&context, id, step, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::RetryStepResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn skip_step(&self, request: Request<wire::SkipStepRequest>) -> RpcResult<wire::SkipStepResponse> {
        let workflow = self
            .serve(operation::SKIP_STEP, request, |api, call| async move {
                let context = call.context()?;
                let wire::SkipStepRequest { id, step, reason } = call.message;
                let (id, step) = (path_name("id", &id)?, path_name("step", &step)?);
                api.skip_step(&context, id, step, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::SkipStepResponse { workflow: Some(message::workflow(workflow)) }))
    }

    async fn complete_step(
        &self,
        request: Request<wire::CompleteStepRequest>,
    ) -> RpcResult<wire::CompleteStepResponse> {
        let workflow = self
            .serve(operation::COMPLETE_STEP, request, |api, call| async move {
                let context = call.context()?;
                let wire::CompleteStepRequest { id, step, reason, output_json } = call.message;
                let (id, step) = (path_name("id", &id)?, path_name("step", &step)?);
                let output = json_field(&api, "output_json", &output_json)?;
                api.complete_step(&context, id, step, optional(reason), output).await
            })
            .await?;
        Ok(Response::new(wire::CompleteStepResponse { workflow: Some(message::workflow(workflow)) }))
    }
}
