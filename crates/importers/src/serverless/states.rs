//! Serverless Workflow 0.8: states with transitions.

use super::{ServerlessImporter, transition};
use crate::data::StateData;
use crate::flow::{Block, StateTransition, StructuredFlow, structure};
use crate::json::{flag, list, text};
use crate::step::{ImportedAction, ImportedStep, ImportedWorkflow};
use crate::time::iso;
use crate::{ImportProblem, Note};
use goconductor_saga::Json;
use serde_json::json;
use std::collections::BTreeMap;

/// Reads a workflow.
pub(super) fn read(document: &Json) -> Result<(ImportedWorkflow, Vec<Note>), ImportProblem> {
    let id = text(document, "id").or_else(|| text(document, "key")).or_else(|| text(document, "name"));
    let id = id.ok_or_else(|| ImportProblem::new("id", "a workflow of Serverless Workflow has an `id`"))?;
    let mut importer = ServerlessImporter::new(document, id);
    let blocks = importer.structure()?;
    let mut data = StateData::input();
    let states = list(document, "states");
    let steps = importer.states(states, &blocks, &mut data)?;
    importer.build.lost_keys(
        "workflow",
        document,
        &[
            ("keepActive", "a workflow ends with its last step"),
            ("secrets", "write `secret://name` in the headers of calls"),
            ("constants", "constants are lost: write their values"),
            ("annotations", "annotations are lost: use `labels`"),
        ],
    );
    let timeout = document.get("timeouts").and_then(|all| all.get("workflowExecTimeout"));
    let timeout = timeout.and_then(|value| value.as_str().or_else(|| text(value, "duration"))).and_then(iso);
    let schema = document.get("dataInputSchema");
    let schema = schema.map(|schema| schema.get("schema").unwrap_or(schema));
    if schema.is_some_and(|schema| !schema.is_object()) {
        importer
            .build
            .lost("workflow/dataInputSchema", "a schema in another file is lost: write it as `input`");
    }
    let schema = schema.filter(|schema| schema.is_object()).cloned();
    let workflow = ImportedWorkflow {
        name: importer.build.definition.clone(),
        title: text(document, "name").filter(|name| *name != importer.build.definition).map(str::to_owned),
        description: text(document, "description").map(str::to_owned),
        input: schema,
        timeout,
        steps,
        output: data
            .get(&[])
            .filter(|(value, changed)| !changed && *value != json!("${ input }"))
            .map(|(value, _)| value),
    };
    Ok((workflow, importer.build.notes))
}

