//! State machines in Amazon States Language with the query language JSONPath.

mod choice;
mod map;
mod payload;
mod task;

use crate::build::Build;
use crate::data::StateData;
use crate::flow::{Block, StateTransition, StructuredFlow, structure};
use crate::json::{entries, list, quoted, text};
use crate::step::{ImportedAction, ImportedStep, ImportedWorkflow};
use crate::time::{seconds, time};
use crate::{ImportProblem, Note};
use goconductor_saga::Json;
use serde_json::json;
use std::collections::BTreeMap;

/// Maximum nesting depth of the branches of parallel states.
const MAX_DEPTH: usize = 15;

/// Reads a state machine.
pub(crate) fn read(document: &Json) -> Result<(ImportedWorkflow, Vec<Note>), ImportProblem> {
    let comment = text(document, "Comment").map(str::trim).filter(|text| !text.is_empty());
    let name = text(document, "Name").or_else(|| text(document, "name"));
    let mut importer = AslImporter { build: Build::new(name.unwrap_or("state-machine")), depth: 0 };
    if name.is_none() {
        importer.build.info(
            "workflow",
            "a state machine has no name: change `workflow: state-machine`, and the services of that name",
        );
    }
    let mut data = StateData::input();
    let steps = importer.machine("", document, &mut data)?;
    let output = importer.output(&data);
    let workflow = ImportedWorkflow {
        name: importer.build.definition.clone(),
        description: comment.map(str::to_owned),
        timeout: document.get("TimeoutSeconds").and_then(seconds),
        steps,
        output,
        ..ImportedWorkflow::default()
    };
    Ok((workflow, importer.build.notes))
}

struct AslImporter {
    build: Build,
    depth: usize,
}

/// The states of a machine by their number.
struct StateMachine<'a> {
    states: Vec<(&'a str, &'a Json)>,
    prefix: &'a str,
}

impl AslImporter {
    /// Reads a machine, or a branch of a parallel state. `data` is its input, and becomes its output.
    fn machine(
        &mut self,
        prefix: &str,
        document: &Json,
        data: &mut StateData,
    ) -> Result<Vec<ImportedStep>, ImportProblem> {
        refuse_jsonata(prefix, document)?;
        let machine = StateMachine { states: entries(document, "States"), prefix };
        let numbers: BTreeMap<&str, usize> =
            machine.states.iter().enumerate().map(|(number, (name, _))| (*name, number)).collect();
        let start = text(document, "StartAt").and_then(|name| numbers.get(name).copied());
        let start = start.ok_or_else(|| {
            ImportProblem::new(
                format!("{prefix}StartAt"),
                "the first state of the state machine does not exist",
            )
        })?;
        let mut next = Vec::new();
        for (name, state) in &machine.states {
            refuse_jsonata(&format!("{prefix}{name}"), state)?;
            let target = |name: Option<&str>| match name {
                Some(name) => numbers.get(name).copied().map(Some).ok_or_else(|| {
                    ImportProblem::new(
                        format!("{prefix}{name}"),
                        "a transition leads to a state that does not exist",
                    )
                }),
                None => Ok(None),
            };
            next.push(if text(state, "Type") == Some("Fail") {
                StateTransition::Stop
            } else if text(state, "Type") == Some("Choice") {
                let mut targets = Vec::new();
                for rule in list(state, "Choices") {
                    targets.push(target(text(rule, "Next"))?);
                }
                targets.push(target(text(state, "Default"))?);
                StateTransition::Choice(targets)
            } else {
                StateTransition::To(target(text(state, "Next"))?)
            });
        }
        let StructuredFlow { blocks, loops, states } = structure(next, start)?;
        self.build.count(prefix, states)?;
        for (from, to) in loops {
            let name = |number: usize| machine.states.get(number).map_or("", |(name, _)| *name);
            let text = format!("the transition back to {} is a loop, which has no counterpart", name(to));
            self.build.refused(&format!("{prefix}{}", name(from)), text);
        }
        self.sequence(&machine, &blocks, data)
    }

    fn sequence(
        &mut self,
        machine: &StateMachine<'_>,
        blocks: &[Block],
        data: &mut StateData,
    ) -> Result<Vec<ImportedStep>, ImportProblem> {
        let mut steps = Vec::new();
        for block in blocks {
            let Some((name, state)) = machine.states.get(block.state) else { continue };
            let path = format!("{}{name}", machine.prefix);
            match text(state, "Type").unwrap_or_default() {
                "Task" => self.task(&path, name, state, data, &mut steps),
                "Pass" => self.pass(&path, state, data),
                "Wait" => self.wait(&path, name, state, data, &mut steps),
                "Choice" => self.choice(&path, name, state, (machine, block), data, &mut steps)?,
                "Parallel" => self.parallel(&path, name, state, data, &mut steps)?,
                "Succeed" => {
                    let input = self.input(&path, state, data);
                    *data = self.filtered(&path, state, "OutputPath", input);
                }
                "Fail" => self.fail(&path, name, state, &mut steps),
                "Map" => self.map(&path, state, data, &mut steps)?,
                kind => self.build.refused(&path, format!("`{kind}` is not a type of a state")),
            }
        }
        Ok(steps)
    }

