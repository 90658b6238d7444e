//! Elections: leaders, their terms and campaigns.

use super::{Api, CallContext};
use crate::audit_notes;
use crate::error::{ApiResult, ELECTION, FORBIDDEN, NO_ELECTION, NO_LEADER, PARAMETER, Problem};
use crate::time::Time;
use futures::stream::{Stream, StreamExt};
use goconductor_election::{
    CampaignError, CampaignUpdate, Election, Hosted, Leader, ResignScope, Resignation,
};
use goconductor_saga::NameKind;
use goconductor_service_kit::permission::Permission;
use goconductor_store::{ElectionView, Member};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

/// The prefix of the names of the executors' own elections.
const DUTIES: &str = "duties/";

/// The leader of an election.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeaderView {
    /// Name of the election.
    pub(crate) name: String,
    /// Name of the leader.
    pub(crate) candidate: String,
    /// Fencing token. It is higher than the token of each earlier term of the same election. A resource that the
    /// leader writes to must reject lower tokens than the highest it has seen.
    pub(crate) fencing_token: u64,
    /// Start of the term. Informative: the election does not use it.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Time,
}

/// The elections that have a leader.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ElectionList {
    /// Elections with a leader, ordered by name.
    pub(crate) elections: Vec<LeaderView>,
    /// Whether the election moves to another backend: some processes have not reached the highest era yet. Terms of the
    /// next backend begin when all have.
    pub(crate) moving: bool,
    /// Processes with an election, and the backend that each uses.
    pub(crate) processes: Vec<ElectionProcessView>,
}

/// The election backend of a process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ElectionProcessView {
    /// Identity of the process.
    pub(crate) process: String,
    /// Service of the process, such as `saga-executor`.
    pub(crate) kind: String,
    /// Backend of the election, such as `etcd`.
    pub(crate) backend: String,
    /// Era of the fencing tokens that the process can hold. Its terms of lower eras have ended.
    pub(crate) era: u8,
    /// Reason why the process does not use the newest settings of the election.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// The outcome of a request to step down.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SteppedDown {
    /// Whether a term was ended. `false` if the election had no leader.
    pub(crate) ended: bool,
}

impl Api {
    /// Lists the elections that have a leader.
    pub(crate) async fn list_elections(&self) -> ApiResult<ElectionList> {
        let leaders = self.election()?.list().await?;
        let members = match self.store().members().await {
            Ok(members) => members,
            Err(error) => {
                // The election works without a state store, and so does its list.
                tracing::debug!(%error, "failed to read the processes of the election");
                Vec::new()
            }
        };
        let processes: Vec<ElectionProcessView> = members.into_iter().filter_map(process_view).collect();
        let eras: BTreeSet<u8> = processes.iter().map(|process| process.era).collect();
        let elections = leaders.into_iter().map(view).collect();
        Ok(ElectionList { elections, moving: eras.len() > 1, processes })
    }

    /// Returns the leader of an election.
    pub(crate) async fn leader(&self, name: &str) -> ApiResult<LeaderView> {
        NameKind::Election.check(name)?;
        let leader = self.election()?.observe(name).await?;
        leader.map(view).ok_or_else(|| Problem::new(NO_LEADER, format!("election {name} has no leader")))
    }

    /// Ends the term of the leader of an election.
    pub(crate) async fn step_down(&self, name: &str) -> ApiResult<SteppedDown> {
        audit_notes::target("election", name);
        NameKind::Election.check(name)?;
        Ok(SteppedDown { ended: self.election()?.step_down(name).await? })
    }

    /// Campaigns in an election for as long as the returned stream exists. The stream counts among the waiting
    /// callers of the namespace, and the term belongs to the credential of the caller.
    pub(crate) fn campaign(
        &self,
        context: &CallContext,
        name: String,
        candidate: String,
    ) -> ApiResult<impl Stream<Item = ApiResult<CampaignUpdate>> + Send + use<>> {
        NameKind::Election.check(&name)?;
        NameKind::Candidate.check(&candidate)?;
        if name.starts_with(DUTIES) {
            let detail = format!(
                "invalid election name {name:?}: names that begin with {DUTIES} are reserved for executors"
            );
            return Err(Problem::new(PARAMETER, detail));
        }
        if self.stop.is_cancelled() {
            return Err(CampaignError::ShuttingDown.into());
        }
        let hosted = self.hosted()?;
        let permit = self.admission.admit_waiting(context.namespace.as_str(), context.permit.as_ref())?;
        let owner = context.principal.as_ref().map(|principal| principal.credential.to_string());
        let events = hosted.campaign(name, candidate, owner, self.stop.clone().cancelled_owned());
        Ok(ReceiverStream::new(events).map(move |event| {
            let _permit = &permit;
            event.map_err(Problem::from)
        }))
    }

    /// Ends a term that was won through this gateway. Returns whether it was. With access control, the caller must be
    /// the owner of the term or have the permission to operate elections.
    pub(crate) async fn resign(
        &self,
        context: &CallContext,
        name: String,
        fencing_token: u64,
    ) -> ApiResult<bool> {
        audit_notes::target("election", &name);
        NameKind::Election.check(&name)?;
        let principal = context.principal.as_deref();
        let namespace = context.namespace.as_str();
        let credential = principal
            .filter(|principal| !principal.grants.allows(Permission::ElectionsOperate, namespace))
            .map(|principal| principal.credential.to_string());
        let scope = credential.as_deref().map_or(ResignScope::All, ResignScope::Owner);
        match self.hosted()?.resign(name, fencing_token, scope).await {
            Resignation::Ended => Ok(true),
            Resignation::Unknown => Ok(false),
            Resignation::NotOwner => {
                let detail = format!(
                    "the term belongs to another credential: resign with the credential that campaigned, or with one \
                     that has the permission {}",
                    Permission::ElectionsOperate
                );
                Err(Problem::new(FORBIDDEN, detail))
            }
        }
    }

    fn election(&self) -> ApiResult<&Arc<dyn Election>> {
        Ok(self.hosted()?.election())
    }

    fn hosted(&self) -> ApiResult<&Arc<Hosted>> {
        // Without queues that connect processes, all services run in this process, and so does the election.
        let is_configured = self.queues.is_none() || self.config.current().election.connects_processes();
        self.hosted.as_ref().filter(|_| is_configured).ok_or_else(|| {
            let detail = "this gateway has no election: set election.electors to the leader electors, or \
                          election.backend to a backend";
            Problem::new(NO_ELECTION, detail)
        })
    }
}

impl From<CampaignError> for Problem {
    fn from(refusal: CampaignError) -> Self {
        match refusal {
            CampaignError::ShuttingDown => {
                Self::new(ELECTION, "the gateway is shutting down: campaign through another gateway")
            }
            CampaignError::Failed(error) => error.into(),
        }
    }
}

fn process_view(member: Member) -> Option<ElectionProcessView> {
    let announcement = member.announcement;
    let ElectionView { backend, era, error, .. } = announcement.info.election?;
    Some(ElectionProcessView { process: announcement.instance, kind: announcement.kind, backend, era, error })
}

fn view(leader: Leader) -> LeaderView {
    LeaderView {
        name: leader.name,
        candidate: leader.candidate,
        fencing_token: leader.token.0,
        since: Time::from_millis(leader.since_ms),
    }
}
