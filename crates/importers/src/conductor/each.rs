//! Tasks for each element of a list: `FORK_JOIN_DYNAMIC` with one kind of task, and `DO_WHILE` over a list.

use super::reference::{TaskScope, whole};
use super::{ConductorImporter, refusal};
use crate::build::{UNLIMITED, kebab};
use crate::json::{list, text};
use crate::step::{ImportedAction, ImportedStep};
use goconductor_saga::Json;

impl ConductorImporter {
    /// A fork whose tasks are all the same, with an input each. A fork with a list of tasks is refused.
    pub(super) fn dynamic_fork(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        next: Option<&Json>,
        scope: &mut TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let parameters = task.get("inputParameters").unwrap_or(&Json::Null);
        let literal = |key: &str| text(parameters, key).filter(|text| !text.contains("${"));
        let inputs = text(parameters, "forkTaskInputs").and_then(whole).and_then(|inner| scope.cel(inner));
        let is_simple = matches!(literal("forkTaskType"), None | Some("SIMPLE"));
        let action = match (literal("forkTaskWorkflow"), literal("forkTaskName").filter(|_| is_simple)) {
            (Some(workflow), _) => {
                let child = kebab(workflow);
                self.build.info(path, format!("import and apply the definition {child} before this one"));
                ImportedAction::Child(child)
            }
            (None, Some(name)) => self.run(path, name),
            (None, None) => return self.build.refused(path, refusal("FORK_JOIN_DYNAMIC")),
        };
        let Some(inputs) = inputs else {
            return self.build.refused(path, "FORK_JOIN_DYNAMIC: `forkTaskInputs` has no counterpart");
        };
        if parameters.get("forkTaskWorkflowVersion").is_some() {
            self.build.lost(path, "the child follows its newest version: versions have other numbers here");
        }
        self.build.info(path, "each element is the input of the step, without `__index`");
        let step = ImportedStep::new(self.build.name(reference), action);
        let mut body = Vec::new();
        self.build.push(&mut body, path, step);
        self.build.push_each(steps, path, body, (&inputs, UNLIMITED));
        if let Some(join) = next.filter(|next| text(next, "type") == Some("JOIN")) {
            scope.add_join(text(join, "taskReferenceName").unwrap_or_default());
        }
    }

    /// A loop over a list, in order.
    pub(super) fn each(
        &mut self,
        path: &str,
        reference: &str,
        task: &Json,
        scope: &TaskScope,
        steps: &mut Vec<ImportedStep>,
    ) {
        let parameters = task.get("inputParameters").unwrap_or(&Json::Null);
        let items = text(task, "items").or_else(|| text(parameters, "items"));
        let Some(items) = items.filter(|_| task.get("loopCondition").is_none()) else {
            return self.build.refused(path, refusal("DO_WHILE"));
        };
        let Some(items) = whole(items).and_then(|inner| scope.cel(inner)) else {
            return self.build.refused(path, format!("DO_WHILE: the list `{items}` has no counterpart"));
        };
        let mut inner = scope.clone();
        inner.add_loop(reference);
        let body = self.tasks(list(task, "loopOver"), &mut inner);
        self.build.push_each(steps, path, body, (&items, 1));
    }
}
