//! Cookies (RFC 6265bis).

use crate::error::{ApiResult, NO_SIGN_IN, Problem};
use axum::http::{HeaderMap, HeaderValue, header};
use std::time::Duration;

/// Maximum bytes of a value. Browsers keep at least 4096 bytes of a cookie with its name and its attributes.
const MAX_VALUE_BYTES: usize = 3800;
/// The prefix of names that browsers accept only with TLS, for the whole host and from the host itself.
const HOST_PREFIX: &str = "__Host-";

/// A cookie of the console. Scripts cannot read it.
#[derive(Debug)]
pub(super) struct Cookie {
    name: String,
    attributes: String,
}

impl Cookie {
    /// A cookie that browsers send with requests of this site only.
    pub(super) fn strict(name: &str, is_secure: bool) -> Self {
        Self::new(name, is_secure, "Strict")
    }

    /// A cookie that browsers also send when another site navigates to this one.
    pub(super) fn lax(name: &str, is_secure: bool) -> Self {
        Self::new(name, is_secure, "Lax")
    }

    fn new(name: &str, is_secure: bool, same_site: &str) -> Self {
        let (prefix, secure) = if is_secure { (HOST_PREFIX, "; Secure") } else { ("", "") };
        Self {
            name: format!("{prefix}goconductor-{name}"),
            attributes: format!("; Path=/; HttpOnly; SameSite={same_site}{secure}"),
        }
    }

    /// Returns the header that sets the cookie.
    pub(super) fn set(&self, value: &str, lifetime: Duration) -> ApiResult<HeaderValue> {
        let too_long = || {
            Problem::new(NO_SIGN_IN, "the session does not fit into a cookie: the user is in too many groups")
        };
        if value.len() > MAX_VALUE_BYTES {
            return Err(too_long());
        }
        let text = format!("{}={value}; Max-Age={}{}", self.name, lifetime.as_secs(), self.attributes);
        let mut header = HeaderValue::from_str(&text).map_err(|_| too_long())?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Returns the header that deletes the cookie.
    pub(super) fn clear(&self) -> HeaderValue {
        let text = format!("{}=; Max-Age=0{}", self.name, self.attributes);
        // The name and the attributes are constants in ASCII.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Returns the value of a request. It is empty, and therefore not valid, if there are several cookies of the name:
    /// one of them may come from another host.
    pub(super) fn value<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let fields = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.name).map(|(_, value)| value);
        let value = values.next()?;
        Some(if values.next().is_none() { value } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(fields: &[&str]) -> HeaderMap {
        fields.iter().map(|field| (header::COOKIE, HeaderValue::from_str(field).unwrap())).collect()
    }

    #[test]
    fn secure_cookie_is_bound_to_its_host() {
        let cookie = Cookie::strict("session", true);
        assert_eq!(
            cookie.set("v", Duration::from_secs(60)).unwrap(),
            "__Host-goconductor-session=v; Max-Age=60; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            Cookie::lax("sign-in", false).clear(),
            "goconductor-sign-in=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
        );
        assert!(cookie.set(&"v".repeat(MAX_VALUE_BYTES + 1), Duration::ZERO).is_err());
        assert!(cookie.set("a\nb", Duration::ZERO).is_err());
    }

    #[test]
    fn value_is_that_of_the_exact_name() {
        let cookie = Cookie::strict("session", true);
        for (fields, expected) in [
            (vec!["__Host-goconductor-session=v"], Some("v")),
            (vec!["a=b; __Host-goconductor-session=v=w ; c"], Some("v=w")),
            (vec!["a=b", "__Host-goconductor-session=v"], Some("v")),
            (vec!["goconductor-session=v"], None),
            (vec!["__host-goconductor-session=v"], None),
            (vec!["x__Host-goconductor-session=v"], None),
            (vec!["__Host-goconductor-session"], None),
            (vec![], None),
            (vec!["__Host-goconductor-session=v; __Host-goconductor-session=w"], Some("")),
            (vec!["__Host-goconductor-session=v", "__Host-goconductor-session=v"], Some("")),
        ] {
            assert_eq!(cookie.value(&cookies(&fields)), expected, "{fields:?}");
        }
    }
}
