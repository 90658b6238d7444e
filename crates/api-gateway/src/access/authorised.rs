//! The caller of a request and the namespace that it may use.

use crate::error::ApiResult;
use crate::single_header::header_text;
use axum::http::HeaderMap;
use goconductor_access::Principal;
use goconductor_saga::Namespace;
use std::ops::Deref;
use std::sync::Arc;

/// The namespace of a request, once the caller is known to be allowed to use it. Only this module creates one, so a
/// namespace from anywhere else in a request cannot take its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthorisedNamespace(Namespace);

impl AuthorisedNamespace {
    /// Reads the namespace of the headers without access control, where every namespace may be used.
    pub(crate) fn without_access_control(headers: &HeaderMap) -> ApiResult<Self> {
        requested(headers).map(Self)
    }
}

impl Deref for AuthorisedNamespace {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.0
    }
}

/// The result of the check of a request, in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Authorised {
    pub(crate) principal: Arc<Principal>,
    pub(crate) namespace: AuthorisedNamespace,
}

impl Authorised {
    /// Creates the result for a namespace that the gate has checked.
    pub(super) fn new(principal: Arc<Principal>, namespace: Namespace) -> Self {
        Self { principal, namespace: AuthorisedNamespace(namespace) }
    }
}

/// Reads the namespace of the headers, or of gRPC metadata.
pub(super) fn requested(headers: &HeaderMap) -> ApiResult<Namespace> {
    let namespace = header_text(headers, "goconductor-namespace")?;
    Ok(namespace.map(str::parse::<Namespace>).transpose()?.unwrap_or_default())
}
