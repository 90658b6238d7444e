//! Authenticates and authorises each request by the table of rules, before anything else is done for it.

use super::authorised::{Authorised, requested};
use super::observe::{Observation, observe};
use super::rules::{self, Rule};
use crate::admission::{Admission, RateCaller};
use crate::audit::{ANONYMOUS, AuditLog, Subject, action_name, peer_address};
use crate::audit_notes::Notes;
use crate::error::{
    FORBIDDEN, INVALID_CREDENTIAL, PROVIDER_UNAVAILABLE, Problem, RETRY_AFTER, TOO_MANY_REQUESTS,
    UNAUTHENTICATED, UNAVAILABLE,
};
use crate::session::{ConsoleSession, Presented, Sessions, check_origin, session_ended};
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use goconductor_access::{AccessControl, EndingBody, Principal, Rejection};
use goconductor_process::PeerAddress;
use goconductor_service_kit::permission::{Permission, Reach};
use goconductor_tls::Peer;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use tonic::Status;
use zeroize::Zeroizing;

/// The header that holds the status of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";
/// The action of a request without a route.
const UNKNOWN: &str = "unknown";

/// The check of all requests.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) access: AccessControl,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) sessions: Arc<Sessions>,
}

/// A caller with a valid credential.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) principal: Arc<Principal>,
    /// Whether the credential is a session of the console.
    pub(crate) by_session: bool,
}

/// A refused request.
struct RefusedRequest {
    problem: Problem,
    principal: Option<Arc<Principal>>,
    namespace: Option<String>,
}

impl From<Problem> for RefusedRequest {
    fn from(problem: Problem) -> Self {
        Self { problem, principal: None, namespace: None }
    }
}

