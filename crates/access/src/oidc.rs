//! Users of an identity provider, by their JSON Web Tokens.

use crate::credential::Rejection;
use crate::principal::Principal;
use crate::sign_in_error::SignInError;
use crate::start_error::StartError;
use goconductor_oidc::{
    Algorithm, CodeFlow, CodeFlowClient, CodeFlowError, PendingSignIn, Reason, Rejection as InvalidToken,
    Settings, Verifier,
};
use goconductor_saga::Timestamp;
use goconductor_service_kit::config::{AccessConfig, OidcConfig, SessionConfig};
use lru::LruCache;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// The path to which the provider sends a browser back.
const CALLBACK: &str = "/api/v1/session/oidc/callback";
/// Maximum number of verified tokens in the cache.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Time for which a verified token is accepted without another verification. It adds to the time for which the verifier
/// accepts a key that the issuer has withdrawn.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// The users of one issuer, with the digests of the tokens that were verified recently.
#[derive(Debug)]
pub(crate) struct Users {
    verifier: Verifier,
    /// The sign-in of the console. `None` without a client id.
    flow: Option<CodeFlow>,
    /// Added to the end of a token, as the verifier does.
    clock_skew: Duration,
    verified: Mutex<LruCache<blake3::Hash, VerifiedToken>>,
}

#[derive(Debug, Clone)]
struct VerifiedToken {
    at: Instant,
    principal: Arc<Principal>,
}

impl Users {
    /// Creates the check of the tokens of an issuer.
    ///
    /// # Errors
    /// Returns an error if a setting is not valid or the authorities cannot be read.
    pub(crate) fn new(config: &OidcConfig, session: &SessionConfig) -> Result<Self, StartError> {
        let defaults = Settings::new(config.issuer.clone(), config.audience.clone());
        let settings = Settings {
            algorithms: config.algorithms.iter().filter_map(|name| Algorithm::parse(name)).collect(),
            jwks_url: config.jwks_url.clone(),
            ca_file: config.ca_file.clone(),
            groups_claim: config.groups_claim.clone(),
            skew: config.clock_skew,
            ..defaults
        };
        let verifier = Verifier::new(settings)?;
        let client =
            config.sign_in.as_ref().zip(session.public_url.as_ref()).map(|(sign_in, url)| CodeFlowClient {
                id: sign_in.client_id.clone(),
                secret: sign_in.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned()),
                scopes: sign_in.scopes.clone(),
                redirect_uri: format!("{url}{CALLBACK}"),
            });
        Ok(Self {
            flow: client.map(|client| CodeFlow::new(verifier.clone(), client)),
            verifier,
            clock_skew: config.clock_skew,
            verified: Mutex::new(LruCache::new(CAPACITY)),
        })
    }

    /// Fetches the keys of the issuer in advance. Returns whether there are keys.
    pub(crate) async fn prepare(&self) -> bool {
        self.verifier.prepare().await
    }

    pub(crate) async fn begin_sign_in(&self) -> Result<(String, PendingSignIn), SignInError> {
        Ok(self.flow.as_ref().ok_or(SignInError::NotConfigured)?.begin().await?)
    }

    /// Returns the issuer, the subject and the groups of the user.
    pub(crate) async fn complete_sign_in(
        &self,
        code: &str,
        pending: &PendingSignIn,
        now: Timestamp,
    ) -> Result<(String, String, Vec<String>), SignInError> {
        let micros = u64::try_from(now.0).unwrap_or_default();
        let flow = self.flow.as_ref().ok_or(SignInError::NotConfigured)?;
        let claims = flow.complete(code, pending, UNIX_EPOCH + Duration::from_micros(micros)).await?;
        Ok((claims.issuer, claims.subject, claims.groups))
    }

    /// Returns the principal of a token that was verified recently. Returns `None` for another token.
    pub(crate) fn known(&self, token: &str, now: Timestamp) -> Option<Result<Arc<Principal>, Rejection>> {
        let known = self.verified.lock().get(&blake3::hash(token.as_bytes())).cloned()?;
        if known.at.elapsed() >= VERIFIED_FOR {
            return None;
        }
        let is_valid = known.principal.expires_at.is_none_or(|at| now < at);
        Some(if is_valid { Ok(known.principal) } else { Err(Rejection::Expired) })
    }

    /// Verifies a token, and returns its principal.
    ///
    /// # Errors
    /// Returns the [`Rejection`] of the token. `ProviderUnavailable` says nothing about the token.
    pub(crate) async fn verify(
        &self,
        token: &str,
        now: Timestamp,
        config: &AccessConfig,
    ) -> Result<Arc<Principal>, Rejection> {
        let micros = u64::try_from(now.0).unwrap_or_default();
        let claims = self.verifier.verify(token, UNIX_EPOCH + Duration::from_micros(micros)).await;
        let claims = claims.map_err(rejection)?;
        let expires_at = claims.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires_at = expires_at.saturating_add(self.clock_skew);
        let expires_at = Timestamp(i64::try_from(expires_at.as_micros()).unwrap_or(i64::MAX));
        let principal =
            Arc::new(Principal::of_user(&claims.subject, &claims.groups, config, Some(expires_at)));
        let verified = VerifiedToken { at: Instant::now(), principal: Arc::clone(&principal) };
        self.verified.lock().put(blake3::hash(token.as_bytes()), verified);
        Ok(principal)
    }
}

impl From<CodeFlowError> for SignInError {
    fn from(error: CodeFlowError) -> Self {
        match error {
            CodeFlowError::Unavailable(_) | CodeFlowError::NoRandomness => {
                Self::Unavailable(error.to_string())
            }
            CodeFlowError::Refused(_) | CodeFlowError::Token(_) => Self::Refused(error.to_string()),
        }
    }
}

fn rejection(invalid: InvalidToken) -> Rejection {
    match invalid {
        InvalidToken::Unavailable => Rejection::ProviderUnavailable,
        InvalidToken::Invalid(Reason::Expired) => Rejection::Expired,
        InvalidToken::Invalid(_) => Rejection::Token(invalid.to_string()),
    }
}
