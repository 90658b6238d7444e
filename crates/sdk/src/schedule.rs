//! Schedules, which start workflows at due times.

use crate::conductor::Conductor;
use crate::error::Error;
use crate::handle::Handle;
use goconductor_client::{Schedule, ScheduleSpec};

impl Conductor {
    /// Creates or replaces a schedule.
    ///
    /// ```no_run
    /// use goconductor::ScheduleSpec;
    ///
    /// # async fn run(conductor: goconductor::Conductor) -> Result<(), goconductor::Error> {
    /// let spec = ScheduleSpec {
    ///     definition: "report".to_owned(),
    ///     cron: Some("0 3 * * *".to_owned()),
    ///     ..ScheduleSpec::default()
    /// };
    /// let schedule = conductor.put_schedule("nightly", &spec).await?;
    /// println!("{:?}", schedule.next_due);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the definition does not exist, the schedule is invalid, or the gateway cannot be reached.
    pub async fn put_schedule(&self, name: &str, spec: &ScheduleSpec) -> Result<Schedule, Error> {
        Ok(self.client().put_schedule(name, spec, None).await?.value)
    }

    /// Returns a schedule, with the statuses of its newest workflows.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule does not exist or the gateway cannot be reached.
    pub async fn schedule(&self, name: &str) -> Result<Schedule, Error> {
        Ok(self.client().schedule(name).await?.value)
    }

    /// Returns the schedules of the namespace, ordered by name.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the gateway cannot be reached or refuses the call.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        let mut schedules = Vec::new();
        let mut token = String::new();
        loop {
            let token_of_page = Some(token.as_str()).filter(|token| !token.is_empty());
            let page = self.client().schedules(None, token_of_page).await?.value;
            schedules.extend(page.schedules);
            if page.next_page_token.is_empty() {
                return Ok(schedules);
            }
            token = page.next_page_token;
        }
    }

    /// Deletes a schedule. Its workflows continue.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule does not exist or the gateway cannot be reached.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), Error> {
        Ok(self.client().delete_schedule(name).await?)
    }

    /// Pauses a schedule.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule does not exist or the gateway cannot be reached.
    pub async fn pause_schedule(&self, name: &str, reason: &str) -> Result<(), Error> {
        self.client().pause_schedule(name, Some(reason)).await?;
        Ok(())
    }

    /// Resumes a paused schedule. Due times during the pause are skipped.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule does not exist or the gateway cannot be reached.
    pub async fn resume_schedule(&self, name: &str, reason: &str) -> Result<(), Error> {
        self.client().resume_schedule(name, Some(reason)).await?;
        Ok(())
    }

    /// Starts a workflow of a schedule now.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule or its definition does not exist, or the gateway cannot be reached.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Handle, Error> {
        let triggered = self.client().trigger_schedule(name).await?.value;
        Ok(self.workflow(triggered.workflow))
    }

    /// Starts the workflows of the due times of a past range. Both ends are included, as RFC 3339.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule does not exist, the range is invalid, a backfill is in progress, or the
    /// gateway cannot be reached.
    pub async fn backfill_schedule(&self, name: &str, from: &str, until: &str) -> Result<(), Error> {
        self.client().backfill_schedule(name, from, until).await?;
        Ok(())
    }

    /// Returns the next `count` due times of a schedule, as RFC 3339.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the schedule does not exist or the gateway cannot be reached.
    pub async fn due_times(&self, name: &str, count: u32) -> Result<Vec<String>, Error> {
        Ok(self.client().next_due_times(name, count).await?.value.due_times)
    }
}
