//! The rule for labels, which is the same for a start, a definition and a step.

use crate::name::SHOWN_CHARS;
use crate::text::shown;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// Maximum number of labels.
pub const MAX_LABELS: usize = 64;
/// Maximum number of characters of a label's name or value.
pub const MAX_LABEL_CHARS: usize = 256;

/// Labels that break the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid labels: {reason}; use at most {MAX_LABELS} labels, with names of 1 to {MAX_LABEL_CHARS} and values of at \
     most {MAX_LABEL_CHARS} visible characters"
)]
pub struct LabelsError {
    /// The name of the label that breaks the rule. `None` if there are too many labels.
    pub name: Option<String>,
    reason: String,
}

/// Checks the labels of a start, a definition or a step.
///
/// # Errors
/// Returns a [`LabelsError`] with the first label that breaks the rule, or with the number of labels.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), LabelsError> {
    if labels.len() > MAX_LABELS {
        let reason = alloc::format!("found {} labels", labels.len());
        return Err(LabelsError { name: None, reason });
    }
    for (name, value) in labels {
        let broken = if name.is_empty() || !fits(name) {
            "has an invalid name"
        } else if !fits(value) {
            "has an invalid value"
        } else {
            continue;
        };
        let shown = shown(name, SHOWN_CHARS);
        return Err(LabelsError {
            name: Some(name.to_owned()),
            reason: alloc::format!("the label `{shown}` {broken}"),
        });
    }
    Ok(())
}

fn fits(text: &str) -> bool {
    text.chars().count() <= MAX_LABEL_CHARS && !text.chars().any(char::is_control)
}
