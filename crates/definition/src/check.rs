//! What has to hold of the whole graph: no cycle, the rule of the pivot, expressions that can be computed.

use crate::cel::{self, Compiled};
use crate::expand::Expanded;
use crate::fields::{At, Reader, nearest};
use crate::problem::{CYCLE, PIVOT, REFERENCE};
use crate::settings::Undo;
use crate::step::{Body, Single, Written};
use crate::template::{expressions, text_template};
use crate::tree::Document;
use goconductor_saga::{Kind, Plan, StepIndex, Template};
use std::collections::BTreeSet;

/// Checks the graph; it as a plan, if it is one.
pub(crate) fn rules(
    reader: &mut Reader,
    document: &Document<'_>,
    expanded: &Expanded<'_, '_>,
) -> Option<Plan> {
    let plan = match Plan::new(expanded.definition.clone(), 1) {
        Ok(plan) => plan,
        Err(error) => {
            // Names that are there twice have been reported, with both places.
            if let goconductor_saga::GraphError::Cycle(names) = &error {
                let first = expanded.written.iter().find(|written| names.contains(&written.name));
                let at = first.map_or(&document.at, |written| &written.at);
                let problem = at.problem(CYCLE, error.to_string());
                reader.push(problem.hint("drop one of the `depends_on` between them"));
            }
            return None;
        }
    };
    // Where something could not be read, edges are missing: nothing is said of what they would change.
    if expanded.broken.is_empty() {
        pivot_rule(reader, expanded, &plan);
    }
    Some(plan)
}

fn pivot_rule(reader: &mut Reader, expanded: &Expanded<'_, '_>, plan: &Plan) {
    let steps = || (0u32..).map(StepIndex).zip(&plan.definition().steps).zip(&expanded.written);
    let mut say = |written: &Written<'_>, detail: String, hint: &str| {
        reader.push(written.at.problem(PIVOT, detail).hint(hint));
    };
    for ((_, step), written) in steps().filter(|((_, step), _)| step.kind == Kind::Pivot).skip(1) {
        let detail = format!("`{}` is a second pivot: there is one point of no return", step.name);
        say(written, detail, "what follows the pivot is `kind: retriable`");
    }
    let Some(pivot) = plan.pivot() else {
        for ((_, step), written) in steps().filter(|((_, step), _)| step.kind == Kind::Retriable) {
            let detail = format!("`{}` is retriable, and no pivot comes before it", step.name);
            say(written, detail, "make a step before it `kind: pivot`, or say how this one is undone");
        }
        return;
    };
    let name = plan.step(pivot).map_or("", |step| step.name.as_str());
    for ((index, step), written) in steps() {
        let (before, after) =
            (plan.downstream(index).contains(&pivot), plan.downstream(pivot).contains(&index));
        match step.kind {
            Kind::Pivot => {}
            Kind::Compensatable | Kind::Retriable if !before && !after => {
                let detail = format!("`{}` comes neither before nor after the pivot `{name}`", step.name);
                say(
                    written,
                    detail,
                    "say by `depends_on` which, so that it is known whether it can still be undone",
                );
            }
            Kind::Compensatable if after => {
                let detail =
                    format!("`{}` comes after the pivot `{name}`, from where nothing is undone", step.name);
                say(written, detail, "make it `kind: retriable`, or move it before the pivot");
            }
            Kind::Retriable if before => {
                let detail = format!("`{}` is retriable, and comes before the pivot `{name}`", step.name);
                say(written, detail, "say how it is undone, or move it behind the pivot");
            }
            Kind::Compensatable | Kind::Retriable => {}
        }
    }
}

/// What an expression may see.
enum View {
    /// Steps that this one waits for, directly or indirectly.
    Upstream(StepIndex),
    /// Those, and the step itself: it was done when it is undone.
    Undo(StepIndex),
    /// Every step.
    All,
}

struct Checker<'r, 'd, 'a> {
    reader: &'r mut Reader,
    expanded: &'r Expanded<'d, 'a>,
    plan: Option<&'r Plan>,
    /// Conditions of a block are conditions of each of its steps: they are reported once.
    seen: BTreeSet<String>,
}

/// Checks every expression: that it can be computed, and what it names.
pub(crate) fn expressions_of(
    reader: &mut Reader,
    document: &Document<'_>,
    expanded: &Expanded<'_, '_>,
    plan: Option<&Plan>,
) {
    let mut checker = Checker { reader, expanded, plan, seen: BTreeSet::new() };
    for (number, written) in (0u32..).zip(&expanded.written) {
        let index = StepIndex(number);
        let step = expanded.definition.steps.get(index.at());
        let places = expanded.conditions_at.get(index.at());
        for (condition, at) in step.iter().flat_map(|step| &step.when).zip(places.into_iter().flatten()) {
            checker.expression(&condition.expression, at, &View::Upstream(index));
        }
        if let Body::Step(single) = &written.body {
            checker.inputs(single, index);
        }
    }
    if let Some(at) = &document.output {
        checker.value(at, &View::All);
    }
}

impl Checker<'_, '_, '_> {
    fn inputs(&mut self, single: &Single<'_>, index: StepIndex) {
        if let Some(at) = &single.input {
            self.value(at, &View::Upstream(index));
        }
        if let Some(Undo::By(undo)) = &single.undo
            && let Some(at) = &undo.input
        {
            self.value(at, &View::Undo(index));
        }
    }

    /// Every expression in a value, each with its own place.
    fn value(&mut self, at: &At<'_>, view: &View) {
        if let Some(text) = at.node.text() {
            // A text that can't be taken apart has been reported.
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
        match cel::compile(text) {
            Ok(compiled) => self.references(&compiled, at, view),
            Err(findings) => {
                for finding in findings {
                    let problem = at.problem(finding.code, finding.detail);
                    self.report(match finding.hint {
                        Some(hint) => problem.hint(hint),
                        None => problem,
                    });
                }
            }
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
            // Without a plan there is a cycle, and nobody can say what is upstream.
            let Some(plan) = self.plan.filter(|_| self.expanded.broken.is_empty()) else { continue };
            let (of, itself) = match view {
                View::All => continue,
                View::Upstream(of) => (*of, false),
                View::Undo(of) => (*of, true),
            };
            let is_settled = plan.downstream(named).contains(&of) || (itself && named == of);
            if !is_settled {
                let reader = plan.step(of).map_or("", |step| step.name.as_str());
                let detail = format!("`steps.{name}` may not have run when `{reader}` needs it");
                let hint = format!("let `{reader}` wait for it: depends_on: [{name}]");
                self.report(at.problem(REFERENCE, detail).hint(hint));
            }
        }
    }

    fn unknown_step(&mut self, name: &str, at: &At<'_>) {
        let names: Vec<&str> = self.expanded.definition.steps.iter().map(|step| step.name.as_str()).collect();
        let block = self.expanded.definition.steps.iter().flat_map(|step| &step.blocks);
        let is_block = block.filter_map(|path| path.split_once('.')).any(|(block, _)| block == name);
        let problem = if is_block {
            at.problem(REFERENCE, format!("`{name}` is a block, and has no output")).hint("name a step in it")
        } else {
            let problem = at.problem(REFERENCE, format!("there is no step `{name}`"));
            match nearest(name, &names) {
                Some(near) => problem.hint(format!("did you mean `steps.{near}`?")),
                None => problem.hint(format!("there are {}", names.join(", "))),
            }
        };
        self.report(problem);
    }

    fn report(&mut self, problem: crate::Problem) {
        if self.seen.insert(format!("{problem:?}")) {
            self.reader.push(problem);
        }
    }
}
