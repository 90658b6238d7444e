//! Schedules.

use super::into_status;
use goconductor_saga::Timestamp;
use goconductor_store::ScheduleStore;
use goconductor_wire::internal as wire;
use goconductor_wire::store::required;
use tonic::Status;

pub(super) async fn put_stored_schedule(
    store: &dyn ScheduleStore,
    request: wire::PutStoredScheduleRequest,
) -> Result<wire::PutStoredScheduleResponse, Status> {
    let schedule = required(request.schedule, "a schedule")?.into();
    let stored = into_status(store.put_schedule(&schedule, request.replaces).await)?;
    Ok(wire::PutStoredScheduleResponse { stored })
}

pub(super) async fn get_stored_schedule(
    store: &dyn ScheduleStore,
    request: wire::GetStoredScheduleRequest,
) -> Result<wire::GetStoredScheduleResponse, Status> {
    let schedule = into_status(store.schedule(&request.namespace, &request.name).await)?;
    Ok(wire::GetStoredScheduleResponse { schedule: schedule.map(Into::into) })
}

pub(super) async fn list_stored_schedules(
    store: &dyn ScheduleStore,
    request: wire::ListStoredSchedulesRequest,
) -> Result<wire::ListStoredSchedulesResponse, Status> {
    let wire::ListStoredSchedulesRequest { namespace, after, limit } = request;
    let schedules = into_status(store.schedules(&namespace, after.as_deref(), limit).await)?;
    Ok(wire::ListStoredSchedulesResponse { schedules: schedules.into_iter().map(Into::into).collect() })
}

pub(super) async fn list_due_schedules(
    store: &dyn ScheduleStore,
    request: wire::ListDueSchedulesRequest,
) -> Result<wire::ListDueSchedulesResponse, Status> {
    let schedules = into_status(store.due_schedules(Timestamp(request.until), request.limit).await)?;
    Ok(wire::ListDueSchedulesResponse { schedules: schedules.into_iter().map(Into::into).collect() })
}

pub(super) async fn delete_stored_schedule(
    store: &dyn ScheduleStore,
    request: wire::DeleteStoredScheduleRequest,
) -> Result<wire::DeleteStoredScheduleResponse, Status> {
    let wire::DeleteStoredScheduleRequest { namespace, name, revision } = request;
    let deleted = into_status(store.delete_schedule(&namespace, &name, revision).await)?;
    Ok(wire::DeleteStoredScheduleResponse { deleted })
}

pub(super) async fn count_stored_schedules(
    store: &dyn ScheduleStore,
    request: wire::CountStoredSchedulesRequest,
) -> Result<wire::CountStoredSchedulesResponse, Status> {
    let count = into_status(store.schedule_count(&request.namespace).await)?;
    Ok(wire::CountStoredSchedulesResponse { count })
}
