//! Regular expressions for the document, in the dialect of JSON Schema (ECMA 262).
//!
//! The checks of the API are code, and some of them accept languages that no regular expression describes. A pattern
//! then accepts a part of the language, which its documentation names. Each text that a pattern accepts is accepted by
//! the check.

use crate::filter;
use goconductor_saga::Status;
use std::time::Duration;

/// Any text without control characters, with one character that is not a space.
pub(super) const NOT_BLANK: &str =
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";
/// Any text with one character that is not a space.
pub(super) const SOME_TEXT: &str = r"\S";
/// The value of a header: visible ASCII characters and spaces, none of them at the ends.
pub(super) const HEADER: &str = r"^[!-~](?:[ -~]*[!-~])?$";
/// A duration: the sum of numbers with units.
pub(super) const DURATION: &str = r"^(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d))+$";
/// The token of a page of workflows: the id of a workflow, or nothing.
pub(super) const WORKFLOW_TOKEN: &str =
    "^(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})?$";
/// The token of a page of the audit log: the number of a record, or nothing.
pub(super) const AUDIT_TOKEN: &str = "^(?:[0-9]{1,18})?$";
/// A time of this century in RFC 3339, in UTC.
pub(super) const TIME: &str = r"^20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z$";
/// A cron pattern with plain numbers. The server accepts more forms.
pub(super) const CRON: &str = "^(?:[0-9]|[1-5][0-9]) (?:[0-9]|1[0-9]|2[0-3]) \\* \\* (?:\\*|[0-6])$";
/// The token of a page of dead letters: a time in microseconds and an id, or nothing.
pub(super) const DEAD_LETTER_TOKEN: &str = r"^(?:[0-9]{1,18}-[\s\S]*)?$";
/// The digest of a payload.
pub(super) const DIGEST: &str = "^[0-9a-f]{64}$";
/// The id of an access key.
pub(super) const ACCESS_KEY_ID: &str = "^[0-9a-f]{16}$";
/// The token of a page of access keys: an id, or nothing.
pub(super) const ACCESS_KEY_TOKEN: &str = "^(?:[0-9a-f]{16})?$";
/// A role that every installation has.
pub(super) const ROLE: &str = "^(?:admin|developer|operator|viewer|worker)$";
/// A step, and the fault that is simulated at it.
pub(super) const STEP_FAULT: &str = "^[a-z][a-z0-9_]*(?:=(?:refused|unknown|timeout|compensation))?$";
/// All namespaces. The server also accepts the name of a namespace.
pub(super) const ALL_NAMESPACES: &str = r"^\*$";
/// The token of a page of versions: a number, or nothing.
pub(super) const VERSION_TOKEN: &str = "^(?:[0-9]{1,18})?$";
/// The version of If-Match, as in ETag. The server also accepts `*`.
pub(super) const ENTITY_TAG: &str = r#"^"[0-9]{1,18}"$"#;
/// The URL of a service, without credentials: the name of a host or an IPv4 address, a port and a path.
pub(super) const SERVICE_URL: &str = concat!(
    r"^https?://",
    r"(?:[a-z](?:[a-z0-9]|-[a-z0-9]){0,30}(?:\.[a-z](?:[a-z0-9]|-[a-z0-9]){0,30}){0,3}",
    r"|(?:[1-9]?[0-9]|1[0-9]{2})(?:\.(?:[1-9]?[0-9]|1[0-9]{2})){3})",
    r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?",
    r"(?:/[A-Za-z0-9._~-]{1,100}){0,8}/?$",
);

/// The units of durations, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Returns the pattern of durations from `min` to `max`: one number with a unit, or two with units that follow one
/// another, such as `1h30m`.
pub(super) fn duration_between(min: Duration, max: Duration) -> String {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (min, max) = (millis(min), millis(max));
    let mut forms = Vec::new();
    for (index, (unit, length)) in UNITS.into_iter().enumerate() {
        let (low, high) = (min.div_ceil(length).max(1), max / length);
        if low > high {
            continue;
        }
        forms.push(format!("(?:{}){unit}", integers(low, high)));
        if low == high {
            continue;
        }
        // One less than the maximum, because the rest is added to it.
        let whole = integers(low, high - 1);
        forms.push(format!(r"(?:{whole})\.[0-9]{{1,9}}{unit}"));
        if let Some((smaller, shorter)) = index.checked_sub(1).and_then(|index| UNITS.get(index)) {
            forms.push(format!("(?:{whole}){unit}(?:{}){smaller}", integers(0, length / shorter - 1)));
        }
    }
    format!("^(?:{})$", forms.join("|"))
}

