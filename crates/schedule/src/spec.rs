//! The specification of a schedule, which a user states.

use crate::cron::CronTiming;
use crate::input::unknown_placeholder;
use crate::overlap::Overlap;
use crate::timing::Timing;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// The shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval: 100 years.
const MAX_INTERVAL: Duration = Duration::from_secs(100 * 366 * 86_400);
/// The longest catch-up window: 30 days.
pub const MAX_CATCH_UP: Duration = Duration::from_secs(30 * 86_400);
/// The catch-up window of a schedule that states none.
const DEFAULT_CATCH_UP: Duration = Duration::from_secs(3600);

/// The definition that a schedule starts, and its due times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The name of the definition.
    pub definition: String,
    /// The version of the definition. `None` for the newest one at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// When workflows are due.
    #[serde(flatten)]
    pub timing: TimingSpec,
    /// The policy for a due time while a workflow is still running.
    #[serde(default)]
    pub overlap: Overlap,
    /// A due time that was missed is started if it is not older than this, in milliseconds.
    pub catch_up_ms: u64,
    /// The input of the workflows, with placeholders.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// The labels of the workflows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// When workflows are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TimingSpec {
    /// At the local times that match a cron pattern.
    Cron {
        /// The pattern: 5 fields, 6 with the seconds first, or a name such as `@daily`.
        cron: String,
        /// The IANA name of the time zone. `None` for UTC.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timezone: Option<String>,
    },
    /// At a fixed interval.
    Every {
        /// The interval in milliseconds.
        every_ms: u64,
        /// A due time, in microseconds since 1970-01-01T00:00:00Z. `None` for 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchor: Option<i64>,
    },
}

/// The reason why a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The cron pattern is invalid.
    #[error("invalid cron pattern {pattern:?}: {reason}")]
    Cron {
        /// The pattern.
        pattern: String,
        /// The reason.
        reason: String,
    },
    /// The time zone is unknown.
    #[error("unknown time zone {0:?}: use a name of the IANA database, such as Europe/Berlin")]
    TimeZone(String),
    /// The interval is out of range.
    #[error("the interval must be between 1s and 36600d")]
    Interval,
    /// The catch-up window is out of range.
    #[error("the catch-up window must not be longer than 30d")]
    CatchUp,
    /// The input has an unknown placeholder.
    #[error("unknown placeholder schedule.{0} in the input: use schedule.time or schedule.name")]
    Placeholder(String),
}

impl SpecError {
    /// Returns the key that the problem is about, in definitions and in the API.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Cron { .. } => "cron",
            Self::TimeZone(_) => "timezone",
            Self::Interval => "every",
            Self::CatchUp => "catch_up",
            Self::Placeholder(_) => "input",
        }
    }
}

impl Spec {
    /// Creates a specification with the defaults: skip overlaps, a catch-up window of one hour, and an empty input.
    #[must_use]
    pub fn new(definition: impl Into<String>, timing: TimingSpec) -> Self {
        Self {
            definition: definition.into(),
            version: None,
            timing,
            overlap: Overlap::default(),
            catch_up_ms: u64::try_from(DEFAULT_CATCH_UP.as_millis()).unwrap_or(u64::MAX),
            input: Value::Null,
            labels: BTreeMap::new(),
        }
    }

    /// Checks the specification and returns its due times.
    ///
    /// # Errors
    /// Returns a [`SpecError`] for the first value that is invalid.
    pub fn check(&self) -> Result<Timing, SpecError> {
        if u128::from(self.catch_up_ms) > MAX_CATCH_UP.as_millis() {
            return Err(SpecError::CatchUp);
        }
        if let Some(name) = unknown_placeholder(&self.input) {
            return Err(SpecError::Placeholder(name));
        }
        let timing = self.timing.timing()?;
        match &self.timing {
            TimingSpec::Cron { cron, .. } if timing.next_after(0).is_none() => {
                Err(SpecError::Cron { pattern: cron.clone(), reason: "it matches no time".to_owned() })
            }
            TimingSpec::Cron { .. } | TimingSpec::Every { .. } => Ok(timing),
        }
    }

    pub(crate) fn catch_up_micros(&self) -> i64 {
        i64::try_from(self.catch_up_ms.saturating_mul(1000)).unwrap_or(i64::MAX)
    }
}

impl TimingSpec {
    /// Returns the due times.
    ///
    /// # Errors
    /// Returns a [`SpecError`] if the pattern, the time zone or the interval is invalid.
    pub fn timing(&self) -> Result<Timing, SpecError> {
        match self {
            Self::Cron { cron, timezone } => {
                let zone = match timezone {
                    None => TimeZone::UTC,
                    Some(name) => TimeZone::get(name).map_err(|_| SpecError::TimeZone(name.clone()))?,
                };
                let invalid = |reason| SpecError::Cron { pattern: cron.clone(), reason };
                CronTiming::parse(cron, zone).map(Timing::cron).map_err(invalid)
            }
            Self::Every { every_ms, anchor } => {
                let interval = Duration::from_millis(*every_ms);
                if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
                    return Err(SpecError::Interval);
                }
                let interval = i64::try_from(interval.as_micros()).map_err(|_| SpecError::Interval)?;
                Ok(Timing::every(interval, anchor.unwrap_or(0)))
            }
        }
    }
}
