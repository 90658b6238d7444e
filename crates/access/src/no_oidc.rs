//! The users of an identity provider in a build without OpenID Connect: there are none.

use crate::credential::Rejection;
use crate::principal::Principal;
use crate::start_error::StartError;
use goconductor_saga::Timestamp;
use goconductor_service_kit::config::{AccessConfig, OidcConfig};
use std::sync::Arc;

/// No users.
#[derive(Debug)]
pub(crate) enum NoUsers {}

impl NoUsers {
    pub(crate) fn new(_config: &OidcConfig) -> Result<Self, StartError> {
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
}
