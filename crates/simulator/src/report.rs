//! The courses of a definition: each step with each fault.

use crate::call::{Limits, element_of};
use crate::constructs::{not_simulated, waits_with_limit};
use crate::course::{Conditions, Course, Script};
use crate::engine::Simulation;
use crate::error::Error;
use crate::fault::StepFault;
use crate::line::{TimelineLine, timeline};
use crate::outputs;
use crate::sample::sample;
use goconductor_definition::{Cel, check_input};
use goconductor_saga::{
    Action, Definition, Expressions, Json, Kind, Plan, Side, State, Status, Step, StepIndex, StepState,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The input, the outputs, the faults and the limits of a simulation.
#[derive(Debug, Clone, Default)]
pub struct SimulationRequest {
    /// The input. `None` means a value that is generated from the schema.
    pub input: Option<Json>,
    /// Outputs by the names of the steps. Other outputs are generated from the expressions of the definition.
    pub outputs: BTreeMap<String, Json>,
    /// The step and the fault of the only course. `None` means all courses.
    pub only: Option<(String, StepFault)>,
    /// Limits of each course.
    pub limits: Limits,
    /// Maximum number of events of all courses together. `None` means no limit.
    pub total_events: Option<u64>,
}

/// The courses of a definition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SimulationReport {
    /// The name of the definition.
    pub definition: String,
    /// The input.
    pub input: Json,
    /// The outputs of the steps. A step that is absent has the output null.
    pub outputs: BTreeMap<String, Json>,
    /// Whether no course leaves an effect. A course whose fault contradicts the definition does not count.
    pub holds: bool,
    /// The courses: the one without a fault, then those of each step.
    pub courses: Vec<CourseReport>,
}

/// A course of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CourseReport {
    /// The step of the fault, or `None` for the course without a fault.
    pub step: Option<String>,
    /// The fault.
    pub fault: Option<StepFault>,
    /// The status of the workflow at the end.
    pub end: &'static str,
    /// The steps that were executed, in the order of their commands.
    pub forward: Vec<SideReport>,
    /// The steps that were compensated, in the order of their commands.
    pub undo: Vec<SideReport>,
    /// The steps whose effect may remain although the workflow did not complete.
    pub standing: Vec<String>,
    /// Whether the fault contradicts the definition, so that the remaining effects do not count.
    pub contradicts: bool,
    /// A remark for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The number of events.
    pub events: u64,
    /// The virtual time from the start to the end, in milliseconds.
    pub duration_ms: u64,
    /// The events. Empty in a report of all courses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<TimelineLine>,
}

/// One side of a step in a course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideReport {
    /// The name of the step.
    pub step: String,
    /// The status of the side at the end.
    pub status: &'static str,
    /// The number of attempts.
    pub attempts: u32,
}

/// Simulates the courses of a definition.
///
/// # Errors
/// Returns an [`Error`] if the definition uses a construct that is not simulated, the input does not match its schema,
/// the only fault cannot occur, or a limit is reached.
pub fn simulate(definition: &Definition, request: &SimulationRequest) -> Result<SimulationReport, Error> {
    let unknown = not_simulated(definition);
    if !unknown.is_empty() {
        return Err(Error::NotSimulated(unknown));
    }
    let plan = Arc::new(Plan::new(definition.clone(), 1)?);
    for name in request.outputs.keys() {
        index_of(&plan, name)?;
    }
    let input = input(definition, request.input.as_ref())?;
    let expressions: Arc<dyn Expressions> = Arc::new(Cel::new());
    let conditions =
        Conditions { plan, expressions, input, outputs: BTreeMap::new(), limits: request.limits };
    let (conditions, base) = with_outputs(conditions, &request.outputs)?;
    let mut reporter = Reporter { conditions, total: request.total_events, events: 0, courses: Vec::new() };
    match &request.only {
        Some((name, fault)) => reporter.only(name, *fault, &base)?,
        None => reporter.all(&base)?,
    }
    let Conditions { input, outputs, .. } = reporter.conditions;
    let holds = reporter.courses.iter().all(|course| course.standing.is_empty() || course.contradicts);
    Ok(SimulationReport {
        definition: definition.name.clone(),
        input,
        outputs,
        holds,
        courses: reporter.courses,
    })
}

