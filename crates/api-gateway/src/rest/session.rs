//! The session of the console: sign-in, sign-out, and who the caller is.
//!
//! These routes need no credential. They check the caller themselves, because a caller without a credential gets an answer
//! as well.

use super::extract::{QueryParams, SecretBody};
use crate::access::{Gate, SignedIn};
use crate::admission::RateCaller;
use crate::api::Api;
use crate::api::session::{SessionView, no_access_control};
use crate::audit::{Subject, action_name, peer_address};
use crate::audit_notes::Notes;
use crate::error::{ApiResult, INVALID_CREDENTIAL, NO_SIGN_IN, PARAMETER, Problem, ProblemBody};
use crate::session::{BegunSignIn, check_origin};
use axum::Json;
use axum::extract::{MatchedPath, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use goconductor_access::{Principal, SignInError};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The page of the console to which a user returns without another one.
const HOME: &str = "/ui/";
/// The page of the console that shows why a sign-in failed.
const SIGN_IN: &str = "/ui/sign-in";
/// Maximum characters of a path of the console.
const MAX_PATH_CHARS: usize = 1024;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show, begin, end)).routes(routes!(start)).routes(routes!(callback))
}

/// An access key. [`SecretBody`] reads it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it describes the body")]
struct SessionBody {
    /// Access key, or the bootstrap key. No response ever contains it.
    #[schema(write_only)]
    value: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct StartQuery {
    /// Path of the console to which the browser returns, such as `/ui/workflows` (default: `/ui/`)
    return_to: Option<String>,
}

/// The response of the identity provider. It may add parameters.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CallbackQuery {
    /// Code of the sign-in
    code: Option<String>,
    /// State of the sign-in
    state: Option<String>,
    /// Error code of a sign-in that failed
    error: Option<String>,
}

/// Get who the caller is, and what it may do
///
/// The response has status 200 without a credential as well. An invalid session is deleted.
#[utoipa::path(get, path = "/session", tag = "session", responses((status = 200, body = SessionView)))]
async fn show(
    State(api): State<Api>,
    method: Method,
    headers: HeaderMap,
    extensions: Extensions,
) -> ApiResult<Response> {
    let Some(gate) = &api.gate else {
        return Ok(Json(api.session_view(&headers, None)?).into_response());
    };
    match gate.authenticate_rest(&method, &headers, &extensions).await {
        Ok(caller) => Ok(Json(api.session_view(&headers, Some(&caller))?).into_response()),
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            let view = Json(api.session_view(&headers, None)?);
            if !headers.contains_key(header::COOKIE) {
                return Ok(view.into_response());
            }
            Ok(([(header::SET_COOKIE, gate.sessions.end())], view).into_response())
        }
        Err(problem) => Err(problem),
    }
}

/// Begin a session of the console with an access key
///
/// The response sets a cookie. The request needs the header `GoConductor-Csrf`.
#[utoipa::path(post, path = "/session", tag = "session", request_body = SessionBody,
    params(("GoConductor-Csrf" = String, Header, description = "Any value, such as `1`. Pages of other origins cannot send it")),
    responses((status = 200, body = SessionView, description = "The session has begun"),
        (status = 401, body = ProblemBody, description = "The access key is not valid"),
        (status = 403, body = ProblemBody, description = "The header GoConductor-Csrf is missing, or the request comes from a page of another site"),
        (status = 409, body = ProblemBody, description = "Access control is off")))]
