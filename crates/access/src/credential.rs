//! The credential of a request, and the reasons for which it is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use secrecy::SecretString;

/// Maximum length of a token. The tokens of identity providers have a few kilobytes.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// Why a request has no principal.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Rejection {
    /// The request has no credential.
    #[error("the request has no credential")]
    Missing,
    /// The header `Authorization` cannot be read.
    #[error("the header Authorization is malformed: send it once, in the form `Bearer TOKEN`")]
    Malformed,
    /// The credential is unknown.
    #[error("the credential is not valid")]
    Unknown,
    /// The token of the identity provider is not valid. No text contains a part of it.
    #[error("{0}")]
    Token(String),
    /// The credential has expired.
    #[error("the credential has expired")]
    Expired,
    /// The credential was revoked.
    #[error("the credential was revoked")]
    Revoked,
    /// The credential could not be checked, because the state store does not respond.
    #[error("the credential cannot be checked: {0}")]
    Unavailable(String),
    /// The token could not be checked, because the keys of the identity provider are not available.
    #[error("the token cannot be checked: the keys of the identity provider are not available")]
    ProviderUnavailable,
    /// The credential was not checked, because too many others are being checked.
    #[error("too many credentials are being checked")]
    Busy,
}

impl Rejection {
    /// Returns the reason as the label of a metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Token(_) => "token",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unavailable(_) | Self::ProviderUnavailable => "unavailable",
            Self::Busy => "busy",
        }
    }
}

/// Returns the token of a request: that of the scheme `Bearer`, or the password of the scheme `Basic`, which browsers can
/// ask for.
pub(crate) fn token(headers: &HeaderMap) -> Result<SecretString, Rejection> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Rejection::Missing)?;
    if values.next().is_some() || value.len() > MAX_TOKEN_BYTES {
        return Err(Rejection::Malformed);
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Rejection::Malformed)?;
    let token = token.trim();
    if token.is_empty() {
        return Err(Rejection::Malformed);
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(SecretString::from(token));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Rejection::Malformed);
    }
    let decoded = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let password = decoded.as_deref().and_then(|text| text.split_once(':')).map(|(_, password)| password);
    password.filter(|password| !password.is_empty()).map(SecretString::from).ok_or(Rejection::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use secrecy::ExposeSecret;

    fn headers(values: &[&str]) -> HeaderMap {
        let value = |text: &&str| (header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
        values.iter().map(value).collect()
    }

    #[test]
    fn token_is_that_of_a_bearer_or_the_password_of_a_user() {
        for text in ["Bearer abc", "bearer abc", "BEARER  abc", "Basic YW55OmFiYw==", "basic OmFiYw=="] {
            assert_eq!(token(&headers(&[text])).unwrap().expose_secret(), "abc", "{text}");
        }
        assert!(matches!(token(&headers(&[])), Err(Rejection::Missing)));
        for text in
            ["", "Bearer", "Bearer ", "abc", "Digest abc", "Basic abc", "Basic YWJj", "Basic YWJjOg=="]
        {
            assert!(matches!(token(&headers(&[text])), Err(Rejection::Malformed)), "{text}");
        }
        assert!(matches!(token(&headers(&["Bearer a", "Bearer b"])), Err(Rejection::Malformed)));
    }
}
