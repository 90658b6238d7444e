//! `ElectionService`. A campaign and the term that it wins last for as long as their stream.

use super::{GrpcServices, RpcResult, message, operation};
use crate::error::NO_LEADER;
use futures::StreamExt;
use futures::stream::BoxStream;
use goconductor_saga::{MAX_LABEL_BYTES, Namespace};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::election_service_server::ElectionService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ElectionService for GrpcServices {
    type CampaignStream = BoxStream<'static, Result<wire::CampaignResponse, Status>>;

    async fn campaign(&self, request: Request<wire::CampaignRequest>) -> RpcResult<Self::CampaignStream> {
        let namespace = request.metadata().get("goconductor-namespace").and_then(|name| name.to_str().ok());
        let namespace =
            namespace.filter(|name| name.len() <= MAX_LABEL_BYTES).unwrap_or(Namespace::DEFAULT).to_owned();
        let wire::CampaignRequest { name, candidate } = request.into_inner();
        let events = self.api.campaign(&namespace, name, candidate)?;
        Ok(Response::new(events.map(|event| Ok(event?.into())).boxed()))
    }

    async fn resign(&self, request: Request<wire::ResignRequest>) -> RpcResult<wire::ResignResponse> {
        let wire::ResignRequest { name, fencing_token } = request.into_inner();
        let resigned = self.api.resign(name, fencing_token).await?;
        Ok(Response::new(wire::ResignResponse { resigned }))
    }

    async fn observe(&self, request: Request<wire::ObserveRequest>) -> RpcResult<wire::ObserveResponse> {
        let leader =
            self.serve(operation::GET_LEADER, request, |api, call| async move {
                api.leader(&call.message.name).await
            })
            .await;
        let leader = match leader {
            Ok(leader) => Some(message::leader(leader)),
            Err(problem) if problem.is(NO_LEADER) => None,
            Err(problem) => return Err(problem.into()),
        };
        Ok(Response::new(wire::ObserveResponse { leader }))
    }

    async fn list_elections(
        &self,
        request: Request<wire::ListElectionsRequest>,
    ) -> RpcResult<wire::ListElectionsResponse> {
        let list = self
            .serve(operation::LIST_ELECTIONS, request, |api, _| async move { api.list_elections().await })
            .await?;
        let leaders = list.elections.into_iter().map(message::leader).collect();
        Ok(Response::new(wire::ListElectionsResponse { leaders }))
    }

    async fn step_down(&self, request: Request<wire::StepDownRequest>) -> RpcResult<wire::StepDownResponse> {
        let stepped_down = self
            .serve(operation::STEP_DOWN, request, |api, call| async move {
                api.step_down(&call.message.name).await
            })
            .await?;
        Ok(Response::new(wire::StepDownResponse { ended: stepped_down.ended }))
    }
}
