//! The gRPC services of a gateway, and reflection that lists exactly these.

use axum::Router;
use axum::response::IntoResponse;
use std::convert::Infallible;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_reflection::server::Builder;
use tower::Service;

/// The name of the reflection service, which reflection lists too.
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

/// The gRPC services of a gateway.
#[derive(Debug, Default, Clone)]
pub struct GrpcRoutes {
    routes: Routes,
    names: Vec<&'static str>,
}

impl GrpcRoutes {
    /// Adds a service.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Adds reflection, and returns the router of all services.
    pub(super) fn into_router(mut self) -> Router {
        let mut builder = Builder::configure()
            .register_encoded_file_descriptor_set(goconductor_wire::API_DESCRIPTORS)
            // The details of a refusal, so that a client without the files can show them as text.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(REFLECTION);
        for name in self.names {
            builder = builder.with_service_name(name);
        }
        match builder.build_v1() {
            Ok(reflection) => self.routes = self.routes.add_service(reflection),
            Err(error) => tracing::error!(%error, "gRPC reflection failed to start"),
        }
        self.routes.into_axum_router()
    }
}