impl ServerlessImporter<'_> {
    fn structure(&mut self) -> Result<Vec<Block>, ImportProblem> {
        let states = list(self.document, "states");
        let name_of = |state: &Json| text(state, "name").unwrap_or_default().to_owned();
        let numbers: BTreeMap<String, usize> =
            states.iter().enumerate().map(|(number, state)| (name_of(state), number)).collect();
        let find =
            |name: Option<&str>| match name {
                Some(name) => numbers.get(name).copied().map(Some).ok_or_else(|| {
                    ImportProblem::new(name, "a transition leads to a state that does not exist")
                }),
                None => Ok(None),
            };
        let mut next = Vec::new();
        for state in states {
            if text(state, "type") != Some("switch") {
                next.push(StateTransition::To(find(transition(state))?));
                continue;
            }
            let mut targets = Vec::new();
            for condition in list(state, "dataConditions") {
                targets.push(find(transition(condition))?);
            }
            targets.push(find(state.get("defaultCondition").and_then(transition))?);
            next.push(StateTransition::Choice(targets));
        }
        let start = self.document.get("start");
        let start = start.and_then(|start| start.as_str().or_else(|| text(start, "stateName")));
        if self.document.get("start").is_some_and(|start| start.get("schedule").is_some()) {
            self.build.lost("start/schedule", "write the schedule as `schedule` of the definition");
        }
        let start = find(start)?.unwrap_or_default();
        if start >= states.len() {
            return Err(ImportProblem::new("states", "the workflow has no states"));
        }
        let StructuredFlow { blocks, loops, .. } = structure(next, start)?;
        for (from, to) in loops {
            let name = |number: usize| states.get(number).map(name_of).unwrap_or_default();
            let text = format!("the transition back to {} is a loop, which has no counterpart", name(to));
            self.build.refused(&name(from), text);
        }
        Ok(blocks)
    }

    fn states(
        &mut self,
        states: &[Json],
        blocks: &[Block],
        data: &mut StateData,
    ) -> Result<Vec<ImportedStep>, ImportProblem> {
        let mut steps = Vec::new();
        for block in blocks {
            let Some(state) = states.get(block.state) else { continue };
            let name = text(state, "name").unwrap_or("state");
            if !list(state, "onErrors").is_empty() {
                let text = "a failure rolls the workflow back in place of continuing elsewhere";
                self.build.lost(&format!("{name}/onErrors"), text);
            }
            let filter = state.get("stateDataFilter");
            let source = filter.and_then(|filter| filter.get("input"));
            *data = self.filtered(&format!("{name}/stateDataFilter/input"), source, data.clone());
            let begin = steps.len();
            match text(state, "type").unwrap_or_default() {
                "operation" => self.operation(name, state, data, &mut steps),
                "parallel" => self.parallel(name, state, data, &mut steps),
                "switch" => self.switch(name, state, (states, block), data, &mut steps)?,
                "sleep" | "delay" => self.sleep(name, state, &mut steps),
                "event" => self.events(name, state, data, &mut steps),
                "callback" => self.callback(name, state, data, &mut steps),
                "inject" => self.inject(name, state, data),
                "foreach" => self.foreach(name, state, data, &mut steps),
                kind => self
                    .build
                    .refused(name, format!("`{kind}` is not a type of a state that can be imported")),
            }
            self.compensated(name, state, data, steps.get_mut(begin..).unwrap_or_default());
            let source = filter.and_then(|filter| filter.get("output"));
            let filtered = self.filtered(&format!("{name}/stateDataFilter/output"), source, data.clone());
            *data = self.build.bounded(name, filtered);
        }
        Ok(steps)
    }

    fn operation(&mut self, name: &str, state: &Json, data: &mut StateData, steps: &mut Vec<ImportedStep>) {
        let actions = list(state, "actions");
        if text(state, "actionMode") == Some("parallel") && actions.len() > 1 {
            let branches = self.branches(name, actions.iter().map(|action| vec![action]), data);
            self.build.push_parallel(steps, name, branches);
            return;
        }
        for action in actions {
            self.action(name, action, actions.len() == 1, data, steps);
        }
    }

    fn parallel(&mut self, name: &str, state: &Json, data: &mut StateData, steps: &mut Vec<ImportedStep>) {
        if text(state, "completionType").is_some_and(|kind| kind != "allOf") {
            self.build
                .lost(&format!("{name}/completionType"), "the step after the block waits for all branches");
        }
        let actions = list(state, "branches").iter().map(|branch| list(branch, "actions").iter().collect());
        let branches = self.branches(name, actions, data);
        self.build.push_parallel(steps, name, branches);
    }

    /// Reads branches, each of which begins with the same document. Their results are merged.
    fn branches<'j>(
        &mut self,
        name: &str,
        branches: impl Iterator<Item = Vec<&'j Json>>,
        data: &mut StateData,
    ) -> Vec<Vec<ImportedStep>> {
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for actions in branches {
            let mut inner = data.clone();
            let mut steps = Vec::new();
            for action in actions {
                self.action(name, action, false, &mut inner, &mut steps);
            }
            all.push(steps);
            ends.push(inner);
        }
        if let Some(joined) = StateData::join(&ends) {
            *data = joined;
        } else if !ends.is_empty() {
            self.build.lost(
                name,
                "the results of the branches are not merged: use different names in `toStateData`",
            );
        }
        all
    }

    fn switch(
        &mut self,
        name: &str,
        state: &Json,
        (states, block): (&[Json], &Block),
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<(), ImportProblem> {
        if !list(state, "eventConditions").is_empty() {
            self.build
                .refused(&format!("{name}/eventConditions"), "a choice between events has no counterpart");
        }
        let conditions = list(state, "dataConditions");
        let (mut branches, mut ends) = (Vec::new(), Vec::new());
        for (number, blocks) in block.branches.iter().enumerate() {
            let condition =
                conditions.get(number).map(|condition| text(condition, "condition").unwrap_or_default());
            let when = match condition.map(|source| self.condition(source, data).ok_or(source)) {
                None => None,
                Some(Ok(when)) => Some(when),
                Some(Err(source)) => {
                    let text = format!(
                        "the condition `{source}` has no counterpart: those below it are taken in place of the branch"
                    );
                    self.build.refused(&format!("{name}/dataConditions/{number}"), text);
                    continue;
                }
            };
            let mut inner = data.clone();
            branches.push((when, self.states(states, blocks, &mut inner)?));
            ends.push(inner);
        }
        match StateData::join(&ends) {
            Some(joined) => *data = joined,
            None => self.build.lost(
                name,
                "the branches end with different documents: the states below receive that of before",
            ),
        }
        self.build.push_switch(steps, name, branches);
        Ok(())
    }

    fn sleep(&mut self, name: &str, state: &Json, steps: &mut Vec<ImportedStep>) {
        let source = text(state, "duration").or_else(|| text(state, "timeDelay")).unwrap_or_default();
        match iso(source) {
            Some(duration) => {
                let name = self.build.name(name);
                steps.push(ImportedStep::new(name, ImportedAction::Sleep(duration)));
            }
            None => self.build.refused(name, format!("`{source}` is not a duration of fixed length")),
        }
    }

    fn events(&mut self, name: &str, state: &Json, data: &mut StateData, steps: &mut Vec<ImportedStep>) {
        let groups = list(state, "onEvents");
        let is_exclusive = state.get("exclusive").and_then(Json::as_bool).unwrap_or(true);
        let total: usize = groups.iter().map(|group| list(group, "eventRefs").len()).sum();
        if total > 1 && is_exclusive {
            self.build.refused(name, "a wait for the first of several events has no counterpart");
            return;
        }
        let until = text(state.get("timeouts").unwrap_or(&Json::Null), "eventTimeout").and_then(iso);
        for group in groups {
            for event in list(group, "eventRefs").iter().filter_map(Json::as_str) {
                let step = if total == 1 { name.to_owned() } else { format!("{name} {event}") };
                let payload = self.signal(name, &step, event, until.clone(), steps);
                let filter = group.get("eventDataFilter");
                self.stored(&format!("{name}/eventDataFilter"), filter, ("data", payload), data);
            }
            for action in list(group, "actions") {
                self.action(name, action, false, data, steps);
            }
        }
    }

    fn callback(&mut self, name: &str, state: &Json, data: &mut StateData, steps: &mut Vec<ImportedStep>) {
        if let Some(action) = state.get("action") {
            self.action(name, action, true, data, steps);
        }
        let event = text(state, "eventRef").unwrap_or(name);
        let until = text(state.get("timeouts").unwrap_or(&Json::Null), "eventTimeout").and_then(iso);
        let payload = self.signal(name, &format!("{name} {event}"), event, until, steps);
        let filter = state.get("eventDataFilter");
        self.stored(&format!("{name}/eventDataFilter"), filter, ("data", payload), data);
    }

    fn inject(&mut self, name: &str, state: &Json, data: &mut StateData) {
        for (key, value) in crate::json::entries(state, "data") {
            let path = [crate::path::PathSegment::Field(key.to_owned())];
            if let Some(changed) = data.clone().with(&path, StateData::of(crate::json::literals(value))) {
                *data = changed;
            }
        }
        if flag(state, "usedForCompensation") {
            self.build.lost(name, "data of a compensation is lost");
        }
    }
}