/// Returns a pattern of the decimal integers from `min` to `max`, without leading zeros.
fn integers(min: u64, max: u64) -> String {
    let mut ends = vec![max];
    let mut nines = 10;
    // Parts end where the last digits are all 9, going up, and start where they are all 0, going down.
    while min / nines * nines + (nines - 1) < max {
        ends.push(min / nines * nines + (nines - 1));
        nines *= 10;
    }
    let mut zeros = 10;
    while ((max + 1) / zeros * zeros).checked_sub(1).is_some_and(|end| end > min) {
        ends.push((max + 1) / zeros * zeros - 1);
        zeros *= 10;
    }
    ends.sort_unstable();
    ends.dedup();
    let mut start = min;
    let mut parts = Vec::new();
    for end in ends {
        parts.push(digits(start, end));
        start = end + 1;
    }
    parts.join("|")
}

/// Returns a pattern of two integers of equal length and of all between them whose digits are between theirs.
fn digits(start: u64, end: u64) -> String {
    let (start, end) = (start.to_string(), end.to_string());
    let range =
        |(low, high): (char, char)| if low == high { low.to_string() } else { format!("[{low}-{high}]") };
    start.chars().zip(end.chars()).map(range).collect()
}

/// Returns the pattern of filters whose parentheses are not nested.
pub(super) fn filter() -> String {
    // The white space of Unicode. A filter without any other character is empty.
    let blank = r"[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*";
    let any = "(?:=|!=|<=|>=|<|>)";
    let word = "[A-Za-z0-9_][A-Za-z0-9_-]*";
    let statuses = Status::ALL.map(Status::as_str).join("|");
    let causes = filter::CAUSES.map(|cause| cause.as_str()).join("|");
    let date = "20[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])";
    let time = format!(r"{date}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?Z");
    let ago = "-[0-9]{1,6}(?:ms|s|m|h|d)";
    let comparison = [
        format!("status *!?= *(?:{statuses})"),
        format!("cause *!?= *(?:{causes})"),
        format!("version *{any} *[0-9]{{1,9}}"),
        format!(r#"error\.code *!?= *(?:"[^"\\]*"|{word})"#),
        format!(r#"(?:created_at|ended_at) *{any} *(?:"{time}"|"{ago}"|{ago})"#),
        format!(r#"(?:id|definition|idempotency_key|labels\.[A-Za-z0-9_]+) *{any} *(?:"[^"\\]*"|{word})"#),
    ];
    let term = format!("(?:NOT +|-)?(?:{})", comparison.join("|"));
    let flat = format!("{term}(?: +(?:AND|OR) +{term}){{0,3}}");
    let group = format!(r"(?:{term}|(?:NOT +|-)?\( *{flat} *\))");
    format!("^(?:{blank}|{group}(?: +(?:AND|OR) +{group})*)$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_definition::InputSchema;
    use goconductor_saga::{NameKind, Timestamp};
    use goconductor_service_kit::config::HttpUrl;
    use goconductor_service_kit::duration;
    use serde_json::{Value, json};

    fn schema(pattern: &str) -> InputSchema {
        InputSchema::new(&json!({"type": "string", "pattern": pattern})).unwrap()
    }

    fn accepts(pattern: &str, text: &str) -> bool {
        schema(pattern).check(&Value::from(text)).is_ok()
    }

    #[test]
    fn pattern_of_integers_accepts_exactly_its_range() {
        for (min, max) in
            [(0, 59), (1, 1), (1, 24), (7, 1_440), (100, 8_640), (95, 105), (99, 100), (9, 1_000)]
        {
            let pattern = schema(&format!("^(?:{})$", integers(min, max)));
            for number in 0..=max + 200 {
                let expected = (min..=max).contains(&number);
                let accepted = pattern.check(&Value::from(number.to_string())).is_ok();
                assert_eq!(accepted, expected, "{number} in {min} to {max}");
            }
        }
    }

    #[test]
    fn duration_of_the_pattern_is_within_its_range() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(86_400));
        let pattern = duration_between(min, max);
        for (text, expected) in [
            ("100ms", true),
            ("99ms", false),
            ("0s", false),
            ("1s", true),
            ("1.5s", true),
            ("86400s", true),
            ("86401s", false),
            ("86400000ms", true),
            ("86400001ms", false),
            ("1h30m", true),
            ("23h59m", true),
            ("24h", true),
            ("24h1m", false),
            ("25h", false),
            ("1d", true),
            ("2d", false),
            ("", false),
            ("1", false),
            ("1 s", false),
        ] {
            assert_eq!(accepts(&pattern, text), expected, "{text}");
            let is_in_range = duration::parse(text).is_ok_and(|parsed| (min..=max).contains(&parsed));
            assert_eq!(is_in_range, expected, "{text}");
            assert!(!accepts(DURATION, text) || duration::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn filter_of_the_pattern_is_parsed() {
        let pattern = filter();
        for (text, expected) in [
            ("", true),
            ("  ", true),
            ("status = ERROR", true),
            ("status=ERROR AND cause != TIMED_OUT", true),
            (r#"NOT labels.team = "shop" OR -definition = order-processing"#, true),
            (r#"(status = ERROR OR version >= 2) AND created_at > "-24h""#, true),
            (r#"ended_at <= "2026-01-28T12:00:00.5Z" AND created_at > -5m"#, true),
            (r#"idempotency_key = "order-o-1""#, true),
            ("error.code = CARD_DECLINED", true),
            ("error.message = nothing", false),
            ("status = BROKEN", false),
            ("status < ERROR", false),
            ("status", false),
            ("created_at > yesterday", false),
            ("nothing = 1", false),
            ("(status = ERROR", false),
        ] {
            assert_eq!(accepts(&pattern, text), expected, "{text}");
            let parsed = crate::filter::parse(text, Timestamp(1_000_000_000_000_000));
            assert_eq!(parsed.is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn pattern_of_a_name_accepts_the_same_names_as_its_check() {
        use NameKind::{Action, Candidate, Definition, Election, LockKey, LockOwner, Namespace, Service};
        let names = [
            "",
            "a",
            "7",
            "-",
            "a-",
            "-a",
            "a-b",
            "a--b",
            "A",
            "a_b",
            "a b",
            ".",
            "..",
            "...",
            ".a",
            "a.",
            "é",
            "account/7",
            "line\nbreak",
            "c1\u{85}",
            "\u{7f}",
            "tab\t",
            "ab",
        ];
        for kind in [Namespace, Service, Action, Definition, LockKey, LockOwner, Election, Candidate] {
            let longest = "a".repeat(kind.max_chars());
            for name in names.into_iter().chain([&*longest]) {
                assert_eq!(accepts(kind.pattern(), name), kind.check(name).is_ok(), "{kind:?} {name:?}");
            }
            assert!(kind.check(&format!("{longest}a")).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn url_of_the_pattern_is_accepted() {
        for (text, expected) in [
            ("http://127.0.0.1:9101", true),
            ("https://payments.example/saga/", true),
            ("http://host:64999/a/b.c", true),
            ("http://my-service.shop-7.example:80", true),
            ("http://127.0.0.256", false),
            ("http://a..b", false),
            ("http://host:0", false),
            ("http://host:99999", false),
            ("http://", false),
            ("ftp://host", false),
            ("http://host?x=1", false),
            ("http://host/#x", false),
        ] {
            assert_eq!(accepts(SERVICE_URL, text), expected, "{text}");
            assert_eq!(HttpUrl::parse(text).is_ok(), expected, "{text}");
        }
    }
}