async fn begin(
    State(api): State<Api>,
    headers: HeaderMap,
    extensions: Extensions,
    route: MatchedPath,
    SecretBody(key): SecretBody,
) -> ApiResult<Response> {
    check_origin(&Method::POST, &headers)?;
    let gate = api.gate.as_ref().ok_or_else(no_access_control)?;
    api.audit.check()?;
    let signed_in = gate.authenticate_key(&key, &extensions).await;
    let principal =
        signed_in.inspect_err(|problem| gate.refused_sign_in(route.as_str(), problem, &extensions))?;
    let cookie = api.begin_session(&principal)?;
    record(&api, "POST", route.as_str(), &principal, &extensions).await?;
    let caller = SignedIn { principal, by_session: true };
    let view = api.session_view(&headers, Some(&caller))?;
    Ok(([(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// End the session of the console
///
/// The response deletes the cookie. The request needs the header `GoConductor-Csrf` if it has a session.
#[utoipa::path(delete, path = "/session", tag = "session",
    responses((status = 204, description = "The browser has no session any more"),
        (status = 403, body = ProblemBody, description = "The header GoConductor-Csrf is missing, or the request comes from a page of another site")))]
async fn end(
    State(api): State<Api>,
    method: Method,
    headers: HeaderMap,
    extensions: Extensions,
    route: MatchedPath,
) -> ApiResult<Response> {
    let Some(gate) = &api.gate else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    match gate.authenticate_rest(&method, &headers, &extensions).await {
        Ok(caller) if caller.by_session => {
            record(&api, "DELETE", route.as_str(), &caller.principal, &extensions).await?;
        }
        Ok(_) => {}
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {}
        Err(problem) => return Err(problem),
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gate.sessions.end())]).into_response())
}

/// Begin a sign-in at the identity provider
///
/// A browser navigates to this path, and returns to `return_to` with a session.
#[utoipa::path(get, path = "/session/oidc/start", tag = "session", params(StartQuery),
    responses((status = 303, description = "The browser is sent to the identity provider"),
        (status = 409, body = ProblemBody, description = "No sign-in at an identity provider is configured")))]
async fn start(
    State(api): State<Api>,
    extensions: Extensions,
    QueryParams(query): QueryParams<StartQuery>,
) -> ApiResult<Response> {
    let gate = sign_in_gate(&api)?;
    gate.admission.peek_rate(RateCaller::network(&extensions))?;
    let return_to = query.return_to.unwrap_or_else(|| HOME.to_owned());
    if !is_path_of_console(&return_to) {
        let detail = "invalid return_to: it must be a path of the console, such as /ui/workflows";
        return Err(Problem::new(PARAMETER, detail));
    }
    match gate.access.begin_sign_in().await {
        Ok((url, pending)) => {
            let cookie = gate.sessions.begin_sign_in(pending, return_to)?;
            redirect(&url, &[cookie])
        }
        Err(error) => failed(gate, &error, &extensions),
    }
}

/// End a sign-in at the identity provider
///
/// The identity provider sends the browser to this path.
#[utoipa::path(get, path = "/session/oidc/callback", tag = "session", params(CallbackQuery),
    responses((status = 303, description = "The browser is sent to the console, with a session or with an error"),
        (status = 409, body = ProblemBody, description = "No sign-in at an identity provider is configured")))]
async fn callback(
    State(api): State<Api>,
    headers: HeaderMap,
    extensions: Extensions,
    route: MatchedPath,
    QueryParams(query): QueryParams<CallbackQuery>,
) -> ApiResult<Response> {
    let gate = sign_in_gate(&api)?;
    // Each call asks the identity provider.
    gate.admission.peek_rate(RateCaller::network(&extensions))?;
    api.audit.check()?;
    let Some(begun) = gate.sessions.begun_sign_in(&headers) else {
        return to_sign_in(gate, "expired");
    };
    match complete(gate, &begun, query).await {
        Ok((cookie, principal)) => {
            record(&api, "GET", route.as_str(), &principal, &extensions).await?;
            redirect(&begun.return_to, &[cookie, gate.sessions.end_sign_in()])
        }
        Err(SignInFailure::Denied) => to_sign_in(gate, "denied"),
        Err(SignInFailure::Problem(problem)) => Err(problem),
        Err(SignInFailure::Error(error)) => {
            let problem = Problem::new(INVALID_CREDENTIAL, error.to_string());
            gate.refused_sign_in(route.as_str(), &problem, &extensions);
            failed(gate, &error, &extensions)
        }
    }
}

enum SignInFailure {
    /// The user, or the provider, denied the sign-in.
    Denied,
    Error(SignInError),
    Problem(Problem),
}

