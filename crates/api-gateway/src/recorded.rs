//! Serving of requests that are recorded.
//!
//! Such a request is served in a task of its own: a client that closes its connection must not prevent the record of what
//! it has done. A handler that panics is recorded as failed, because it may have changed something before.

use crate::access::Authorised;
use crate::api::Api;
use crate::audit::{ANONYMOUS, Frequency, Subject, action_name, peer_address};
use crate::audit_notes::{Notes, scope};
use crate::error::{ApiResult, Problem};
use axum::extract::{MatchedPath, Request};
use axum::http::{Extensions, HeaderMap};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use goconductor_saga::Namespace;
use std::panic::AssertUnwindSafe;
use tracing::Instrument;

/// Returns how often a kind of request occurs. `None` if it changes nothing, so that it is not recorded.
pub(crate) fn frequency(method: &str, route: &str) -> Option<Frequency> {
    if matches!(method, "GET" | "HEAD" | "OPTIONS") {
        return None;
    }
    let path = route.strip_prefix("/api/v1/")?;
    // A simulation changes nothing, although it has a body.
    if path == "definitions/{name}/simulate" {
        return None;
    }
    // A session records its begin and its end itself, with the caller, and counts what it refuses.
    if path == "session" {
        return None;
    }
    // A campaign is recorded as a stream, with its end.
    if path == "elections/{name}/campaign" {
        return None;
    }
    let is_of_application = path == "workflows" || path.starts_with("locks/") || path.contains("/signals/");
    Some(if is_of_application { Frequency::Application } else { Frequency::Operator })
}

/// The record of a request that is about to be served.
#[derive(Debug)]
pub(crate) struct Recording {
    api: Api,
    subject: Subject,
    frequency: Frequency,
}

/// Begins the record of a request. Returns `None` if the request is not recorded. Refuses the request if the log cannot be
/// written. `target` is the text for a target that is not known otherwise.
pub(crate) fn begin(
    api: &Api,
    method: &str,
    route: &str,
    target: impl FnOnce() -> String,
    caller: impl FnOnce() -> Subject,
) -> ApiResult<Option<Recording>> {
    let frequency = frequency(method, route).filter(|frequency| api.audit.records(*frequency));
    let Some(frequency) = frequency else { return Ok(None) };
    api.audit.check()?;
    let subject = Subject { action: action_name(method, route), target: target(), ..caller() };
    Ok(Some(Recording { api: api.clone(), subject, frequency }))
}

/// Serves a REST request, and records it if it may change something.
pub(crate) async fn rest(api: &Api, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let method = request.method().as_str();
    let target = || format!("{method} {}", request.uri().path());
    match begin(api, method, route, target, || subject(request.headers(), request.extensions())) {
        Ok(None) => next.run(request).await,
        Ok(Some(recording)) => recording.rest(Box::pin(next.run(request))).await,
        Err(problem) => problem.into_response(),
    }
}

impl Recording {
    /// Serves a REST request.
    pub(crate) async fn rest(self, serving: BoxFuture<'static, Response>) -> Response {
        let is_failed = |response: &Response, _: &mut Notes| {
            let status = response.status();
            status.is_client_error() || status.is_server_error()
        };
        match self.serve(serving, Problem::into_response, is_failed).await {
            (response, Ok(())) => response,
            (_, Err(problem)) => problem.into_response(),
        }
    }

    /// Serves an rpc.
    pub(crate) async fn rpc<T: Send + 'static>(
        self,
        serving: BoxFuture<'static, ApiResult<T>>,
    ) -> ApiResult<T> {
        let is_failed = |reply: &ApiResult<T>, notes: &mut Notes| {
            notes.code = reply.as_ref().err().map(Problem::code);
            reply.is_err()
        };
        let (reply, recorded) = self.serve(serving, Err, is_failed).await;
        recorded.and(reply)
    }

    /// Serves a request in a task of its own, and records its outcome. `refuse` returns the response for a panic.
    async fn serve<R: Send + 'static>(
        self,
        serving: BoxFuture<'static, R>,
        refuse: fn(Problem) -> R,
        is_failed: impl FnOnce(&R, &mut Notes) -> bool + Send + 'static,
    ) -> (R, ApiResult<()>) {
        in_task(async move {
            let intent = match self.frequency {
                Frequency::Operator => match self.api.audit.intend(&self.subject).await {
                    Ok(intent) => Some(intent),
                    Err(problem) => return (refuse(problem), Ok(())),
                },
                // The changes of an application are in the histories of its workflows, and must not wait for a second write.
                Frequency::Application => None,
            };
            let (caught, mut notes) = scope(AssertUnwindSafe(serving).catch_unwind()).await;
            let response = caught.unwrap_or_else(|panic| {
                let problem = Problem::from_panic(&*panic);
                notes.code = Some(problem.code());
                refuse(problem)
            });
            let is_failed = is_failed(&response, &mut notes);
            let recorded = self.api.audit.record(intent, self.subject, notes, is_failed).await;
            (response, recorded)
        })
        .await
    }
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
            ("POST", "/api/v1/session", None),
            ("POST", "/api/v1/elections/{name}/campaign", None),
            ("POST", "/api/v1/elections/{name}/resign", Some(Frequency::Operator)),
        ] {
            assert_eq!(frequency(method, route), expected, "{method} {route}");
        }
    }
}
