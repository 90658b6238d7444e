//! Reasons for which a token is not accepted.

use crate::MAX_TOKEN_BYTES;

/// A token that is not accepted. No message contains a part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The token is not valid. The same token stays refused, except one that is not valid yet or whose key is not
    /// published yet.
    #[error("the token is not valid: {0}")]
    Invalid(Reason),
    /// The keys of the issuer are not available, so that the token cannot be checked. A retry may succeed.
    #[error("the token cannot be checked: the keys of the issuer are not available")]
    Unavailable,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}

/// The check that a token failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It has more than [`MAX_TOKEN_BYTES`] bytes.
    #[error("it has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// It is not a signed JWT in compact form, or a part is not JSON, or a name occurs twice.
    #[error("it is not a signed JWT in compact form")]
    Malformed,
    /// `alg` is not one of the allowed algorithms.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// `typ` is not that of an access token or of an ID token.
    #[error("its type is not JWT or at+jwt")]
    Type,
    /// The header has `crit`, or `b64`, which is only valid with `crit`.
    #[error("its header requires an extension that is not supported")]
    CriticalHeader,
    /// No key, or more than one key, of the issuer fits `kid` and `alg`.
    #[error("its kid and algorithm do not select a key of the issuer")]
    UnknownKey,
    /// The signature is not that of the selected key.
    #[error("its signature is wrong")]
    Signature,
    /// `iss` is not the issuer.
    #[error("its issuer is not the configured one")]
    Issuer,
    /// `aud` contains none of the accepted audiences.
    #[error("its audience is not accepted")]
    Audience,
    /// `exp` is in the past.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// `nonce` is not that of the sign-in.
    #[error("it does not belong to this sign-in")]
    Nonce,
    /// `iss`, `exp` or `sub` is missing, or a claim that is read has the wrong type.
    #[error("a required claim is missing or malformed")]
    Claim,
}
