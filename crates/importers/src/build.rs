//! Names, notes and blocks, which all importers make in the same way.

use crate::data::StateData;
use crate::step::{ImportedAction, ImportedStep, Undo};
use crate::{ImportProblem, Level, Note};
use goconductor_saga::Json;
use std::collections::BTreeSet;

/// Maximum characters of names.
const MAX_NAME_CHARS: usize = 63;
/// Maximum number of states after repetition.
const MAX_STATES: usize = 2000;
/// The number of elements that run at once if the source has no limit.
pub(crate) const UNLIMITED: u64 = 10_000;
/// Maximum number of values in the document of a state.
const MAX_VALUES: usize = 1000;

/// The state of an import.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) notes: Vec<Note>,
    used: BTreeSet<String>,
    states: usize,
    /// The name of the definition, which is also the name of the service of tasks that name none.
    pub(crate) definition: String,
}

impl Build {
    pub(crate) fn new(name: &str) -> Self {
        let definition = kebab(name);
        let definition = if definition.is_empty() { "imported".to_owned() } else { definition };
        Self { notes: Vec::new(), used: BTreeSet::new(), states: 0, definition }
    }

    pub(crate) fn info(&mut self, path: &str, text: impl Into<String>) {
        self.note(path, Level::Info, text.into());
    }

    pub(crate) fn lost(&mut self, path: &str, text: impl Into<String>) {
        self.note(path, Level::Lost, text.into());
    }

    pub(crate) fn refused(&mut self, path: &str, text: impl Into<String>) {
        self.note(path, Level::Refused, text.into());
    }

