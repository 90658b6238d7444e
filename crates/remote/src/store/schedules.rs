//! Schedules.

use super::{RemoteStore, Repeat, rpc};
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use goconductor_store::{Error, ScheduleStore, StoredSchedule};
use goconductor_wire::internal as wire;

#[async_trait]
impl ScheduleStore for RemoteStore {
    async fn put_schedule(&self, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, Error> {
        let request = wire::PutStoredScheduleRequest { schedule: Some(schedule.clone().into()), replaces };
        let response = self.call(Repeat::Never, rpc!(put_stored_schedule, request)).await?;
        Ok(response.stored)
    }

    async fn schedule(&self, namespace: &str, name: &str) -> Result<Option<StoredSchedule>, Error> {
        let request =
            wire::GetStoredScheduleRequest { namespace: namespace.to_owned(), name: name.to_owned() };
        let response = self.read(rpc!(get_stored_schedule, request)).await?;
        Ok(response.schedule.map(Into::into))
    }

    async fn schedules(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, Error> {
        let after = after.map(str::to_owned);
        let request = wire::ListStoredSchedulesRequest { namespace: namespace.to_owned(), after, limit };
        let response = self.read(rpc!(list_stored_schedules, request)).await?;
        Ok(response.schedules.into_iter().map(Into::into).collect())
    }

    async fn due_schedules(&self, until: Timestamp, limit: u32) -> Result<Vec<StoredSchedule>, Error> {
        let request = wire::ListDueSchedulesRequest { until: until.0, limit };
        let response = self.read(rpc!(list_due_schedules, request)).await?;
        Ok(response.schedules.into_iter().map(Into::into).collect())
    }

    async fn delete_schedule(&self, namespace: &str, name: &str, revision: u64) -> Result<bool, Error> {
        let request = wire::DeleteStoredScheduleRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            revision,
        };
        let response = self.call(Repeat::Never, rpc!(delete_stored_schedule, request)).await?;
        Ok(response.deleted)
    }

    async fn schedule_count(&self, namespace: &str) -> Result<u64, Error> {
        let request = wire::CountStoredSchedulesRequest { namespace: namespace.to_owned() };
        Ok(self.read(rpc!(count_stored_schedules, request)).await?.count)
    }
}
