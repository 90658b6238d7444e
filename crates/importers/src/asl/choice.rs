//! The state `Choice`: comparisons as conditions.

use super::{AslImporter, StateMachine};
use crate::ImportProblem;
use crate::condition::numeric;
use crate::data::StateData;
use crate::flow::Block;
use crate::json::{list, quoted, text};
use crate::step::ImportedStep;
use goconductor_saga::Json;

/// Maximum nesting depth of rules.
const MAX_DEPTH: usize = 16;

impl AslImporter {
    pub(super) fn choice(
        &mut self,
        path: &str,
        name: &str,
        state: &Json,
        (machine, block): (&StateMachine<'_>, &Block),
        data: &mut StateData,
        steps: &mut Vec<ImportedStep>,
    ) -> Result<(), ImportProblem> {
        let input = self.input(path, state, data);
        let input = self.filtered(path, state, "OutputPath", input);
        let rules = list(state, "Choices");
        let mut branches = Vec::new();
        let mut ends = Vec::new();
        for (number, blocks) in block.branches.iter().enumerate() {
            let when = match rules.get(number) {
                Some(rule) => match self.rule(rule, &input, 0) {
                    Ok(when) => Some(when),
                    Err(reason) => {
                        let at = format!("{path}/Choices/{number}");
                        self.build.refused(&at, format!("{reason}: the branch is not imported, and those below it are taken in its place"));
                        continue;
                    }
                },
                None if text(state, "Default").is_none() => {
                    self.build.lost(path, "if no rule matches, the workflow continues in place of failing");
                    continue;
                }
                None => None,
            };
            let mut inner = input.clone();
            branches.push((when, self.sequence(machine, blocks, &mut inner)?));
            let last = blocks.last().and_then(|block| machine.states.get(block.state));
            if last.is_none_or(|(_, state)| text(state, "Type") != Some("Fail")) {
                ends.push(inner);
            }
        }
        *data = StateData::join(&ends).unwrap_or_else(|| {
            self.build.lost(path, "the branches end with different documents: the states below receive that of before the choice");
            input
        });
        self.build.push_switch(steps, name, branches);
        Ok(())
    }

    fn rule(&self, rule: &Json, data: &StateData, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!("rules are nested more than {MAX_DEPTH} levels deep"));
        }
        for (key, operator) in [("And", " && "), ("Or", " || ")] {
            if rule.get(key).is_some() {
                let parts = list(rule, key).iter().map(|part| self.rule(part, data, depth + 1));
                let parts: Vec<String> = parts.collect::<Result<_, _>>()?;
                return Ok(format!("({})", parts.join(operator)));
            }
        }
        if let Some(inner) = rule.get("Not") {
            return self.rule(inner, data, depth + 1).map(|inner| format!("!({inner})"));
        }
        let variable = text(rule, "Variable").ok_or("the rule has no variable")?;
        let cel = self.cel(variable, data).ok_or_else(|| format!("`{variable}` has no counterpart"))?;
        let keys = rule.as_object().into_iter().flatten();
        let (operator, value) = keys
            .filter(|(key, _)| !matches!(key.as_str(), "Variable" | "Next" | "Comment" | "Assign"))
            .map(|(key, value)| (key.as_str(), value))
            .next()
            .ok_or("the rule has no comparison")?;
        self.comparison(&cel, operator, value, data)
            .ok_or_else(|| format!("the comparison {operator} has no counterpart"))
    }

    fn comparison(&self, cel: &str, operator: &str, value: &Json, data: &StateData) -> Option<String> {
        match operator {
            "IsNull" => return negated_unless(value, format!("{cel} == null")),
            "IsPresent" => return negated_unless(value, present(cel)?),
            "StringMatches" => return matches(cel, value.as_str()?),
            _ => {}
        }
        let kinds = ["String", "Numeric", "Boolean"].into_iter();
        let (kind, relation) = kinds.filter_map(|kind| Some((kind, operator.strip_prefix(kind)?))).next()?;
        let (relation, is_path) = match relation.strip_suffix("Path") {
            Some(relation) => (relation, true),
            None => (relation, false),
        };
        let relation = match relation {
            "Equals" => "==",
            "LessThan" => "<",
            "LessThanEquals" => "<=",
            "GreaterThan" => ">",
            "GreaterThanEquals" => ">=",
            _ => return None,
        };
        if is_path {
            let other = self.cel(value.as_str()?, data)?;
            return Some(if kind == "Numeric" {
                format!("double({cel}) {relation} double({other})")
            } else {
                format!("{cel} {relation} {other}")
            });
        }
        match kind {
            "Numeric" => Some(numeric(cel, relation, value.as_f64()?)),
            "Boolean" => Some(format!("{cel} {relation} {}", value.as_bool()?)),
            _ => Some(format!("{cel} {relation} {}", quoted(value.as_str()?))),
        }
    }
}

/// A condition that the source compares with true or false.
fn negated_unless(value: &Json, condition: String) -> Option<String> {
    Some(if value.as_bool()? { condition } else { format!("!({condition})") })
}

/// Whether a field exists. `has` takes a selection.
fn present(cel: &str) -> Option<String> {
    let selects = !cel.contains(' ') && cel.contains('.') && !cel.ends_with(']');
    selects.then(|| format!("has({cel})"))
}

/// Patterns with `*` at one end or at both.
fn matches(cel: &str, pattern: &str) -> Option<String> {
    let inner = pattern.trim_matches('*');
    if inner.is_empty() || inner.contains(['*', '\\']) {
        return None;
    }
    let literal = quoted(inner);
    Some(match (pattern.starts_with('*'), pattern.ends_with('*')) {
        (true, true) => format!("{cel}.contains({literal})"),
        (true, false) => format!("{cel}.endsWith({literal})"),
        (false, true) => format!("{cel}.startsWith({literal})"),
        (false, false) => format!("{cel} == {literal}"),
    })
}
