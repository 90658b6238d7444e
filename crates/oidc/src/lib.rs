//! Verification of the JSON Web Tokens (JWT) of one OpenID Connect issuer.
//!
//! A [`Verifier`] checks tokens with the public keys of the issuer, which it fetches and caches. [`Verifier::verify`]
//! returns the [`Claims`] of a valid token. A [`Rejection`] is either final for the token, or states that the keys are
//! not available, so that the caller may retry.
//!
//! A [`CodeFlow`] signs a user in at the issuer: the authorization code flow with PKCE (RFC 7636), a state and a nonce.
//!
//! The crate deliberately knows nothing about requests, roles or permissions, and does not issue tokens. It reads no
//! clock for the times in a token: the caller passes the time.
//!
//! Invariants: a key verifies only with algorithms of its own type, because the pair is fixed when the key is read. No
//! key comes from a token. `none` and the HMAC algorithms do not exist in [`Algorithm`]. No message contains a part of a
//! token.

mod cache;
mod claims;
mod code_flow;
mod fetch;
mod keys;
mod object;
mod rejection;
mod settings;
mod token;
mod verifier;

pub use claims::Claims;
pub use code_flow::{CodeFlow, CodeFlowClient, CodeFlowError, PendingSignIn};
pub use rejection::{Reason, Rejection};
pub use settings::{Algorithm, Error, MAX_SKEW, Settings};
pub use verifier::Verifier;

/// Maximum bytes of a token. A token with some hundred groups fits; a header field of a request is not much longer.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
