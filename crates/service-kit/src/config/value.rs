//! The types of settings: how each is read from a text and shown.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::duration;

/// A URL that may hold a password: it is printed without.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Takes a text for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The whole URL, for whoever connects to it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a text for a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever shows it to the other side.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands where a secret would.
pub(super) const MASK: &str = "***";

/// Why a text is not of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not what was expected, and there is no more to say.
    Other,
    /// It is not what was expected, because of this.
    Because(String),
}

pub(super) type Read<T> = Box<dyn Fn(&str) -> Result<T, Refusal>>;

/// Reads one type of setting.
pub(super) struct Kind<T> {
    /// What a value looks like: completes "expected …".
    pub(super) expected: String,
    /// In YAML, whether it may be written without quotes, and with.
    pub(super) yaml: Yaml,
    /// Whether a text of it may hold a secret, and is not repeated in a message.
    pub(super) secret: bool,
    /// Reads it.
    pub(super) read: Read<T>,
    /// Shows it, without secrets.
    pub(super) show: fn(&T) -> String,
}

/// How a type is written in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yaml {
    /// A text, with or without quotes.
    Text,
    /// A number or a truth value: never in quotes.
    Bare,
    /// A list; outside YAML, its texts with commas between them.
    List,
}

pub(super) fn address() -> Kind<SocketAddr> {
    Kind {
        expected: "an address and port such as 127.0.0.1:8470".to_owned(),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(|text| text.parse().map_err(|_| Refusal::Other)),
        show: SocketAddr::to_string,
    }
}

pub(super) fn boolean() -> Kind<bool> {
    Kind {
        expected: "true or false".to_owned(),
        yaml: Yaml::Bare,
        secret: false,
        read: Box::new(|text| text.parse().map_err(|_| Refusal::Other)),
        show: bool::to_string,
    }
}

pub(super) fn path() -> Kind<PathBuf> {
    Kind {
        expected: "a path".to_owned(),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(|text| if text.is_empty() { Err(Refusal::Other) } else { Ok(PathBuf::from(text)) }),
        show: |path| path.display().to_string(),
    }
}

/// Texts, each of which has to be in order.
pub(super) fn list(expected: &str, is_one: fn(&str) -> bool) -> Kind<Vec<String>> {
    Kind {
        expected: expected.to_owned(),
        yaml: Yaml::List,
        secret: false,
        read: Box::new(move |text| {
            let items: Vec<String> =
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
            match items.iter().find(|item| !is_one(item)) {
                None => Ok(items),
                Some(wrong) => Err(Refusal::Because(format!("{wrong:?} is none"))),
            }
        }),
        show: |items| items.join(","),
    }
}

/// The places of another service's processes.
pub(super) fn endpoints(example: &str) -> Kind<Vec<String>> {
    list(&format!("a list of addresses such as [{example}]"), |text| {
        let uri: Option<http::Uri> = text.parse().ok();
        uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.path() == "/"
                && uri.query().is_none()
        })
    })
}

/// Names of hosts with ports.
pub(super) fn hosts(example: &str) -> Kind<Vec<String>> {
    list(&format!("a list of hosts with ports such as [{example}]"), |text| {
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@']);
        text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
    })
}

/// A text that is not shown.
pub(super) fn secret_text() -> Kind<SecretText> {
    Kind {
        expected: "a text".to_owned(),
        yaml: Yaml::Text,
        secret: true,
        read: Box::new(|text| if text.is_empty() { Err(Refusal::Other) } else { Ok(SecretText::new(text)) }),
        show: SecretText::to_string,
    }
}

/// A text that names something.
pub(super) fn text(expected: &str, is_one: fn(&str) -> bool) -> Kind<String> {
    Kind {
        expected: expected.to_owned(),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(move |text| if is_one(text) { Ok(text.to_owned()) } else { Err(Refusal::Other) }),
        show: String::clone,
    }
}

pub(super) fn integer(least: u32, most: u32) -> Kind<u32> {
    Kind {
        expected: format!("a whole number from {least} to {most}"),
        yaml: Yaml::Bare,
        secret: false,
        read: Box::new(move |text| match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(Refusal::Other),
        }),
        show: u32::to_string,
    }
}

pub(super) fn bytes(least: u32, most: u32) -> Kind<usize> {
    Kind {
        expected: format!(
            "a size such as 65536 or 512KiB, from {} to {}",
            show_bytes(least),
            show_bytes(most)
        ),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(move |text| {
            let size = read_bytes(text).ok_or(Refusal::Other)?;
            if !(least..=most).contains(&size) {
                return Err(Refusal::Other);
            }
            usize::try_from(size).map_err(|_| Refusal::Other)
        }),
        show: |size| u32::try_from(*size).map_or_else(|_| size.to_string(), show_bytes),
    }
}

