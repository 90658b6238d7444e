//! The start of a workflow by a schedule.

use crate::input::render;
use crate::spec::Spec;
use crate::timing::rfc3339;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The prefix of the idempotency keys of scheduled starts. No other start may have such a key: a workflow with the key of a
/// due time counts as started by the schedule.
pub const KEY_PREFIX: &str = "schedule/";
/// The label with the name of the schedule.
pub const NAME_LABEL: &str = "goconductor.schedule";
/// The label with the due time.
pub const TIME_LABEL: &str = "goconductor.schedule_time";

/// The start of a workflow by a schedule. It follows from the schedule and the due time alone, so that a repeated start is
/// recognized.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledStart {
    /// The idempotency key: `schedule/<name>/<due time>`.
    pub idempotency_key: String,
    /// The due time as RFC 3339.
    pub time: String,
    /// The input, without placeholders.
    pub input: Value,
    /// The labels of the schedule, its name and the due time.
    pub labels: BTreeMap<String, String>,
}

impl Spec {
    /// Returns the start of a due time, in microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn start(&self, name: &str, due: i64) -> ScheduledStart {
        let time = rfc3339(due);
        let input = if self.input.is_null() { json!({}) } else { render(&self.input, name, &time) };
        let mut labels = self.labels.clone();
        labels.insert(NAME_LABEL.to_owned(), name.to_owned());
        labels.insert(TIME_LABEL.to_owned(), time.clone());
        ScheduledStart { idempotency_key: format!("{KEY_PREFIX}{name}/{time}"), time, input, labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TimingSpec;

    #[test]
    fn start_names_schedule_and_due_time() {
        let mut spec = Spec::new("report", TimingSpec::Every { every_ms: 1000, anchor: None });
        spec.input = json!({"day": "${ schedule.time }"});
        spec.labels.insert("team".to_owned(), "shop".to_owned());
        let start = spec.start("nightly", 86_400_000_000);
        assert_eq!(start.idempotency_key, "schedule/nightly/1970-01-02T00:00:00Z");
        assert_eq!(start.input, json!({"day": "1970-01-02T00:00:00Z"}));
        let labels: Vec<(&str, &str)> = start.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
        let time = "1970-01-02T00:00:00Z";
        assert_eq!(labels, [(NAME_LABEL, "nightly"), (TIME_LABEL, time), ("team", "shop")]);
        spec.input = Value::Null;
        assert_eq!(spec.start("nightly", 0).input, json!({}));
    }
}
