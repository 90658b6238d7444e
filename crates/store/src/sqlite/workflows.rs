//! The part of the port for workflows.

use super::{SqliteStore, batch, read, rows};
use crate::{
    Count, EncodedWorkflow, Error, Field, Filter, ListPage, ListRequest, WorkflowHead, WorkflowStore, Write,
    WriteOutcome,
};
use async_trait::async_trait;
use goconductor_saga::{Event, WorkflowId};

#[async_trait]
impl WorkflowStore for SqliteStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        self.write_job(move |connection| batch.iter().map(|write| batch::write(connection, write)).collect())
            .await
    }

    async fn load_encoded(&self, ids: &[WorkflowId]) -> Result<Vec<Option<EncodedWorkflow>>, Error> {
        let ids = ids.to_vec();
        self.read(move |connection| ids.into_iter().map(|id| rows::read_one(connection, id)).collect()).await
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        self.read(move |connection| read::history(connection, id, after_seq, limit)).await
    }

    async fn heads(&self, ids: &[WorkflowId]) -> Result<Vec<WorkflowHead>, Error> {
        let ids = ids.to_vec();
        self.read(move |connection| read::heads(connection, &ids)).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        let request = request.clone();
        self.read(move |connection| read::list(connection, &request)).await
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        let (namespace, filter) = (namespace.to_owned(), filter.cloned());
        self.read(move |connection| read::counts(connection, &namespace, &by, filter.as_ref())).await
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        self.read(move |connection| read::ids(connection, after, limit)).await
    }
}
