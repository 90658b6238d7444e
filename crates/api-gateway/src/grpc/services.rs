//! `ServiceService`.

use super::answer::{each, process, service};
use super::{Door, Rest};
use axum::http::Method;
use goconductor_wire::v1::service_service_server::ServiceService;
use goconductor_wire::v1::{self as wire};
use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ServiceService for Door {
    async fn put_service(
        &self,
        request: Request<wire::PutServiceRequest>,
    ) -> Answer<wire::PutServiceResponse> {
        let wire::PutServiceRequest { name, http_url, max_in_flight, max_in_flight_by_action } =
            request.get_ref();
        let mut body = Map::new();
        if !http_url.is_empty() {
            body.insert("http".to_owned(), json!({"url": http_url}));
        }
        if *max_in_flight > 0 {
            body.insert("max_in_flight".to_owned(), (*max_in_flight).into());
        }
        if !max_in_flight_by_action.is_empty() {
            let limit = |(name, limit): (&String, &u32)| (name.clone(), json!({"max_in_flight": limit}));
            let actions: Map<String, Value> = max_in_flight_by_action.iter().map(limit).collect();
            body.insert("actions".to_owned(), actions.into());
        }
        let rest = Rest::of(Method::PUT, &["services", name]).json(&body.into());
        let (_, body) = self.call(&request, rest).await?;
        Ok(Response::new(wire::PutServiceResponse { service: Some(service(&body)) }))
    }

    async fn get_service(
        &self,
        request: Request<wire::GetServiceRequest>,
    ) -> Answer<wire::GetServiceResponse> {
        let (_, body) = self.call(&request, Rest::get(&["services", &request.get_ref().name])).await?;
        Ok(Response::new(wire::GetServiceResponse { service: Some(service(&body)) }))
    }

    async fn list_services(
        &self,
        request: Request<wire::ListServicesRequest>,
    ) -> Answer<wire::ListServicesResponse> {
        let (_, body) = self.call(&request, Rest::get(&["services"])).await?;
        let services = each(&body, "services").map(service).collect();
        Ok(Response::new(wire::ListServicesResponse { services }))
    }

    async fn list_processes(
        &self,
        request: Request<wire::ListProcessesRequest>,
    ) -> Answer<wire::ListProcessesResponse> {
        let (_, body) = self.call(&request, Rest::get(&["processes"])).await?;
        let processes = each(&body, "processes").map(process).collect();
        Ok(Response::new(wire::ListProcessesResponse { processes }))
    }
}
