//! A workflow as a picture: its properties, the execution and the compensation of each step on a shared time axis, and
//! the reasons why it waits. This module does no IO. It renders the API's responses and the current time as text.

mod bar;
mod tracks;
mod waiting;

use crate::output::{Style, Terminal};
use crate::time::{self, Micros};
use bar::Axis;
use goconductor_client::{Event, Failure, RelatedWorkflow, Status, Step, Workflow};
use tracks::{StepTracks, Track};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The minimum width of a bar. A narrower one shows no detail.
const MIN_BAR: usize = 12;

/// The maximum width of a bar. A wider one is hard to follow with the eye.
const MAX_BAR: usize = 72;

/// The minimum page width for the status column. A narrower page shows only the symbol of the status.
const STATUS_FROM_WIDTH: usize = 72;

/// Draws a workflow.
pub(crate) fn draw(workflow: &Workflow, events: &[Event], terminal: Terminal, now: Micros) -> String {
    let mut lines = header(workflow, terminal, now);
    lines.push(String::new());
    lines.extend(steps(workflow, events, terminal, now));
    if !workflow.waiting_on.is_empty() {
        lines.push(String::new());
        lines.push(terminal.paint(Style::Bold, "Waiting for"));
        lines.extend(workflow.waiting_on.iter().map(|each| format!("  {}", waiting::line(each, now))));
    }
    lines.join("\n")
}

fn header(workflow: &Workflow, terminal: Terminal, now: Micros) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<11} {value}"));
    line("Workflow", workflow.id.clone());
    line("Definition", format!("{} version {}", workflow.definition, workflow.version));
    let cause = workflow.cause.as_ref().map_or_else(String::new, |cause| format!(" ({cause})"));
    line("Status", terminal.paint(status_style(&workflow.status), &format!("{}{cause}", workflow.status)));
    if let Some(created) = &workflow.created_at {
        line("Created", created.clone());
        let began = time::parse(created).unwrap_or(now);
        match &workflow.ended_at {
            Some(ended) => {
                let took = time::format_duration(time::parse(ended).unwrap_or(now) - began);
                line("Ended", format!("{ended}, after {took}"));
            }
            None => line("Runs for", time::format_duration(now - began)),
        }
    }
    let related = |of: &RelatedWorkflow| match &of.step {
        Some(step) => format!("{} (step {step})", of.id),
        None => of.id.clone(),
    };
    if let Some(parent) = &workflow.parent {
        line("Parent", related(parent));
    }
    for child in &workflow.children {
        line("Child", related(child));
    }
    if !workflow.labels.is_empty() {
        let labels: Vec<String> =
            workflow.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        line("Labels", labels.join(" "));
    }
    if let Some(key) = &workflow.idempotency_key {
        line("Key", key.clone());
    }
    let width = terminal.width.saturating_sub(12);
    if !workflow.input.is_null() {
        line("Input", cut(&workflow.input.to_string(), width, terminal));
    }
    if let Some(output) = workflow.output.as_ref().filter(|output| !output.is_null()) {
        line("Output", cut(&output.to_string(), width, terminal));
    }
    if let Some(error) = &workflow.error {
        line("Error", terminal.paint(Style::Failure, &failure(error)));
    }
    lines
}

/// The widths of the columns of the table of steps.
struct Columns {
    title: usize,
    status: usize,
    axis: Axis,
}

fn steps(workflow: &Workflow, events: &[Event], terminal: Terminal, now: Micros) -> Vec<String> {
    let tracks = tracks::of(workflow, events, now);
    let took: Vec<String> =
        workflow.steps.iter().zip(&tracks).map(|(step, tracks)| took(step, tracks, terminal)).collect();
    let columns = columns(workflow, &took, terminal, now);
    let gap = columns.title + 4 + if columns.status > 0 { columns.status + 2 } else { 0 };
    let mut lines = vec![terminal.paint(Style::Dim, &format!("{:gap$}{}", "", columns.axis.scale(terminal)))];
    for ((step, tracks), took) in workflow.steps.iter().zip(&tracks).zip(&took) {
        lines.push(row(step, tracks, took, &columns, terminal));
        if let Some(error) = &step.error {
            let text = cut(&failure(error), terminal.width.saturating_sub(4), terminal);
            lines.push(format!("    {}", terminal.paint(Style::Failure, &text)));
        }
    }
    lines
}

