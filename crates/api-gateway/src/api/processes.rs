//! The processes of the cluster.

use super::Api;
use crate::error::ApiResult;
use crate::time::Time;
use goconductor_saga::Json;
use goconductor_store::Member;
use serde::Serialize;
use utoipa::ToSchema;

/// A running process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProcessView {
    /// Random identity of the process, new at each start.
    pub(crate) instance: String,
    /// `api-gateway`, `state-store`, `saga-executor`, `leader-elector`
    pub(crate) kind: String,
    pub(crate) address: String,
    /// Time at which the process joined the cluster.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Time,
    /// Time of the last heartbeat.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) seen_at: Time,
    /// Further information, such as the services that an executor serves.
    pub(crate) about: Json,
}

/// The running processes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProcessList {
    pub(crate) processes: Vec<ProcessView>,
}

impl Api {
    /// Lists the running processes.
    pub(crate) async fn list_processes(&self) -> ApiResult<ProcessList> {
        let members = self.store().members().await?;
        Ok(ProcessList { processes: members.into_iter().map(view).collect() })
    }
}

fn view(member: Member) -> ProcessView {
    let Member { announcement, since, seen_at } = member;
    ProcessView {
        instance: announcement.instance,
        kind: announcement.kind,
        address: announcement.address,
        since: since.into(),
        seen_at: seen_at.into(),
        about: serde_json::json!(announcement.info),
    }
}
