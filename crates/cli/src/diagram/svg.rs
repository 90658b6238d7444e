//! SVG: the steps in columns by level, each with its compensation below it.
//!
//! An edge that crosses several columns has a free row in each of them, so that no edge crosses a step.

use super::{action_name, edges, levels, title, undo_edges};
use goconductor_saga::{Definition, Kind, Side, Step, StepIndex};
use std::collections::BTreeMap;
use unicode_width::UnicodeWidthStr;

const CHAR: usize = 8;
const PADDING: usize = 12;
const LINE: usize = 18;
const STEP_HEIGHT: usize = 48;
const UNDO_HEIGHT: usize = 28;
/// The distance between a step and its compensation.
const UNDO_GAP: usize = 20;
const ROW_HEIGHT: usize = STEP_HEIGHT + UNDO_GAP + UNDO_HEIGHT + 36;
const COLUMN_GAP: usize = 70;
const MARGIN: usize = 20;
/// The number of passes that reduce crossings.
const PASSES: usize = 8;
/// Maximum characters of a label.
const MAX_LABEL: usize = 40;

const STYLE: &str = "text{font:13px sans-serif;fill:#1f2328}.small{font-size:11px;fill:#59636e}\
    .step{fill:#fff;stroke:#59636e}.pivot{fill:#fff8c5;stroke:#9a6700;stroke-width:2}.undo{fill:#fbefff;\
    stroke:#8250df;stroke-dasharray:4 3}.edge{fill:none;stroke:#59636e}.back{fill:none;stroke:#8250df;\
    stroke-dasharray:4 3}";

/// A place in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Step(StepIndex),
    /// A free row for an edge from the first step to the second one.
    Edge(StepIndex, StepIndex),
}

/// The position of the left upper corner of a step, and its width.
#[derive(Debug, Clone, Copy)]
struct NodePosition {
    x: usize,
    y: usize,
    width: usize,
}

/// The columns with their slots, and the places of all slots.
struct Layout<'a> {
    definition: &'a Definition,
    columns: Vec<Vec<Slot>>,
    level: BTreeMap<StepIndex, usize>,
    places: BTreeMap<(usize, Slot), NodePosition>,
    width: usize,
    height: usize,
}

/// Draws a definition as an SVG image.
pub(crate) fn svg(definition: &Definition) -> String {
    let layout = Layout::new(definition);
    let (width, height) = (layout.width, layout.height);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs>{}{}</defs>\n",
        escape(definition.title.as_deref().unwrap_or(&definition.name)),
        marker("arrow", "#59636e"),
        marker("undo", "#8250df")
    );
    layout.draw_edges(&mut text);
    for (index, step) in (0u32..).map(StepIndex).zip(&definition.steps) {
        if let Some(place) = layout.place(index) {
            draw_step(&mut text, step, place);
        }
    }
    text.push_str("</svg>\n");
    text
}

fn marker(id: &str, colour: &str) -> String {
    format!(
        "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{colour}\"/></marker>"
    )
}

impl<'a> Layout<'a> {
    fn new(definition: &'a Definition) -> Self {
        let steps = levels(definition);
        let level: BTreeMap<StepIndex, usize> = steps
            .iter()
            .enumerate()
            .flat_map(|(at, column)| column.iter().map(move |index| (*index, at)))
            .collect();
        let mut columns: Vec<Vec<Slot>> =
            steps.into_iter().map(|column| column.into_iter().map(Slot::Step).collect()).collect();
        for (to, step) in (0u32..).map(StepIndex).zip(&definition.steps) {
            for from in &step.depends_on {
                let between = level.get(from).map_or(0, |at| at + 1)..level.get(&to).copied().unwrap_or(0);
                for column in columns.get_mut(between).unwrap_or_default() {
                    column.push(Slot::Edge(*from, to));
                }
            }
        }
        let places = BTreeMap::new();
        let mut layout = Self { definition, columns, level, places, width: 0, height: 0 };
        layout.reduce_crossings();
        layout.assign_places();
        layout
    }

