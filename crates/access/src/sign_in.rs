//! Sign-ins of users at the identity provider.

use crate::control::AccessControl;
use crate::principal::Principal;
use crate::session::SessionIdentity;
use crate::sign_in_error::SignInError;
use goconductor_service_kit::config::AccessSubject;

#[cfg(not(feature = "oidc"))]
pub use crate::no_oidc::NoSignIn as PendingSignIn;
#[cfg(feature = "oidc")]
pub use goconductor_oidc::PendingSignIn;

impl AccessControl {
    /// Returns whether users can sign in at an identity provider.
    #[must_use]
    pub fn has_sign_in(&self) -> bool {
        self.users().is_some() && self.config().oidc.as_ref().is_some_and(|oidc| oidc.sign_in.is_some())
    }

    /// Begins a sign-in. Returns the URL to which the browser is sent, and what must be kept until it returns.
    ///
    /// # Errors
    /// Returns [`SignInError::NotConfigured`] without a client id, and [`SignInError::Unavailable`] if the identity
    /// provider does not respond.
    pub async fn begin_sign_in(&self) -> Result<(String, PendingSignIn), SignInError> {
        self.users().ok_or(SignInError::NotConfigured)?.begin_sign_in().await
    }

    /// Ends a sign-in with the code that the browser has brought back. The caller has compared the state. Returns the
    /// identity for a session.
    ///
    /// # Errors
    /// Returns [`SignInError`] if the provider does not respond or refuses, or if its ID token is not valid.
    pub async fn complete_sign_in(
        &self,
        code: &str,
        pending: &PendingSignIn,
    ) -> Result<SessionIdentity, SignInError> {
        let users = self.users().ok_or(SignInError::NotConfigured)?;
        let (issuer, subject, mut groups) = users.complete_sign_in(code, pending, self.now()).await?;
        // A session is kept in a cookie, which has little room. Other groups grant nothing.
        groups.retain(|group| self.is_bound(&AccessSubject::Group(group.clone())));
        Ok(SessionIdentity::User { issuer, subject, groups })
    }

    /// Returns the principal of a user, with the rights that bindings give now. `None` if its issuer is not the
    /// configured one.
    pub(crate) fn user(&self, issuer: &str, subject: &str, groups: &[String]) -> Option<Principal> {
        if self.config().oidc.as_ref().is_none_or(|oidc| oidc.issuer != issuer) || !self.has_sign_in() {
            return None;
        }
        Some(Principal::of_user(subject, groups, self.config(), None))
    }

    fn is_bound(&self, subject: &AccessSubject) -> bool {
        self.config().bindings.values().any(|binding| binding.subjects.contains(subject))
    }
}
