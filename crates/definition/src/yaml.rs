//! YAML to a document, without what makes YAML dangerous: tags, merge keys, several documents, aliases
//! that multiply.

use crate::Limits;
use crate::node::{Entry, Node, Value};
use crate::problem::{DUPLICATE, LIMIT, Problem, SYNTAX};
use goconductor_saga::Json;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use std::collections::HashMap;

/// A collection that is being read.
enum Open {
    List { items: Vec<Node>, anchor: usize, at: (usize, usize) },
    Map { entries: Vec<Entry>, key: Option<(String, usize, usize)>, anchor: usize, at: (usize, usize) },
}

struct Builder<'a> {
    limits: &'a Limits,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

pub(crate) fn read(text: &str, limits: &Limits) -> Result<Node, Problem> {
    let depth = flow_depth(text);
    if depth > limits.depth {
        let detail = format!("it is nested {depth} deep; at most {} is read", limits.depth);
        return Err(Problem::new(LIMIT, "", (1, 1), detail));
    }
    let mut builder = Builder { limits, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            Problem::new(SYNTAX, "", place(error.marker()), format!("this is no YAML: {}", error.info()))
        })?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(syntax(&span, "one file holds one definition: this is a second document"));
            }
        }
        builder.take(event, &span)?;
    }
    builder.root.ok_or_else(|| Problem::new(SYNTAX, "", (1, 1), "the text is empty".to_owned()))
}

/// How deeply brackets are nested at most, whatever is between them: looked at before the parser, which
/// goes down with them.
fn flow_depth(text: &str) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '[' | '{' => {
                depth += 1;
                most = most.max(depth);
            }
            ']' | '}' => depth = depth.saturating_sub(1),
            // Brackets in a plain text or a comment end with their line at the latest.
            '\n' if depth > 256 => return depth,
            _ => {}
        }
    }
    most
}

fn place(marker: &Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

fn syntax(span: &Span, detail: &str) -> Problem {
    Problem::new(SYNTAX, "", place(&span.start), detail.to_owned())
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Problem> {
        let at = place(&span.start);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let (node, weight) = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| syntax(span, "the alias names no anchor above it"))?;
                self.count(weight, at)?;
                self.put(node, 0, at)
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return Err(syntax(span, "tags are not read: write the value itself"));
                }
                self.count(1, at)?;
                if text.chars().any(|c| c == '\0') {
                    return Err(syntax(span, "a NUL character can't be part of a text"));
                }
                if let Some(Open::Map { key: key @ None, .. }) = self.open.last_mut() {
                    if style == ScalarStyle::Plain && text == "<<" {
                        return Err(syntax(span, "merge keys are not read: write the keys out"));
                    }
                    *key = Some((text.into_owned(), at.0, at.1));
                    return Ok(());
                }
                let value =
                    if style == ScalarStyle::Plain { plain(&text) } else { Json::String(text.into_owned()) };
                self.put(Node { value: Value::Scalar(value), line: at.0, column: at.1 }, anchor, at)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(tag.is_some(), span)?;
                self.open.push(Open::List { items: Vec::new(), anchor, at });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(tag.is_some(), span)?;
                self.open.push(Open::Map { entries: Vec::new(), key: None, anchor, at });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
        }
    }

    fn begin(&mut self, tagged: bool, span: &Span) -> Result<(), Problem> {
        if tagged {
            return Err(syntax(span, "tags are not read: write the value itself"));
        }
        if matches!(self.open.last(), Some(Open::Map { key: None, .. })) {
            return Err(syntax(span, "a key has to be a text"));
        }
        self.count(1, place(&span.start))?;
        if self.open.len() >= self.limits.depth {
            let detail = format!("it is nested deeper than {}", self.limits.depth);
            return Err(Problem::new(LIMIT, "", place(&span.start), detail));
        }
        Ok(())
    }

    fn count(&mut self, more: usize, at: (usize, usize)) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > self.limits.nodes {
            let detail =
                format!("it holds more than {} values, with what its aliases repeat", self.limits.nodes);
            return Err(Problem::new(LIMIT, "", at, detail));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Problem> {
        match self.open.pop() {
            Some(Open::List { items, anchor, at }) => {
                self.put(Node { value: Value::List(items), line: at.0, column: at.1 }, anchor, at)
            }
            Some(Open::Map { entries, anchor, at, .. }) => {
                self.put(Node { value: Value::Map(entries), line: at.0, column: at.1 }, anchor, at)
            }
            None => Ok(()),
        }
    }

    fn put(&mut self, node: Node, anchor: usize, at: (usize, usize)) -> Result<(), Problem> {
        if anchor > 0 {
            let weight = weight(&node);
            self.count(weight, at)?;
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((key, line, column)) => {
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let detail = format!("the key {key} is there already, in line {}", first.line);
                        return Err(Problem::new(DUPLICATE, "", (line, column), detail));
                    }
                    entries.push(Entry { key, line, column, value: node });
                }
                None => return Err(Problem::new(SYNTAX, "", at, "a key has to be a text".to_owned())),
            },
        }
        Ok(())
    }
}

fn weight(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| 1 + weight(&entry.value)).sum::<usize>(),
    }
}

/// A plain scalar by YAML's core schema (1.2.2, 10.3.2).
fn plain(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "true" | "True" | "TRUE" => return Json::Bool(true),
        "false" | "False" | "FALSE" => return Json::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = |prefix: &str, radix| i64::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Json::from(number);
    }
    if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
    {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            if let Ok(number) = unsigned.parse::<i64>() {
                return Json::from(number);
            }
            if let Ok(number) = unsigned.parse::<u64>() {
                return Json::from(number);
            }
        }
        let float = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        if let (true, Ok(number)) = (float, unsigned.parse::<f64>())
            && let Some(number) = serde_json::Number::from_f64(number)
        {
            return Json::Number(number);
        }
    }
    Json::String(text.to_owned())
}