    /// Orders each column by the mean row of the neighbours in the column before it, or after it.
    fn reduce_crossings(&mut self) {
        for pass in 0..PASSES {
            let count = self.columns.len();
            for nth in 1..count {
                let (at, beside) =
                    if pass % 2 == 0 { (nth, nth - 1) } else { (count - 1 - nth, count - nth) };
                let rows: BTreeMap<Slot, usize> = self
                    .columns
                    .get(beside)
                    .into_iter()
                    .flatten()
                    .enumerate()
                    .map(|(row, slot)| (*slot, row))
                    .collect();
                let Some(column) = self.columns.get(at) else { continue };
                let mut keyed: Vec<(usize, Slot)> = column
                    .iter()
                    .enumerate()
                    .map(|(row, slot)| (self.mean_row(*slot, &rows).unwrap_or(row * 1000), *slot))
                    .collect();
                keyed.sort_by_key(|(key, _)| *key);
                if let Some(column) = self.columns.get_mut(at) {
                    *column = keyed.into_iter().map(|(_, slot)| slot).collect();
                }
            }
        }
    }

    /// Returns the mean row of the neighbours of a slot, in thousandths.
    fn mean_row(&self, slot: Slot, rows: &BTreeMap<Slot, usize>) -> Option<usize> {
        let found: Vec<usize> =
            rows.iter().filter(|(other, _)| self.are_joined(slot, **other)).map(|(_, row)| *row).collect();
        (found.iter().sum::<usize>() * 1000).checked_div(found.len())
    }

    /// Returns whether an edge joins two slots of neighbouring columns.
    fn are_joined(&self, one: Slot, other: Slot) -> bool {
        let depends = |to: StepIndex, from: StepIndex| {
            self.definition.steps.get(to.at()).is_some_and(|step| step.depends_on.contains(&from))
        };
        match (one, other) {
            (Slot::Step(one), Slot::Step(other)) => depends(one, other) || depends(other, one),
            (Slot::Step(step), Slot::Edge(from, to)) | (Slot::Edge(from, to), Slot::Step(step)) => {
                step == from || step == to
            }
            (Slot::Edge(..), Slot::Edge(..)) => one == other,
        }
    }

    fn assign_places(&mut self) {
        let rows = self.columns.iter().map(Vec::len).max().unwrap_or(0);
        let mut x = MARGIN;
        for (at, column) in self.columns.iter().enumerate() {
            let width = column.iter().map(|slot| self.slot_width(*slot)).max().unwrap_or(0);
            // Shorter columns are centred.
            let offset = (rows - column.len()) * ROW_HEIGHT / 2;
            for (row, slot) in column.iter().enumerate() {
                let y = MARGIN + offset + row * ROW_HEIGHT;
                self.places.insert((at, *slot), NodePosition { x, y, width });
            }
            x += width + COLUMN_GAP;
        }
        self.width = (x + MARGIN).saturating_sub(COLUMN_GAP).max(2 * MARGIN);
        self.height = 2 * MARGIN + rows * ROW_HEIGHT;
    }

    fn slot_width(&self, slot: Slot) -> usize {
        let Slot::Step(index) = slot else { return 0 };
        self.definition.steps.get(index.at()).map_or(0, |step| {
            let undo = match step.compensate {
                Some(_) => label(&action_name(step, Side::Compensate)).width() + 2,
                None => 0,
            };
            let own = label(title(step)).width().max(label(&action_name(step, Side::Execute)).width());
            own.max(undo) * CHAR + 2 * PADDING
        })
    }

    fn place(&self, index: StepIndex) -> Option<NodePosition> {
        let level = self.level.get(&index)?;
        self.places.get(&(*level, Slot::Step(index))).copied()
    }

