//! `ServiceService`.

use super::answer::{each, process, service};
use super::{Door, Rest};
use axum::http::Method;
use goconductor_wire::v1::service_service_server::ServiceService;
use goconductor_wire::v1::{self as wire};
use serde_json::json;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ServiceService for Door {
    async fn put_service(
        &self,
        request: Request<wire::PutServiceRequest>,
    ) -> Answer<wire::PutServiceResponse> {
        let wire::PutServiceRequest { name, http_url, max_in_flight } = request.get_ref();
        let mut body = json!({"http": {"url": http_url}});
        if let (Some(fields), true) = (body.as_object_mut(), *max_in_flight > 0) {
            fields.insert("max_in_flight".to_owned(), (*max_in_flight).into());
        }
        let rest = Rest::of(Method::PUT, &["services", name]).json(&body);
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
