//! The same API over gRPC, on the same port.
//!
//! A call is carried out as the REST call that it stands for, by the same handlers: what is allowed, what is
//! refused and with which code can't differ. Here messages become a call, and its answer messages.

mod answer;
mod definitions;
mod elections;
mod locks;
mod queues;
mod refusal;
mod services;
mod workflows;

use crate::App;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use elections::Elections;
use goconductor_wire::v1::definition_service_server::DefinitionServiceServer;
use goconductor_wire::v1::election_service_server::ElectionServiceServer;
use goconductor_wire::v1::lock_service_server::LockServiceServer;
use goconductor_wire::v1::queue_service_server::QueueServiceServer;
use goconductor_wire::v1::service_service_server::ServiceServiceServer;
use goconductor_wire::v1::workflow_service_server::WorkflowServiceServer;
use serde_json::Value;
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Request as Call, Status};
use tower::ServiceExt;

/// How often health is asked of what it depends on.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// An answer that is read at once.
const ANSWER_BYTES: usize = 64 << 20;
/// What a call brings besides its message, as the headers of REST.
const HEADERS: [&str; 3] = ["goconductor-namespace", "goconductor-actor", "idempotency-key"];

/// Carries calls out by the REST API's own handlers.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    rest: Router,
}

/// The gRPC services over the REST API, with health and reflection.
pub(crate) fn routes(rest: Router, app: App, more: impl FnOnce(Routes) -> Routes) -> Router {
    let door = Door { rest };
    // A message has a little more than the JSON in it.
    let bytes = app.limits.body_bytes.saturating_add(64 << 10);
    let (readiness, stop) = (app.readiness.clone(), app.stop.clone());
    let (reporter, health) = tonic_health::server::health_reporter();
    drop(tokio::spawn(async move {
        while !stop.is_cancelled() {
            let status = if readiness.report().await.ready {
                tonic_health::ServingStatus::Serving
            } else {
                tonic_health::ServingStatus::NotServing
            };
            reporter.set_service_status("", status).await;
            // Safe to cancel: a sleep holds nothing.
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    }));
    let mut routes = Routes::new(WorkflowServiceServer::new(door.clone()).max_decoding_message_size(bytes))
        .add_service(DefinitionServiceServer::new(door.clone()).max_decoding_message_size(bytes))
        .add_service(QueueServiceServer::new(door.clone()).max_decoding_message_size(bytes))
        .add_service(ServiceServiceServer::new(door.clone()).max_decoding_message_size(bytes))
        .add_service(LockServiceServer::new(door.clone()).max_decoding_message_size(bytes))
        .add_service(ElectionServiceServer::new(Elections { door, app }).max_decoding_message_size(bytes))
        .add_service(health);
    match tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(goconductor_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
    {
        Ok(reflection) => routes = routes.add_service(reflection),
        Err(error) => tracing::error!(%error, "gRPC reflection is not served"),
    }
    more(routes).into_axum_router()
}

/// One REST call.
pub(crate) struct Rest {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    content_type: &'static str,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

impl Rest {
    /// A read. The parts of a path may be any text.
    pub(crate) fn get(parts: &[&str]) -> Self {
        Self::of(Method::GET, parts)
    }

    pub(crate) fn of(method: Method, parts: &[&str]) -> Self {
        let path: String = parts.iter().flat_map(|part| ["/".to_owned(), escaped(part)]).collect();
        let (query, body, headers) = (Vec::new(), Vec::new(), Vec::new());
        Self { method, path, query, content_type: "application/json", body, headers }
    }

    /// A parameter of the query; one that is empty is left out.
    pub(crate) fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        let value = value.to_string();
        if !value.is_empty() {
            self.query.push((name, value));
        }
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self
    }

    pub(crate) fn text(mut self, content_type: &'static str, body: String) -> Self {
        self.content_type = content_type;
        self.body = body.into_bytes();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A part of a path, or a value of a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Door {
    /// Carries a call out; status and JSON of a success.
    pub(crate) async fn call<T>(&self, call: &Call<T>, rest: Rest) -> Result<(StatusCode, Value), Status> {
        let response = self.send(call, rest).await?;
        let (head, body) = response.into_parts();
        let status = head.status;
        let bytes = axum::body::to_bytes(body, ANSWER_BYTES)
            .await
            .map_err(|error| Status::internal(format!("the answer can't be read: {error}")))?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            Ok((status, body))
        } else {
            Err(refusal::status(status, &head.headers, &body))
        }
    }

    /// Carries a call out; what a success streams.
    pub(crate) async fn send<T>(&self, call: &Call<T>, rest: Rest) -> Result<Response, Status> {
        let query: Vec<String> =
            rest.query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let joint = if query.is_empty() { "" } else { "?" };
        let uri = format!("/api/v1{}{joint}{}", rest.path, query.join("&"));
        let mut request = Request::builder().method(rest.method).uri(uri);
        if !rest.body.is_empty() {
            request = request.header(header::CONTENT_TYPE, rest.content_type);
        }
        for (name, value) in rest.headers {
            request = request.header(name, value);
        }
        for name in HEADERS {
            if let Some(value) = call.metadata().get(name) {
                request = request.header(name, value.as_bytes());
            }
        }
        let request = request
            .body(Body::from(rest.body))
            .map_err(|error| Status::invalid_argument(format!("the call can't be read: {error}")))?;
        match self.rest.clone().oneshot(request).await {
            Ok(response) => Ok(response),
        }
    }
}

/// JSON that a message brings as text; what is empty is absent.
pub(crate) fn json_field(name: &str, text: &str) -> Result<Option<Value>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|error| refusal::malformed(name, &error))
}
