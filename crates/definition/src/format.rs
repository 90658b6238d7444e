//! Formatting of definitions in YAML: keys in the canonical order, no space at the ends of lines.
//!
//! Comments are kept, because whole lines are moved and the text is never written from its values. A comment above a key
//! moves with the key. Values in brackets are left as they are.

use crate::problem::Problem;
use crate::yaml::{self, YamlNode, YamlValue};
use crate::{Format, Limits, digest, read};
use std::ops::Range;

/// The keys of a definition in their order. Keys that are not listed follow `description`, so that the anchors in them
/// precede their aliases.
const ROOT: &[&str] = &[
    "$schema",
    "workflow",
    "namespace",
    "title",
    "description",
    "",
    "labels",
    "schedule",
    "input",
    "timeout",
    "lock",
    "defaults",
    "compensation",
    "steps",
    "output",
];
/// The keys of a step in their order.
const STEP: &[&str] = &[
    "name",
    "title",
    "description",
    "",
    "labels",
    "depends_on",
    "join",
    "when",
    "for_each",
    "run",
    "call",
    "child",
    "sleep",
    "wait_for_signal",
    "parallel",
    "switch",
    "kind",
    "input",
    "lock",
    "timeout",
    "retry",
    "probe",
    "on_unknown",
    "on_error",
    "compensate",
];
const BRANCH: &[&str] = &["when", "steps"];
const COMPENSATE: &[&str] = &["run", "call", "when", "input", "timeout", "retry"];
const RETRY: &[&str] = &["max_attempts", "backoff", "initial", "factor", "max", "jitter", "on", "not_on"];
const TIMEOUT: &[&str] = &["attempt", "queue", "total", "heartbeat"];

/// Returns the rank of a key: keys that are not listed have that of the empty name.
fn rank(order: &[&str], key: &str) -> usize {
    let position = |name: &str| order.iter().position(|each| *each == name);
    position(key).or_else(|| position("")).unwrap_or(order.len())
}

/// The keys of an object of a definition in their canonical order, by the path of the object: names of keys, without
/// positions in lists. `None` if the order of the keys is that of the author.
#[must_use]
pub fn key_rank(path: &[&str], key: &str) -> Option<usize> {
    let in_step = |rest: &[&str]| match rest {
        [] => Some(STEP),
        ["switch"] => Some(BRANCH),
        ["compensate"] => Some(COMPENSATE),
        ["retry"] | ["compensate", "retry"] => Some(RETRY),
        ["timeout"] | ["compensate", "timeout"] => Some(TIMEOUT),
        _ => None,
    };
    let order = match path {
        [] => Some(ROOT),
        ["defaults", "retry"] | ["compensation", "retry"] => Some(RETRY),
        ["defaults", "timeout"] => Some(TIMEOUT),
        ["steps", rest @ ..] => {
            // A branch of a block contains steps again.
            let mut rest = rest;
            loop {
                rest = match rest {
                    ["parallel", _, inner @ ..] => inner,
                    ["switch", "steps", inner @ ..] => inner,
                    _ => break,
                };
            }
            in_step(rest)
        }
        _ => None,
    };
    order.map(|order| rank(order, key))
}

/// Formats a definition in YAML. The result has the same content, and formatting it again changes nothing.
///
/// # Errors
/// Returns the first problem of the text, if it is not a document of this language.
pub fn format(text: &str, limits: &Limits) -> Result<String, Problem> {
    let content = digest::of(&read(text.as_bytes(), Format::Yaml, limits)?.to_json());
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let same = |candidate: &str| {
        read(candidate.as_bytes(), Format::Yaml, limits)
            .is_ok_and(|node| digest::of(&node.to_json()) == content)
    };
    let mut best = text.clone();
    // Each change is kept only if the content stays the same. A quoted text over several lines can look like keys.
    let reorder = |text: &str| reordered(text).unwrap_or_else(|| text.to_owned());
    let changes: [&dyn Fn(&str) -> String; 3] = [&without_trailing_space, &reorder, &without_trailing_space];
    for change in changes {
        let candidate = change(&best);
        if same(&candidate) {
            best = candidate;
        }
    }
    Ok(best)
}

fn without_trailing_space(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
    let mut text = lines.get(first..).unwrap_or_default().join("\n");
    text.push('\n');
    text
}

fn reordered(text: &str) -> Option<String> {
    let limits = Limits::default();
    let root = yaml::parse(text, yaml::Limits { depth: limits.depth, nodes: limits.nodes }).ok()??;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let all = 0..lines.len();
    visit(&mut lines, &root, all, &mut Vec::new());
    let mut text = lines.join("\n");
    text.push('\n');
    Some(text)
}

