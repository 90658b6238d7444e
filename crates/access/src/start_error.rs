//! The reason why access control does not start.

/// Users of the identity provider cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is not valid, or the certificates of authorities cannot be read.
    #[cfg(feature = "oidc")]
    #[error(transparent)]
    Oidc(#[from] goconductor_oidc::Error),
    /// The build does not contain OpenID Connect.
    #[cfg(not(feature = "oidc"))]
    #[error("this build does not contain OpenID Connect: build with `--features oidc`")]
    NoOidc,
}
