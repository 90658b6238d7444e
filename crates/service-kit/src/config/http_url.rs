//! The base URLs of participants: one check for the API, the configuration and the executor.

use super::secret_url::{MASK, SecretUrl};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use std::net::Ipv6Addr;

/// Maximum bytes of a URL.
pub const MAX_URL_BYTES: usize = 2048;
/// Maximum bytes of a host name and of one of its labels (RFC 1035, section 2.3.4).
const MAX_HOST_BYTES: usize = 253;
const MAX_HOST_LABEL_BYTES: usize = 63;

/// A base URL, to which `/{action}` is appended. A value has passed every check, so nothing in it is ignored.
#[derive(Debug, Clone)]
pub struct HttpUrl {
    url: String,
    host: String,
    /// The text as it was written, without slashes at its end.
    text: SecretUrl,
    authorization: Option<HeaderValue>,
}

/// A text that is not the base URL of a participant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid URL: {reason}; an example is http://127.0.0.1:9101")]
pub struct InvalidUrl {
    reason: String,
}

impl InvalidUrl {
    /// The part of the URL that is not valid.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }
}

impl HttpUrl {
    /// Parses a URL with a scheme, a host, and optionally credentials, a port and a path.
    ///
    /// # Errors
    /// Returns [`InvalidUrl`] with the part that is not valid. The error never repeats the credentials.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        if text.len() > MAX_URL_BYTES {
            return Err(invalid(format!("it has more than {MAX_URL_BYTES} bytes")));
        }
        let uri: http::Uri = text.parse().map_err(|_| invalid("it is malformed"))?;
        let Some(scheme @ ("http" | "https")) = uri.scheme_str() else {
            return Err(invalid("its scheme must be http or https"));
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, authority),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it has no host"))?;
        if !is_host(host) {
            return Err(invalid(format!("`{host}` is not a host name or an IP address")));
        }
        if !address.strip_prefix(host).is_some_and(is_port) {
            return Err(invalid("its port must be from 1 to 65535"));
        }
        if uri.query().is_some() || text.contains('#') {
            let reason = "it must not have a query or a fragment, because the action is appended to its path";
            return Err(invalid(reason));
        }
        let authorization = credentials.map(basic_authorization).transpose()?;
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            url: format!("{scheme}://{address}{path}"),
            host: host.to_owned(),
            text: SecretUrl::new(text.trim_end_matches('/')),
            authorization,
        })
    }

    /// Returns the URL without credentials and without slashes at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the host: a name, or an IP address in any form. An IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the URL with its credentials, without slashes at its end.
    #[must_use]
    pub fn with_credentials(&self) -> &SecretUrl {
        &self.text
    }

    /// Returns the value of the header `Authorization` if the URL has credentials. Its `Debug` output is masked.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

fn invalid(reason: impl Into<String>) -> InvalidUrl {
    InvalidUrl { reason: reason.into() }
}

/// Returns whether a text is an IP address or the name of a host.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    // The last check refuses numbers that are not an address, such as `127.0.0.256`.
    is_dns_name(name) && url::Host::parse(name).is_ok()
}

/// Returns whether a text has the form of a DNS name. Labels may contain `_`, as those of containers do.
pub(super) fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_HOST_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX_HOST_BYTES && text.split('.').all(is_label)
}

/// Returns whether a text is empty or a port with a colon before it.
pub(super) fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    // `u16::from_str` accepts a plus sign.
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Returns the value of the header `Authorization` for `user:password` (RFC 7617).
fn basic_authorization(credentials: &str) -> Result<HeaderValue, InvalidUrl> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    if user == MASK || password == MASK {
        return Err(invalid("its credentials are masked: write the credentials themselves"));
    }
    let user: Vec<u8> = percent_decode_str(user).collect();
    let password: Vec<u8> = percent_decode_str(password).collect();
    if user.is_empty() && password.is_empty() {
        return Err(invalid("its user name is empty"));
    }
    if user.contains(&b':') || user.iter().chain(&password).any(u8::is_ascii_control) {
        let reason = "its user name must not contain a colon, and its credentials no control characters";
        return Err(invalid(reason));
    }
    let text = format!("Basic {}", STANDARD.encode([&*user, b":", &*password].concat()));
    let mut value = HeaderValue::try_from(text).map_err(|_| invalid("its credentials are malformed"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_read_with_its_credentials() {
        for (text, url, authorization) in [
            ("http://127.0.0.1:9101", "http://127.0.0.1:9101", None),
            ("https://payments.example/saga/", "https://payments.example/saga", None),
            ("HTTP://my_service:80//", "http://my_service:80", None),
            ("http://[::1]:9101/a", "http://[::1]:9101/a", None),
            ("http://host.:65535", "http://host.:65535", None),
            ("http://user:pw@host", "http://host", Some("Basic dXNlcjpwdw==")),
            ("http://user@host:1/x", "http://host:1/x", Some("Basic dXNlcjo=")),
            ("http://:pw@host", "http://host", Some("Basic OnB3")),
            ("http://u%40x:p%3Aw%C3%A4@host", "http://host", Some("Basic dUB4OnA6d8Ok")),
        ] {
            let parsed = HttpUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let header = parsed.authorization().map(|value| value.to_str().unwrap());
            assert_eq!((parsed.as_str(), header), (url, authorization), "{text}");
            assert_eq!(parsed.with_credentials().expose(), text.trim_end_matches('/'));
            assert!(!format!("{parsed:?}").contains("pw"), "{parsed:?}");
        }
    }

    #[test]
    fn url_that_cannot_be_used_is_refused() {
        let long = format!("http://{}.example", "a".repeat(64));
        for (text, reason) in [
            ("payments:9101", "scheme"),
            ("ftp://host", "scheme"),
            ("/path", "scheme"),
            ("http://", "malformed"),
            ("http://:80", ""),
            ("http://host:0", "port"),
            ("http://host:99999", "port"),
            ("http://host:65536/path", "port"),
            ("http://host:", "port"),
            ("http://host:+80", ""),
            ("http://host:80:80", ""),
            ("http://user:pw@host:0", "port"),
            ("http://ho st", "malformed"),
            ("http://höst", "malformed"),
            ("http://a..b", "not a host name"),
            ("http://-a", "not a host name"),
            ("http://127.0.0.256", "not a host name"),
            ("http://[::1", ""),
            ("http://[zz]", ""),
            (&long, "not a host name"),
            ("http://host?x=1", "query"),
            ("http://host/#x", "fragment"),
            ("http://user:***@host", "masked"),
            ("http://***@host", "masked"),
            ("http://@host", "user name is empty"),
            ("http://a%3Ab:pw@host", "colon"),
            ("http://a:p%0Aw@host", "control"),
        ] {
            let message = HttpUrl::parse(text).expect_err(text).to_string();
            assert!(message.contains(reason), "{text}: {message}");
            assert!(!message.contains("pw"), "{text}: {message}");
        }
        assert!(HttpUrl::parse(&format!("http://host/{}", "a".repeat(2048))).is_err());
    }
}
