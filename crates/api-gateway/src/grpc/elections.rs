//! `ElectionService`, for anybody who wants one of several to lead. Looking and stepping down are as in REST; a
//! candidacy and a term last for as long as their stream is held.

use super::answer::{each, leader};
use super::{Door, Rest, refusal};
use crate::App;
use crate::error::{ELECTION, NO_LEADER, PARAMETER, Problem};
use crate::routes::elections::{checked, no_election};
use axum::http::Method;
use futures::StreamExt;
use futures::stream::BoxStream;
use goconductor_election::{Hosted, Refusal};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::election_service_server::ElectionService;
use serde_json::Value;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// The elections of this gateway.
#[derive(Debug, Clone)]
pub(super) struct Elections {
    pub(super) door: Door,
    pub(super) app: App,
}

/// What the names of the executors' own elections begin with.
const DUTIES: &str = "duties/";

impl Elections {
    fn hosted(&self) -> Result<&Arc<Hosted>, Status> {
        self.app.hosted.as_ref().ok_or_else(|| refusal::of(no_election()))
    }
}

fn ended(refusal: Refusal) -> Status {
    refusal::of(match refusal {
        Refusal::Ending => Problem::new(ELECTION, "the gateway ends: stand at another one"),
        Refusal::Failed(error) => error.into(),
    })
}

#[tonic::async_trait]
impl ElectionService for Elections {
    type CampaignStream = BoxStream<'static, Result<wire::CampaignResponse, Status>>;

    async fn campaign(&self, request: Request<wire::CampaignRequest>) -> Answer<Self::CampaignStream> {
        let namespace = request.metadata().get("goconductor-namespace").and_then(|name| name.to_str().ok());
        let namespace = namespace.filter(|name| name.len() < 64).unwrap_or("default").to_owned();
        let wire::CampaignRequest { name, candidate } = request.into_inner();
        let name = checked(name, "an election's name").map_err(refusal::of)?;
        let candidate = checked(candidate, "a candidate's name").map_err(refusal::of)?;
        if name.starts_with(DUTIES) {
            let detail = format!("names that begin with {DUTIES} are those of executors: choose another");
            return Err(refusal::of(Problem::new(PARAMETER, detail)));
        }
        if self.app.stop.is_cancelled() {
            return Err(ended(Refusal::Ending));
        }
        // It waits, and is counted among those who do.
        let place = self.app.admission.wait(&namespace, None).map_err(refusal::of)?;
        let told = self.hosted()?.stand(name, candidate, self.app.stop.clone().cancelled_owned());
        let told = ReceiverStream::new(told).map(move |told| {
            let _place = &place;
            told.map(Into::into).map_err(ended)
        });
        Ok(Response::new(told.boxed()))
    }

    async fn resign(&self, request: Request<wire::ResignRequest>) -> Answer<wire::ResignResponse> {
        let wire::ResignRequest { name, fencing_token } = request.into_inner();
        let resigned = self.hosted()?.resign(name, fencing_token).await;
        Ok(Response::new(wire::ResignResponse { resigned }))
    }

    async fn observe(&self, request: Request<wire::ObserveRequest>) -> Answer<wire::ObserveResponse> {
        let name = checked(request.get_ref().name.clone(), "an election's name").map_err(refusal::of)?;
        let rest = Rest::get(&["elections", &name]);
        let leader = match self.door.call(&request, rest).await {
            Ok((_, body)) => Some(leader(&body)),
            // Nobody leads: that is an answer here.
            Err(status) if refusal::code(&status).as_deref() == Some(NO_LEADER.code) => None,
            Err(status) => return Err(status),
        };
        Ok(Response::new(wire::ObserveResponse { leader }))
    }

    async fn list_elections(
        &self,
        request: Request<wire::ListElectionsRequest>,
    ) -> Answer<wire::ListElectionsResponse> {
        let (_, body) = self.door.call(&request, Rest::get(&["elections"])).await?;
        let leaders = each(&body, "elections").map(leader).collect();
        Ok(Response::new(wire::ListElectionsResponse { leaders }))
    }

    async fn step_down(&self, request: Request<wire::StepDownRequest>) -> Answer<wire::StepDownResponse> {
        let name = checked(request.get_ref().name.clone(), "an election's name").map_err(refusal::of)?;
        let rest = Rest::of(Method::POST, &["elections", &name, "step-down"]);
        let (_, body) = self.door.call(&request, rest).await?;
        let ended = body.get("ended").and_then(Value::as_bool).unwrap_or(false);
        Ok(Response::new(wire::StepDownResponse { ended }))
    }
}
