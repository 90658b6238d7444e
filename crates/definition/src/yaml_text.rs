//! YAML text to a document. The dangerous features of YAML are refused: tags, merge keys, several documents, and
//! aliases that multiply.

use crate::Limits;
use crate::node::{Entry, Node, Value};
use crate::problem::{DUPLICATE, LIMIT, Problem, SYNTAX};
use crate::yaml::{self, ErrorKind, Position};
use goconductor_saga::{Json, keeps_number};
use std::collections::HashMap;

pub(crate) fn read(text: &str, limits: &Limits) -> Result<Node, Problem> {
    let root = yaml::parse(text, yaml::Limits { depth: limits.depth, nodes: limits.nodes });
    let root = root.map_err(|error| match error.kind {
        ErrorKind::ManyDocuments => {
            syntax(error.position, "a file contains one definition, and this is a second document")
        }
        ErrorKind::Syntax(_) => syntax(error.position, &error.kind.to_string()),
        ErrorKind::TooDeep(_) | ErrorKind::TooManyNodes(_) => {
            Problem::new(LIMIT, "", pair(error.position), error.kind.to_string())
        }
    })?;
    let root = root.ok_or_else(|| Problem::new(SYNTAX, "", (1, 1), "the text is empty".to_owned()))?;
    Converter { limits, anchors: HashMap::new(), nodes: 0 }.node(root)
}

struct Converter<'a> {
    limits: &'a Limits,
    /// The values with an anchor, each with its number of keys and values.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Converter<'_> {
    fn node(&mut self, node: yaml::YamlNode) -> Result<Node, Problem> {
        let position = node.position;
        if node.has_tag {
            return Err(syntax(position, "tags are not supported: write the value itself"));
        }
        let value = match node.value {
            yaml::YamlValue::Alias(anchor) => return self.alias(anchor, position),
            yaml::YamlValue::Scalar { text, is_plain } => {
                self.count(1, position)?;
                check_text(&text, position)?;
                Value::Scalar(if is_plain { plain(&text, position)? } else { Json::String(text) })
            }
            yaml::YamlValue::List(items) => {
                self.count(1, position)?;
                Value::List(items.into_iter().map(|item| self.node(item)).collect::<Result<_, _>>()?)
            }
            yaml::YamlValue::Map(entries) => {
                self.count(1, position)?;
                Value::Map(self.entries(entries)?)
            }
        };
        let converted = Node { value, line: position.line, column: position.column };
        if let Some(anchor) = node.anchor {
            let weight = weight(&converted);
            self.count(weight, position)?;
            self.anchors.insert(anchor, (converted.clone(), weight));
        }
        Ok(converted)
    }

    fn alias(&mut self, anchor: usize, position: Position) -> Result<Node, Problem> {
        let found = self.anchors.get(&anchor).cloned();
        let (node, weight) =
            found.ok_or_else(|| syntax(position, "the alias refers to no complete value above it"))?;
        self.count(weight, position)?;
        Ok(node)
    }

    fn entries(&mut self, entries: Vec<(yaml::YamlNode, yaml::YamlNode)>) -> Result<Vec<Entry>, Problem> {
        let mut converted: Vec<Entry> = Vec::with_capacity(entries.len());
        let mut lines: HashMap<String, usize> = HashMap::new();
        for (key, value) in entries {
            let position = key.position;
            let key = self.key(key)?;
            let value = self.node(value)?;
            if let Some(first) = lines.insert(key.clone(), position.line) {
                let detail = format!("duplicate key `{key}`: it is already used in line {first}");
                return Err(Problem::new(DUPLICATE, "", pair(position), detail));
            }
            converted.push(Entry { key, line: position.line, column: position.column, value });
        }
        Ok(converted)
    }

    fn key(&mut self, key: yaml::YamlNode) -> Result<String, Problem> {
        if key.has_tag {
            return Err(syntax(key.position, "tags are not supported: write the value itself"));
        }
        let yaml::YamlValue::Scalar { text, is_plain } = key.value else {
            return Err(syntax(key.position, "a key must be a string"));
        };
        self.count(1, key.position)?;
        check_text(&text, key.position)?;
        if is_plain && text == "<<" {
            return Err(syntax(key.position, "merge keys are not supported: write the keys out"));
        }
        Ok(text)
    }

    fn count(&mut self, more: usize, position: Position) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > self.limits.nodes {
            let detail =
                format!("contains more than {} values after its aliases are expanded", self.limits.nodes);
            return Err(Problem::new(LIMIT, "", pair(position), detail));
        }
        Ok(())
    }
}

fn check_text(text: &str, position: Position) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(syntax(position, "a string must not contain a NUL character"));
    }
    Ok(())
}

fn pair(position: Position) -> (usize, usize) {
    (position.line, position.column)
}

fn syntax(position: Position, detail: &str) -> Problem {
    Problem::new(SYNTAX, "", pair(position), detail.to_owned())
}

/// Returns the number of keys and values.
fn weight(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 1,
        Value::List(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| 1 + weight(&entry.value)).sum::<usize>(),
    }
}

/// Converts a plain scalar by YAML's core schema (1.2.2, 10.3.2).
fn plain(text: &str, position: Position) -> Result<Json, Problem> {
    match text {
        _ if yaml::is_null(text) => return Ok(Json::Null),
        "true" | "True" | "TRUE" => return Ok(Json::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Json::Bool(false)),
        _ => {}
    }
    let inexact = || Problem::inexact(text, pair(position));
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        let digits = text.strip_prefix(prefix).filter(|digits| !digits.is_empty());
        if let Some(digits) = digits.filter(|digits| digits.chars().all(|c| c.is_digit(radix))) {
            return u64::from_str_radix(digits, radix).map(Json::from).map_err(|_| inexact());
        }
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if !is_decimal(text.strip_prefix(['+', '-']).unwrap_or(text)) {
        return Ok(Json::String(text.to_owned()));
    }
    if !keeps_number(unsigned) {
        return Err(inexact());
    }
    let integer =
        unsigned.parse::<i64>().map(Json::from).or_else(|_| unsigned.parse::<u64>().map(Json::from));
    // Invariant: a number that is kept and is not an integer is a finite double.
    Ok(integer.unwrap_or_else(|_| unsigned.parse::<f64>().map_or(Json::Null, Json::from)))
}

/// Returns whether a text is a decimal number without a sign.
fn is_decimal(digits: &str) -> bool {
    let is_begun = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    is_begun
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && digits.parse::<f64>().is_ok()
}
