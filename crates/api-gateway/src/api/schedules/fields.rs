//! The fields of a request about a schedule.

use super::invalid;
use crate::error::ApiResult;
use goconductor_saga::{Json, Timestamp};
use goconductor_schedule::{Overlap, Spec, TimingSpec};
use std::collections::BTreeMap;
use std::time::Duration;

/// The fields of a schedule that a user states. Absent fields have their defaults.
#[derive(Debug)]
pub(crate) struct ScheduleFields {
    pub(crate) definition: String,
    pub(crate) version: Option<u32>,
    pub(crate) cron: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) every: Option<Duration>,
    pub(crate) anchor: Option<Timestamp>,
    pub(crate) overlap: Overlap,
    pub(crate) catch_up: Option<Duration>,
    pub(crate) input: Option<Json>,
    pub(crate) labels: BTreeMap<String, String>,
}

impl ScheduleFields {
    /// Returns the specification. Its values are checked later.
    pub(crate) fn spec(self) -> ApiResult<Spec> {
        let timing = match (self.cron, self.every) {
            (Some(cron), None) if self.anchor.is_none() => TimingSpec::Cron { cron, timezone: self.timezone },
            (Some(_), None) => return Err(invalid("/anchor", "a cron pattern has no anchor: remove it")),
            (None, Some(every)) if self.timezone.is_none() => {
                TimingSpec::Every { every_ms: millis(every), anchor: self.anchor.map(|anchor| anchor.0) }
            }
            (None, Some(_)) => return Err(invalid("/timezone", "an interval has no time zone: remove it")),
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid("/cron", "a schedule has either `cron` or `every`: set one of them"));
            }
        };
        let mut spec = Spec::new(self.definition, timing);
        spec.version = self.version;
        spec.overlap = self.overlap;
        if let Some(catch_up) = self.catch_up {
            spec.catch_up_ms = millis(catch_up);
        }
        spec.input = self.input.unwrap_or_default();
        spec.labels = self.labels;
        Ok(spec)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
