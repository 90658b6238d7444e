//! Diagrams of a definition for the terminal, Mermaid, Graphviz and SVG. Performs no IO.

mod svg;

use crate::output::{Style, Terminal};
use goconductor_saga::{Definition, Join, Kind, Side, Step, StepIndex};
use unicode_width::UnicodeWidthStr;

pub(crate) use svg::svg;

/// Draws a definition for the terminal: the steps by level, with their action and their compensation.
pub(crate) fn text(definition: &Definition, terminal: Terminal) -> String {
    let levels = levels(definition);
    let glyph = |unicode: &'static str, ascii: &'static str| if terminal.unicode { unicode } else { ascii };
    let widest = |width: &dyn Fn(&Step) -> usize| definition.steps.iter().map(width).max().unwrap_or(0);
    let (name_width, action_width) =
        (widest(&|step| step.name.width()), widest(&|step| action_name(step, Side::Execute).width()));
    let mut text = terminal.paint(Style::Bold, &definition.name);
    text.push('\n');
    for (nth, level) in levels.iter().enumerate() {
        if nth > 0 {
            text.push_str(&format!("  {}\n", glyph("│", "|")));
        }
        for (at, index) in level.iter().enumerate() {
            let Some(step) = definition.steps.get(index.at()) else { continue };
            let branch = match (level.len(), at) {
                (1, _) => glyph("●", "o"),
                (_, 0) => glyph("┬─●", "+-o"),
                (many, at) if at + 1 == many => glyph("└─●", "+-o"),
                (_, _) => glyph("├─●", "+-o"),
            };
            let line = format!(
                "  {branch} {:<name_width$}  {:<action_width$}  {}",
                step.name,
                action_name(step, Side::Execute),
                notes(definition, step, nth.checked_sub(1).and_then(|above| levels.get(above)), terminal)
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// Returns the compensation, the kind and the join of a step, its conditions, and its dependencies unless they are exactly
/// the steps of the level above.
fn notes(definition: &Definition, step: &Step, above: Option<&Vec<StepIndex>>, terminal: Terminal) -> String {
    let mut notes = Vec::new();
    if step.compensate.is_some() {
        let arrow = if terminal.unicode { "↩" } else { "undo" };
        notes.push(
            terminal.paint(Style::Compensation, &format!("{arrow} {}", action_name(step, Side::Compensate))),
        );
    }
    match step.kind {
        Kind::Pivot => notes.push(terminal.paint(Style::Bold, "[pivot]")),
        Kind::Retriable => notes.push("[retriable]".to_owned()),
        Kind::Compensatable => {}
    }
    match step.join {
        Join::All => {}
        Join::Any => notes.push("[join: any]".to_owned()),
        Join::Settled => notes.push("[join: settled]".to_owned()),
    }
    if above.is_some_and(|above| *above != step.depends_on) {
        notes.push(format!("after {}", names(definition, &step.depends_on).join(", ")));
    }
    notes.extend(step.when.iter().map(|when| {
        let not = if when.holds { "when" } else { "unless" };
        format!("{not} {}", when.expression)
    }));
    notes.join("  ")
}

/// Groups the steps by the length of the longest path from a first step.
fn levels(definition: &Definition) -> Vec<Vec<StepIndex>> {
    let mut depth = vec![0usize; definition.steps.len()];
    // A valid graph has no cycle, so one pass per step reaches the fixed point in any order.
    for _ in 0..definition.steps.len() {
        for (at, step) in definition.steps.iter().enumerate() {
            let above = step.depends_on.iter().filter_map(|index| depth.get(index.at())).max();
            let own = above.map_or(0, |above| above + 1);
            if let Some(slot) = depth.get_mut(at) {
                *slot = own;
            }
        }
    }
    let mut levels: Vec<Vec<StepIndex>> = Vec::new();
    for (index, depth) in (0u32..).map(StepIndex).zip(depth) {
        if levels.len() <= depth {
            levels.resize_with(depth + 1, Vec::new);
        }
        if let Some(level) = levels.get_mut(depth) {
            level.push(index);
        }
    }
    levels
}

/// Draws a definition as a Mermaid flowchart. The nodes have prefixes, because Mermaid reserves names such as `end`.
pub(crate) fn mermaid(definition: &Definition) -> String {
    let mut text = String::from("flowchart LR\n");
    for step in &definition.steps {
        let (open, close) = if step.kind == Kind::Pivot { ("{{", "}}") } else { ("[", "]") };
        let (name, label) = (&step.name, mermaid_text(title(step)));
        let action = mermaid_text(&action_name(step, Side::Execute));
        text.push_str(&format!("  step_{name}{open}\"{label}<br/>{action}\"{close}\n"));
        if step.compensate.is_some() {
            let undo = mermaid_text(&action_name(step, Side::Compensate));
            text.push_str(&format!("  step_{name} -. undo .-> undo_{name}([\"{undo}\"])\n"));
        }
    }
    for (from, to, label) in edges(definition) {
        match label {
            Some(label) => {
                text.push_str(&format!("  step_{from} -->|\"{}\"| step_{to}\n", mermaid_text(&label)));
            }
            None => text.push_str(&format!("  step_{from} --> step_{to}\n")),
        }
    }
    for (from, to) in undo_edges(definition) {
        text.push_str(&format!("  undo_{from} -.-> undo_{to}\n"));
    }
    text
}

/// Escapes a text in quotes of Mermaid, which interprets HTML and Markdown in it.
fn mermaid_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '<' | '>' | '&' | '#' | '`' | '\\' | ';' => {
                escaped.push_str(&format!("#{};", u32::from(c)));
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Draws a definition in Graphviz DOT.
pub(crate) fn dot(definition: &Definition) -> String {
    let mut text =
        format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", dot_text(&definition.name));
    for step in &definition.steps {
        let shape = if step.kind == Kind::Pivot { ", shape=hexagon" } else { "" };
        let (name, action) = (&step.name, dot_text(&action_name(step, Side::Execute)));
        text.push_str(&format!("  step_{name} [label=\"{}\\n{action}\"{shape}];\n", dot_text(title(step))));
        if step.compensate.is_some() {
            let undo = dot_text(&action_name(step, Side::Compensate));
            text.push_str(&format!("  undo_{name} [label=\"{undo}\", shape=oval, style=dashed];\n"));
            text.push_str(&format!(
                "  step_{name} -> undo_{name} [label=\"undo\", style=dashed, constraint=false];\n"
            ));
        }
    }
    for (from, to, label) in edges(definition) {
        let label = label.map_or_else(String::new, |label| format!(" [label=\"{}\"]", dot_text(&label)));
        text.push_str(&format!("  step_{from} -> step_{to}{label};\n"));
    }
    for (from, to) in undo_edges(definition) {
        text.push_str(&format!("  undo_{from} -> undo_{to} [style=dashed, constraint=false];\n"));
    }
    text.push_str("}\n");
    text
}

/// Escapes a text in quotes of DOT.
fn dot_text(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Returns the order of the compensations by the names of their steps.
fn undo_edges(definition: &Definition) -> Vec<(String, String)> {
    let name = |index: StepIndex| definition.steps.get(index.at()).map(|step| step.name.clone());
    let edges = definition.undo_edges().into_iter();
    edges.filter_map(|(from, to)| Some((name(from)?, name(to)?))).collect()
}

/// Returns the edges as source, target, and condition of the target.
fn edges(definition: &Definition) -> Vec<(String, String, Option<String>)> {
    let condition = |step: &Step| {
        let each = step.when.iter().map(|when| match when.holds {
            true => when.expression.clone(),
            false => format!("not ({})", when.expression),
        });
        Some(each.collect::<Vec<_>>().join(" and ")).filter(|text| !text.is_empty())
    };
    let of_step = |step: &Step| {
        names(definition, &step.depends_on)
            .into_iter()
            .map(|from| (from.to_owned(), step.name.clone(), condition(step)))
            .collect::<Vec<_>>()
    };
    definition.steps.iter().flat_map(of_step).collect()
}

fn names<'a>(definition: &'a Definition, indices: &[StepIndex]) -> Vec<&'a str> {
    indices
        .iter()
        .filter_map(|index| definition.steps.get(index.at()))
        .map(|step| step.name.as_str())
        .collect()
}

fn title(step: &Step) -> &str {
    step.title.as_deref().unwrap_or(&step.name)
}

fn action_name(step: &Step, side: Side) -> String {
    step.performed_action(side).map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
