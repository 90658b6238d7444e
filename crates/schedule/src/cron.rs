//! Cron patterns in a time zone.
//!
//! The pattern is matched against the local time. Where the clock is changed, the practice of cron applies. A pattern with
//! fixed times runs once for each of them: a skipped time runs when the clock jumps, and a repeated time runs the first
//! time. A pattern that repeats, because its seconds, minutes or hours begin with `*`, follows the elapsed time: it does
//! not run in a skipped hour, and it runs in both repeated hours.

use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDateTime, CronDateTime, Resolution, Weekday};
use croner::{Cron, errors::CronError};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::cmp::Ordering;

/// Maximum characters of a pattern.
const MAX_CHARS: usize = 256;
/// Maximum number of periods without a change of the clock that are searched for the next due time. There are about two a
/// year, and the rarest pattern, a February 29 on one day of the week, matches every 40 years.
const MAX_PERIODS: usize = 400;

/// A cron pattern in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct CronTiming {
    cron: Cron,
    zone: TimeZone,
    /// Whether the pattern follows the elapsed time.
    repeats: bool,
}

/// A pattern that matches no time.
#[derive(Debug)]
struct NoMatch;

/// A period in which the offset of the local time is constant. All numbers are seconds.
#[derive(Debug)]
struct Period {
    offset: i64,
    /// When the period began, and the offset before it.
    began: Option<(i64, i64)>,
    /// When the next period begins.
    end: Option<i64>,
}

impl CronTiming {
    /// Parses a pattern of 5 or 6 fields, or a name such as `@daily`. The error text states the reason.
    pub(crate) fn parse(pattern: &str, zone: TimeZone) -> Result<Self, String> {
        if pattern.chars().count() > MAX_CHARS {
            return Err(format!("it has more than {MAX_CHARS} characters"));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        // `croner` does not know this name, which crond does.
        let known = if pattern.trim().eq_ignore_ascii_case("@midnight") { "@daily" } else { pattern };
        let cron = parser.parse(known).map_err(|error| reason(pattern, &error))?;
        Ok(Self { cron, zone, repeats: repeats(pattern) })
    }

    /// Returns the first due time after `after`, both in seconds.
    pub(crate) fn next_after(&self, after: i64) -> Option<i64> {
        let mut at = after.checked_add(1)?;
        for _ in 0..MAX_PERIODS {
            let period = Period::at(&self.zone, at)?;
            match self.first_in(&period, at) {
                Ok(Some(due)) => return Some(due),
                Ok(None) => at = period.end?,
                Err(NoMatch) => return None,
            }
        }
        None
    }

    /// Returns the first due time of a period at or after `at`.
    fn first_in(&self, period: &Period, at: i64) -> Result<Option<i64>, NoMatch> {
        let mut local = at.saturating_add(period.offset);
        if let Some((began, before)) = period.began.filter(|_| !self.repeats) {
            let (first, last) = (began.saturating_add(before), began.saturating_add(period.offset));
            if at == began && first < last && self.first_local(first)? < last {
                return Ok(Some(began));
            }
            // Repeated local times ran before the clock was set back.
            local = local.max(first);
        }
        let due = self.first_local(local)?.saturating_sub(period.offset);
        Ok(period.end.is_none_or(|end| due < end).then_some(due))
    }

    /// Returns the first local time at or after `from` that matches the pattern.
    fn first_local(&self, from: i64) -> Result<i64, NoMatch> {
        let wall = Wall::new(from).ok_or(NoMatch)?;
        self.cron.find_next_occurrence(&wall, true).map(|found| found.seconds).map_err(|_| NoMatch)
    }
}

impl Period {
    /// Returns the period of a time.
    fn at(zone: &TimeZone, at: i64) -> Option<Self> {
        let (instant, next) = (Timestamp::from_second(at).ok()?, Timestamp::from_second(at + 1).ok()?);
        let offset_at = |at: Timestamp| i64::from(zone.to_offset(at).seconds());
        // Changes happen at whole seconds, and `preceding` excludes its argument.
        let began = zone.preceding(next).next().and_then(|change| {
            let began = change.timestamp();
            let before = Timestamp::from_second(began.as_second() - 1).ok()?;
            Some((began.as_second(), offset_at(before)))
        });
        let end = zone.following(instant).next().map(|change| change.timestamp().as_second());
        Some(Self { offset: offset_at(instant), began, end })
    }
}

/// A local time without a time zone, in the form of `croner`.
#[derive(Debug, Clone)]
struct Wall {
    /// Seconds since 1970-01-01T00:00:00 of the local time.
    seconds: i64,
    at: DateTime,
    civil: CivilDateTime,
}

impl Wall {
    fn new(seconds: i64) -> Option<Self> {
        let at = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).ok()?);
        let part = |part: i8| u32::try_from(part).ok();
        let civil = CivilDateTime::from_ymd_hms_opt(
            i32::from(at.year()),
            part(at.month())?,
            part(at.day())?,
            part(at.hour())?,
            part(at.minute())?,
            part(at.second())?,
        )?;
        Some(Self { seconds, at, civil })
    }

    fn of(civil: CivilDateTime) -> Option<Self> {
        let part = |part: u32| i8::try_from(part).ok();
        let at = DateTime::new(
            i16::try_from(civil.year()).ok()?,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        );
        let at = at.ok()?;
        let seconds = TimeZone::UTC.to_timestamp(at).ok()?.as_second();
        Some(Self { seconds, at, civil })
    }
}

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        self.civil
    }

    fn civil_weekday(&self) -> Weekday {
        match self.at.weekday() {
            jiff::civil::Weekday::Monday => Weekday::Monday,
            jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
            jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
            jiff::civil::Weekday::Thursday => Weekday::Thursday,
            jiff::civil::Weekday::Friday => Weekday::Friday,
            jiff::civil::Weekday::Saturday => Weekday::Saturday,
            jiff::civil::Weekday::Sunday => Weekday::Sunday,
        }
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        Self::of(civil).map(Resolution::Single).ok_or(CronError::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        Self::new(self.seconds.checked_add(seconds)?)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.seconds.cmp(&other.seconds)
    }
}

/// Returns whether a pattern follows the elapsed time.
fn repeats(pattern: &str) -> bool {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    match &*fields {
        [name] => name.eq_ignore_ascii_case("@hourly"),
        [times @ .., _, _, _] => times.iter().any(|field| field.starts_with('*')),
        [] | [_, _] => false,
    }
}

fn reason(pattern: &str, error: &CronError) -> String {
    let fields = pattern.split_whitespace().count();
    if !pattern.trim_start().starts_with('@') && !(5..=6).contains(&fields) {
        return format!(
            "it has {fields} fields; use 5 (minute, hour, day, month, weekday), or 6 with the seconds first"
        );
    }
    match error {
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.trim_end_matches('.').to_owned(),
        CronError::EmptyPattern => "it is empty".to_owned(),
        CronError::InvalidDate | CronError::InvalidTime | CronError::TimeSearchLimitExceeded => {
            "it matches no time".to_owned()
        }
    }
}
