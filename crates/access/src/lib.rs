//! Authentication and authorisation of the callers of the API and of workers.
//!
//! [`AccessControl`] turns the credential of a request, or the client certificate of its connection, into a [`Principal`]. A principal has [`Grants`], which say what it
//! may do in which namespace. [`IssuedKey`] is a new access key. A [`SessionIdentity`] is what a session of the console
//! keeps of a principal, which [`AccessControl::resume`] returns again.
//!
//! The crate deliberately does not know the routes: the gateway has one table of rules for them. It keeps no secret: the
//! store has digests, and the cache has what the store has.
//!
//! Invariants: access that is not granted is denied. A key that was revoked is refused by every process within two seconds.
//! A request with a cached key needs no round trip. A credential is never part of a message, a log line or `Debug`.

mod cache;
mod certificates;
mod control;
mod credential;
mod ending_body;
mod grants;
mod key;
pub mod metrics;
#[cfg(not(feature = "oidc"))]
mod no_oidc;
#[cfg(feature = "oidc")]
mod oidc;
mod principal;
mod session;
mod sign_in;
mod sign_in_error;
mod start_error;
mod unknown_lookups;

pub use control::AccessControl;
pub use credential::Rejection;
pub use ending_body::EndingBody;
pub use grants::{GrantSummary, Grants};
pub use key::{IssuedKey, NoRandomness};
pub use principal::{CredentialId, Principal};
pub use session::SessionIdentity;
pub use sign_in::PendingSignIn;
pub use sign_in_error::SignInError;
pub use start_error::StartError;
