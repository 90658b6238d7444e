//! The users of an identity provider in a build without OpenID Connect: there are none.

use crate::credential::Rejection;
use crate::principal::Principal;
use crate::sign_in_error::SignInError;
use crate::start_error::StartError;
use goconductor_saga::Timestamp;
use goconductor_service_kit::config::{AccessConfig, OidcConfig, SessionConfig};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A sign-in that has begun. There are none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NoSignIn {
    /// The state, which the browser returns with the code.
    pub state: String,
}

/// No users.
#[derive(Debug)]
pub(crate) enum NoUsers {}

impl NoUsers {
    pub(crate) fn new(_config: &OidcConfig, _session: &SessionConfig) -> Result<Self, StartError> {
        Err(StartError::NoOidc)
    }

    pub(crate) async fn prepare(&self) -> bool {
        match *self {}
    }

    pub(crate) fn known(&self, _token: &str, _now: Timestamp) -> Option<Result<Arc<Principal>, Rejection>> {
        match *self {}
    }

    pub(crate) async fn verify(
        &self,
        _token: &str,
        _now: Timestamp,
        _config: &AccessConfig,
    ) -> Result<Arc<Principal>, Rejection> {
        match *self {}
    }

    pub(crate) async fn begin_sign_in(&self) -> Result<(String, NoSignIn), SignInError> {
        match *self {}
    }

    pub(crate) async fn complete_sign_in(
        &self,
        _code: &str,
        _pending: &NoSignIn,
        _now: Timestamp,
    ) -> Result<(String, String, Vec<String>), SignInError> {
        match *self {}
    }
}