/// Completes a sign-in. Returns the cookie of the session and the user.
async fn complete(
    gate: &Gate,
    begun: &BegunSignIn,
    query: CallbackQuery,
) -> Result<(HeaderValue, Arc<Principal>), SignInFailure> {
    let refused = |reason: &str| SignInFailure::Error(SignInError::Refused(reason.to_owned()));
    if query.state.as_deref() != Some(&*begun.pending.state) {
        return Err(refused("the state is not that of the sign-in"));
    }
    match query.error.as_deref() {
        None => {}
        Some("access_denied") => return Err(SignInFailure::Denied),
        Some(_) => return Err(refused("the identity provider reports an error")),
    }
    let code = query.code.ok_or_else(|| refused("the code is missing"))?;
    let identity = gate.access.complete_sign_in(&code, &begun.pending).await;
    let identity = identity.map_err(SignInFailure::Error)?;
    let (cookie, ends_at) = gate.sessions.begin(identity.clone()).map_err(SignInFailure::Problem)?;
    let principal = gate.access.resume(&identity, ends_at).await;
    let principal = principal.map_err(|rejection| refused(&rejection.to_string()))?;
    Ok((cookie, principal))
}

fn sign_in_gate(api: &Api) -> ApiResult<&Gate> {
    let gate = api.gate.as_ref().ok_or_else(no_access_control)?;
    if gate.access.has_sign_in() {
        return Ok(gate);
    }
    let detail = "users cannot sign in at an identity provider: set access.oidc.client_id and access.session.public_url";
    Err(Problem::new(NO_SIGN_IN, detail))
}

fn failed(gate: &Gate, error: &SignInError, extensions: &Extensions) -> ApiResult<Response> {
    tracing::warn!(%error, "sign-in at the identity provider failed");
    gate.admission.count_refused(RateCaller::network(extensions))?;
    let code = match error {
        SignInError::Unavailable(_) => "unavailable",
        SignInError::Refused(_) | SignInError::NotConfigured => "failed",
    };
    to_sign_in(gate, code)
}

/// Sends the browser to the page that shows why a sign-in failed.
fn to_sign_in(gate: &Gate, code: &str) -> ApiResult<Response> {
    redirect(&format!("{SIGN_IN}?error={code}"), &[gate.sessions.end_sign_in()])
}

fn redirect(location: &str, cookies: &[HeaderValue]) -> ApiResult<Response> {
    let location = HeaderValue::from_str(location).map_err(|_| {
        Problem::new(PARAMETER, "the address of the redirect has characters that no header may have")
    })?;
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie.clone());
    }
    Ok(response)
}

/// Whether a text is a path of the console on this server, and nothing else that a browser accepts as an address.
fn is_path_of_console(text: &str) -> bool {
    let rest = text.strip_prefix("/ui");
    let is_below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    is_below
        && text.len() <= MAX_PATH_CHARS
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Records the begin or the end of a session.
async fn record(
    api: &Api,
    method: &str,
    route: &str,
    principal: &Principal,
    extensions: &Extensions,
) -> ApiResult<()> {
    let subject = Subject {
        actor: principal.actor.clone(),
        credential: Some(principal.credential.to_string()),
        source: peer_address(extensions),
        action: action_name(method, route),
        namespace: None,
        target: format!("{method} {route}"),
    };
    let notes = Notes { target: Some(("session", principal.actor.clone())), ..Notes::default() };
    // A sign-in changes nothing that the store keeps, so it has no intent.
    api.audit.record(None, subject, notes, false).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browser_returns_to_the_console_only() {
        for path in ["/ui", "/ui/", "/ui/workflows?filter=status%20%3D%20ERROR", "/ui?x", "/ui//x"] {
            assert!(is_path_of_console(path), "{path}");
        }
        for path in [
            "",
            "/",
            "/uix",
            "//ui/",
            "//evil.example/ui/",
            "https://evil.example/ui/",
            "/ui/\\evil.example",
            "/ui/\r\nset-cookie: a=b",
            "/ui/ x",
            "/ui/ä",
            "/api/v1/workflows",
            "javascript:alert(1)",
            &format!("/ui/{}", "x".repeat(MAX_PATH_CHARS)),
        ] {
            assert!(!is_path_of_console(path), "{path}");
        }
    }
}
