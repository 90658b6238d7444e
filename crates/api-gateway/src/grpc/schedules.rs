//! `ScheduleService`.

mod message;

use super::{GrpcServices, RpcResult, json_field, operation, optional, optional_number, page, path_name};
use crate::api::Api;
use crate::api::schedules::{ScheduleFields, invalid};
use crate::error::ApiResult;
use goconductor_saga::Timestamp;
use goconductor_schedule::Overlap;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::schedule_service_server::ScheduleService;
use std::time::Duration;
use tonic::{Request, Response};

#[tonic::async_trait]
impl ScheduleService for GrpcServices {
    async fn put_schedule(
        &self,
        request: Request<wire::PutScheduleRequest>,
    ) -> RpcResult<wire::PutScheduleResponse> {
        let put = self
            .serve(operation::PUT_SCHEDULE, request, |api, call| async move {
                let context = call.context()?;
                let wire::PutScheduleRequest { name, spec, if_generation } = call.message;
                let spec = fields(&api, spec.unwrap_or_default())?.spec()?;
                api.put_schedule(&context, path_name("name", &name)?, spec, if_generation).await
            })
            .await?;
        let response = wire::PutScheduleResponse {
            schedule: Some(message::schedule(put.schedule)),
            created: put.is_new,
        };
        Ok(Response::new(response))
    }

