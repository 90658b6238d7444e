//! Paths of the API contract that this release does not implement. Their problem names the feature.

use crate::api::{Api, unsupported};
use axum::Router;
use axum::response::IntoResponse;
use axum::routing::any;

const PATHS: &[(&str, &str)] = &[("/workflows/{id}/signals/{name}", "signals")];

pub(super) fn routes() -> Router<Api> {
    PATHS.iter().fold(Router::new(), |router, (path, feature)| {
        router.route(path, any(move || async move { unsupported(feature).into_response() }))
    })
}
