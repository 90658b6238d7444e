//! `ElectionService`. A campaign and the term that it wins last for as long as their stream.

use super::{GrpcServices, RpcResult, message, operation};
use crate::audit::{StreamRecord, Subject};
use crate::error::NO_LEADER;
use crate::recorded;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::election_service_server::ElectionService;
use std::future::ready;
use std::sync::Arc;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ElectionService for GrpcServices {
    type CampaignStream = BoxStream<'static, Result<wire::CampaignResponse, Status>>;

    async fn campaign(&self, request: Request<wire::CampaignRequest>) -> RpcResult<Self::CampaignStream> {
        let caller = recorded::subject(request.metadata().as_ref(), request.extensions());
        let subject = Subject { action: "elections.campaign".to_owned(), ..caller };
        let target = ("election", request.get_ref().name.clone());
        let events = self
            .serve(operation::CAMPAIGN, request, |api, call| async move {
                let context = call.context()?;
                let wire::CampaignRequest { name, candidate } = call.message;
                api.campaign(&context, name, candidate)
            })
            .await?;
        let mut record = StreamRecord::begin(Arc::clone(&self.api.audit), subject, target);
        let events = events.map(Some).chain(stream::iter([None])).filter_map(move |event| {
            match &event {
                Some(Ok(_)) => {}
                Some(Err(_)) => record.set_reason("the election failed or the gateway is shutting down"),
                None => record.set_reason("the term ended"),
            }
            ready(event.map(|event| event.map(wire::CampaignResponse::from).map_err(Status::from)))
        });
        Ok(Response::new(events.boxed()))
    }

    async fn resign(&self, request: Request<wire::ResignRequest>) -> RpcResult<wire::ResignResponse> {
        let resigned = self
            .serve(operation::RESIGN, request, |api, call| async move {
                let context = call.context()?;
                let wire::ResignRequest { name, fencing_token } = call.message;
                api.resign(&context, name, fencing_token).await
            })
            .await?;
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
        let processes = list.processes.into_iter().map(message::election_process).collect();
        Ok(Response::new(wire::ListElectionsResponse { leaders, moving: list.moving, processes }))
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