/// Orders the keys of a value and of everything in it. `range` has the lines of the value.
fn visit<'a>(lines: &mut [String], node: &'a YamlNode, range: Range<usize>, path: &mut Vec<&'a str>) {
    match &node.value {
        YamlValue::Scalar { .. } | YamlValue::Alias(_) => {}
        YamlValue::List(items) => {
            let starts: Vec<usize> = items.iter().map(|item| item.position.line.saturating_sub(1)).collect();
            for (at, item) in items.iter().enumerate() {
                let start = starts.get(at).copied().unwrap_or(range.start);
                let next =
                    starts.get(at + 1).map_or(range.end, |next| leading(lines, *next, column(lines, *next)));
                if next > start {
                    visit(lines, item, start..next, path);
                }
            }
        }
        YamlValue::Map(entries) => {
            let Some(chunks) = chunks(lines, entries, &range) else { return };
            // The inner values first: their lines stay within the lines of their entry.
            for ((key, value), chunk) in entries.iter().zip(&chunks) {
                let YamlValue::Scalar { text, .. } = &key.value else { continue };
                path.push(text);
                visit(lines, value, chunk.clone(), path);
                path.pop();
            }
            order(lines, entries, &chunks, path);
        }
    }
}

/// Returns the lines of each entry, or `None` unless each key begins a line of its own.
fn chunks(
    lines: &[String],
    entries: &[(YamlNode, YamlNode)],
    range: &Range<usize>,
) -> Option<Vec<Range<usize>>> {
    let mut starts = Vec::with_capacity(entries.len());
    for (at, (key, _)) in entries.iter().enumerate() {
        let line = key.position.line.checked_sub(1)?;
        let before: String = lines.get(line)?.chars().take(key.position.column.checked_sub(1)?).collect();
        let blank = before.chars().all(|c| c == ' ') || (at == 0 && before.trim() == "-");
        if !blank || !range.contains(&line) {
            return None;
        }
        // The comments above the first key belong to the value as a whole.
        starts.push(if at == 0 { line } else { leading(lines, line, key.position.column - 1) });
    }
    let ends = starts.iter().skip(1).copied().chain([range.end]);
    let chunks: Vec<Range<usize>> = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
    chunks.iter().all(|chunk| chunk.start < chunk.end).then_some(chunks)
}

/// Returns the first of the comments above a line that have its indentation, and of one empty line above them.
fn leading(lines: &[String], line: usize, column: usize) -> usize {
    let mut start = line;
    let text = |at: usize| lines.get(at).map_or("", String::as_str);
    while start > 0
        && text(start - 1).trim_start().starts_with('#')
        && self::column(lines, start - 1) == column
    {
        start -= 1;
    }
    if start > 0 && text(start - 1).trim().is_empty() { start - 1 } else { start }
}

fn column(lines: &[String], line: usize) -> usize {
    lines.get(line).map_or(0, |text| text.len() - text.trim_start_matches(' ').len())
}

fn order(lines: &mut [String], entries: &[(YamlNode, YamlNode)], chunks: &[Range<usize>], path: &[&str]) {
    let key = |at: usize| match entries.get(at).map(|(key, _)| &key.value) {
        Some(YamlValue::Scalar { text, .. }) => text.as_str(),
        Some(YamlValue::List(_) | YamlValue::Map(_) | YamlValue::Alias(_)) | None => "",
    };
    let mut sorted: Vec<usize> = (0..entries.len()).collect();
    sorted.sort_by_key(|at| key_rank(path, key(*at)).unwrap_or(*at));
    let moved: Vec<usize> = (0..entries.len()).collect();
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return };
    if sorted == moved {
        return;
    }
    let region = first.start..last.end;
    let dash = lines.get(first.start).and_then(|line| {
        let column = column(lines, first.start);
        line.get(column..).is_some_and(|rest| rest.starts_with('-')).then_some(column)
    });
    let mut ordered: Vec<String> = Vec::with_capacity(region.len());
    for at in sorted {
        let Some(chunk) = chunks.get(at) else { return };
        let mut part: Vec<String> = lines.get(chunk.clone()).unwrap_or_default().to_vec();
        if at == 0
            && dash.is_some()
            && let Some(line) = part.first_mut()
        {
            *line = line.replacen('-', " ", 1);
        }
        ordered.extend(part);
    }
    // An empty line separates entries, so the first entry has none above it.
    while ordered.first().is_some_and(|line| line.trim().is_empty()) {
        ordered.rotate_left(1);
    }
    if let Some(dash) = dash {
        set_dash(&mut ordered, dash);
    }
    if let Some(target) = lines.get_mut(region) {
        target.iter_mut().zip(ordered).for_each(|(line, new)| *line = new);
    }
}

/// Writes the dash of a list item before its first key, and moves the comments above that key to the column of the dash.
fn set_dash(lines: &mut [String], dash: usize) {
    for line in lines {
        let text = line.trim_start().to_owned();
        if text.starts_with('#') {
            *line = format!("{}{text}", " ".repeat(dash));
            continue;
        }
        let indent = line.len() - text.len();
        let width = indent.saturating_sub(dash + 1);
        *line = format!("{}-{}{text}", " ".repeat(dash), " ".repeat(width));
        return;
    }
}
