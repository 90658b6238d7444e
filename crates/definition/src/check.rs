//! Checks of the whole graph: no cycles, the pivot rule, valid expressions.

use crate::cel::{self, Compiled, Finding};
use crate::expand::Expanded;
use crate::fields::{At, FieldReader, nearest};
use crate::lock_order;
use crate::problem::{CYCLE, PIVOT, REFERENCE, WAIT};
use crate::settings::CompensateKey;
use crate::step::{ActionStep, Body, ParsedStep};
use crate::template::{expressions, text_template};
use crate::tree::Document;
use goconductor_saga::{Action, Json, Kind, Plan, StepIndex, Template};
use std::collections::{BTreeMap, BTreeSet};

/// Checks the graph. Returns its plan if it is valid.
pub(crate) fn rules(
    reader: &mut FieldReader,
    document: &Document<'_>,
    expanded: &Expanded<'_, '_>,
) -> Option<Plan> {
    let plan = match Plan::new(expanded.definition.clone(), 1) {
        Ok(plan) => plan,
        Err(error) => {
            // Duplicate names were already reported, with both locations.
            if let goconductor_saga::GraphError::Cycle(names) = &error {
                let first = expanded.parsed.iter().find(|parsed| names.contains(&parsed.name));
                let at = first.map_or(&document.at, |parsed| &parsed.at);
                let problem = at.problem(CYCLE, error.to_string());
                reader.push(problem.hint("remove one of the dependencies between these steps"));
            }
            return None;
        }
    };
    // A broken step lacks edges, so the pivot rule cannot be checked.
    if expanded.broken.is_empty() {
        pivot_rule(reader, expanded, &plan);
        lock_order::check(reader, expanded, &plan);
    }
    signal_schemas(reader, expanded);
    Some(plan)
}

/// Checks that the steps that wait for one signal agree on its payload, because a payload is checked on its arrival.
fn signal_schemas(reader: &mut FieldReader, expanded: &Expanded<'_, '_>) {
    let mut known: BTreeMap<&str, (&str, &Json)> = BTreeMap::new();
    for (step, parsed) in expanded.definition.steps.iter().zip(&expanded.parsed) {
        let Action::Signal { name, schema: Some(schema), .. } = &step.action else { continue };
        match known.get(name.as_str()) {
            Some((first, other)) if *other != schema => {
                let detail = format!("the signal {name} has another `schema` in the step {first}");
                reader.push(parsed.at.problem(WAIT, detail).hint("use the same schema, or another signal"));
            }
            Some(_) => {}
            None => {
                known.insert(name, (&step.name, schema));
            }
        }
    }
}

fn pivot_rule(reader: &mut FieldReader, expanded: &Expanded<'_, '_>, plan: &Plan) {
    let steps = || (0u32..).map(StepIndex).zip(&plan.definition().steps).zip(&expanded.parsed);
    let mut report = |parsed: &ParsedStep<'_>, detail: String, hint: &str| {
        reader.push(parsed.at.problem(PIVOT, detail).hint(hint));
    };
    for ((_, step), parsed) in steps().filter(|((_, step), _)| step.kind == Kind::Pivot).skip(1) {
        let detail = format!("`{}` is a second pivot, and a definition has at most one", step.name);
        report(parsed, detail, "use `kind: retriable` for steps after the pivot");
    }
    let Some(pivot) = plan.pivot() else {
        for ((_, step), parsed) in steps().filter(|((_, step), _)| step.kind == Kind::Retriable) {
            let detail = format!("`{}` is retriable, and no pivot precedes it", step.name);
            report(
                parsed,
                detail,
                "set `kind: pivot` on an earlier step, or declare `compensate` on this one",
            );
        }
        return;
    };
    let name = plan.step(pivot).map_or("", |step| step.name.as_str());
    for ((index, step), parsed) in steps() {
        let (before, after) =
            (plan.downstream(index).contains(&pivot), plan.downstream(pivot).contains(&index));
        match step.kind {
            Kind::Pivot => {}
            Kind::Compensatable | Kind::Retriable if !before && !after => {
                let detail = format!("`{}` is neither before nor after the pivot `{name}`", step.name);
                report(parsed, detail, "order it relative to the pivot with `depends_on`");
            }
            Kind::Compensatable if after && !step.action.is_wait() => {
                let detail = format!("`{}` is compensatable, and it is after the pivot `{name}`", step.name);
                report(parsed, detail, "set `kind: retriable`, or move it before the pivot");
            }
            Kind::Retriable if before => {
                let detail = format!("`{}` is retriable, and it is before the pivot `{name}`", step.name);
                report(parsed, detail, "declare `compensate`, or move it after the pivot");
            }
            Kind::Compensatable | Kind::Retriable => {}
        }
    }
}

/// The steps that an expression may refer to.
enum View {
    /// The steps upstream of this one.
    Upstream(StepIndex),
    /// The steps upstream of this one and the step itself, which has run when it is compensated.
    Compensation(StepIndex),
    /// No step, because none has begun.
    Start,
    /// All steps.
    All,
}

struct Checker<'r, 'd, 'a> {
    reader: &'r mut FieldReader,
    expanded: &'r Expanded<'d, 'a>,
    plan: Option<&'r Plan>,
    /// The reported problems. The condition of a block applies to each of its steps and is reported once.
    reported: BTreeSet<String>,
    /// The variable that has an element, in the input of a step with `for_each`.
    variable: Option<String>,
}

