//! `ServiceService`.

use super::{GrpcServices, RpcResult, message, operation, optional, optional_number, path_name};
use crate::api::services::PutService;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::service_service_server::ServiceService;
use std::collections::BTreeMap;
use tonic::{Request, Response};

#[tonic::async_trait]
impl ServiceService for GrpcServices {
    async fn put_service(
        &self,
        request: Request<wire::PutServiceRequest>,
    ) -> RpcResult<wire::PutServiceResponse> {
        let service = self
            .serve(operation::PUT_SERVICE, request, |api, call| async move {
                path_name("name", &call.message.name)?;
                let context = call.context()?;
                let wire::PutServiceRequest {
                    name,
                    http_url,
                    http_headers,
                    max_in_flight,
                    max_in_flight_by_action,
                } = call.message;
                let limits: BTreeMap<_, _> = max_in_flight_by_action.into_iter().collect();
                let put = PutService {
                    name,
                    http_url: optional(http_url),
                    http_headers: http_headers.into_iter().collect(),
                    max_in_flight: optional_number(max_in_flight),
                    max_in_flight_by_action: Some(limits).filter(|limits| !limits.is_empty()),
                };
                api.put_service(&context, put).await
            })
            .await?;
        Ok(Response::new(wire::PutServiceResponse { service: Some(message::service(service)) }))
    }

    async fn get_service(
        &self,
        request: Request<wire::GetServiceRequest>,
    ) -> RpcResult<wire::GetServiceResponse> {
        let service = self
            .serve(operation::GET_SERVICE, request, |api, call| async move {
                let name = path_name("name", &call.message.name)?;
                api.service(&call.context()?, name).await
            })
            .await?;
        Ok(Response::new(wire::GetServiceResponse { service: Some(message::service(service)) }))
    }

    async fn delete_service(
        &self,
        request: Request<wire::DeleteServiceRequest>,
    ) -> RpcResult<wire::DeleteServiceResponse> {
        let deleted = self
            .serve(operation::DELETE_SERVICE, request, |api, call| async move {
                let name = path_name("name", &call.message.name)?;
                api.delete_service(&call.context()?, name).await
            })
            .await?;
        Ok(Response::new(message::deleted_service(deleted)))
    }

    async fn list_services(
        &self,
        request: Request<wire::ListServicesRequest>,
    ) -> RpcResult<wire::ListServicesResponse> {
        let list = self
            .serve(operation::LIST_SERVICES, request, |api, call| async move {
                api.list_services(&call.context()?).await
            })
            .await?;
        let services = list.services.into_iter().map(message::service).collect();
        Ok(Response::new(wire::ListServicesResponse { services }))
    }

    async fn list_processes(
        &self,
        request: Request<wire::ListProcessesRequest>,
    ) -> RpcResult<wire::ListProcessesResponse> {
        let list = self
            .serve(operation::LIST_PROCESSES, request, |api, call| async move {
                api.list_processes(&call.context()?).await
            })
            .await?;
        let processes = list.processes.into_iter().map(message::process).collect();
        Ok(Response::new(wire::ListProcessesResponse { processes }))
    }
}
