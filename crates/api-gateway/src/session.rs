//! Sessions of the console: a cookie with a sealed token that says who signed in and until when.
//!
//! The token is sealed with a key that follows from the master key, so that every gateway with the same master key accepts
//! it, and nothing is stored. A gateway without a master key uses a key of its process. Each request asks for the rights of
//! the credential behind the session, so a session ends when its key is revoked or expires.
//!
//! A browser sends the cookie by itself. A request with it must not come from a page of another origin, and one that may
//! change something must have the header [`CSRF_HEADER`], which no other origin can send.

mod cookie;

use crate::error::{ApiResult, CROSS_SITE, CSRF, INTERNAL, Problem, SESSION_ENDED};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use cookie::Cookie;
use goconductor_access::{AccessControl, PendingSignIn, SessionIdentity};
use goconductor_process::Vault;
use goconductor_saga::Timestamp;
use goconductor_secrets::{KeyRing, Randomness};
use goconductor_service_kit::config::Config;
use goconductor_transition::clock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The header of requests by a session that may change something.
pub(crate) const CSRF_HEADER: HeaderName = HeaderName::from_static("goconductor-csrf");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The purposes of the tokens.
const SESSION: &str = "session";
const SIGN_IN: &str = "sign-in";
/// The time within which a user must return from the identity provider.
const SIGN_IN_LIFETIME: Duration = Duration::from_secs(600);

/// Issues and reads the cookies of sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    keys: SessionKeys,
    lifetime: Duration,
    session: Cookie,
    sign_in: Cookie,
}

#[derive(Debug)]
enum SessionKeys {
    Vault(Arc<Vault>),
    Process(Arc<KeyRing>),
    /// The operating system has no random numbers.
    Missing,
}

/// A session, as its cookie keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConsoleSession {
    pub(crate) identity: SessionIdentity,
    pub(crate) ends_at: Timestamp,
}

/// A sign-in at the identity provider that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BegunSignIn {
    pub(crate) pending: PendingSignIn,
    /// The path to which the browser is sent at the end.
    pub(crate) return_to: String,
    ends_at: Timestamp,
}

/// The session of a request.
#[derive(Debug, PartialEq)]
pub(crate) enum Presented {
    /// The request has no cookie of a session.
    Nothing,
    /// The cookie was changed, has expired or was sealed by a key that is not in use.
    Invalid,
    Session(ConsoleSession),
}

impl Sessions {
    /// Creates the sessions of a gateway. Cookies are for TLS only if the gateway, or the proxy in front of it, uses TLS.
    pub(crate) fn new(access: &AccessControl, config: &Config, vault: Option<Arc<Vault>>) -> Self {
        let session = &access.config().session;
        let is_public_secure = session.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
        let is_secure = config.tls.is_some() || access.config().allow_plaintext || is_public_secure;
        let of_process = || match Randomness::of_system() {
            Ok(randomness) => SessionKeys::Process(Arc::new(KeyRing::of_process(&randomness))),
            Err(_) => SessionKeys::Missing,
        };
        Self {
            keys: vault.map_or_else(of_process, SessionKeys::Vault),
            lifetime: session.lifetime,
            session: Cookie::strict(SESSION, is_secure),
            sign_in: Cookie::lax(SIGN_IN, is_secure),
        }
    }

    /// Begins a session. Returns the cookie and the end of the session.
    pub(crate) fn begin(&self, identity: SessionIdentity) -> ApiResult<(HeaderValue, Timestamp)> {
        let ends_at = clock::wall().after(self.lifetime);
        let token = self.seal(SESSION, &ConsoleSession { identity, ends_at })?;
        Ok((self.session.set(&token, self.lifetime)?, ends_at))
    }

    /// Returns the cookie that ends a session in the browser.
    pub(crate) fn end(&self) -> HeaderValue {
        self.session.clear()
    }

    /// Reads the session of a request.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Presented {
        let Some(token) = self.session.value(headers) else { return Presented::Nothing };
        match self.open::<ConsoleSession>(SESSION, token) {
            Some(session) if session.ends_at > clock::wall() => Presented::Session(session),
            Some(_) | None => Presented::Invalid,
        }
    }

    /// Returns the cookie of a sign-in that has begun.
    pub(crate) fn begin_sign_in(&self, pending: PendingSignIn, return_to: String) -> ApiResult<HeaderValue> {
        let ends_at = clock::wall().after(SIGN_IN_LIFETIME);
        let token = self.seal(SIGN_IN, &BegunSignIn { pending, return_to, ends_at })?;
        self.sign_in.set(&token, SIGN_IN_LIFETIME)
    }

    /// Reads the sign-in that a browser has begun.
    pub(crate) fn begun_sign_in(&self, headers: &HeaderMap) -> Option<BegunSignIn> {
        let begun = self.open::<BegunSignIn>(SIGN_IN, self.sign_in.value(headers)?)?;
        (begun.ends_at > clock::wall()).then_some(begun)
    }

    /// Returns the cookie that forgets a sign-in.
    pub(crate) fn end_sign_in(&self) -> HeaderValue {
        self.sign_in.clear()
    }

    fn ring(&self) -> Option<Arc<KeyRing>> {
        match &self.keys {
            SessionKeys::Vault(vault) => Some(vault.key_ring()),
            SessionKeys::Process(ring) => Some(Arc::clone(ring)),
            SessionKeys::Missing => None,
        }
    }

    fn seal(&self, purpose: &str, content: &impl Serialize) -> ApiResult<String> {
        let failed = |reason: &str| Problem::new(INTERNAL, format!("the session cannot be sealed: {reason}"));
        let ring = self.ring().ok_or_else(|| failed("the process has no key"))?;
        let nonce = Randomness::nonce().map_err(|error| failed(&error.to_string()))?;
        let text = serde_json::to_vec(content).map_err(|error| failed(&error.to_string()))?;
        Ok(ring.seal_token(purpose, &text, nonce))
    }

    fn open<T: DeserializeOwned>(&self, purpose: &str, token: &str) -> Option<T> {
        let text = self.ring()?.open_token(purpose, token)?;
        serde_json::from_slice(&text).ok()
    }
}

/// Checks that a request by a session comes from a page of this server.
pub(crate) fn check_origin(method: &Method, headers: &HeaderMap) -> ApiResult<()> {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if !matches!(site, None | Some(b"same-origin" | b"none")) {
        let detail =
            "the request comes from a page of another origin: open the console by this server's address";
        return Err(Problem::new(CROSS_SITE, detail));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    check_csrf(headers)
}

/// Checks the header that pages of other origins cannot send.
fn check_csrf(headers: &HeaderMap) -> ApiResult<()> {
    if headers.get(CSRF_HEADER).is_some_and(|value| !value.is_empty()) {
        return Ok(());
    }
    let detail = "a request by a session that may change something needs the header GoConductor-Csrf: send \
                  `GoConductor-Csrf: 1`, or send an access key in the header Authorization";
    Err(Problem::new(CSRF, detail))
}

/// The problem of a request whose session is not valid.
pub(crate) fn session_ended() -> Problem {
    Problem::new(SESSION_ENDED, "the session is not valid or has ended: sign in again")
}

#[cfg(test)]
mod tests;
