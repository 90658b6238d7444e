//! Simulation of a definition, in memory.

use super::definitions::invalid_definition;
use super::{Api, CallContext};
use crate::error::{ApiResult, DEFINITION, INPUT, INTERNAL, NO_STEP, Problem, WRONG_SHAPE};
use goconductor_definition::{Checked, Format, Limits};
use goconductor_saga::{Definition, Json};
use goconductor_simulator::{
    CourseReport, Error, Limits as SimulationLimits, SideReport, SimulationReport, SimulationRequest,
    StepFault, TimelineLine, simulate,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// Maximum number of events of one course, and of all courses of a request: about a second of work.
const MAX_EVENTS: u64 = 20_000;
const MAX_TOTAL_EVENTS: u64 = 100_000;
/// Maximum number of deliveries and reports of one course.
const MAX_TURNS: u64 = 100_000;
/// Maximum number of steps of a simulated definition. The work of an event grows with the number of steps.
const MAX_STEPS: usize = 200;
/// Maximum virtual time of one course.
const MAX_TIME: Duration = Duration::from_secs(100 * 366 * 86_400);

/// A request to simulate a definition.
#[derive(Debug)]
pub(crate) struct SimulateDefinition {
    /// The name of the resource.
    pub(crate) name: String,
    pub(crate) version: Option<u32>,
    /// A definition that is not applied: an object, or a text in YAML.
    pub(crate) definition: Option<Json>,
    pub(crate) input: Option<Json>,
    pub(crate) outputs: BTreeMap<String, Json>,
    /// `STEP` or `STEP=FAULT`.
    pub(crate) fail: Option<String>,
}

/// The courses of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimulationView {
    definition: String,
    input: Json,
    /// Outputs by the names of the steps. The output of any other step is null.
    outputs: BTreeMap<String, Json>,
    /// Whether no course leaves an effect although the workflow does not complete.
    holds: bool,
    /// The course without a fault, then those of each step; or only the course of `fail`.
    courses: Vec<CourseView>,
}

/// A course of a simulated workflow.
#[derive(Debug, Serialize, ToSchema)]
struct CourseView {
    /// Step of the fault. Null for the course without a fault.
    step: Option<String>,
    /// `refused`, `unknown`, `timeout`, `compensation`
    fault: Option<&'static str>,
    /// Status of the workflow at the end.
    end: &'static str,
    /// Executed steps, in the order of their commands.
    forward: Vec<SideView>,
    /// Compensated steps, in the order of their commands.
    undo: Vec<SideView>,
    /// Steps whose effect may remain although the workflow did not complete.
    standing: Vec<String>,
    /// Whether the fault contradicts the definition. The effects that remain then do not count.
    contradicts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    events: u64,
    /// Virtual time from the start to the end.
    duration_ms: u64,
    /// Events of the course. Absent unless the request has `fail`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timeline: Vec<LineView>,
}

/// A step in a course.
#[derive(Debug, Serialize, ToSchema)]
struct SideView {
    step: String,
    status: &'static str,
    attempts: u32,
}

/// An event of a course.
#[derive(Debug, Serialize, ToSchema)]
struct LineView {
    seq: u64,
    /// Virtual time since the start.
    at_ms: u64,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    detail: String,
}

impl Api {
    /// Simulates a definition. Nothing is stored, and no participant is called.
    pub(crate) async fn simulate_definition(
        &self,
        context: &CallContext,
        request: SimulateDefinition,
    ) -> ApiResult<SimulationView> {
        let SimulateDefinition { name, version, definition, input, outputs, fail } = request;
        let only = fail.as_deref().map(parse_fault).transpose()?;
        let definition = match definition {
            Some(given) => self.given_definition(&name, given).await?,
            None => self.definition_record(context, &name, version).await?.definition,
        };
        if definition.steps.len() > MAX_STEPS {
            let steps = definition.steps.len();
            let detail = format!(
                "the definition has {steps} steps, and at most {MAX_STEPS} are simulated: use goconductor definition \
                 simulate"
            );
            return Err(Problem::new(WRONG_SHAPE, detail));
        }
        let limits = SimulationLimits { events: MAX_EVENTS, turns: MAX_TURNS, time: MAX_TIME };
        let request =
            SimulationRequest { input, outputs, only, limits, total_events: Some(MAX_TOTAL_EVENTS) };
        let report = self.schemas.simulate(move || simulate(&definition, &request)).await?;
        report.map(view).map_err(|error| problem(&error))
    }

    /// Parses a definition that is not applied.
    async fn given_definition(&self, name: &str, given: Json) -> ApiResult<Definition> {
        let (text, format) = match given {
            Json::String(text) => (text, Format::Yaml),
            other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
                (other.to_string(), Format::Json)
            }
        };
        let parse = move || goconductor_definition::parse(text.as_bytes(), format, &Limits::default());
        let Checked { definition, .. } =
            self.schemas.simulate(parse).await?.map_err(|problems| invalid_definition(&problems))?;
        if definition.name != name {
            let detail = format!(
                "the definition's name is {}, but the request is for {name}: use the same name",
                definition.name
            );
            return Err(Problem::new(DEFINITION, detail.clone()).at("/definition", detail));
        }
        Ok(definition)
    }
}

/// Parses `STEP` or `STEP=FAULT`.
fn parse_fault(text: &str) -> ApiResult<(String, StepFault)> {
    let (step, fault) = text.split_once('=').unwrap_or((text, "refused"));
    let fault = fault.parse::<StepFault>().map_err(|error| {
        let detail = error.to_string();
        Problem::new(WRONG_SHAPE, detail.clone()).at("/fail", detail)
    })?;
    Ok((step.to_owned(), fault))
}

fn problem(error: &Error) -> Problem {
    let detail = error.to_string();
    match error {
        Error::UnknownStep(..) => Problem::new(NO_STEP, detail),
        Error::Input(_) => Problem::new(INPUT, detail.clone()).at("/input", detail),
        Error::NotApplicable { .. } => Problem::new(WRONG_SHAPE, detail.clone()).at("/fail", detail),
        Error::Graph(_) | Error::NotSimulated(_) | Error::Limit { .. } => Problem::new(WRONG_SHAPE, detail),
        Error::Recovery(_) | Error::DuplicateAccepted(_) => Problem::new(INTERNAL, detail),
    }
}

fn view(report: SimulationReport) -> SimulationView {
    let SimulationReport { definition, input, outputs, holds, courses } = report;
    SimulationView { definition, input, outputs, holds, courses: courses.into_iter().map(course).collect() }
}

fn course(course: CourseReport) -> CourseView {
    CourseView {
        step: course.step,
        fault: course.fault.map(StepFault::as_str),
        end: course.end,
        forward: course.forward.into_iter().map(side).collect(),
        undo: course.undo.into_iter().map(side).collect(),
        standing: course.standing,
        contradicts: course.contradicts,
        note: course.note,
        events: course.events,
        duration_ms: course.duration_ms,
        timeline: course.timeline.into_iter().map(line).collect(),
    }
}

fn side(side: SideReport) -> SideView {
    SideView { step: side.step, status: side.status, attempts: side.attempts }
}

fn line(line: TimelineLine) -> LineView {
    let TimelineLine { seq, at_ms, kind, step, detail } = line;
    LineView { seq, at_ms, kind, step, detail }
}
