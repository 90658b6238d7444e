//! The caller of an operation.

use crate::access::{Authorised, AuthorisedNamespace};
use crate::admission::RequestPermit;
use crate::error::{ApiResult, PARAMETER, Problem};
use crate::{request, server_span};
use axum::http::{HeaderMap, HeaderValue};
use goconductor_access::Principal;
use goconductor_saga::{MAX_LABEL_BYTES, Namespace};
use goconductor_telemetry::trace::SpanContext;
use std::sync::Arc;

/// The longest accepted header value, in bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 400;

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
}

/// Returns the namespace for admission control. It has not been validated yet: a text that is too long for a
/// namespace has no share of its own.
pub(crate) fn admission_namespace(headers: &HeaderMap) -> &str {
    let header = headers.get("goconductor-namespace");
    let namespace = header.map_or(Ok(Namespace::DEFAULT), HeaderValue::to_str).unwrap_or_default();
    if namespace.len() <= MAX_LABEL_BYTES { namespace } else { "" }
}

/// Returns the text of a header that may occur once.
pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> ApiResult<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|text| (1..=MAX_HEADER_BYTES).contains(&text.len()));
    match (text, values.next()) {
        (Some(text), None) => Ok(Some(text)),
        (Some(_), Some(_)) => {
            Err(Problem::new(PARAMETER, format!("duplicate header {name}: send it at most once")))
        }
        (None, _) => {
            let detail = format!(
                "invalid header {name}: its value must be 1 to {MAX_HEADER_BYTES} visible ASCII characters"
            );
            Err(Problem::new(PARAMETER, detail))
        }
    }
}
