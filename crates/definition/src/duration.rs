//! The text form of durations: `250ms`, `1h30m`, `0.5s`. Definitions, the configuration, the API and the command line
//! share it.

use std::time::Duration;

/// The units from large to small, with their length in nanoseconds.
const UNITS: [(&str, u128); 5] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// Maximum number of decimals. A nanosecond is the ninth decimal of a second.
const MAX_DECIMALS: usize = 9;

/// Reason why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is empty.
    #[error("the duration is empty")]
    Empty,
    /// The text does not have a number where one is expected.
    #[error("a duration is a number and a unit, such as 250ms or 1h30m")]
    NoNumber,
    /// A number has no unit, or an unknown one.
    #[error("a duration needs a unit: ms, s, m, h or d")]
    NoUnit,
    /// The duration does not fit a [`Duration`], or a number has more than nine decimals.
    #[error("the duration is too long or has too many decimals")]
    OutOfRange,
}

/// Parses a duration: the sum of one or more numbers with the unit `ms`, `s`, `m`, `h` or `d`. A number may have
/// decimals.
///
/// # Errors
/// Returns an [`Error`] if the text does not have this form or exceeds the range of [`Duration`].
pub fn parse(text: &str) -> Result<Duration, Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    let mut rest = text;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| !c.is_ascii_alphabetic());
        let nanos = part(number, unit)?;
        total = total.checked_add(nanos).ok_or(Error::OutOfRange)?;
        rest = after;
    }
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| Error::OutOfRange)?;
    let nanos = u32::try_from(total % 1_000_000_000).map_err(|_| Error::OutOfRange)?;
    Ok(Duration::new(seconds, nanos))
}

/// Formats a duration in the shortest form that [`parse`] reads.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in UNITS {
        let count = rest / length;
        rest %= length;
        // Milliseconds are the smallest unit, so the rest becomes their decimals.
        let decimals = if unit == "ms" { decimals(rest, length) } else { String::new() };
        if count > 0 || !decimals.is_empty() {
            text.push_str(&format!("{count}{decimals}{unit}"));
        }
    }
    text
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn part(number: &str, unit: &str) -> Result<u128, Error> {
    let (whole, decimals) = match number.split_once('.') {
        Some((_, "")) => return Err(Error::NoNumber),
        Some((whole, decimals)) => (whole, decimals),
        None => (number, ""),
    };
    if whole.is_empty() || decimals.contains('.') {
        return Err(Error::NoNumber);
    }
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(Error::NoUnit)?;
    if decimals.len() > MAX_DECIMALS {
        return Err(Error::OutOfRange);
    }
    let scaled: u128 = format!("{whole}{decimals:0<MAX_DECIMALS$}").parse().map_err(|_| Error::OutOfRange)?;
    Ok(scaled.checked_mul(length).ok_or(Error::OutOfRange)? / 1_000_000_000)
}

fn decimals(rest: u128, length: u128) -> String {
    if rest == 0 {
        return String::new();
    }
    let digits = length.ilog10();
    let padded = format!("{rest:0>width$}", width = usize::try_from(digits).unwrap_or(MAX_DECIMALS));
    format!(".{}", padded.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn valid_durations_are_parsed() {
        for (text, millis) in [
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("0.25m", 15_000),
            ("1h30m", 5_400_000),
            ("2d1ms", 172_800_001),
            ("1m1m", 120_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("0.000001ms"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn invalid_durations_are_refused() {
        for (text, error) in [
            ("", Error::Empty),
            ("5", Error::NoUnit),
            ("5 s", Error::NoUnit),
            ("5S", Error::NoUnit),
            ("1w", Error::NoUnit),
            ("s", Error::NoNumber),
            ("-1s", Error::NoNumber),
            ("1.s", Error::NoNumber),
            (".5s", Error::NoNumber),
            ("1.2.3s", Error::NoNumber),
            ("1sé", Error::NoNumber),
            ("1.0000000001s", Error::OutOfRange),
            ("99999999999999999999999d", Error::OutOfRange),
            ("9999999999999999999999999999999999999999999999d", Error::OutOfRange),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn durations_are_formatted_in_shortest_form() {
        for (nanos, text) in [
            (0, "0s"),
            (250_000_000, "250ms"),
            (90_000_000_000, "1m30s"),
            (5_400_000_000_000, "1h30m"),
            (86_400_000_000_000, "1d"),
            (1_250_500_000, "1s250.5ms"),
            (1, "0.000001ms"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn formatted_duration_is_parsed_to_the_same_value(seconds in any::<u64>(), nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn parsing_arbitrary_text_does_not_panic(text in ".{0,40}") {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&format(duration)), Ok(duration));
            }
        }
    }
}