    fn pass(&mut self, path: &str, state: &Json, data: &mut StateData) {
        let input = self.input(path, state, data);
        let result = match state.get("Result") {
            Some(result) => StateData::of(crate::json::literals(result)),
            None => self.parameters(path, state, input),
        };
        self.finish(path, state, data, result);
    }

    fn wait(
        &mut self,
        path: &str,
        name: &str,
        state: &Json,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) {
        let found = |importer: &Self, key: &str| text(state, key).and_then(|text| importer.cel(text, data));
        let until = if let Some(value) = state.get("Seconds") {
            seconds(value)
        } else if let Some(value) = text(state, "Timestamp") {
            time(value)
        } else if let Some(cel) = found(self, "SecondsPath") {
            Some(format!("${{ string({cel}) + 's' }}"))
        } else {
            found(self, "TimestampPath").map(|cel| format!("${{ {cel} }}"))
        };
        let Some(until) = until else {
            self.build.refused(path, "the time of the wait has no counterpart");
            return;
        };
        let name = self.build.name(name);
        steps.push(ImportedStep::new(name, ImportedAction::Sleep(until)));
        let input = self.input(path, state, data);
        *data = self.filtered(path, state, "OutputPath", input);
    }

    /// A failure is an expression that is neither a duration nor a time: the step fails without an effect.
    fn fail(&mut self, path: &str, name: &str, state: &Json, steps: &mut Vec<ImportedStep>) {
        let parts: Vec<&str> = ["Error", "Cause"].iter().filter_map(|key| text(state, key)).collect();
        let cause = if parts.is_empty() { name.to_owned() } else { parts.join(": ") };
        let cause: String = cause.chars().filter(|c| !c.is_control()).take(200).collect();
        let text = "the step fails with the code WAIT_EXPRESSION_FAILED in place of the error, and the workflow rolls back";
        self.build.info(path, text);
        let name = self.build.name(name);
        steps.push(ImportedStep::new(
            name,
            ImportedAction::Sleep(format!("${{ {} }}", quoted(&format!("failed: {cause}")))),
        ));
    }

    fn parallel(
        &mut self,
        path: &str,
        name: &str,
        state: &Json,
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<(), ImportProblem> {
        self.enter_block(path)?;
        if state.get("Retry").is_some() {
            self.build.lost(
                &format!("{path}/Retry"),
                "a block is not retried: its steps have retries of their own",
            );
        }
        self.caught(path, state);
        let input = self.input(path, state, data);
        let input = self.parameters(path, state, input);
        let (mut branches, mut outputs) = (Vec::new(), Vec::new());
        for (number, branch) in list(state, "Branches").iter().enumerate() {
            let mut inner = input.clone();
            branches.push(self.machine(&format!("{path}/{number}/"), branch, &mut inner)?);
            outputs.push(inner.get(&[]).map_or(Json::Null, |(value, _)| value));
        }
        self.build.push_parallel(steps, name, branches);
        let result = self.selected(path, state, StateData::of(Json::Array(outputs)));
        self.finish(path, state, data, result);
        self.depth -= 1;
        Ok(())
    }

    /// Counts the nesting of a block. The caller counts it down at the end of the block.
    fn enter_block(&mut self, path: &str) -> Result<(), ImportProblem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let text = format!("blocks are nested more than {MAX_DEPTH} levels deep: split the workflow up");
            return Err(ImportProblem::new(path, text));
        }
        Ok(())
    }

    /// Notes that there are no catchers.
    fn caught(&mut self, path: &str, state: &Json) {
        for catcher in list(state, "Catch") {
            let to = text(catcher, "Next").unwrap_or_default();
            let text = format!(
                "a failure rolls the workflow back in place of continuing with {to}: declare `compensate` for the steps above"
            );
            self.build.lost(&format!("{path}/Catch"), text);
        }
    }

    fn output(&mut self, data: &StateData) -> Option<Json> {
        let (value, changed) = data.get(&[])?;
        if changed {
            self.build.lost(
                "workflow",
                "the output has the input of the workflow below `input`, because objects are not merged",
            );
        }
        (value != json!("${ input }")).then_some(value)
    }
}

fn refuse_jsonata(path: &str, value: &Json) -> Result<(), ImportProblem> {
    if text(value, "QueryLanguage") == Some("JSONata") {
        let detail = "the query language JSONata is not imported: write the state machine in JSONPath";
        return Err(ImportProblem::new(path, detail));
    }
    Ok(())
}
