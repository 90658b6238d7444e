//! The authorization code flow with PKCE (OpenID Connect Core 1.0, section 3.1; RFC 7636).

use crate::claims::Claims;
use crate::fetch::{FetchError, IssuerEndpoints};
use crate::rejection::Rejection;
use crate::token::Expected;
use crate::verifier::Verifier;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;
use url::form_urlencoded;

/// Bytes of the random texts of a sign-in.
const RANDOM_BYTES: usize = 32;
/// Maximum characters of an authorization code.
const MAX_CODE_CHARS: usize = 4096;

/// This service as a client of the issuer.
#[derive(Clone)]
pub struct CodeFlowClient {
    /// The client id that the issuer has given out.
    pub id: String,
    /// The client secret. `None` for a public client.
    pub secret: Option<String>,
    /// The scopes to request, besides `openid`.
    pub scopes: Vec<String>,
    /// The URL to which the issuer sends the browser back.
    pub redirect_uri: String,
}

/// Signs users in at the issuer of a [`Verifier`].
#[derive(Debug, Clone)]
pub struct CodeFlow {
    verifier: Verifier,
    client: CodeFlowClient,
    /// The endpoints of the issuer, and when they were read.
    endpoints: Arc<Mutex<Option<(Instant, IssuerEndpoints)>>>,
}

/// A sign-in that has begun. The service must keep it until the end, out of reach of others.
#[derive(Clone, Serialize, Deserialize)]
pub struct PendingSignIn {
    /// The state, which the browser returns with the code.
    pub state: String,
    nonce: String,
    code_verifier: String,
}

/// A sign-in that failed. No message contains a code, a token or a secret.
#[derive(Debug, thiserror::Error)]
pub enum CodeFlowError {
    /// The issuer does not respond, or its discovery document cannot be used.
    #[error("the issuer is not available: {0}")]
    Unavailable(String),
    /// The issuer does not accept the code.
    #[error("the issuer refused the code: {0}")]
    Refused(String),
    /// The ID token is not valid.
    #[error("the ID token was refused: {0}")]
    Token(Rejection),
    /// The operating system has no random numbers.
    #[error("the operating system has no random numbers")]
    NoRandomness,
}

/// The response of the token endpoint (RFC 6749, section 5).
#[derive(Deserialize)]
struct TokenResponse {
    id_token: Option<String>,
    error: Option<String>,
}

impl CodeFlow {
    /// Creates the flow of a client.
    #[must_use]
    pub fn new(verifier: Verifier, client: CodeFlowClient) -> Self {
        Self { verifier, client, endpoints: Arc::default() }
    }

    /// Begins a sign-in. Returns the URL to which the browser is sent, and what must be kept until it returns.
    ///
    /// # Errors
    /// Returns [`CodeFlowError::Unavailable`] if the discovery document cannot be read.
    pub async fn begin(&self) -> Result<(String, PendingSignIn), CodeFlowError> {
        let endpoints = self.endpoints().await?;
        let pending = PendingSignIn { state: random()?, nonce: random()?, code_verifier: random()? };
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, pending.code_verifier.as_bytes()));
        let mut scopes = vec!["openid"];
        scopes.extend(self.client.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        let mut url = endpoints.authorization;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client.id)
            .append_pair("redirect_uri", &self.client.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &pending.state)
            .append_pair("nonce", &pending.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok((url.into(), pending))
    }

    fn token_form(&self, code: &str, pending: &PendingSignIn) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.client.redirect_uri)
            .append_pair("code_verifier", &pending.code_verifier);
        if self.client.secret.is_none() {
            form.append_pair("client_id", &self.client.id);
        }
        form.finish()
    }

    /// Ends a sign-in: exchanges the code for the ID token, and verifies it at the time `now`. The caller has compared the
    /// state.
    ///
    /// # Errors
    /// Returns [`CodeFlowError`] if the issuer does not respond, does not accept the code or sends an ID token that is not
    /// valid.
    pub async fn complete(
        &self,
        code: &str,
        pending: &PendingSignIn,
        now: SystemTime,
    ) -> Result<Claims, CodeFlowError> {
        if code.is_empty() || code.len() > MAX_CODE_CHARS {
            return Err(CodeFlowError::Refused("the code has no characters, or too many".to_owned()));
        }
        let source = self.verifier.source();
        let endpoints = self.endpoints().await?;
        let form = self.token_form(code, pending);
        let (status, body) = source.post_form(&endpoints.token, self.authorization(), form).await?;
        let response: Option<TokenResponse> = serde_json::from_slice(&body).ok();
        let token = response.as_ref().filter(|_| status.is_success()).and_then(|it| it.id_token.as_deref());
        let Some(token) = token else {
            let error = response.and_then(|response| response.error);
            let error = error.filter(|error| is_error_code(error));
            let error = error.unwrap_or_else(|| "the response has no ID token".to_owned());
            return Err(CodeFlowError::Refused(format!("status {}, {error}", status.as_u16())));
        };
        let expected = Expected::IdToken { client_id: &self.client.id, nonce: &pending.nonce };
        self.verifier.verify_as(expected, token, now).await.map_err(|rejection| match rejection {
            Rejection::Unavailable => CodeFlowError::Unavailable(rejection.to_string()),
            Rejection::Invalid(_) => CodeFlowError::Token(rejection),
        })
    }

    /// Returns the endpoints of the issuer. They are read again at the interval at which keys are.
    async fn endpoints(&self) -> Result<IssuerEndpoints, CodeFlowError> {
        let source = self.verifier.source();
        let interval = source.settings().refresh_interval;
        let known = self.endpoints.lock().clone();
        if let Some((_, endpoints)) = known.filter(|(read_at, _)| read_at.elapsed() < interval) {
            return Ok(endpoints);
        }
        let endpoints = source.endpoints().await?;
        *self.endpoints.lock() = Some((Instant::now(), endpoints.clone()));
        Ok(endpoints)
    }

    /// Returns the credentials of the client (RFC 6749, section 2.3.1).
    fn authorization(&self) -> Option<HeaderValue> {
        let secret = self.client.secret.as_deref()?;
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = STANDARD.encode(format!("{}:{}", encoded(&self.client.id), encoded(secret)));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Whether a text is an error code (RFC 6749, section 5.2), which a message may repeat.
fn is_error_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn random() -> Result<String, CodeFlowError> {
    let mut bytes = [0; RANDOM_BYTES];
    rand::fill(&mut bytes).map_err(|_| CodeFlowError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

impl From<FetchError> for CodeFlowError {
    fn from(error: FetchError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl std::fmt::Debug for CodeFlowClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CodeFlowClient").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PendingSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingSignIn").finish_non_exhaustive()
    }
}
