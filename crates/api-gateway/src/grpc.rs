//! The gRPC API, on the same port as REST.
//!
//! A handler translates messages to an operation of [`Api`] and its view to messages. It decides nothing itself, so
//! a call has the same effect and the same error code as the REST request with the same operation.

mod access_keys;
mod audit;
mod batches;
mod config;
mod definitions;
mod elections;
mod locks;
mod message;
mod operation;
mod queues;
mod reflection;
mod schedules;
mod secrets;
mod services;
mod status;
mod workflows;

pub use reflection::GrpcRoutes;

use crate::access::{self, Authorised};
use crate::admission::{MESSAGE_OVERHEAD, RequestPermit, ResponseHolds};
use crate::api::{Api, CallContext, PageRequest, admission_namespace};
use crate::error::{ApiResult, NO_ROUTE, PARAMETER, Problem};
use crate::{recorded, request};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use futures::FutureExt;
use goconductor_saga::Json;
use goconductor_service_kit::config::MAX_BODY_BYTES;
use goconductor_wire::v1::access_service_server::AccessServiceServer;
use goconductor_wire::v1::audit_service_server::AuditServiceServer;
use goconductor_wire::v1::batch_service_server::BatchServiceServer;
use goconductor_wire::v1::config_service_server::ConfigServiceServer;
use goconductor_wire::v1::definition_service_server::DefinitionServiceServer;
use goconductor_wire::v1::election_service_server::ElectionServiceServer;
use goconductor_wire::v1::lock_service_server::LockServiceServer;
use goconductor_wire::v1::queue_service_server::QueueServiceServer;
use goconductor_wire::v1::schedule_service_server::ScheduleServiceServer;
use goconductor_wire::v1::secret_service_server::SecretServiceServer;
use goconductor_wire::v1::service_service_server::ServiceServiceServer;
use goconductor_wire::v1::workflow_service_server::WorkflowServiceServer;
use operation::RestOperation;
use prost::Message;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// The interval between updates of the health service.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// The largest message that is decoded, regardless of the limit of bodies: the largest payload and its envelope. The
/// middleware refuses messages over that limit before they are decoded, because it can change.
const MAX_MESSAGE: usize = MAX_BODY_BYTES as usize + 2 * MESSAGE_OVERHEAD;

type RpcResult<T> = Result<Response<T>, Status>;

/// The gRPC services.
#[derive(Debug, Clone)]
struct GrpcServices {
    api: Api,
}

