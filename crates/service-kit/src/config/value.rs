//! The types of settings: how a text is parsed and how a value is printed.

use super::http_url::{HttpUrl, is_port};
use super::listen_address::{self, ListenAddress};
use super::master_key_source::MasterKeySource;
use super::secret_reference::SecretReference;
use super::secret_url::{MASK, SecretUrl};
use goconductor_definition::duration;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// The form of a duration in JSON Schema.
const DURATION_PATTERN: &str = "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$";

/// Mismatch between a text and the type of its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// The text is not what was expected.
    Plain,
    /// The text is not what was expected, for this reason.
    Because(String),
}

pub(super) type Parse<T> = Box<dyn Fn(&str) -> Result<T, Mismatch>>;
pub(super) type Print<T> = Box<dyn Fn(&T) -> String>;

/// A type of setting.
pub(super) struct Kind<T> {
    /// Description of a valid value, which completes "expected …".
    pub(super) expected: String,
    /// The form of a value in YAML.
    pub(super) yaml: Yaml,
    /// Whether a text may contain a secret, so that no message repeats it.
    pub(super) is_secret: bool,
    /// Whether `env://` and `file://` are kept as they are, because they are the value.
    pub(super) is_verbatim: bool,
    /// Whether `secret://` is kept as it is, because it is resolved when the value is used.
    pub(super) keeps_secrets: bool,
    /// JSON Schema of a value that is not a reference.
    pub(super) schema: Value,
    /// Parses a value.
    pub(super) parse: Parse<T>,
    /// Prints a value without secrets.
    pub(super) print: Print<T>,
}

/// The form of the values of a setting.
#[derive(Debug, Clone)]
pub(super) struct SettingForm {
    /// JSON Schema of a value that is not a reference.
    pub(super) schema: Value,
    /// The default, as it is printed.
    pub(super) default: Option<String>,
    /// Whether the value is a number or a boolean.
    pub(super) is_bare: bool,
}

/// Form of a value in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yaml {
    /// A string, with or without quotes.
    Text,
    /// A number or a boolean, which must not be in quotes.
    Bare,
    /// A list. Outside YAML, commas separate its items.
    List,
}

impl<T: 'static> Kind<T> {
    fn new(
        expected: impl Into<String>,
        parse: impl Fn(&str) -> Result<T, Mismatch> + 'static,
        print: impl Fn(&T) -> String + 'static,
    ) -> Self {
        let (parse, print) = (Box::new(parse), Box::new(print));
        Self {
            expected: expected.into(),
            yaml: Yaml::Text,
            is_secret: false,
            is_verbatim: false,
            keeps_secrets: false,
            schema: json!({"type": "string"}),
            parse,
            print,
        }
    }

    fn with_schema(self, schema: Value) -> Self {
        Self { schema, ..self }
    }

    fn with_yaml(self, yaml: Yaml) -> Self {
        Self { yaml, ..self }
    }

    fn verbatim(self) -> Self {
        Self { is_verbatim: true, ..self }
    }

    fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }
}

pub(super) fn address() -> Kind<ListenAddress> {
    let parse = |text: &str| text.parse().map_err(|_| Mismatch::Plain);
    Kind::new(listen_address::EXPECTED, parse, ListenAddress::to_string)
}

pub(super) fn boolean() -> Kind<bool> {
    let parse = |text: &str| text.parse().map_err(|_| Mismatch::Plain);
    Kind::new("true or false", parse, bool::to_string)
        .with_yaml(Yaml::Bare)
        .with_schema(json!({"type": "boolean"}))
}

pub(super) fn path() -> Kind<PathBuf> {
    let parse = |text: &str| if text.is_empty() { Err(Mismatch::Plain) } else { Ok(PathBuf::from(text)) };
    Kind::new("a path", parse, |path| path.display().to_string())
}

/// A list of strings that are all valid.
pub(super) fn list(expected: impl Into<String>, is_valid: fn(&str) -> bool) -> Kind<Vec<String>> {
    let parse = move |text: &str| {
        let items: Vec<String> =
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
        match items.iter().find(|item| !is_valid(item)) {
            None => Ok(items),
            // An item can be a part of credentials with a comma.
            Some(_) if text.contains('@') => Err(Mismatch::Plain),
            Some(invalid) => Err(Mismatch::Because(format!("{invalid:?} is not valid"))),
        }
    };
    // A text with commas is accepted as well, but a list is what an editor should suggest.
    let schema = json!({"type": "array", "items": {"type": "string"}});
    Kind::new(expected, parse, |items| items.join(",")).with_yaml(Yaml::List).with_schema(schema)
}

/// The URLs of the processes of another service.
pub(super) fn endpoints(example: &str) -> Kind<Vec<String>> {
    list(format!("a list of addresses such as [{example}]"), |text| {
        // Credentials would not be sent, and a path would not be called.
        HttpUrl::parse(text).is_ok_and(|url| {
            let has_path = url.as_str().split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
            url.authorization().is_none() && !has_path
        })
    })
}

