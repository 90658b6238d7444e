//! Durations as the language writes them: `250ms`, `1.5s`, `1h30m`.

use std::time::Duration;

/// Longer is a mistake: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write it like 250ms, 30s, 1h30m or 2d");
    let mut rest = text;
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        if !number.starts_with(|c: char| c.is_ascii_digit())
            || !number.ends_with(|c: char| c.is_ascii_digit())
        {
            return Err(wrong());
        }
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (unit, after) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((*unit, after.strip_prefix(name)?)))
            .ok_or_else(wrong)?;
        seconds += number * unit;
        rest = after;
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if duration > LONGEST {
        return Err(format!("`{text}` is longer than ten years"));
    }
    if duration < Duration::from_millis(1) {
        return Err(format!("`{text}` is too short: 1ms is the least"));
    }
    Ok(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

/// `ms` before `m`: the longer name first.
const UNITS: &[(&str, f64)] = &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