pub(super) fn span(least: Duration, most: Duration) -> Kind<Duration> {
    let (from, to) = (duration::format(least), duration::format(most));
    Kind {
        expected: format!("a duration such as 250ms or 1h30m, from {from} to {to}"),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(move |text| match duration::parse(text) {
            Ok(value) if (least..=most).contains(&value) => Ok(value),
            Ok(_) => Err(Refusal::Other),
            Err(error) => Err(Refusal::Because(error.to_string())),
        }),
        show: |value| duration::format(*value),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy + 'static>(
    words: &'static [(&'static str, T)],
    show: fn(&T) -> String,
) -> Kind<T> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Kind {
        expected: known.join(" or "),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(move |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or(Refusal::Other)
        }),
        show,
    }
}

pub(super) fn log_level() -> Kind<String> {
    Kind {
        expected: "a level (error, warn, info, debug, trace), or a filter such as info,goconductor=debug"
            .to_owned(),
        yaml: Yaml::Text,
        secret: false,
        read: Box::new(|text| match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) if text.split(',').all(is_directive) => Ok(text.to_owned()),
            Ok(_) | Err(_) => Err(Refusal::Other),
        }),
        show: String::clone,
    }
}

/// A level, or what is filtered and its level. A single word that is no level would be taken for a target,
/// and a slip such as `inof` would silence everything else.
fn is_directive(text: &str) -> bool {
    text.contains('=')
        || text.contains('[')
        || text.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
}

/// A URL with one of these schemes.
pub(super) fn url(schemes: &'static [&'static str], example: &str) -> Kind<SecretUrl> {
    Kind {
        expected: format!("a URL such as {example}"),
        yaml: Yaml::Text,
        secret: true,
        read: Box::new(|text| {
            let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
            let printable = !text.contains(|c: char| c.is_whitespace() || c.is_control());
            match rest {
                Some(rest) if printable && !rest.is_empty() => Ok(SecretUrl::new(text)),
                Some(_) | None => Err(Refusal::Other),
            }
        }),
        show: SecretUrl::to_string,
    }
}

/// The base of a service's actions, to which `/{action}` is appended.
pub(super) fn http_url() -> Kind<SecretUrl> {
    Kind {
        expected: "a URL such as http://127.0.0.1:9101, without query or fragment".to_owned(),
        yaml: Yaml::Text,
        secret: true,
        read: Box::new(|text| {
            let uri: http::Uri = text.parse().map_err(|_| Refusal::Other)?;
            let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
            let host = uri.host().is_some_and(|host| !host.is_empty());
            if scheme && host && uri.query().is_none() && !text.contains('#') {
                Ok(SecretUrl::new(text.trim_end_matches('/')))
            } else {
                Err(Refusal::Other)
            }
        }),
        show: SecretUrl::to_string,
    }
}

const BYTE_UNITS: [(&str, u32); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn read_bytes(text: &str) -> Option<u32> {
    let with_unit = BYTE_UNITS
        .into_iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, factor)));
    let (number, factor) = with_unit.unwrap_or((text, 1));
    // `parse` takes a sign, which a size has not.
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    number.parse::<u32>().ok()?.checked_mul(factor)
}

fn show_bytes(size: u32) -> String {
    let unit = BYTE_UNITS.into_iter().find(|(_, factor)| size >= *factor && size.is_multiple_of(*factor));
    unit.map_or_else(|| size.to_string(), |(unit, factor)| format!("{}{unit}", size / factor))
}

/// A URL without its password, and without the values of its query that could be one.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(authority_end);
    // A password that was not escaped may hold an @, or even a slash: then no more is shown than is sure.
    if rest.contains('@') {
        return format!("{scheme}://{MASK}");
    }
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{MASK}@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    match rest.split_once('?') {
        Some((path, query)) => format!("{scheme}://{authority}{path}?{}", masked_query(query)),
        None => format!("{scheme}://{authority}{rest}"),
    }
}

fn masked_query(query: &str) -> String {
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name, _)) if holds_secret(name) => format!("{name}={MASK}"),
            Some(_) | None => part.to_owned(),
        })
        .collect();
    parts.join("&")
}

fn holds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "key"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_printed_without_secrets() {
        for (url, shown) in [
            ("postgres://db/orders", "postgres://db/orders"),
            ("postgres://me@db/orders", "postgres://me@db/orders"),
            (
                "postgres://me:hunter2@db:5432/orders?sslmode=require",
                "postgres://me:***@db:5432/orders?sslmode=require",
            ),
            ("postgres://me:a@b@db/orders", "postgres://me:***@db/orders"),
            ("postgres://me:a/b@db/orders", "postgres://***"),
            ("postgres://db/orders?user=me&password=hunter2", "postgres://db/orders?user=me&password=***"),
            ("hunter2", "***"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
            assert_eq!(format!("{:?}", SecretUrl::new(url)), shown);
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, size) in
            [("0", 0), ("65536", 65_536), ("512KiB", 524_288), ("1MiB", 1 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(read_bytes(text), Some(size), "{text}");
        }
        for text in ["", "KiB", "-1", "+1", "1.5MiB", "1MB", "4GiB", "99999999999"] {
            assert_eq!(read_bytes(text), None, "{text}");
        }
        assert_eq!(show_bytes(524_288), "512KiB");
        assert_eq!(show_bytes(1000), "1000");
    }
}