/// Hosts with ports.
pub(super) fn hosts(example: &str) -> Kind<Vec<String>> {
    list(format!("a list of hosts with ports such as [{example}]"), |text| {
        let is_host = |host: &str| !host.is_empty() && !host.contains(['/', '@']);
        let port = text.rfind(':').map(|at| text.split_at(at));
        port.is_some_and(|(host, port)| is_host(host) && is_port(port))
    })
}

/// A string that is never printed.
pub(super) fn secret() -> Kind<SecretString> {
    let parse =
        |text: &str| if text.is_empty() { Err(Mismatch::Plain) } else { Ok(SecretString::from(text)) };
    Kind::new("a string that is not empty", parse, |_| MASK.to_owned()).secret()
}

/// A string that is valid and never printed.
pub(super) fn secret_text(expected: &str, is_valid: fn(&str) -> bool) -> Kind<SecretString> {
    let parse =
        move |text: &str| if is_valid(text) { Ok(SecretString::from(text)) } else { Err(Mismatch::Plain) };
    Kind::new(expected, parse, |_| MASK.to_owned()).secret()
}

/// The source of a key. A text that is not a source is not repeated: it may be the key.
pub(super) fn key_source() -> Kind<MasterKeySource> {
    let expected =
        "file://PATH, env://NAME or systemd://CREDENTIAL; the key itself must not be in the configuration";
    let is_name = |name: &str| !name.is_empty() && !name.contains(['/', '\0']) && !matches!(name, "." | "..");
    let parse = move |text: &str| {
        let (scheme, rest) = text.split_once("://").ok_or(Mismatch::Plain)?;
        match scheme {
            "file" if !rest.is_empty() => Ok(MasterKeySource::File(PathBuf::from(rest))),
            "env" if !rest.is_empty() => Ok(MasterKeySource::Env(rest.to_owned())),
            "systemd" if is_name(rest) => Ok(MasterKeySource::Systemd(rest.to_owned())),
            _ => Err(Mismatch::Plain),
        }
    };
    Kind::new(expected, parse, MasterKeySource::to_string).secret().verbatim()
}

/// A string that is valid.
pub(super) fn text(expected: &str, is_valid: fn(&str) -> bool) -> Kind<String> {
    let parse = move |text: &str| if is_valid(text) { Ok(text.to_owned()) } else { Err(Mismatch::Plain) };
    Kind::new(expected, parse, String::clone)
}

/// The name of a user at a broker.
pub(super) fn user_name() -> Kind<String> {
    text("a user name", |text| !text.is_empty() && !text.contains(char::is_control))
}

pub(super) fn integer(min: u32, max: u32) -> Kind<u32> {
    let parse = move |text: &str| match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(Mismatch::Plain),
    };
    Kind::new(format!("a whole number from {min} to {max}"), parse, u32::to_string)
        .with_yaml(Yaml::Bare)
        .with_schema(json!({"type": "integer", "minimum": min, "maximum": max}))
}

/// A size in bytes.
pub(super) fn bytes(min: u32, max: u32) -> Kind<usize> {
    let (from, to) = (format_bytes(min), format_bytes(max));
    let parse = move |text: &str| {
        let size = parse_bytes(text).filter(|size| (min..=max).contains(size)).ok_or(Mismatch::Plain)?;
        usize::try_from(size).map_err(|_| Mismatch::Plain)
    };
    let print = |size: &usize| u32::try_from(*size).map_or_else(|_| size.to_string(), format_bytes);
    let schema = json!({"anyOf": [
        {"type": "integer", "minimum": min, "maximum": max},
        {"type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)?$"},
    ]});
    Kind::new(format!("a size such as 65536 or 512KiB, from {from} to {to}"), parse, print)
        .with_schema(schema)
}

pub(super) fn duration(min: Duration, max: Duration) -> Kind<Duration> {
    let (from, to) = (duration::format(min), duration::format(max));
    let parse = move |text: &str| match duration::parse(text) {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        Ok(_) => Err(Mismatch::Plain),
        Err(error) => Err(Mismatch::Because(error.to_string())),
    };
    let expected = format!("a duration such as 250ms or 1h30m, from {from} to {to}");
    let schema = json!({"type": "string", "pattern": DURATION_PATTERN});
    Kind::new(expected, parse, |value| duration::format(*value)).with_schema(schema)
}

/// One of several words.
pub(super) fn choice<T: Copy + PartialEq + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let expected: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let parse = move |text: &str| {
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or(Mismatch::Plain)
    };
    let print = move |value: &T| {
        words.iter().find(|(_, each)| each == value).map(|(word, _)| (*word).to_owned()).unwrap_or_default()
    };
    let schema = json!({"type": "string", "enum": expected});
    Kind::new(expected.join(" or "), parse, print).with_schema(schema)
}

pub(super) fn log_level() -> Kind<String> {
    let expected = "a level (error, warn, info, debug, trace), or a filter such as info,goconductor=debug";
    let parse = |text: &str| match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) if text.split(',').all(is_directive) => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(Mismatch::Plain),
    };
    Kind::new(expected, parse, String::clone)
}

