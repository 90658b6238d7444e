//! Durations and times of other engines.

use goconductor_definition::duration;
use goconductor_saga::Json;
use std::time::Duration;

/// The text of a number of seconds.
pub(crate) fn seconds(value: &Json) -> Option<String> {
    let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())?;
    Some(duration::format(seconds))
}

/// Reads `PT1H30M`, `P2D` and the like. Years and months have no fixed length and are not read.
pub(crate) fn iso(text: &str) -> Option<String> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').unwrap_or((rest, ""));
    let days = units(days, &[("W", 604_800.0), ("D", 86_400.0)])?;
    let time = units(time, &[("H", 3600.0), ("M", 60.0), ("S", 1.0)])?;
    (text.len() > 2).then(|| Duration::try_from_secs_f64(days + time).ok()).flatten().map(duration::format)
}

/// Reads `2 days 3 hours`, `10m 5s` and the like.
pub(crate) fn words(text: &str) -> Option<String> {
    let compact: String = text.to_ascii_lowercase().split_whitespace().collect();
    let mut rest = compact.as_str();
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, after) = leading(rest, |c| c.is_ascii_digit() || c == '.')?;
        let (unit, after) = leading(after, |c| c.is_ascii_alphabetic())?;
        let factor = match unit {
            "d" | "day" | "days" => 86_400.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    (!compact.is_empty()).then(|| Duration::try_from_secs_f64(total).ok()).flatten().map(duration::format)
}

/// The object form of Serverless Workflow 1.0: `{hours: 1, minutes: 30}`.
pub(crate) fn object(value: &Json) -> Option<String> {
    let mut total = 0.0;
    for (key, number) in value.as_object()? {
        let factor = match key.as_str() {
            "days" => 86_400.0,
            "hours" => 3600.0,
            "minutes" => 60.0,
            "seconds" => 1.0,
            "milliseconds" => 0.001,
            _ => return None,
        };
        total += number.as_f64()? * factor;
    }
    Duration::try_from_secs_f64(total).ok().map(duration::format)
}

/// Returns a time as RFC 3339, from that form or from `2030-01-31 12:00 GMT` and `2030-01-31`.
pub(crate) fn time(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches("GMT").trim_end_matches("UTC").trim();
    let (date, clock) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let digits = |text: &str, form: &str| {
        text.len() == form.len()
            && text.chars().zip(form.chars()).all(|(c, f)| if f == '0' { c.is_ascii_digit() } else { c == f })
    };
    if !digits(date, "0000-00-00") {
        return None;
    }
    if text.contains('T') && clock.len() > 8 {
        return Some(text.to_owned());
    }
    match clock {
        clock if digits(clock, "00:00") => Some(format!("{date}T{clock}:00Z")),
        clock if digits(clock, "00:00:00") => Some(format!("{date}T{clock}Z")),
        _ => None,
    }
}

fn units(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    for (unit, factor) in units {
        if let Some((number, after)) = rest.split_once(unit) {
            total += number.parse::<f64>().ok()? * factor;
            rest = after;
        }
    }
    rest.is_empty().then_some(total)
}

fn leading(text: &str, matches: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !matches(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(first, _)| !first.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_read() {
        assert_eq!(iso("PT1H30M").as_deref(), Some("1h30m"));
        assert_eq!(iso("P2D").as_deref(), Some("2d"));
        assert_eq!(iso("P1M"), None);
        assert_eq!(words("1 days 2 hours").as_deref(), Some("1d2h"));
        assert_eq!(words("10m 5s").as_deref(), Some("10m5s"));
        assert_eq!(words("soon"), None);
        assert_eq!(object(&serde_json::json!({"minutes": 5})).as_deref(), Some("5m"));
        assert_eq!(time("2030-01-31 12:00 GMT").as_deref(), Some("2030-01-31T12:00:00Z"));
        assert_eq!(time("2030-01-31T12:00:00+02:00").as_deref(), Some("2030-01-31T12:00:00+02:00"));
        assert_eq!(time("tomorrow"), None);
    }
}