fn input(definition: &Definition, given: Option<&Json>) -> Result<Json, Error> {
    match (given, &definition.input) {
        (None, Some(schema)) => sample(schema).map_err(|error| Error::Input(error.to_string())),
        (None, None) => Ok(Json::Object(serde_json::Map::new())),
        (Some(input), None) => Ok(input.clone()),
        (Some(input), Some(schema)) => {
            check_input(schema, input).map_err(|problems| {
                let each = problems.iter().map(|problem| match problem.pointer.as_str() {
                    "" => problem.detail.clone(),
                    pointer => format!("at {pointer}: {}", problem.detail),
                });
                let list = each.collect::<Vec<_>>().join("; ");
                Error::Input(format!("the input does not match the schema of the definition: {list}"))
            })?;
            Ok(input.clone())
        }
    }
}

/// Chooses the outputs: the given ones, and for other steps the first generated ones with which the workflow completes.
fn with_outputs(
    conditions: Conditions,
    given: &BTreeMap<String, Json>,
) -> Result<(Conditions, Course), Error> {
    let mut first = None;
    for leaf in outputs::leaves() {
        let mut outputs = outputs::generate(conditions.plan.definition(), &leaf);
        let generated = outputs.keys().any(|name| !given.contains_key(name));
        outputs.extend(given.clone());
        let candidate = Conditions { outputs, ..conditions.clone() };
        let course = candidate.run(None)?;
        if course.simulation.state().status() == Status::Completed || !generated {
            return Ok((candidate, course));
        }
        first.get_or_insert((candidate, course));
    }
    // The report shows which expression fails.
    first.ok_or_else(|| Error::Input("no outputs could be generated: pass them with --output".to_owned()))
}

fn index_of(plan: &Plan, name: &str) -> Result<StepIndex, Error> {
    plan.step_named(name).ok_or_else(|| {
        let names = plan.definition().steps.iter().map(|step| step.name.as_str());
        Error::UnknownStep(name.to_owned(), names.collect::<Vec<_>>().join(", "))
    })
}

struct Reporter {
    conditions: Conditions,
    total: Option<u64>,
    events: u64,
    courses: Vec<CourseReport>,
}

impl Reporter {
    fn all(&mut self, base: &Course) -> Result<(), Error> {
        self.push(None, base, false)?;
        let steps = self.conditions.plan.definition().steps.len();
        for step in (0u32..).map(StepIndex).take(steps) {
            for fault in StepFault::ALL {
                if let Ok(script) = self.script(step, None, fault, base) {
                    let course = self.conditions.run(Some(script))?;
                    self.push(Some(script), &course, false)?;
                }
            }
        }
        Ok(())
    }

    fn only(&mut self, name: &str, fault: StepFault, base: &Course) -> Result<(), Error> {
        let (declared, element) = element_of(name);
        let step = index_of(&self.conditions.plan, declared)?;
        let script = self.script(step, element, fault, base).map_err(|reason| Error::NotApplicable {
            step: name.to_owned(),
            fault: fault.as_str(),
            reason: reason.to_owned(),
        })?;
        let course = self.conditions.run(Some(script))?;
        self.push(Some(script), &course, true)
    }

