//! References of a definition to the definitions of its children. Whether they exist is not known here.

use crate::expand::Expanded;
use crate::problem::{CHILD, Problem};
use goconductor_saga::{Kind, OnParentClose, Side};

/// A step that starts a child workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildReference {
    /// The name of the child's definition.
    pub workflow: String,
    /// The version of the child's definition, or `None` for the newest.
    pub version: Option<u32>,
    /// Whether a rollback of the parent may have to undo the child, so that the child must not have a pivot.
    pub is_undone: bool,
    /// A problem of the reference, with its location.
    location: Problem,
}

impl ChildReference {
    /// Returns a problem of the reference.
    #[must_use]
    pub fn problem(&self, detail: String, hint: &str) -> Problem {
        Problem { detail, ..self.location.clone() }.hint(hint)
    }
}

/// Returns the references of a definition, in the order of the text.
pub(crate) fn references(expanded: &Expanded<'_, '_>) -> Vec<ChildReference> {
    let steps = expanded.definition.steps.iter().zip(&expanded.parsed);
    let reference = steps.filter_map(|(step, parsed)| {
        // The child that runs the elements of a step has no definition of its own, and each element can have one.
        let child = step.performed_action(Side::Execute)?.child()?;
        let entries = parsed.at.entries().unwrap_or_default();
        let at = entries.into_iter().find(|(entry, _)| entry.key == "child");
        let location = at.map_or_else(|| parsed.at.problem(CHILD, ""), |(_, at)| at.problem(CHILD, ""));
        Some(ChildReference {
            workflow: child.workflow.clone(),
            version: child.version,
            is_undone: step.kind == Kind::Compensatable && child.on_parent_close != OnParentClose::Abandon,
            location,
        })
    });
    reference.collect()
}
