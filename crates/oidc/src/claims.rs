//! The result of a successful check.

use std::time::SystemTime;

/// The claims of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The issuer, which is that of the settings.
    pub issuer: String,
    /// The subject: 1 to 255 bytes without control characters. It is unique within the issuer.
    pub subject: String,
    /// The groups of the subject. Empty without the claim.
    pub groups: Vec<String>,
    /// The value of `exp`. A stream that the token has opened must end then.
    pub expires_at: SystemTime,
}