    fn note(&mut self, path: &str, level: Level, text: String) {
        let note = Note { path: path.to_owned(), level, text };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Adds a note of the level `lost` for each of the keys that a value has.
    pub(crate) fn lost_keys(&mut self, path: &str, value: &Json, keys: &[(&str, &str)]) {
        for (key, text) in keys {
            if value.get(key).is_some_and(|value| !value.is_null()) {
                self.lost(&format!("{path}/{key}"), *text);
            }
        }
    }

    /// Counts the states of a list. Branches in repeated states are repeated as well.
    pub(crate) fn count(&mut self, path: &str, states: usize) -> Result<(), ImportProblem> {
        self.states = self.states.saturating_add(states).saturating_add(1);
        if self.states > MAX_STATES {
            let text = format!("the branches repeat more than {MAX_STATES} states: split the workflow up");
            return Err(ImportProblem::new(path, text));
        }
        Ok(())
    }

    /// Limits a document, because each state can contain that of the one before several times.
    pub(crate) fn bounded(&mut self, path: &str, data: StateData) -> StateData {
        if data.fits(MAX_VALUES) {
            return data;
        }
        self.lost(path, format!("the document of the state has more than {MAX_VALUES} values, and is null"));
        StateData::of(Json::Null)
    }

    /// Returns a name of a step that no other step has.
    pub(crate) fn name(&mut self, raw: &str) -> String {
        let snake = kebab(raw).replace('-', "_");
        let mut base =
            if snake.starts_with(|c: char| c.is_ascii_lowercase()) { snake } else { format!("s_{snake}") };
        base.truncate(MAX_NAME_CHARS - 5);
        let base = base.trim_end_matches('_').to_owned();
        let names = std::iter::once(base.clone()).chain((2_u32..).map(|number| format!("{base}_{number}")));
        for name in names {
            if self.used.insert(name.clone()) {
                return name;
            }
        }
        base
    }

    /// Returns `service/action`, by the naming rule: the part before the first of `/`, `.`, `:` and `#` is the service. The
    /// service of a task without one is the name of the definition.
    pub(crate) fn action(&self, raw: &str) -> String {
        let split =
            raw.split_once(['/', '.', ':', '#']).map(|(service, action)| (kebab(service), word(action)));
        match split {
            Some((service, action)) if !service.is_empty() && !action.is_empty() => {
                format!("{service}/{action}")
            }
            Some(_) | None => {
                let action = word(raw);
                let action = if action.is_empty() { "run".to_owned() } else { action };
                format!("{}/{action}", self.definition)
            }
        }
    }

    /// Adds a step, with a note if the source does not declare how it is undone.
    pub(crate) fn push(&mut self, steps: &mut Vec<ImportedStep>, path: &str, step: ImportedStep) {
        if matches!(step.undo, Undo::Undeclared) {
            let text = format!("the step {} has `compensate: none`: declare how it is undone", step.name);
            self.info(path, text);
        }
        steps.push(step);
    }

    /// Removes the note of a step whose compensation was found afterwards.
    pub(crate) fn declared(&mut self, step: &str) {
        let begin = format!("the step {step} has `compensate: none`");
        self.notes.retain(|note| !note.text.starts_with(&begin));
    }

    /// Adds branches that run in parallel. Branches without steps are left out, and a single branch needs no block.
    pub(crate) fn push_parallel(
        &mut self,
        steps: &mut Vec<ImportedStep>,
        raw: &str,
        branches: Vec<Vec<ImportedStep>>,
    ) {
        let mut branches: Vec<Vec<ImportedStep>> =
            branches.into_iter().filter(|branch| !branch.is_empty()).collect();
        if branches.len() < 2 {
            steps.extend(branches.pop().unwrap_or_default());
            return;
        }
        let name = self.name(raw);
        let named = branches.into_iter().map(|branch| {
            let name = branch.first().map_or_else(String::new, |step| step.name.clone());
            (name, branch)
        });
        steps.push(ImportedStep::new(name, ImportedAction::Parallel(named.collect())));
    }

    /// Lets the only step of a body run once for each element of a list, which is an expression. The body refers to an
    /// element as `item`, and to its position as `index`. Returns the output of the step, or `None` with a note if the
    /// body cannot be expressed.
    pub(crate) fn push_each(
        &mut self,
        steps: &mut Vec<ImportedStep>,
        path: &str,
        body: Vec<ImportedStep>,
        (list, max_parallel): (&str, u64),
    ) -> Option<StateData> {
        let reason = match body.as_slice() {
            [step] if step.for_each.is_some() => "a list in an element",
            [step] if step.when.is_some() || step.continues => "a step of an element that is optional",
            [
                ImportedStep {
                    action: ImportedAction::Run(_) | ImportedAction::Call(_) | ImportedAction::Child(_),
                    ..
                },
            ] => "",
            [] => "an element without a step",
            _ => "an element with several steps",
        };
        if !reason.is_empty() {
            let text = format!(
                "{reason} has no counterpart: make a definition of its steps, and run it as a `child`"
            );
            self.refused(path, text);
            body.iter().for_each(|step| self.declared(&step.name));
            return None;
        }
        let step = body.into_iter().next()?;
        let each = serde_json::json!({ "in": crate::json::expression(list), "max_parallel": max_parallel });
        let output = crate::json::expression(&format!("steps.{}.output", step.name));
        steps.push(ImportedStep { for_each: Some(each), ..step });
        Some(StateData::of(output))
    }

    /// Adds alternatives. The language has no branch without steps, so the conditions of the others exclude it.
    pub(crate) fn push_switch(
        &mut self,
        steps: &mut Vec<ImportedStep>,
        raw: &str,
        branches: Vec<(Option<String>, Vec<ImportedStep>)>,
    ) {
        let mut excluded: Vec<String> = Vec::new();
        let mut kept = Vec::new();
        for (when, inner) in branches {
            if inner.is_empty() {
                match when {
                    Some(when) => excluded.push(format!("!({when})")),
                    None => break,
                }
                continue;
            }
            let is_default = when.is_none();
            let all: Vec<String> = match when {
                Some(when) if !excluded.is_empty() => {
                    excluded.iter().cloned().chain([format!("({when})")]).collect()
                }
                Some(when) => vec![when],
                None => excluded.clone(),
            };
            kept.push(((!all.is_empty()).then(|| all.join(" && ")), inner));
            if is_default {
                break;
            }
        }
        match kept.as_mut_slice() {
            [] => {}
            // The other branches were refused.
            [(None, inner)] => steps.append(inner),
            _ => {
                let name = self.name(raw);
                steps.push(ImportedStep::new(name, ImportedAction::Switch(kept)));
            }
        }
    }
}

/// Converts a name in any case to lower case with hyphens.
pub(crate) fn kebab(raw: &str) -> String {
    let mut text = String::new();
    let mut before_lower = false;
    for c in raw.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && before_lower && !text.ends_with('-') {
                text.push('-');
            }
            before_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
            text.push(c.to_ascii_lowercase());
        } else {
            before_lower = false;
            if !text.is_empty() && !text.ends_with('-') {
                text.push('-');
            }
        }
    }
    text.truncate(MAX_NAME_CHARS);
    text.trim_end_matches('-').to_owned()
}

/// Converts a name to the name of an action.
fn word(raw: &str) -> String {
    let replaced = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let mut text: String = raw.trim().chars().map(replaced).collect();
    text.truncate(MAX_NAME_CHARS);
    text.trim_matches(['_', '.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_language() {
        let mut build = Build::new("Order Processing V2");
        assert_eq!(build.definition, "order-processing-v2");
        assert_eq!(build.name("ChargeCard"), "charge_card");
        assert_eq!(build.name("charge-card"), "charge_card_2");
        assert_eq!(build.name("2nd try"), "s_2nd_try");
        assert_eq!(build.action("payments.charge"), "payments/charge");
        assert_eq!(build.action("charge_card"), "order-processing-v2/charge_card");
    }

    #[test]
    fn empty_branch_is_excluded() {
        let mut build = Build::new("a");
        let step =
            |name: &str| vec![ImportedStep::new(name.to_owned(), ImportedAction::Sleep("1s".to_owned()))];
        let mut steps = Vec::new();
        let branches =
            vec![(Some("x".to_owned()), Vec::new()), (Some("y".to_owned()), step("b")), (None, step("c"))];
        build.push_switch(&mut steps, "s", branches);
        let Some(ImportedStep { action: ImportedAction::Switch(branches), .. }) = steps.first() else {
            panic!("{steps:?}")
        };
        let when: Vec<_> = branches.iter().map(|(when, _)| when.as_deref()).collect();
        assert_eq!(when, [Some("!(x) && (y)"), Some("!(x)")]);
    }
}
