//! URLs that may contain a password.

use secrecy::{ExposeSecret, SecretString};
use std::borrow::Cow;
use std::fmt;
use url::Url;

/// Replacement of a secret in all output.
pub(super) const MASK: &str = "***";

/// A URL that may contain a password. `Display` and `Debug` mask the password, and query parameters whose names
/// suggest a secret. In a URL of HTTP, they mask the user name as well, because a token is often sent as one.
#[derive(Clone)]
pub struct SecretUrl(SecretString);

impl SecretUrl {
    /// Creates a URL from a text, without checking it.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// Returns the URL with its secrets.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Converts the URL into a secret string.
    #[must_use]
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(self.expose()))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Masks the secrets in a URL. Text that is not a URL is masked as a whole, because it may be a secret.
fn masked(text: &str) -> String {
    let Some((scheme, _)) = text.split_once("://") else { return MASK.to_owned() };
    let all = || format!("{scheme}://{MASK}");
    let Ok(mut url) = Url::parse(text) else { return all() };
    // An unescaped password with a slash ends the authority early, so that its rest is in the path.
    if url.path().contains('@') || url.query().is_some_and(|query| query.contains('@')) {
        return all();
    }
    let query = url.query().map(masked_query);
    let is_http = matches!(url.scheme(), "http" | "https");
    let has_credentials = url.password().is_some() || (is_http && !url.username().is_empty());
    if !has_credentials && query.as_deref() == url.query() {
        // Written as it was, because the parser normalizes the text.
        return text.to_owned();
    }
    if has_credentials {
        let masked = if is_http {
            url.set_username(MASK).and_then(|()| url.set_password(None))
        } else {
            url.set_password(Some(MASK))
        };
        if masked.is_err() {
            return all();
        }
    }
    url.set_query(query.as_deref());
    let has_path = text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    let masked = url.to_string();
    if has_path || url.query().is_some() { masked } else { masked.trim_end_matches('/').to_owned() }
}

/// Masks what may be credentials in a text that is not valid and that a message repeats: everything before its last `@`,
/// except the scheme of a URL.
pub(super) fn without_credentials(text: &str) -> Cow<'_, str> {
    let Some((before, host)) = text.rsplit_once('@') else { return Cow::Borrowed(text) };
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Cow::Owned(match before.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => format!("{scheme}://{MASK}@{host}"),
        Some(_) | None => format!("{MASK}@{host}"),
    })
}

fn masked_query(query: &str) -> String {
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
            Some(_) | None => part.to_owned(),
        })
        .collect();
    parts.join("&")
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    ["pass", "secret", "token", "key"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_repeated_without_credentials() {
        for (text, repeated) in [
            ("127.0.0.1:9092", "127.0.0.1:9092"),
            ("me:hunter2@db:5672", "***@db:5672"),
            ("hunter2@db", "***@db"),
            ("amqp://me:hunter2@db:5672", "amqp://***@db:5672"),
            ("amqp://me:hunt@er2@db", "amqp://***@db"),
            ("a:1,amqp://me:hunt,er2@db", "***@db"),
            ("me:hunter2,http://a@db", "***@db"),
        ] {
            assert_eq!(without_credentials(text), repeated);
        }
    }

    #[test]
    fn urls_are_printed_without_secrets() {
        for (url, printed) in [
            ("postgres://db/orders", "postgres://db/orders"),
            ("postgres://me@db/orders", "postgres://me@db/orders"),
            (
                "postgres://me:hunter2@db:5432/orders?sslmode=require",
                "postgres://me:***@db:5432/orders?sslmode=require",
            ),
            ("postgres://me:a@b@db/orders", "postgres://me:***@db/orders"),
            ("postgres://me:a/b@db/orders", "postgres://***"),
            ("postgres://me:1/b@db/orders", "postgres://***"),
            ("postgres://db/orders?user=me&password=hunter2", "postgres://db/orders?user=me&password=***"),
            ("http://127.0.0.1:9101", "http://127.0.0.1:9101"),
            ("http://me:hunter2@127.0.0.1:9101", "http://***@127.0.0.1:9101"),
            ("http://me:hunter2@127.0.0.1:9101/saga", "http://***@127.0.0.1:9101/saga"),
            ("http://hunter2@127.0.0.1:9101", "http://***@127.0.0.1:9101"),
            ("https://hunter2:x@example.com/a?b=c", "https://***@example.com/a?b=c"),
            ("http://:hunter2@127.0.0.1:9101", "http://***@127.0.0.1:9101"),
            ("sqlite:///var/lib/state.db", "sqlite:///var/lib/state.db"),
            ("hunter2", "***"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), printed);
            assert_eq!(format!("{:?}", SecretUrl::new(url)), printed);
        }
    }
}
