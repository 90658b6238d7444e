//! Times and durations of API responses, and their formatting.

/// Microseconds since 1970-01-01T00:00:00Z.
pub(crate) type Micros = i64;

const MILLI: Micros = 1_000;
const SECOND: Micros = 1_000 * MILLI;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
const DAY: Micros = 24 * HOUR;
const YEAR: Micros = 365 * DAY;

/// Returns the current time. Pictures use only this clock.
pub(crate) fn now() -> Micros {
    jiff::Timestamp::now().as_microsecond()
}

/// Parses an RFC 3339 time.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    text.parse::<jiff::Timestamp>().ok().map(|time| time.as_microsecond())
}

/// Formats a duration in few characters: `0.4ms`, `12ms`, `1.24s`, `3m05s`, `2h03m`, `4d06h`.
pub(crate) fn format_duration(duration: Micros) -> String {
    let duration = duration.max(0);
    let two = |large: Micros, large_unit: &str, small: Micros, small_unit: &str| {
        format!("{}{large_unit}{:02}{small_unit}", duration / large, duration % large / small)
    };
    if duration == 0 {
        "0ms".to_owned()
    } else if duration < MILLI {
        format!("0.{}ms", (duration / 100).max(1))
    } else if duration < SECOND {
        format!("{}ms", duration / MILLI)
    } else if duration < MINUTE {
        two(SECOND, ".", 10 * MILLI, "s")
    } else if duration < HOUR {
        two(MINUTE, "m", SECOND, "s")
    } else if duration < DAY {
        two(HOUR, "h", MINUTE, "m")
    } else {
        two(DAY, "d", HOUR, "h")
    }
}

/// Formats how long ago a time was in its largest unit: `now`, `12s ago`, `3m ago`, `2h ago`, `5d ago`, `3y ago`. A time in
/// the future is `in 12s`.
pub(crate) fn format_age(time: Micros, now: Micros) -> String {
    let (past, distance) = (time <= now, (now - time).abs());
    let text = match distance {
        0..SECOND => return "now".to_owned(),
        SECOND..MINUTE => format!("{}s", distance / SECOND),
        MINUTE..HOUR => format!("{}m", distance / MINUTE),
        HOUR..DAY => format!("{}h", distance / HOUR),
        DAY..YEAR => format!("{}d", distance / DAY),
        _ => format!("{}y", distance / YEAR),
    };
    if past { format!("{text} ago") } else { format!("in {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_formatted_in_few_characters() {
        for (duration, text) in [
            (-5, "0ms"),
            (0, "0ms"),
            (40, "0.1ms"),
            (400, "0.4ms"),
            (12 * MILLI + 999, "12ms"),
            (1_240 * MILLI, "1.24s"),
            (3 * MINUTE + 5 * SECOND, "3m05s"),
            (2 * HOUR + 3 * MINUTE, "2h03m"),
            (4 * DAY + 6 * HOUR, "4d06h"),
        ] {
            assert_eq!(format_duration(duration), text);
        }
    }

    #[test]
    fn ages_are_formatted_in_their_largest_unit() {
        let now = 100 * YEAR;
        for (age, text) in [
            (0, "now"),
            (SECOND - 1, "now"),
            (1 - SECOND, "now"),
            (SECOND, "1s ago"),
            (MINUTE - 1, "59s ago"),
            (3 * MINUTE + 59 * SECOND, "3m ago"),
            (HOUR, "1h ago"),
            (23 * HOUR + 59 * MINUTE, "23h ago"),
            (5 * DAY, "5d ago"),
            (YEAR, "1y ago"),
            (-(29 * SECOND + 1), "in 29s"),
            (-2 * DAY, "in 2d"),
        ] {
            assert_eq!(format_age(now - age, now), text);
        }
    }

    #[test]
    fn rfc_3339_times_are_parsed() {
        assert_eq!(parse("1970-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(parse("today"), None);
    }
}
