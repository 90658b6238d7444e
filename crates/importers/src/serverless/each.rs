//! Steps for each element of a list: the state `foreach` of 0.8, and the task `for` of the DSL.

use super::{ServerlessImporter, expression};
use crate::ImportProblem;
use crate::build::UNLIMITED;
use crate::data::{StateData, cel_at};
use crate::json::{list, text};
use crate::path::{PathSegment, parse, select};
use crate::step::ImportedStep;
use goconductor_saga::Json;
use serde_json::json;

impl ServerlessImporter<'_> {
    pub(super) fn foreach(
        &mut self,
        name: &str,
        state: &Json,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) {
        let Some(items) = list_of(text(state, "inputCollection"), data) else {
            self.build.refused(&format!("{name}/inputCollection"), "the list has no counterpart");
            return;
        };
        let item = StateData::of(crate::json::expression("item"));
        let place = text(state, "iterationParam").map(|name| vec![PathSegment::Field(name.to_owned())]);
        let Some(mut inner) = place.and_then(|place| data.clone().with(&place, item)) else {
            self.build
                .refused(&format!("{name}/iterationParam"), "an element without a name has no counterpart");
            return;
        };
        let actions = list(state, "actions");
        let mut body = Vec::new();
        for action in actions {
            // The results go to `outputCollection`.
            let mut action = action.clone();
            if let Some(fields) = action.as_object_mut() {
                fields.insert("actionDataFilter".to_owned(), json!({ "useResults": false }));
            }
            self.action(name, &action, actions.len() == 1, &mut inner, &mut body);
        }
        let limit = match text(state, "mode") {
            Some("sequential") => 1,
            Some(_) | None => batch_size(state).unwrap_or(UNLIMITED).clamp(1, UNLIMITED),
        };
        let Some(output) = self.build.push_each(steps, name, body, (&items, limit)) else { return };
        let place =
            text(state, "outputCollection").and_then(|place| parse(expression(place).unwrap_or(place)));
        if let Some(changed) = place.and_then(|place| data.clone().with(&place, output)) {
            *data = changed;
        }
    }

    /// Adds the step of a task `for`, whose elements run in order.
    pub(super) fn each(
        &mut self,
        path: &str,
        task: &Json,
        (each, body): (&Json, &[Json]),
        input: &StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<(), ImportProblem> {
        if task.get("while").is_some() {
            self.build
                .refused(&format!("{path}/while"), "a loop that ends by a condition has no counterpart");
            return Ok(());
        }
        let Some(items) = list_of(text(each, "in"), input) else {
            self.build.refused(&format!("{path}/for/in"), "the list has no counterpart");
            return Ok(());
        };
        let name = |key: &str, default: &str| text(each, key).unwrap_or(default).to_owned();
        let outer = self.variables.replace((name("each", "item"), name("at", "index")));
        let body = self.tasks(path, body, &mut input.clone());
        self.variables = outer;
        if self.build.push_each(steps, path, body?, (&items, 1)).is_some() {
            let text =
                "the output of the block is not that of its last element: refer to the outputs of the step";
            self.build.lost(path, text);
        }
        Ok(())
    }

    /// Returns the value of a variable of the surrounding loop.
    pub(super) fn loop_variable(&self, source: &str) -> Option<(Json, bool)> {
        let (item, index) = self.variables.as_ref()?;
        let name = source.trim().strip_prefix('$')?;
        if name == index {
            return Some((crate::json::expression("index"), false));
        }
        let rest = name.strip_prefix(item.as_str())?;
        Some((crate::json::expression(&select("item", &parse(&format!("${rest}"))?)), false))
    }
}

/// Returns the expression of a list in the document.
fn list_of(source: Option<&str>, data: &StateData) -> Option<String> {
    let source = source?;
    cel_at(data, &parse(expression(source).unwrap_or(source))?)
}

fn batch_size(state: &Json) -> Option<u64> {
    let size = state.get("batchSize")?;
    size.as_u64().or_else(|| size.as_str()?.parse().ok())
}
