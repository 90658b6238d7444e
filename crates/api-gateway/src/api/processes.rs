//! The processes of the cluster.

use super::{Api, CallContext};
use crate::error::ApiResult;
use crate::time::Time;
use goconductor_saga::Json;
use goconductor_service_kit::permission::Permission;
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
    /// Lists the running processes. A caller without a right to all namespaces sees only the services of its own.
    pub(crate) async fn list_processes(&self, context: &CallContext) -> ApiResult<ProcessList> {
        let mut members = self.store().members().await?;
        let is_limited = context
            .principal
            .as_ref()
            .is_some_and(|principal| !principal.grants.allows_everywhere(Permission::ProcessesRead));
        if is_limited {
            let own = context.namespace.as_str();
            for member in &mut members {
                (member.announcement.info.config, member.announcement.info.queue) = (None, None);
            }
            let served = members.iter_mut().filter_map(|member| member.announcement.info.services.as_mut());
            served.for_each(|services| services.retain(|service| service.namespace == own));
        }
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