/// Checks that every expression is valid and refers only to known values.
pub(crate) fn expressions_of(
    reader: &mut FieldReader,
    document: &Document<'_>,
    expanded: &Expanded<'_, '_>,
    plan: Option<&Plan>,
) {
    let mut checker = Checker { reader, expanded, plan, reported: BTreeSet::new(), variable: None };
    for (number, parsed) in (0u32..).zip(&expanded.parsed) {
        let index = StepIndex(number);
        let step = expanded.definition.steps.get(index.at());
        let locations = expanded.conditions_at.get(index.at());
        for (condition, at) in step.iter().flat_map(|step| &step.when).zip(locations.into_iter().flatten()) {
            checker.expression(&condition.expression, at, &View::Upstream(index));
        }
        if let Body::Step(single) = &parsed.body {
            checker.inputs(single, index);
        }
    }
    for lock in &document.locks {
        checker.value(&lock.key, &View::Start);
    }
    if let Some(at) = &document.output {
        checker.value(at, &View::All);
    }
}

impl Checker<'_, '_, '_> {
    fn inputs(&mut self, single: &ActionStep<'_>, index: StepIndex) {
        if let Some(each) = &single.for_each {
            self.expression(&each.list.0, &each.list.1, &View::Upstream(index));
        }
        let variable = single.for_each.as_ref().map(|each| each.variable.clone());
        self.variable.clone_from(&variable);
        if let Some(at) = &single.input {
            self.value(at, &View::Upstream(index));
        }
        for (expression, at) in &single.expressions {
            self.expression(expression, at, &View::Upstream(index));
        }
        self.variable = None;
        if let Some(lock) = &single.lock {
            self.value(&lock.key, &View::Upstream(index));
        }
        let Some(CompensateKey::Action(compensation)) = &single.compensate else { return };
        self.variable = variable;
        if let Some(at) = &compensation.input {
            self.value(at, &View::Compensation(index));
        }
        if let Some((expression, at)) = &compensation.when {
            self.expression(expression, at, &View::Compensation(index));
        }
        self.variable = None;
    }

    /// Checks every expression in a value.
    fn value(&mut self, at: &At<'_>, view: &View) {
        if let Some(text) = at.node.text() {
            // A text that is not a valid template was already reported.
            let template = text_template(text).unwrap_or(Template::Value(goconductor_saga::Json::Null));
            for expression in expressions(&template) {
                self.expression(expression, at, view);
            }
        }
        for item in at.items().unwrap_or_default() {
            self.value(&item, view);
        }
        for (_, value) in at.entries().unwrap_or_default() {
            self.value(&value, view);
        }
    }

    fn expression(&mut self, text: &str, at: &At<'_>, view: &View) {
        match cel::compile_for(text, self.variable.as_deref()) {
            Ok(compiled) => {
                if let Some(number) = cel::inexact_number(text) {
                    let problem = crate::Problem::inexact(&number, (at.node.line, at.node.column));
                    self.report(crate::Problem { pointer: at.pointer.clone(), ..problem });
                }
                self.references(&compiled, at, view);
                self.findings(compiled.type_problems(), at);
            }
            Err(findings) => self.findings(findings, at),
        }
    }

    fn findings(&mut self, findings: Vec<Finding>, at: &At<'_>) {
        for finding in findings {
            let problem = at.problem(finding.code, finding.detail);
            self.report(match finding.hint {
                Some(hint) => problem.hint(hint),
                None => problem,
            });
        }
    }

    fn references(&mut self, compiled: &Compiled, at: &At<'_>, view: &View) {
        for name in compiled.steps() {
            if self.expanded.broken.contains(name) {
                continue;
            }
            let steps = &self.expanded.definition.steps;
            let Some(named) = (0u32..).zip(steps).find(|(_, step)| step.name == name) else {
                self.unknown_step(name, at);
                continue;
            };
            let named = StepIndex(named.0);
            // Without a plan the graph has a cycle, so no step is upstream of another.
            let Some(plan) = self.plan.filter(|_| self.expanded.broken.is_empty()) else { continue };
            let (of, itself) = match view {
                View::All => continue,
                View::Start => {
                    let detail = format!("step `{name}` has not run when the workflow starts");
                    self.report(at.problem(REFERENCE, detail).hint("set `lock` at a step after it"));
                    continue;
                }
                View::Upstream(of) => (*of, false),
                View::Compensation(of) => (*of, true),
            };
            let is_settled = plan.downstream(named).contains(&of) || (itself && named == of);
            if !is_settled {
                let reader = plan.step(of).map_or("", |step| step.name.as_str());
                let detail = format!("step `{name}` may not have run before `{reader}`");
                let hint = format!("add `depends_on: [{name}]` to `{reader}`");
                self.report(at.problem(REFERENCE, detail).hint(hint));
            }
        }
    }

    fn unknown_step(&mut self, name: &str, at: &At<'_>) {
        let names: Vec<&str> = self.expanded.definition.steps.iter().map(|step| step.name.as_str()).collect();
        let block = self.expanded.definition.steps.iter().flat_map(|step| &step.blocks);
        let is_block = block.filter_map(|path| path.split_once('.')).any(|(block, _)| block == name);
        let problem = if is_block {
            at.problem(REFERENCE, format!("`{name}` is a block, which has no output"))
                .hint("refer to a step in the block")
        } else {
            let problem = at.problem(REFERENCE, format!("unknown step `{name}`"));
            match nearest(name, &names) {
                Some(near) => problem.hint(format!("did you mean `steps.{near}`?")),
                None => problem.hint(format!("known steps are {}", names.join(", "))),
            }
        };
        self.report(problem);
    }

    fn report(&mut self, problem: crate::Problem) {
        if self.reported.insert(format!("{problem:?}")) {
            self.reader.push(problem);
        }
    }
}
