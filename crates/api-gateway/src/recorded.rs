//! Serving of requests that are recorded.
//!
//! Such a request is served in a task of its own: a client that closes its connection must not prevent the record of what
//! it has done.

use crate::access::Authorised;
use crate::api::Api;
use crate::audit::{ANONYMOUS, Frequency, Subject, action_name, peer_address};
use crate::audit_notes::{Notes, scope};
use crate::error::{ApiResult, Problem};
use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use goconductor_saga::Namespace;
use tracing::Instrument;

/// Returns how often a kind of request occurs. `None` if it changes nothing, so that it is not recorded.
pub(crate) fn frequency(method: &str, route: &str) -> Option<Frequency> {
    if matches!(method, "GET" | "HEAD" | "OPTIONS") {
        return None;
    }
    let path = route.strip_prefix("/api/v1/")?;
    let is_of_application = path == "workflows"
        || path.starts_with("locks/")
        || path.contains("/signals/")
        || path.ends_with("/campaign");
    Some(if is_of_application { Frequency::Application } else { Frequency::Operator })
}

/// Serves a REST request, and records it if it may change something.
pub(crate) async fn rest(api: &Api, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let method = request.method().as_str();
    if !is_recorded(api, method, route) {
        return next.run(request).await;
    }
    let subject = Subject {
        action: action_name(method, route),
        target: format!("{method} {}", request.uri().path()),
        ..subject(request.headers(), request.extensions())
    };
    if let Err(problem) = api.audit.check() {
        return problem.into_response();
    }
    let recording = recorded(api.clone(), subject, next.run(request), |response, _| {
        let status = response.status();
        status.is_client_error() || status.is_server_error()
    });
    match in_task(recording).await {
        (response, Ok(())) => response,
        (_, Err(problem)) => problem.into_response(),
    }
}

/// Serves an rpc, which is equivalent to the REST request with `method` and `route`, and records it if it may change
/// something.
pub(crate) async fn rpc<T: Send + 'static>(
    api: &Api,
    (method, route): (&'static str, &'static str),
    caller: Option<Subject>,
    serving: impl Future<Output = ApiResult<T>> + Send + 'static,
) -> ApiResult<T> {
    let Some(caller) = caller.filter(|_| is_recorded(api, method, route)) else { return serving.await };
    let subject =
        Subject { action: action_name(method, route), target: format!("{method} {route}"), ..caller };
    api.audit.check()?;
    let recording = recorded(api.clone(), subject, serving, |reply, notes| {
        notes.code = reply.as_ref().err().map(Problem::code);
        reply.is_err()
    });
    let (reply, recorded) = in_task(recording).await;
    recorded.and(reply)
}

/// Returns the caller of a request. The action and the target are filled in by the protocol. Without access control, the
/// name of the caller is not verified.
pub(crate) fn subject(headers: &HeaderMap, extensions: &Extensions) -> Subject {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let authorised = extensions.get::<Authorised>();
    let (actor, credential, namespace) = match authorised {
        Some(Authorised { principal, namespace }) => {
            (principal.actor.clone(), Some(principal.credential.to_string()), namespace.to_string())
        }
        None => (
            text("goconductor-actor").unwrap_or_else(|| ANONYMOUS.to_owned()),
            None,
            text("goconductor-namespace").unwrap_or_else(|| Namespace::DEFAULT.to_owned()),
        ),
    };
    let source = peer_address(extensions);
    Subject {
        actor,
        credential,
        source,
        action: String::new(),
        namespace: Some(namespace),
        target: String::new(),
    }
}

fn is_recorded(api: &Api, method: &str, route: &str) -> bool {
    frequency(method, route).is_some_and(|frequency| api.audit.records(frequency))
}

async fn recorded<R>(
    api: Api,
    subject: Subject,
    serving: impl Future<Output = R>,
    is_failed: impl FnOnce(&R, &mut Notes) -> bool,
) -> (R, ApiResult<()>) {
    let (response, mut notes) = scope(serving).await;
    let is_failed = is_failed(&response, &mut notes);
    let recorded = api.audit.record(subject, notes, is_failed).await;
    (response, recorded)
}

/// Runs a future in a task that the caller cannot cancel. A panic is passed on to the caller.
async fn in_task<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(future.in_current_span()).await {
        Ok(output) => output,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a shutdown of the runtime cancels the task, and with it this one.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequency_follows_from_the_operation() {
        for (method, route, expected) in [
            ("GET", "/api/v1/workflows", None),
            ("POST", "", None),
            ("POST", "/healthz", None),
            ("POST", "/api/v1/workflows", Some(Frequency::Application)),
            ("POST", "/api/v1/locks/{key}/acquire", Some(Frequency::Application)),
            ("POST", "/api/v1/workflows/{id}/signals/{name}", Some(Frequency::Application)),
            ("POST", "/api/v1/workflows/{id}/cancel", Some(Frequency::Operator)),
            ("PUT", "/api/v1/definitions/{name}", Some(Frequency::Operator)),
            ("DELETE", "/api/v1/dead-letters/{id}", Some(Frequency::Operator)),
        ] {
            assert_eq!(frequency(method, route), expected, "{method} {route}");
        }
    }
}