    /// Returns the script of a fault, or the reason why the fault cannot occur.
    fn script(
        &self,
        step: StepIndex,
        element: Option<u32>,
        fault: StepFault,
        base: &Course,
    ) -> Result<Script, &'static str> {
        let plan = &self.conditions.plan;
        let Some(definition) = plan.step(step) else { return Err("the step does not exist") };
        // Without a number, the first element has the fault, and the others have effects.
        let element = match (element, &definition.for_each) {
            (element, Some(_)) => Some(element.unwrap_or(0)),
            (None, None) => None,
            (Some(_), None) => return Err("the step has no elements"),
        };
        if waits_with_limit(definition) && fault == StepFault::Timeout {
            return Ok(Script { step, element, fault, trigger: None });
        }
        let performed = definition.performed_action(Side::Execute);
        let is_child = performed.is_some_and(|action| action.child().is_some());
        if !is_child && performed.and_then(Action::service).is_none() {
            return Err("no participant carries out the step");
        }
        if is_child && fault != StepFault::Refused {
            return Err("a child completes or is rolled back, which its own definition says");
        }
        if !base.forward.contains(&step) {
            return Err("the step is not reached with this input and these outputs");
        }
        let mut trigger = None;
        if fault == StepFault::Compensation {
            if definition.compensate.is_none() {
                return Err("the step has no compensation");
            }
            // The last step that still rolls back shows the longest course.
            let below = plan.downstream(step);
            trigger = base.forward.iter().rev().copied().find(|each| {
                let follows = plan.step(*each).is_some_and(|step| step.kind != Kind::Retriable);
                below.contains(each) && follows && self.rolls_back(*each)
            });
        }
        Ok(Script { step, element, fault, trigger })
    }

    /// Returns whether a refusal of the step rolls the workflow back: it does not follow the pivot.
    fn rolls_back(&self, step: StepIndex) -> bool {
        let plan = &self.conditions.plan;
        plan.pivot().is_none_or(|pivot| !plan.downstream(pivot).contains(&step))
    }

    fn push(&mut self, script: Option<Script>, course: &Course, detailed: bool) -> Result<(), Error> {
        let state = course.simulation.state();
        self.events = self.events.saturating_add(course.simulation.events());
        if let Some(limit) = self.total.filter(|limit| self.events > *limit) {
            return Err(Error::Limit { what: "events of all courses", limit });
        }
        let report = self.report(script, course, state, detailed);
        self.courses.push(report);
        Ok(())
    }

    fn report(&self, script: Option<Script>, course: &Course, state: &State, detailed: bool) -> CourseReport {
        let plan = &self.conditions.plan;
        let name = |index: StepIndex| plan.step(index).map_or_else(String::new, |step| step.name.clone());
        let side = |index: &StepIndex, side: Side| {
            let step = state.step(*index);
            let status = step.and_then(|step| step.side_status(side)).map_or("", |status| status.as_str());
            let attempts = step.map_or(0, |step| step.progress(side).ended);
            SideReport { step: name(*index), status, attempts }
        };
        let contradicts = script.is_some_and(|script| {
            let kind = plan.step(script.step).map(|step| step.kind);
            kind == Some(Kind::Retriable) && script.fault == StepFault::Refused
        });
        let standing: Vec<String> = course.simulation.standing().into_iter().map(name).collect();
        CourseReport {
            step: script.map(|script| match script.element {
                Some(element) if detailed => format!("{}[{element}]", name(script.step)),
                Some(_) | None => name(script.step),
            }),
            fault: script.map(|script| script.fault),
            end: state.status().as_str(),
            forward: course.forward.iter().map(|index| side(index, Side::Execute)).collect(),
            undo: course.undo.iter().map(|index| side(index, Side::Compensate)).collect(),
            note: note(&course.simulation, script, contradicts),
            standing,
            contradicts,
            events: course.simulation.events(),
            duration_ms: u64::try_from(course.simulation.elapsed().as_millis()).unwrap_or(u64::MAX),
            timeline: if detailed { timeline(&course.simulation) } else { Vec::new() },
        }
    }
}

/// Returns a remark about the end of a course.
fn note(simulation: &Simulation, script: Option<Script>, contradicts: bool) -> Option<String> {
    let state = simulation.state();
    if contradicts {
        return Some("a retriable step must not refuse, so an operator must help".to_owned());
    }
    if script.is_none() && state.status() != Status::Completed {
        let failure = state.error.as_ref().map_or("it waits for an input", |error| error.message.as_str());
        return Some(format!("the workflow does not complete: {failure}"));
    }
    operator_note(simulation)
}

/// Returns why an operator must act on the workflow, or on one that runs elements of it.
fn operator_note(simulation: &Simulation) -> Option<String> {
    let (plan, state) = (simulation.plan(), simulation.state());
    let Some((index, step)) = needs_operator(plan, state) else {
        return simulation.members().find_map(operator_note);
    };
    let (policy, limit) = match (&step.compensate, state.step(index)) {
        (Some(compensation), Some(StepState { compensation: Some(_), compensate, .. })) => {
            let limit = compensation.retry.max_attempts.filter(|limit| compensate.used() >= *limit);
            if limit.is_none() && compensation.limits.total.is_some() {
                return Some(format!(
                    "the compensation of {} ends after its time limit, so an operator must help: raise or remove \
                     `compensate.timeout.total`",
                    step.name
                ));
            }
            ("compensate.retry", compensation.retry.max_attempts)
        }
        (_, _) => ("retry", step.retry.max_attempts),
    };
    Some(match limit {
        Some(limit) => format!(
            "{} ends after {limit} attempts, so an operator must help: raise the limit of `{policy}`, or use `forever`",
            step.name
        ),
        None => format!("{} needs an operator", step.name),
    })
}

fn needs_operator<'a>(plan: &'a Plan, state: &State) -> Option<(StepIndex, &'a Step)> {
    let mut steps = (0u32..).map(StepIndex).zip(&plan.definition().steps).zip(&state.steps);
    steps.find(|(_, step)| step.needs_operator(state.phase)).map(|((index, step), _)| (index, step))
}
