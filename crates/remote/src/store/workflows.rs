//! Workflows and their histories.

use super::{ReadyBatch, RemoteStore, all, one, rpc};
use async_trait::async_trait;
use goconductor_saga::{Event, WorkflowId};
use goconductor_store::{
    Count, EncodedWorkflow, Error, Field, Filter, ListPage, ListRequest, WorkflowHead, WorkflowStore, Write,
    WriteOutcome,
};
use goconductor_wire::internal as wire;
use goconductor_wire::store::filter::field;
use goconductor_wire::store::{self as codec, id_bytes, parsed};

#[async_trait]
impl WorkflowStore for RemoteStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        self.write_ready(ReadyBatch::new(&batch)?).await
    }

    async fn load_encoded(&self, ids: &[WorkflowId]) -> Result<Vec<Option<EncodedWorkflow>>, Error> {
        let request = wire::LoadRequest { ids: ids.iter().copied().map(id_bytes).collect() };
        let response = self.read(rpc!(load, request)).await?;
        let each = |found: wire::MaybeLoaded| found.workflow.map(|found| one(found.try_into())).transpose();
        response.workflows.into_iter().map(each).collect()
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        let request = wire::HistoryRequest { id: id_bytes(id), after_seq, limit };
        let response = self.read(rpc!(history, request)).await?;
        response.event_jsons.iter().map(|event| one(parsed("an event", event))).collect()
    }

    async fn heads(&self, ids: &[WorkflowId]) -> Result<Vec<WorkflowHead>, Error> {
        let request = wire::SeenRequest { ids: ids.iter().copied().map(id_bytes).collect() };
        all(self.read(rpc!(seen, request)).await?.workflows)
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        let request = wire::ListRequest::from(request);
        one(self.read(rpc!(list, request)).await?.try_into())
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        let (of, label) = field(&by);
        let filter = filter.map(Into::into);
        let request = wire::CountsRequest { namespace: namespace.to_owned(), by: of.into(), label, filter };
        let response = self.read(rpc!(counts, request)).await?;
        let count = |count: wire::Count| Count { by: by.clone(), value: count.value, count: count.count };
        Ok(response.counts.into_iter().map(count).collect())
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        let request = wire::IdsRequest { after: after.map(id_bytes).unwrap_or_default(), limit };
        let response = self.read(rpc!(ids, request)).await?;
        one(codec::ids(&response.ids))
    }
}
