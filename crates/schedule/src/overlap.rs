//! The overlap policy: what happens at a due time while a workflow of the schedule is still running.

use serde::{Deserialize, Serialize};

/// The policy for a due time while a workflow of the schedule is still running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The due time is skipped.
    #[default]
    Skip,
    /// One due time waits for the end of the running workflow. Further ones are skipped.
    BufferOne,
    /// The workflow is started beside the running one.
    Allow,
    /// The running workflow is cancelled. The new one starts when the rollback has ended.
    CancelOther,
}

impl Overlap {
    /// All policies.
    pub const ALL: [Self; 4] = [Self::Skip, Self::BufferOne, Self::Allow, Self::CancelOther];

    /// Returns the name in definitions and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::BufferOne => "buffer_one",
            Self::Allow => "allow",
            Self::CancelOther => "cancel_other",
        }
    }

    /// Returns the policy of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|each| each.as_str() == name)
    }
}

/// The decision about a due time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlapDecision {
    /// Start the workflow.
    Start,
    /// Do nothing.
    Skip,
    /// Start the workflow when the running one has ended.
    Buffer,
    /// Cancel the running workflow, and start the new one when the running one has ended.
    Cancel,
}

/// Decides what to do at a due time. `is_running` is whether a workflow of the schedule is running, and `is_buffered`
/// whether an earlier due time waits for its end.
#[must_use]
pub const fn decide(overlap: Overlap, is_running: bool, is_buffered: bool) -> OverlapDecision {
    match (overlap, is_running, is_buffered) {
        (Overlap::Allow, _, _) | (_, false, false) => OverlapDecision::Start,
        (Overlap::Skip, _, _) | (Overlap::BufferOne, _, true) => OverlapDecision::Skip,
        (Overlap::BufferOne, true, false) => OverlapDecision::Buffer,
        (Overlap::CancelOther, _, _) => OverlapDecision::Cancel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_of_each_policy() {
        for (overlap, is_running, is_buffered, expected) in [
            (Overlap::Skip, false, false, OverlapDecision::Start),
            (Overlap::Skip, false, true, OverlapDecision::Skip),
            (Overlap::Skip, true, false, OverlapDecision::Skip),
            (Overlap::Skip, true, true, OverlapDecision::Skip),
            (Overlap::BufferOne, false, false, OverlapDecision::Start),
            (Overlap::BufferOne, false, true, OverlapDecision::Skip),
            (Overlap::BufferOne, true, false, OverlapDecision::Buffer),
            (Overlap::BufferOne, true, true, OverlapDecision::Skip),
            (Overlap::Allow, false, false, OverlapDecision::Start),
            (Overlap::Allow, false, true, OverlapDecision::Start),
            (Overlap::Allow, true, false, OverlapDecision::Start),
            (Overlap::Allow, true, true, OverlapDecision::Start),
            (Overlap::CancelOther, false, false, OverlapDecision::Start),
            (Overlap::CancelOther, false, true, OverlapDecision::Cancel),
            (Overlap::CancelOther, true, false, OverlapDecision::Cancel),
            (Overlap::CancelOther, true, true, OverlapDecision::Cancel),
        ] {
            let decision = decide(overlap, is_running, is_buffered);
            assert_eq!(decision, expected, "{overlap:?} {is_running} {is_buffered}");
        }
    }

    #[test]
    fn names_are_parsed() {
        for overlap in Overlap::ALL {
            assert_eq!(Overlap::parse(overlap.as_str()), Some(overlap));
            let json = serde_json::to_value(overlap).unwrap();
            assert_eq!(json, overlap.as_str());
        }
        assert_eq!(Overlap::parse("replace"), None);
    }
}
