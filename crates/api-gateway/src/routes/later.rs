//! What the API has and this release does not: refused with what it is, rather than as a path unknown.

use crate::App;
use crate::error::{LATER, Problem};
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::any;

const PATHS: &[(&str, &str)] = &[
    ("/workflows/{id}/signals/{name}", "signals"),
    ("/config", "dynamic settings"),
    ("/config/{what}", "dynamic settings"),
    ("/secrets", "secrets"),
    ("/secrets/{name}", "secrets"),
];

pub(super) fn routes() -> Router<App> {
    PATHS.iter().fold(Router::new(), |router, (path, what)| {
        router.route(path, any(move || async move { refused(what) }))
    })
}

fn refused(what: &str) -> Response {
    Problem::new(LATER, format!("{what} are not supported yet: they come with a later release"))
        .into_response()
}
