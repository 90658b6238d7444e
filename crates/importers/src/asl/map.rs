//! The state `Map`.

use super::AslImporter;
use crate::ImportProblem;
use crate::build::UNLIMITED;
use crate::data::StateData;
use crate::json::{expression, text};
use crate::step::ImportedStep;
use goconductor_saga::Json;

/// Keys of a distributed map, whose elements are not in the document.
const DISTRIBUTED: [&str; 3] = ["ItemReader", "ItemBatcher", "ResultWriter"];

impl AslImporter {
    pub(super) fn map(
        &mut self,
        path: &str,
        state: &Json,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<(), ImportProblem> {
        let processor = state.get("ItemProcessor").or_else(|| state.get("Iterator"));
        let mode = processor.and_then(|processor| text(processor.get("ProcessorConfig")?, "Mode"));
        let Some(processor) = processor.filter(|_| mode != Some("DISTRIBUTED")) else {
            self.build.refused(path, "Map: only a map in the mode INLINE has a counterpart");
            return Ok(());
        };
        if let Some(key) = DISTRIBUTED.into_iter().find(|key| state.get(key).is_some()) {
            self.build.refused(path, format!("Map: `{key}` has no counterpart"));
            return Ok(());
        }
        self.build.lost_keys(
            path,
            state,
            &[
                ("ToleratedFailureCount", "an element that fails rolls the others back"),
                ("ToleratedFailurePercentage", "an element that fails rolls the others back"),
                ("MaxConcurrencyPath", "`max_parallel` is literal"),
                ("Retry", "a list is not retried: its step has retries of its own"),
            ],
        );
        self.caught(path, state);
        let input = self.input(path, state, data);
        let Some(list) = self.cel(text(state, "ItemsPath").unwrap_or("$"), &input) else {
            self.build.refused(&format!("{path}/ItemsPath"), "the list has no counterpart");
            return Ok(());
        };
        let mut inner = match state.get("ItemSelector").or_else(|| state.get("Parameters")) {
            Some(selector) => StateData::of(self.template(&format!("{path}/ItemSelector"), selector, &input)),
            None => StateData::of(expression("item")),
        };
        self.enter_block(path)?;
        let body = self.machine(&format!("{path}/"), processor, &mut inner)?;
        self.depth -= 1;
        let limit = state.get("MaxConcurrency").and_then(Json::as_u64).filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(UNLIMITED).min(UNLIMITED);
        let Some(output) = self.build.push_each(steps, path, body, (&list, limit)) else { return Ok(()) };
        if inner != output {
            self.build
                .lost(path, "the results are the outputs of the step, and not the documents of the elements");
        }
        let result = self.selected(path, state, output);
        self.finish(path, state, data, result);
        Ok(())
    }
}
