//! The verifier of one issuer.

use crate::cache::KeyCache;
use crate::claims::Claims;
use crate::fetch::KeySource;
use crate::rejection::{Reason, Rejection};
use crate::settings::{Error, Settings};
use crate::token::{Expected, UnverifiedToken};
use std::sync::Arc;
use std::time::SystemTime;

/// Verifies the tokens of one issuer. Clones are cheap and share the keys.
#[derive(Debug, Clone)]
pub struct Verifier {
    cache: Arc<KeyCache>,
}

impl Verifier {
    /// Creates a verifier. It sends no request until it checks a token.
    ///
    /// # Errors
    /// Returns [`Error::Setting`] for a setting that is not valid, and [`Error::Certificates`] if the certificates of
    /// authorities cannot be read.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        Ok(Self { cache: Arc::new(KeyCache::new(KeySource::new(settings)?)) })
    }

    /// Checks a token in compact form at the time `now`. Must be called within a Tokio runtime.
    ///
    /// It waits for the issuer only if it has no keys that may be used, or none that fits the token. All other fetches
    /// run in the background.
    ///
    /// # Errors
    /// Returns [`Rejection::Invalid`] with the check that failed. Returns [`Rejection::Unavailable`] if the keys of the
    /// issuer have never been fetched, or are older than `keys_max_age`, or if the key of the token is unknown and the
    /// last fetch failed.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, Rejection> {
        self.verify_as(Expected::AccessToken, token, now).await
    }

    /// Like [`verify`](Self::verify), for what `expected` states.
    pub(crate) async fn verify_as(
        &self,
        expected: Expected<'_>,
        token: &str,
        now: SystemTime,
    ) -> Result<Claims, Rejection> {
        let settings = self.cache.settings();
        let token = UnverifiedToken::parse(token, &settings.algorithms)?;
        let current = self.cache.current().await.ok_or(Rejection::Unavailable)?;
        let checked = token.verify(&current.keys, settings, expected, now);
        if !is_unknown_key(&checked) {
            return Ok(checked?);
        }
        let newer = self.cache.newer_than(&current).await.ok_or(Rejection::Unavailable)?;
        let checked = token.verify(&newer.keys, settings, expected, now);
        if is_unknown_key(&checked) && newer.is_failing {
            return Err(Rejection::Unavailable);
        }
        Ok(checked?)
    }

    /// Returns the client of the issuer, which fetches its documents.
    pub(crate) fn source(&self) -> &KeySource {
        self.cache.source()
    }

    /// Fetches the keys if there are none that may be used. A service calls it when it starts, so that a wrong setting
    /// is reported then and the first request does not wait. Returns whether there are keys.
    pub async fn prepare(&self) -> bool {
        self.cache.current().await.is_some()
    }
}

fn is_unknown_key(checked: &Result<Claims, Reason>) -> bool {
    matches!(checked, Err(Reason::UnknownKey))
}
