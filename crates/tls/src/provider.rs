//! The implementation of the cryptography. It is explicit, so that the choice does not depend on the features of other
//! crates.

use crate::error::Error;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// Returns the provider of this build.
#[cfg(feature = "aws-lc")]
#[allow(clippy::unnecessary_wraps, reason = "a build without cryptography has no provider")]
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, Error> {
    Ok(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// Returns the provider of this build.
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
#[allow(clippy::unnecessary_wraps, reason = "a build without cryptography has no provider")]
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, Error> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

/// Returns the provider of this build.
#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
pub(crate) fn provider() -> Result<Arc<CryptoProvider>, Error> {
    Err(Error::new("", "tls", "this build does not contain TLS: build with `--features aws-lc`"))
}