    fn draw_edges(&self, text: &mut String) {
        let named = |name: &str| self.definition.steps.iter().position(|step| step.name == name);
        let index = |name: &str| named(name).and_then(|at| u32::try_from(at).ok()).map(StepIndex);
        for (from, to, condition) in edges(self.definition) {
            let (Some(from), Some(to)) = (index(&from), index(&to)) else { continue };
            self.draw_edge(text, from, to, condition.as_deref());
        }
        for (from, to) in undo_edges(self.definition) {
            let places =
                (index(&from).and_then(|at| self.place(at)), index(&to).and_then(|at| self.place(at)));
            let (Some(from), Some(to)) = places else { continue };
            let middle = STEP_HEIGHT + UNDO_GAP + UNDO_HEIGHT / 2;
            let path = curve((from.x, from.y + middle), (to.x + to.width, to.y + middle));
            text.push_str(&format!("<path class=\"back\" marker-end=\"url(#undo)\" d=\"{path}\"/>\n"));
        }
    }

    /// Draws an edge through its free rows.
    fn draw_edge(&self, text: &mut String, from: StepIndex, to: StepIndex, condition: Option<&str>) {
        let (Some(start), Some(end)) = (self.place(from), self.place(to)) else { return };
        let middle = STEP_HEIGHT / 2;
        let mut points = vec![(start.x + start.width, start.y + middle)];
        let between = self.level.get(&from).map_or(0, |at| at + 1)..self.level.get(&to).copied().unwrap_or(0);
        for column in between {
            // The row has the width of its column, which the edge crosses straight.
            let width = self.columns.get(column).into_iter().flatten();
            let width = width.map(|slot| self.slot_width(*slot)).max().unwrap_or(0);
            if let Some(place) = self.places.get(&(column, Slot::Edge(from, to))) {
                points.extend([(place.x, place.y + middle), (place.x + width, place.y + middle)]);
            }
        }
        points.push((end.x, end.y + middle));
        let path: String = points
            .windows(2)
            .filter_map(|pair| match pair {
                [one, other] => Some(curve(*one, *other)),
                _ => None,
            })
            .collect();
        text.push_str(&format!("<path class=\"edge\" marker-end=\"url(#arrow)\" d=\"{path}\"/>\n"));
        if let Some(condition) = condition {
            text.push_str(&format!(
                "<text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
                end.x.saturating_sub(6),
                (end.y + middle).saturating_sub(6),
                escape(&label(condition))
            ));
        }
    }
}

/// Returns a curve between two points that leaves and arrives horizontally.
fn curve((x1, y1): (usize, usize), (x2, y2): (usize, usize)) -> String {
    let middle = usize::midpoint(x1, x2);
    format!("M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}")
}

fn draw_step(text: &mut String, step: &Step, NodePosition { x, y, width }: NodePosition) {
    let class = if step.kind == Kind::Pivot { "step pivot" } else { "step" };
    let centre = x + width / 2;
    text.push_str(&format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{STEP_HEIGHT}\" rx=\"4\"/>\n"
    ));
    for (nth, (class, line)) in
        [("", label(title(step))), (" class=\"small\"", label(&action_name(step, Side::Execute)))]
            .iter()
            .enumerate()
    {
        text.push_str(&format!(
            "<text{class} x=\"{centre}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            y + 20 + nth * LINE,
            escape(line)
        ));
    }
    if step.compensate.is_none() {
        return;
    }
    let top = y + STEP_HEIGHT + UNDO_GAP;
    text.push_str(&format!(
        "<path class=\"back\" marker-end=\"url(#undo)\" d=\"M{centre} {}V{top}\"/>\n<rect class=\"undo\" x=\"{x}\" \
         y=\"{top}\" width=\"{width}\" height=\"{UNDO_HEIGHT}\" rx=\"14\"/>\n<text class=\"small\" x=\"{centre}\" \
         y=\"{}\" text-anchor=\"middle\">↩ {}</text>\n",
        y + STEP_HEIGHT,
        top + LINE,
        escape(&label(&action_name(step, Side::Compensate)))
    ));
}

/// Shortens a text to the width of a label.
fn label(text: &str) -> String {
    if text.chars().count() <= MAX_LABEL {
        return text.to_owned();
    }
    let start: String = text.chars().take(MAX_LABEL - 1).collect();
    format!("{start}…")
}

/// Escapes a text in XML. XML has no form for control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
