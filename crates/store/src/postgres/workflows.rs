//! The part of the port for workflows.

use super::{PostgresStore, batch, read, retry_conflicts, rows};
use crate::{
    Count, EncodedWorkflow, Error, Field, Filter, ListPage, ListRequest, WorkflowHead, WorkflowStore, Write,
    WriteOutcome,
};
use async_trait::async_trait;
use goconductor_saga::{Event, WorkflowId};

#[async_trait]
impl WorkflowStore for PostgresStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        retry_conflicts!(self.write_once(&batch).await)
    }

    async fn load_encoded(&self, ids: &[WorkflowId]) -> Result<Vec<Option<EncodedWorkflow>>, Error> {
        rows::read(&mut *self.connection().await?, ids).await
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        read::history(&mut *self.connection().await?, id, after_seq, limit).await
    }

    async fn heads(&self, ids: &[WorkflowId]) -> Result<Vec<WorkflowHead>, Error> {
        read::heads(&mut *self.connection().await?, ids).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        read::list(&mut *self.connection().await?, request).await
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        read::counts(&mut *self.connection().await?, namespace, &by, filter).await
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        read::ids(&mut *self.connection().await?, after, limit).await
    }
}

impl PostgresStore {
    async fn write_once(&self, batch: &[Write]) -> Result<Vec<WriteOutcome>, Error> {
        let (mut writer, permit) = self.writers.acquire().await?;
        let outcomes = batch::write(&mut writer.connection, batch).await?;
        self.writers.release(writer);
        drop(permit);
        Ok(outcomes)
    }
}
