//! `compensatedBy`: the state that undoes another one.

use super::ServerlessImporter;
use crate::data::StateData;
use crate::json::{list, text};
use crate::step::{ImportedAction, ImportedStep, Undo};
use goconductor_saga::Json;
use serde_json::{Map, json};

impl ServerlessImporter<'_> {
    /// Declares the compensation of the steps of a state.
    pub(super) fn compensated(
        &mut self,
        path: &str,
        state: &Json,
        data: &StateData,
        steps: &mut [ImportedStep],
    ) {
        let Some(name) = text(state, "compensatedBy") else { return };
        let at = format!("{path}/compensatedBy");
        let compensating = list(self.document, "states").iter().find(|each| text(each, "name") == Some(name));
        let [action] = compensating.map_or(&[][..], |state| list(state, "actions")) else {
            let text = format!("the state {name} has no single action: declare `compensate` for each step");
            self.build.refused(&at, text);
            return;
        };
        let mut undeclared = steps.iter_mut().filter(|step| matches!(step.undo, Undo::Undeclared));
        let (Some(step), None) = (undeclared.next(), undeclared.next()) else {
            let text = format!("{name} compensates several steps: declare `compensate` for each of them");
            self.build.refused(&at, text);
            return;
        };
        // The step of the compensation lends its action, and is not a step of its own.
        let Some(undo) = self.action_step(&at, name, action, data) else { return };
        let ImportedAction::Run(run) = undo.action else {
            self.build.refused(&at, "a workflow as a compensation has no counterpart");
            return;
        };
        let mut compensate = Map::new();
        compensate.insert("run".to_owned(), json!(run));
        if let Some(input) = undo.input {
            compensate.insert("input".to_owned(), input);
        }
        let step_name = step.name.clone();
        step.undo = Undo::Declared(Json::Object(compensate));
        self.build.declared(&step_name);
    }
}
