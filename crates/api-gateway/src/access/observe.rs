//! The one place that sees every refused request, and the result of every request that may change something.

use axum::http::StatusCode;
use goconductor_access::Principal;
use goconductor_service_kit::permission::Permission;

/// A refused request, or the result of a request that may change something.
#[derive(Debug)]
pub(crate) struct Observation<'a> {
    /// The caller. `None` if the request was not authenticated.
    pub(crate) principal: Option<&'a Principal>,
    /// The permission that the request needs. `None` if no route matched.
    pub(crate) permission: Option<Permission>,
    /// The method of the request, or `gRPC`.
    pub(crate) method: &'a str,
    /// The path of the request.
    pub(crate) target: &'a str,
    /// The namespace. `None` if the request was refused before it was known.
    pub(crate) namespace: Option<&'a str>,
    /// The HTTP status of the response, or the one that the status of gRPC corresponds to.
    pub(crate) status: StatusCode,
    /// Whether access control refused the request.
    pub(crate) is_refused: bool,
}

/// Records an observation.
pub(crate) fn observe(observation: &Observation<'_>) {
    let Observation { principal, permission, method, target, namespace, status, is_refused } = observation;
    tracing::debug!(
        actor = principal.map_or("anonymous", |principal| principal.actor.as_str()),
        permission = permission.map_or("none", Permission::as_str),
        method,
        target,
        namespace,
        status = status.as_u16(),
        is_refused,
        "access was checked"
    );
}
