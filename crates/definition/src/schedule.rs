//! The key `schedule` of a definition.

use crate::fields::{At, FieldReader};
use crate::problem::SCHEDULE;
use goconductor_schedule::{Overlap, Spec, SpecError, TimingSpec};

/// The keys of a schedule.
const KNOWN: &[&str] = &["cron", "timezone", "overlap", "input"];

/// Reads the schedule of the definition `name`.
pub(crate) fn read(reader: &mut FieldReader, at: &At<'_>, name: &str) -> Option<Spec> {
    let fields = reader.fields(at, KNOWN)?;
    let cron = reader.required(&fields, "cron").and_then(|at| reader.text(&at).map(str::to_owned))?;
    let timezone = reader.optional_text(&fields, "timezone");
    let mut spec = Spec::new(name, TimingSpec::Cron { cron, timezone });
    let choices = Overlap::ALL.map(|overlap| (overlap.as_str(), overlap));
    if let Some(overlap) = fields.get("overlap").and_then(|at| reader.choice(&at, &choices)) {
        spec.overlap = overlap;
    }
    if let Some(input) = fields.get("input") {
        spec.input = input.node.to_json();
    }
    match spec.check() {
        Ok(_) => Some(spec),
        Err(error) => {
            let at = fields.get(error.key()).unwrap_or_else(|| at.clone());
            let hint = match &error {
                SpecError::Cron { .. } => "use 5 fields, such as `30 2 * * *`, or a name, such as `@daily`",
                SpecError::TimeZone(_) => "see the IANA time zone database for the names",
                SpecError::Placeholder(_) => "write `$${` for a literal `${`",
                SpecError::Interval | SpecError::CatchUp => "correct the value",
            };
            reader.push(at.problem(SCHEDULE, error.to_string()).hint(hint));
            None
        }
    }
}
