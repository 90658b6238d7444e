//! Members, fencing tokens, configuration entries and the clock.

use super::{encoded, into_status};
use goconductor_store::ClusterStore;
use goconductor_wire::internal as wire;
use goconductor_wire::store::{parsed, required};
use tonic::Status;

pub(super) async fn raise_epoch(
    store: &dyn ClusterStore,
    request: wire::RaiseEpochRequest,
) -> Result<wire::RaiseEpochResponse, Status> {
    let epoch = into_status(store.raise_epoch(&request.name).await)?;
    Ok(wire::RaiseEpochResponse { epoch })
}

pub(super) async fn agreement(
    store: &dyn ClusterStore,
    request: wire::AgreementRequest,
) -> Result<wire::AgreementResponse, Status> {
    let found = into_status(store.config_entry(&request.name).await)?;
    let agreed = found.as_ref().map(TryInto::try_into).transpose();
    encoded(agreed.map(|agreed| wire::AgreementResponse { agreed }))
}

pub(super) async fn agree(
    store: &dyn ClusterStore,
    request: wire::AgreeRequest,
) -> Result<wire::AgreeResponse, Status> {
    let wire::AgreeRequest { name, revision, value_json } = request;
    let value = parsed("a configuration entry", &value_json)?;
    let agreed = into_status(store.compare_and_set(&name, revision, &value).await)?;
    let agreed = agreed.as_ref().map(TryInto::try_into).transpose();
    encoded(agreed.map(|agreed| wire::AgreeResponse { agreed }))
}

pub(super) async fn announce(
    store: &dyn ClusterStore,
    request: wire::AnnounceRequest,
) -> Result<wire::AnnounceResponse, Status> {
    let member = required(request.member, "a member")?;
    into_status(store.announce(&member.try_into()?).await)?;
    Ok(wire::AnnounceResponse {})
}

pub(super) async fn members(
    store: &dyn ClusterStore,
    _: wire::MembersRequest,
) -> Result<wire::MembersResponse, Status> {
    let members = into_status(store.members().await)?;
    let members: Result<_, _> = members.iter().map(TryInto::try_into).collect();
    encoded(members.map(|members| wire::MembersResponse { members }))
}

pub(super) async fn now(store: &dyn ClusterStore, _: wire::NowRequest) -> Result<wire::NowResponse, Status> {
    Ok(wire::NowResponse { now: into_status(store.now().await)?.0 })
}

pub(super) async fn check(
    store: &dyn ClusterStore,
    _: wire::CheckRequest,
) -> Result<wire::CheckResponse, Status> {
    into_status(store.check().await)?;
    Ok(wire::CheckResponse {})
}