/// Builds the router of the gRPC services, `more` services, health and reflection.
pub(crate) fn router(api: Api, more: impl FnOnce(GrpcRoutes) -> GrpcRoutes) -> Router {
    let limit = MAX_MESSAGE;
    let (reporter, health) = tonic_health::server::health_reporter();
    drop(goconductor_supervisor::spawn("grpc-health", report_health(api.clone(), reporter)));
    let gate = api.gate.clone();
    let services = GrpcServices { api };
    let routes = GrpcRoutes::default()
        .add_service(WorkflowServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(DefinitionServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(ConfigServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(QueueServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(ServiceServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(ScheduleServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(SecretServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(LockServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(AccessServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(AuditServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(BatchServiceServer::new(services.clone()).max_decoding_message_size(limit))
        .add_service(ElectionServiceServer::new(services).max_decoding_message_size(limit))
        .add_service(health);
    let router = more(routes).into_router();
    match gate {
        None => router,
        Some(gate) => router.layer(axum::middleware::from_fn_with_state(gate, access::serve_grpc)),
    }
}

/// Copies the readiness of the gateway to the health service until the gateway shuts down.
async fn report_health(api: Api, reporter: tonic_health::server::HealthReporter) {
    while !api.stop.is_cancelled() {
        let status = if api.readiness.report().await.ready {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        reporter.set_service_status("", status).await;
        // Safe to cancel: a sleep has no state.
        tokio::select! {
            () = api.stop.cancelled() => {}
            () = tokio::time::sleep(HEALTH_INTERVAL) => {}
        }
    }
    reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
}

/// An admitted call.
struct AdmittedCall<M> {
    message: M,
    headers: HeaderMap,
    permit: RequestPermit,
    authorised: Option<Authorised>,
}

impl<M> AdmittedCall<M> {
    /// Reads the caller and its namespace from the metadata.
    fn context(&self) -> ApiResult<CallContext> {
        CallContext::new(&self.headers, self.authorised.as_ref(), Some(self.permit.clone()))
    }
}

impl GrpcServices {
    /// Serves a call: applies admission control and the limits of bodies, measures the call and catches panics, like
    /// the middleware of REST.
    async fn serve<M, T, F, Served>(
        &self,
        operation: RestOperation,
        request: Request<M>,
        handler: F,
    ) -> ApiResult<T>
    where
        M: Message,
        T: Send + 'static,
        F: FnOnce(Api, AdmittedCall<M>) -> Served,
        Served: Future<Output = ApiResult<T>> + Send + 'static,
    {
        self.serve_with_status(operation, request, |_| StatusCode::OK, handler).await
    }

    /// As [`serve`](Self::serve). `status` returns the HTTP status that the REST response would have.
    async fn serve_with_status<M, T, F, Served>(
        &self,
        operation: RestOperation,
        request: Request<M>,
        status: fn(&T) -> StatusCode,
        handler: F,
    ) -> ApiResult<T>
    where
        M: Message,
        T: Send + 'static,
        F: FnOnce(Api, AdmittedCall<M>) -> Served,
        Served: Future<Output = ApiResult<T>> + Send + 'static,
    {
        let (metadata, extensions, message) = request.into_parts();
        let headers = metadata.into_headers();
        let served = async {
            let namespace = admission_namespace(&headers);
            self.api.admission.check_rate(&extensions, namespace)?;
            let permit = self.api.admission.admit_request(namespace)?;
            if let Some(holds) = extensions.get::<ResponseHolds>() {
                holds.hold_request(permit.clone());
            }
            let body = operation.has_body().then(|| self.reserve_body(operation, message.encoded_len()));
            let body = body.transpose()?;
            let authorised = extensions.get::<Authorised>().cloned();
            self.api.check_gate(authorised.as_ref())?;
            let RestOperation { method, route } = operation;
            let (target, caller) =
                (|| format!("{method} {route}"), || recorded::subject(&headers, &extensions));
            let recording = recorded::begin(&self.api, method, route, target, caller)?;
            let call = AdmittedCall { message, headers, permit: permit.clone(), authorised };
            let reply = match recording {
                None => handler(self.api.clone(), call).await,
                Some(recording) => recording.rpc(Box::pin(handler(self.api.clone(), call))).await,
            };
            drop((body, permit));
            reply
        };
        let status = |reply: &ApiResult<T>| reply.as_ref().map_or_else(Problem::status, status);
        let observed = request::observed(operation.method, operation.route, served, status);
        match AssertUnwindSafe(observed).catch_unwind().await {
            Ok(reply) => reply,
            Err(panic) => Err(Problem::from_panic(&*panic)),
        }
    }

    /// Reserves the memory of a message. Its size is nearly that of the equivalent REST body.
    fn reserve_body(
        &self,
        operation: RestOperation,
        bytes: usize,
    ) -> ApiResult<crate::admission::BodyPermit> {
        let limit = crate::rest::body_limit(&self.api, Some(operation.route));
        if bytes > limit {
            return Err(Problem::too_large(limit));
        }
        self.api.admission.reserve_body(bytes)
    }
}

/// Returns a name that is part of the path in REST. No path has an empty name.
fn path_name<'m>(field: &str, name: &'m str) -> ApiResult<&'m str> {
    if name.is_empty() {
        return Err(Problem::new(NO_ROUTE, format!("{field} is empty, but it is required")));
    }
    Ok(name)
}

/// Parses a field that holds JSON. An empty field and `null` are `None`.
fn json_field(api: &Api, field: &str, text: &str) -> ApiResult<Option<Json>> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = goconductor_saga::parse_json(text.as_bytes())
        .map_err(|error| Problem::invalid_json(field, field, &error))?;
    // In REST, the value is inside the object of the body.
    api.check_depth(&value, 1)?;
    Ok(Some(value).filter(|value| !value.is_null()))
}

/// Returns a text, unless it is empty.
fn optional(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Returns a number, unless it is 0.
fn optional_number(number: u32) -> Option<u32> {
    Some(number).filter(|number| *number > 0)
}

/// Converts a duration, cut to milliseconds. An absent or negative duration is zero.
fn duration(duration: Option<prost_types::Duration>) -> Duration {
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok()).unwrap_or_default();
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Converts the time of a long poll. An absent time is zero.
fn wait(wait: Option<prost_types::Duration>) -> ApiResult<Duration> {
    if wait.is_some_and(|wait| wait.seconds < 0 || wait.nanos < 0) {
        return Err(Problem::new(PARAMETER, "invalid wait: a duration must not be negative"));
    }
    Ok(duration(wait))
}

fn page(size: u32, token: String) -> PageRequest {
    PageRequest { size: optional_number(size), token: Some(token) }
}