/// Returns whether a text is a level, or a target with a level. The filter accepts any single word as a target, so
/// a typo such as `inof` would silence all other targets.
fn is_directive(text: &str) -> bool {
    text.contains('=')
        || text.contains('[')
        || text.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
}

/// A URL with one of these schemes.
pub(super) fn url(schemes: &'static [&'static str], example: &str) -> Kind<SecretUrl> {
    let parse = move |text: &str| {
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"));
        let is_printable = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        match rest {
            Some(rest) if is_printable && !rest.is_empty() => Ok(SecretUrl::new(text)),
            Some(_) | None => Err(Mismatch::Plain),
        }
    };
    Kind::new(format!("a URL such as {example}"), parse, SecretUrl::to_string).secret()
}

/// The base URL of a service, to which `/{action}` is appended, or a reference to a secret that contains it.
pub(super) fn http_url() -> Kind<SecretUrl> {
    let expected = "a URL such as http://127.0.0.1:9101, without query or fragment";
    let parse = |text: &str| match HttpUrl::parse(text) {
        _ if SecretReference::is_reference(text) => match text.parse::<SecretReference>() {
            Ok(_) => Ok(SecretUrl::new(text)),
            Err(error) => Err(Mismatch::Because(error.to_string())),
        },
        Ok(url) => Ok(url.with_credentials().clone()),
        Err(error) => Err(Mismatch::Because(error.reason().to_owned())),
    };
    Kind { keeps_secrets: true, ..Kind::new(expected, parse, SecretUrl::to_string).secret() }
}

/// The value of a header of requests to a service: a reference to a secret.
pub(super) fn header_reference() -> Kind<String> {
    let parse = |text: &str| match text.parse::<SecretReference>() {
        Ok(reference) => Ok(reference.to_string()),
        Err(_) => Err(Mismatch::Plain),
    };
    let expected =
        "a reference to a secret such as secret://payments-token, which contains the value of the header";
    Kind { keeps_secrets: true, ..Kind::new(expected, parse, String::clone).secret() }
}

/// The URL of an endpoint that is not called with credentials.
pub(super) fn endpoint_url(example: &str) -> Kind<SecretUrl> {
    let expected = format!("a URL such as {example}, without credentials, query or fragment");
    Kind::new(expected, parse_endpoint, SecretUrl::to_string).secret()
}

/// The same, or an empty text.
pub(super) fn optional_endpoint_url(example: &str) -> Kind<Option<SecretUrl>> {
    let expected =
        format!("a URL such as {example}, without credentials, query or fragment, or an empty text");
    let parse = |text: &str| if text.is_empty() { Ok(None) } else { parse_endpoint(text).map(Some) };
    let print = |url: &Option<SecretUrl>| url.as_ref().map(SecretUrl::to_string).unwrap_or_default();
    Kind::new(expected, parse, print).secret()
}

fn parse_endpoint(text: &str) -> Result<SecretUrl, Mismatch> {
    match HttpUrl::parse(text) {
        Ok(url) if url.authorization().is_none() => Ok(url.with_credentials().clone()),
        Ok(_) => Err(Mismatch::Because("its credentials would not be used".to_owned())),
        Err(error) => Err(Mismatch::Because(error.reason().to_owned())),
    }
}

/// The value of a header, which is never printed.
pub(super) fn header() -> Kind<SecretString> {
    let is_valid = |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, ' '..='~'));
    let parse =
        move |text: &str| if is_valid(text) { Ok(SecretString::from(text)) } else { Err(Mismatch::Plain) };
    Kind::new("a text of printable ASCII characters", parse, |_| MASK.to_owned()).secret()
}

/// A share of a whole.
pub(super) fn ratio() -> Kind<f64> {
    let parse = |text: &str| match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(Mismatch::Plain),
    };
    Kind::new("a number from 0 to 1", parse, f64::to_string)
        .with_yaml(Yaml::Bare)
        .with_schema(json!({"type": "number", "minimum": 0, "maximum": 1}))
}

const BYTE_UNITS: [(&str, u32); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn parse_bytes(text: &str) -> Option<u32> {
    let with_unit = BYTE_UNITS
        .into_iter()
        .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, factor)));
    let (number, factor) = with_unit.unwrap_or((text, 1));
    // `u32::from_str` accepts a plus sign, which is not part of a size.
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    number.parse::<u32>().ok()?.checked_mul(factor)
}

fn format_bytes(size: u32) -> String {
    let unit = BYTE_UNITS.into_iter().find(|(_, factor)| size >= *factor && size.is_multiple_of(*factor));
    unit.map_or_else(|| size.to_string(), |(unit, factor)| format!("{}{unit}", size / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_and_formatted() {
        for (text, size) in
            [("0", 0), ("65536", 65_536), ("512KiB", 524_288), ("1MiB", 1 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(parse_bytes(text), Some(size), "{text}");
        }
        for text in ["", "KiB", "-1", "+1", "1.5MiB", "1MB", "4GiB", "99999999999"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        assert_eq!(format_bytes(524_288), "512KiB");
        assert_eq!(format_bytes(1000), "1000");
    }
}