fn columns(workflow: &Workflow, took: &[String], terminal: Terminal, now: Micros) -> Columns {
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let title = widest(&mut workflow.steps.iter().map(|step| title(step).width()))
        .clamp(4, terminal.width.max(24) / 3);
    let status = if terminal.width < STATUS_FROM_WIDTH {
        0
    } else {
        widest(&mut workflow.steps.iter().map(|step| step.status.len()))
    };
    let took = widest(&mut took.iter().map(|text| text.width()));
    // A symbol, a space, and two spaces after each column.
    let used = 2 + title + 2 + if status > 0 { status + 2 } else { 0 } + 2 + took;
    let cells = terminal.width.saturating_sub(used).clamp(MIN_BAR, MAX_BAR);
    let from = workflow.created_at.as_deref().and_then(time::parse).unwrap_or(now);
    let to = workflow.ended_at.as_deref().and_then(time::parse).unwrap_or(now).max(from);
    Columns { title, status, axis: Axis { from, to, cells } }
}

fn row(step: &Step, tracks: &StepTracks, took: &str, columns: &Columns, terminal: Terminal) -> String {
    let style = step_style(&step.status);
    let title = cut(title(step), columns.title, terminal);
    let pad = columns.title.saturating_sub(title.width());
    let mut line = format!("{} {title}{:pad$}  ", terminal.paint(style, symbol(&step.status, terminal)), "");
    if columns.status > 0 {
        line.push_str(&terminal.paint(style, &format!("{:<width$}", step.status, width = columns.status)));
        line.push_str("  ");
    }
    let failed = matches!(step.status.as_str(), "FAILED" | "UNKNOWN");
    line.push_str(&columns.axis.bar(tracks, failed, terminal));
    line.push_str("  ");
    line.push_str(took);
    line.trim_end().to_owned()
}

/// Formats the duration and the number of attempts of the execution and the compensation of a step.
fn took(step: &Step, tracks: &StepTracks, terminal: Terminal) -> String {
    let side = |track: &Track, attempts: u32| {
        let times = match attempts {
            0 | 1 => String::new(),
            more if terminal.unicode => format!(" ×{more}"),
            more => format!(" x{more}"),
        };
        format!("{}{times}", time::format_duration(track.took()))
    };
    let mut text = String::new();
    if tracks.execution.ran() {
        text.push_str(&side(&tracks.execution, step.attempts));
    }
    if tracks.compensation.ran() {
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{comma}undo {}", side(&tracks.compensation, step.compensation_attempts)));
    }
    text
}

fn title(step: &Step) -> &str {
    step.title.as_deref().unwrap_or(&step.name)
}

fn failure(failure: &Failure) -> String {
    if failure.message.is_empty() {
        failure.code.clone()
    } else {
        format!("{}: {}", failure.code, failure.message)
    }
}

fn status_style(status: &Status) -> Style {
    match status {
        Status::Completed => Style::Success,
        Status::Error | Status::Terminated => Style::Failure,
        Status::RollingBack | Status::RolledBack => Style::Compensation,
        Status::Queued | Status::InProgress | Status::Paused | Status::Other(_) => Style::Running,
    }
}

fn step_style(status: &str) -> Style {
    match status {
        "COMPLETED" => Style::Success,
        "FAILED" | "UNKNOWN" | "COMPENSATION_FAILED" => Style::Failure,
        "COMPENSATED" | "COMPENSATING" | "COMPENSATION_QUEUED" | "COMPENSATION_RETRYING" => {
            Style::Compensation
        }
        "PENDING" | "SKIPPED" => Style::Dim,
        _ => Style::Running,
    }
}

fn symbol(status: &str, terminal: Terminal) -> &'static str {
    let (unicode, ascii) = match status {
        "PENDING" => ("·", "."),
        "QUEUED" => ("…", ":"),
        "IN_PROGRESS" => ("▶", ">"),
        "RETRYING" => ("↻", "r"),
        "COMPLETED" => ("✔", "+"),
        "FAILED" => ("✘", "x"),
        "UNKNOWN" => ("?", "?"),
        "SKIPPED" => ("○", "o"),
        "COMPENSATION_QUEUED" | "COMPENSATING" => ("◀", "<"),
        "COMPENSATION_RETRYING" => ("↺", "R"),
        "COMPENSATED" => ("↩", "u"),
        "COMPENSATION_FAILED" => ("!", "!"),
        _ => (" ", " "),
    };
    if terminal.unicode { unicode } else { ascii }
}

/// Truncates a text to a width.
fn cut(text: &str, width: usize, terminal: Terminal) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let end = if terminal.unicode { "…" } else { "..." };
    let mut left = width.saturating_sub(end.width());
    let mut short = String::new();
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        short.push(c);
    }
    short + end
}

#[cfg(test)]
mod tests;