impl Gate {
    /// Serves a REST request whose route was matched. `serve` is called for an allowed request, and `refuse` responds with
    /// a problem.
    pub(crate) async fn serve_rest<S, R>(
        &self,
        request: Request,
        serve: impl FnOnce(Request) -> S,
        refuse: impl FnOnce(Body, Problem) -> R,
    ) -> Response
    where
        S: Future<Output = Response>,
        R: Future<Output = Response>,
    {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let route = route.as_ref().map_or("", MatchedPath::as_str);
        let rule = rules::of_route(request.method(), route);
        if rule.is_some_and(|rule| rule.permission.is_none()) {
            return serve(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let (method, target) = (parts.method.clone(), parts.uri.path().to_owned());
        let watched = |response: &Response, authorised: &Authorised| {
            observed(rule, method.as_str(), &target, response.status(), authorised);
        };
        match self.authorise(rule, Some(&parts.method), &parts.headers, &parts.extensions).await {
            Err(refusal) => {
                let action =
                    if route.is_empty() { UNKNOWN.to_owned() } else { action_name(method.as_str(), route) };
                self.refused(rule, action, method.as_str(), &target, &refusal, &parts.extensions);
                refuse(body, refusal.problem).await
            }
            Ok(authorised) => {
                parts.extensions.insert(authorised.clone());
                // A start waits only if its query asks for it.
                let waits = rule.is_some_and(|rule| rule.waits) && parts.uri.query().is_some();
                let serving = serve(Request::from_parts(parts, body));
                let ended = || Problem::into_response(credential_ended());
                let response = self.until_end(waits, &authorised, serving, ended).await;
                watched(&response, &authorised);
                self.end_stream(rule, response, authorised, None)
            }
        }
    }

    /// Authenticates the caller of a request, and checks that it has the permission of the rule in the namespace of the
    /// request. A request without a rule only needs a credential: it has no route, and the response says so.
    ///
    /// `method` is that of a REST request. A gRPC call has none, because it has no session.
    async fn authorise(
        &self,
        rule: Option<Rule>,
        method: Option<&Method>,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Authorised, RefusedRequest> {
        let principal = match method {
            Some(method) => self.authenticate_rest(method, headers, extensions).await?.principal,
            None => self.authenticate(headers, extensions).await?,
        };
        let needed = rule.and_then(|rule| rule.permission);
        let (problem, namespace) = match requested(headers) {
            Err(problem) => (problem, None),
            Ok(namespace) => {
                match needed.filter(|needed| !principal.grants.allows(*needed, namespace.as_str())) {
                    None => return Ok(Authorised::new(principal, namespace)),
                    Some(missing) => {
                        goconductor_access::metrics::record_denied();
                        (forbidden(missing, namespace.as_str()), Some(namespace.to_string()))
                    }
                }
            }
        };
        // A request that is allowed counts when it is admitted.
        let counted = self.admission.count_refused(RateCaller::Credential(&principal.credential));
        let problem = counted.err().unwrap_or(problem);
        Err(RefusedRequest { problem, principal: Some(principal), namespace })
    }

    /// Authenticates the caller of a REST request: by its header, by its session or by its certificate.
    pub(crate) async fn authenticate_rest(
        &self,
        method: &Method,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<SignedIn, Problem> {
        let presented = match headers.contains_key(header::AUTHORIZATION) {
            true => Presented::Nothing,
            false => self.sessions.read(headers),
        };
        match presented {
            Presented::Nothing => {
                let principal = self.authenticate(headers, extensions).await?;
                Ok(SignedIn { principal, by_session: false })
            }
            Presented::Invalid => {
                self.admission.count_refused(RateCaller::network(extensions))?;
                Err(session_ended())
            }
            Presented::Session(session) => {
                check_origin(method, headers)?;
                let principal = self.resume(&session, extensions).await?;
                Ok(SignedIn { principal, by_session: true })
            }
        }
    }

    async fn resume(
        &self,
        session: &ConsoleSession,
        extensions: &Extensions,
    ) -> Result<Arc<Principal>, Problem> {
        match self.access.resume(&session.identity, session.ends_at).await {
            Ok(principal) => Ok(principal),
            Err(
                rejection @ (Rejection::Unavailable(_) | Rejection::ProviderUnavailable | Rejection::Busy),
            ) => Err(problem(rejection)),
            Err(
                Rejection::Missing
                | Rejection::Malformed
                | Rejection::Unknown
                | Rejection::Token(_)
                | Rejection::Expired
                | Rejection::Revoked,
            ) => {
                self.admission.count_refused(RateCaller::network(extensions))?;
                Err(session_ended())
            }
        }
    }

    /// Authenticates a caller that signs in with an access key. Failures count as those of any request do.
    pub(crate) async fn authenticate_key(
        &self,
        key: &SecretString,
        extensions: &Extensions,
    ) -> Result<Arc<Principal>, Problem> {
        let text = Zeroizing::new(format!("Bearer {}", key.expose_secret()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| problem(Rejection::Unknown))?;
        value.set_sensitive(true);
        self.authenticate(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), extensions).await
    }

    /// Records a sign-in that was refused.
    pub(crate) fn refused_sign_in(&self, route: &str, problem: &Problem, extensions: &Extensions) {
        let action = action_name("POST", route);
        self.refused(None, action, "POST", route, &RefusedRequest::from(problem.clone()), extensions);
    }

    /// Authenticates the caller of a request. Requests without a valid credential count for their network.
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Arc<Principal>, Problem> {
        let network = RateCaller::network(extensions);
        let peer = extensions.get::<Peer>();
        if let Err(limited) = self.admission.peek_rate(network) {
            // Other callers may have the same address: what is known to be valid is accepted.
            return self.access.authenticate_known(headers, peer).ok_or(limited);
        }
        let address = extensions.get::<PeerAddress>().map(|peer| peer.network());
        match self.access.authenticate(headers, peer, address).await {
            Ok(principal) => Ok(principal),
            Err(rejection) => {
                let is_unchecked = matches!(
                    rejection,
                    Rejection::Unavailable(_) | Rejection::ProviderUnavailable | Rejection::Busy
                );
                if !is_unchecked {
                    self.admission.count_refused(network)?;
                }
                Err(problem(rejection))
            }
        }
    }

    /// Records a refused request in the audit log. `action` must come from a fixed set, because equal refusals are counted.
    fn refused(
        &self,
        rule: Option<Rule>,
        action: String,
        method: &str,
        target: &str,
        refusal: &RefusedRequest,
        extensions: &Extensions,
    ) {
        let principal = refusal.principal.as_deref();
        let subject = Subject {
            actor: principal.map_or_else(|| ANONYMOUS.to_owned(), |principal| principal.actor.clone()),
            credential: principal.map(|principal| principal.credential.to_string()),
            source: peer_address(extensions),
            action,
            namespace: refusal.namespace.clone(),
            target: format!("{method} {target}"),
        };
        self.audit.refused(subject, Notes::of_refusal(refusal.problem.code()));
        observe(&Observation {
            principal,
            permission: rule.and_then(|rule| rule.permission),
            method,
            target,
            namespace: refusal.namespace.as_deref(),
            status: refusal.problem.status(),
            is_refused: true,
        });
    }

    /// Serves a request that may wait. It ends when the credential of its caller ends.
    async fn until_end<T>(
        &self,
        waits: bool,
        authorised: &Authorised,
        serving: impl Future<Output = T>,
        ended: impl FnOnce() -> T,
    ) -> T {
        if !waits {
            return serving.await;
        }
        // Safe to cancel: a request that only waits has no effect, and the effect of a start does not depend on its
        // response.
        tokio::select! {
            response = serving => response,
            () = self.access.ended(Arc::clone(&authorised.principal)) => ended(),
        }
    }

    /// Lets a stream end with the credential of its caller. Other responses are not changed.
    fn end_stream(
        &self,
        rule: Option<Rule>,
        response: Response,
        authorised: Authorised,
        trailers: Option<HeaderMap>,
    ) -> Response {
        let is_whole = response.body().size_hint().exact().is_some();
        if is_whole || !rule.is_some_and(|rule| rule.streams) {
            return response;
        }
        let access = self.access.clone();
        let ended = async move { access.ended(authorised.principal).await };
        response.map(|body| Body::new(EndingBody::new(body, ended, trailers)))
    }
}

/// Serves a gRPC call.
pub(crate) async fn serve_grpc(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let target = request.uri().path().to_owned();
    let rule = rules::of_grpc(&target);
    if rule.is_some_and(|rule| rule.permission.is_none()) {
        return next.run(request).await;
    }
    match gate.authorise(rule, None, request.headers(), request.extensions()).await {
        Err(refusal) => {
            let action = if rule.is_some() { target.trim_start_matches('/') } else { UNKNOWN };
            gate.refused(rule, action.to_owned(), "gRPC", &target, &refusal, request.extensions());
            Status::from(refusal.problem).into_http()
        }
        Ok(authorised) => {
            request.extensions_mut().insert(authorised.clone());
            let waits = rule.is_some_and(|rule| rule.waits);
            let ended = || Status::from(credential_ended()).into_http();
            let response = gate.until_end(waits, &authorised, next.run(request), ended).await;
            observed(rule, "gRPC", &target, status_of(&response), &authorised);
            gate.end_stream(rule, response, authorised, Some(unauthenticated_trailers()))
        }
    }
}

/// Returns the HTTP status for the status of a gRPC response that has ended with its headers. Others have begun.
fn status_of(response: &Response) -> StatusCode {
    let code = response.headers().get(GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse::<i32>().ok());
    match code.unwrap_or(0) {
        0 => StatusCode::OK,
        5 | 12 => StatusCode::NOT_FOUND,
        6 | 9 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        2 | 13 | 15 => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn unauthenticated_trailers() -> HeaderMap {
    HeaderMap::from_iter([
        (HeaderName::from_static(GRPC_STATUS), HeaderValue::from_static("16")),
        (HeaderName::from_static("grpc-message"), HeaderValue::from_static("the credential has ended")),
    ])
}

fn observed(rule: Option<Rule>, method: &str, target: &str, status: StatusCode, authorised: &Authorised) {
    let Some(rule) = rule.filter(|rule| rule.changes) else { return };
    observe(&Observation {
        principal: Some(&authorised.principal),
        permission: rule.permission,
        method,
        target,
        namespace: Some(authorised.namespace.as_str()),
        status,
        is_refused: false,
    });
}

fn problem(rejection: Rejection) -> Problem {
    match rejection {
        Rejection::Missing => Problem::new(
            UNAUTHENTICATED,
            "the request has no credential: send an access key or a token in the header Authorization, in the form \
             `Bearer TOKEN`, or connect with a client certificate that contains a URI",
        ),
        Rejection::Malformed
        | Rejection::Unknown
        | Rejection::Token(_)
        | Rejection::Expired
        | Rejection::Revoked => {
            Problem::new(INVALID_CREDENTIAL, format!("{rejection}: use another access key or token"))
        }
        Rejection::Unavailable(_) => {
            Problem::new(UNAVAILABLE, format!("{rejection}; retry later")).retry_after(RETRY_AFTER)
        }
        Rejection::ProviderUnavailable => {
            Problem::new(PROVIDER_UNAVAILABLE, format!("{rejection}; retry later")).retry_after(RETRY_AFTER)
        }
        Rejection::Busy => {
            Problem::new(TOO_MANY_REQUESTS, format!("{rejection}; retry later")).retry_after(RETRY_AFTER)
        }
    }
}

fn forbidden(missing: Permission, namespace: &str) -> Problem {
    let place = match missing.reach() {
        Reach::Namespace => format!("the namespace {namespace}"),
        Reach::Cluster => "all namespaces".to_owned(),
        Reach::Anywhere => "any namespace".to_owned(),
    };
    let detail = format!(
        "the caller does not have the permission {missing} in {place}: ask an administrator for a role with it"
    );
    Problem::new(FORBIDDEN, detail)
}

/// The problem of a request whose credential has ended while it waited.
fn credential_ended() -> Problem {
    let detail = "the credential has ended while the request waited: use another access key or token";
    Problem::new(INVALID_CREDENTIAL, detail)
}