    async fn get_schedule(
        &self,
        request: Request<wire::GetScheduleRequest>,
    ) -> RpcResult<wire::GetScheduleResponse> {
        let view = self
            .serve(operation::GET_SCHEDULE, request, |api, call| async move {
                let context = call.context()?;
                api.schedule(&context, path_name("name", &call.message.name)?).await
            })
            .await?;
        Ok(Response::new(wire::GetScheduleResponse { schedule: Some(message::schedule(view)) }))
    }

    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> RpcResult<wire::ListSchedulesResponse> {
        let list = self
            .serve(operation::LIST_SCHEDULES, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListSchedulesRequest { page_size, page_token } = call.message;
                api.list_schedules(&context, &page(page_size, page_token)).await
            })
            .await?;
        let schedules = list.schedules.into_iter().map(message::schedule).collect();
        Ok(Response::new(wire::ListSchedulesResponse { schedules, next_page_token: list.next_page_token }))
    }

    async fn delete_schedule(
        &self,
        request: Request<wire::DeleteScheduleRequest>,
    ) -> RpcResult<wire::DeleteScheduleResponse> {
        self.serve(operation::DELETE_SCHEDULE, request, |api, call| async move {
            let context = call.context()?;
            let wire::DeleteScheduleRequest { name, if_generation } = call.message;
            api.delete_schedule(&context, path_name("name", &name)?, if_generation).await
        })
        .await?;
        Ok(Response::new(wire::DeleteScheduleResponse {}))
    }

    async fn pause_schedule(
        &self,
        request: Request<wire::PauseScheduleRequest>,
    ) -> RpcResult<wire::PauseScheduleResponse> {
        let view = self
            .serve(operation::PAUSE_SCHEDULE, request, |api, call| async move {
                let context = call.context()?;
                let wire::PauseScheduleRequest { name, reason } = call.message;
                api.pause_schedule(&context, path_name("name", &name)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::PauseScheduleResponse { schedule: Some(message::schedule(view)) }))
    }

    async fn resume_schedule(
        &self,
        request: Request<wire::ResumeScheduleRequest>,
    ) -> RpcResult<wire::ResumeScheduleResponse> {
        let view = self
            .serve(operation::RESUME_SCHEDULE, request, |api, call| async move {
                let context = call.context()?;
                let wire::ResumeScheduleRequest { name, reason } = call.message;
                api.resume_schedule(&context, path_name("name", &name)?, optional(reason)).await
            })
            .await?;
        Ok(Response::new(wire::ResumeScheduleResponse { schedule: Some(message::schedule(view)) }))
    }

    async fn trigger_schedule(
        &self,
        request: Request<wire::TriggerScheduleRequest>,
    ) -> RpcResult<wire::TriggerScheduleResponse> {
        let triggered = self
            .serve(operation::TRIGGER_SCHEDULE, request, |api, call| async move {
                let context = call.context()?.with_idempotency_key(&call.headers)?;
                let name = path_name("name", &call.message.name)?;
                // The future of a start is large.
                Box::pin(api.trigger_schedule(&context, name)).await
            })
            .await?;
        let time = Some(super::message::timestamp(triggered.time));
        Ok(Response::new(wire::TriggerScheduleResponse { workflow_id: triggered.workflow, time }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<wire::BackfillScheduleRequest>,
    ) -> RpcResult<wire::BackfillScheduleResponse> {
        let view = self
            .serve(operation::BACKFILL_SCHEDULE, request, |api, call| async move {
                let context = call.context()?;
                let wire::BackfillScheduleRequest { name, from, until } = call.message;
                let required = |time, pointer| {
                    micros(time, pointer)?.ok_or_else(|| invalid(pointer, "the time is missing: set it"))
                };
                let (from, until) = (required(from, "/from")?, required(until, "/until")?);
                api.backfill_schedule(&context, path_name("name", &name)?, from, until).await
            })
            .await?;
        Ok(Response::new(wire::BackfillScheduleResponse { schedule: Some(message::schedule(view)) }))
    }

    async fn list_due_times(
        &self,
        request: Request<wire::ListDueTimesRequest>,
    ) -> RpcResult<wire::ListDueTimesResponse> {
        let next = self
            .serve(operation::LIST_DUE_TIMES, request, |api, call| async move {
                let context = call.context()?;
                let wire::ListDueTimesRequest { name, count } = call.message;
                api.next_due_times(&context, path_name("name", &name)?, optional_number(count)).await
            })
            .await?;
        let due_times = next.due_times.into_iter().map(super::message::timestamp).collect();
        Ok(Response::new(wire::ListDueTimesResponse { due_times }))
    }
}

fn fields(api: &Api, spec: wire::ScheduleSpec) -> ApiResult<ScheduleFields> {
    let overlap = match spec.overlap() {
        wire::ScheduleOverlap::Unspecified | wire::ScheduleOverlap::Skip => Overlap::Skip,
        wire::ScheduleOverlap::BufferOne => Overlap::BufferOne,
        wire::ScheduleOverlap::Allow => Overlap::Allow,
        wire::ScheduleOverlap::CancelOther => Overlap::CancelOther,
    };
    Ok(ScheduleFields {
        version: optional_number(spec.version),
        every: duration(spec.every, "/every")?,
        anchor: micros(spec.anchor, "/anchor")?,
        overlap,
        catch_up: duration(spec.catch_up, "/catch_up")?,
        input: json_field(api, "input_json", &spec.input_json)?,
        definition: spec.definition,
        cron: optional(spec.cron),
        timezone: optional(spec.timezone),
        labels: spec.labels.into_iter().collect(),
    })
}

fn duration(duration: Option<prost_types::Duration>, pointer: &str) -> ApiResult<Option<Duration>> {
    let checked = |duration| {
        Duration::try_from(duration).map_err(|_| invalid(pointer, "a duration must not be negative"))
    };
    duration.map(checked).transpose()
}

fn micros(time: Option<prost_types::Timestamp>, pointer: &str) -> ApiResult<Option<Timestamp>> {
    let checked = |time: prost_types::Timestamp| {
        let seconds = time.seconds.checked_mul(1_000_000);
        let micros = seconds.and_then(|micros| micros.checked_add(i64::from(time.nanos) / 1000));
        micros.map(Timestamp).ok_or_else(|| invalid(pointer, "the time is out of range"))
    };
    time.map(checked).transpose()
}
