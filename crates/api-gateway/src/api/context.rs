//! The caller of an operation.

use crate::access::{Authorised, AuthorisedNamespace};
use crate::admission::RequestPermit;
use crate::error::{ApiResult, FORBIDDEN, Problem};
use crate::single_header::header_text;
use crate::{request, server_span};
use axum::http::{HeaderMap, HeaderValue};
use goconductor_access::Principal;
use goconductor_saga::{MAX_LABEL_BYTES, Namespace};
use goconductor_service_kit::permission::Permission;
use goconductor_telemetry::trace::SpanContext;
use std::sync::Arc;

/// The caller of an operation and its namespace.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    pub(crate) namespace: AuthorisedNamespace,
    /// The caller. `None` without access control.
    pub(crate) principal: Option<Arc<Principal>>,
    /// The name that the history records.
    pub(crate) actor: Option<String>,
    /// The idempotency key outside the request message: a header or gRPC metadata.
    pub(crate) idempotency_key: Option<String>,
    /// The trace context of the caller.
    pub(crate) trace: Option<SpanContext>,
    /// The request's permit. An operation that only waits releases it in the meantime.
    pub(crate) permit: Option<RequestPermit>,
}

impl CallContext {
    /// Returns the context of a request: what the gate has found, or else the namespace and the actor of the headers or of
    /// the gRPC metadata. A caller that is authenticated cannot choose its name.
    pub(crate) fn new(
        headers: &HeaderMap,
        authorised: Option<&Authorised>,
        permit: Option<RequestPermit>,
    ) -> ApiResult<Self> {
        let actor = header_text(headers, "goconductor-actor")?;
        let (namespace, principal, actor) = match authorised {
            Some(Authorised { principal, namespace }) => {
                (namespace.clone(), Some(Arc::clone(principal)), Some(principal.actor.clone()))
            }
            None => {
                let namespace = AuthorisedNamespace::without_access_control(headers)?;
                (namespace, None, actor.map(str::to_owned))
            }
        };
        request::record_namespace(namespace.as_str());
        let trace = server_span::caller(headers);
        Ok(Self { namespace, principal, actor, idempotency_key: None, trace, permit })
    }

    /// Adds the idempotency key of the headers or of the gRPC metadata.
    pub(crate) fn with_idempotency_key(mut self, headers: &HeaderMap) -> ApiResult<Self> {
        self.idempotency_key = header_text(headers, "idempotency-key")?.map(str::to_owned);
        Ok(self)
    }

    /// Checks a permission besides that of the route. `what` needs it.
    pub(crate) fn require(&self, permission: Permission, what: &str) -> ApiResult<()> {
        let namespace = self.namespace.as_str();
        match &self.principal {
            Some(principal) if !principal.grants.allows(permission, namespace) => {
                let detail = format!(
                    "{what} needs the permission {permission} in the namespace {namespace}: ask an administrator for a \
                     role with it"
                );
                Err(Problem::new(FORBIDDEN, detail))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Returns the namespace for admission control. It has not been validated yet: a text that is too long for a
/// namespace has no share of its own.
pub(crate) fn admission_namespace(headers: &HeaderMap) -> &str {
    let header = headers.get("goconductor-namespace");
    let namespace = header.map_or(Ok(Namespace::DEFAULT), HeaderValue::to_str).unwrap_or_default();
    if namespace.len() <= MAX_LABEL_BYTES { namespace } else { "" }
}
