//! The reasons for which a sign-in at the identity provider fails.

/// A sign-in that failed. No message contains a code, a token or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// Users cannot sign in at an identity provider.
    #[error("no sign-in at an identity provider is configured")]
    NotConfigured,
    /// The identity provider does not respond.
    #[error("{0}")]
    Unavailable(String),
    /// The identity provider, or the check of its ID token, refused the sign-in.
    #[error("{0}")]
    Refused(String),
}
