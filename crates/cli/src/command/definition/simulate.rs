//! `goconductor definition simulate`

use super::source::of;
use super::validate::parsed;
use crate::args::SimulateArgs;
use crate::error::{CliError, Exit, Result};
use crate::json_argument::{parse, without_duplicates};
use crate::output::{Output, Style};
use crate::session::ServerSession;
use crate::time::format_duration;
use goconductor_simulator::{CourseReport, Error, SideReport, SimulationReport, SimulationRequest, simulate};
use std::collections::BTreeMap;

/// Simulates a definition without a server, unless the definition itself is on one.
pub(super) async fn run(
    args: SimulateArgs,
    session: impl FnOnce() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    let source = of(&args.what, args.version, session).await?;
    let definition = parsed(&source, out)?.definition;
    let mut outputs = BTreeMap::new();
    for (step, text) in without_duplicates("--step-output", args.step_output)? {
        outputs.insert(step, parse("--step-output", &text)?);
    }
    let input = args.input.as_deref().map(|text| parse("--input", text)).transpose()?;
    let request = SimulationRequest { input, outputs, only: args.fail, ..SimulationRequest::default() };
    let report = simulate(&definition, &request).map_err(refused)?;
    write(&report, out)?;
    if report.holds {
        return Ok(Exit::Success);
    }
    let left = report.courses.iter().filter(|course| !course.standing.is_empty() && !course.contradicts);
    let details = left.map(|course| {
        let note = course.note.as_deref().map_or_else(String::new, |note| format!(" ({note})"));
        format!("{}: the effect of {} remains{note}", title(course), course.standing.join(", "))
    });
    let message = format!("{} leaves effects although it does not complete", report.definition);
    Err(CliError::new(Exit::Other, message).details(details.collect()))
}

/// Returns the error of a simulation that could not be run.
fn refused(error: Error) -> CliError {
    let exit = match &error {
        Error::UnknownStep(..) => Exit::NotFound,
        Error::NotApplicable { .. } => Exit::Usage,
        Error::Graph(_) | Error::NotSimulated(_) | Error::Input(_) => Exit::Invalid,
        Error::Limit { .. } | Error::Recovery(_) | Error::DuplicateAccepted(_) => Exit::Other,
    };
    CliError::new(exit, error.to_string())
}

fn write(report: &SimulationReport, out: &Output) -> Result<()> {
    let text = serde_json::to_string(report)
        .map_err(|error| CliError::new(Exit::Other, format!("failed to write the report: {error}")))?;
    if out.structured_list(&text, "courses")? {
        return Ok(());
    }
    if out.names_only() {
        let failing = report.courses.iter().filter(|course| !course.standing.is_empty());
        return failing.map(title).try_for_each(|name| out.data(&name));
    }
    match report.courses.as_slice() {
        [only] if !only.timeline.is_empty() => write_course(only, out),
        courses => out.table(&["FAULT", "FORWARD", "UNDO", "END", "REMAINS"], rows(courses, out)),
    }
}

fn rows(courses: &[CourseReport], out: &Output) -> Vec<Vec<String>> {
    let row = |course: &CourseReport| {
        let remains = match (course.standing.join(" "), &course.note) {
            (standing, None) => standing,
            (standing, Some(note)) => format!("{standing} ({note})").trim_start().to_owned(),
        };
        vec![
            title(course),
            names(&course.forward, out),
            names(&course.undo, out),
            course.end.to_owned(),
            remains,
        ]
    };
    courses.iter().map(row).collect()
}

/// Writes the events of a course with their virtual times.
fn write_course(course: &CourseReport, out: &Output) -> Result<()> {
    for line in &course.timeline {
        let at = i64::try_from(line.at_ms).unwrap_or(i64::MAX).saturating_mul(1000);
        let since = format!("+{}", format_duration(at));
        let step = line.step.as_deref().unwrap_or_default();
        let text = format!("{:>4} {since:>9}  {:<21}  {step:<18}  {}", line.seq, line.kind, line.detail);
        out.data(text.trim_end())?;
    }
    let style = if course.standing.is_empty() { Style::Success } else { Style::Failure };
    out.data(&format!("end: {}", out.terminal.paint(style, course.end)))?;
    out.data(&format!("forward: {}", names(&course.forward, out)))?;
    out.data(&format!("undo: {}", names(&course.undo, out)))?;
    if !course.standing.is_empty() {
        out.data(&format!("remains: {}", course.standing.join(" ")))?;
    }
    course.note.as_deref().map_or(Ok(()), |note| out.data(&format!("note: {note}")))
}

fn title(course: &CourseReport) -> String {
    match (&course.step, course.fault) {
        (Some(step), Some(fault)) => format!("{step} {}", fault.as_str()),
        (_, _) => "none".to_owned(),
    }
}

/// Returns the steps in order, each with its number of attempts if there was more than one.
fn names(sides: &[SideReport], out: &Output) -> String {
    let times = if out.terminal.unicode { "×" } else { "x" };
    let name = |side: &SideReport| match side.attempts {
        0 | 1 => side.step.clone(),
        attempts => format!("{}{times}{attempts}", side.step),
    };
    sides.iter().map(name).collect::<Vec<_>>().join(" ")
}
