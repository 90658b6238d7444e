//! Intents: changes that were about to be made, in the form in which every database stores them.

use super::{AuditEvent, AuditOutcome};
use crate::Error;

/// Encodes an intent.
pub(crate) fn encoded_intent(event: &AuditEvent) -> Result<String, Error> {
    serde_json::to_string(event)
        .map_err(|error| Error::corrupt("an intent of the audit log", error.to_string()))
}

/// Decodes intents whose outcome is unknown, and returns the events to be recorded, in the order of their ids.
pub(crate) fn unknown_outcomes(intents: &[String]) -> Result<Vec<AuditEvent>, Error> {
    let mut events = Vec::with_capacity(intents.len());
    for intent in intents {
        let event: AuditEvent = serde_json::from_str(intent)
            .map_err(|error| Error::corrupt("an intent of the audit log", error.to_string()))?;
        let (id, outcome) = (format!("{}.unknown", event.id), AuditOutcome::Unknown.as_str().to_owned());
        events.push(AuditEvent { id, outcome, ..event });
    }
    events.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(events)
}
