//! The JSON parser (RFC 8259). It exists because serde_json does not report the locations of values.

use crate::Limits;
use crate::node::{Entry, Node, Value};
use crate::problem::{DUPLICATE, LIMIT, Problem, SYNTAX};
use goconductor_saga::{Json, keeps_number};
use std::cell::Cell;
use std::collections::HashMap;

/// The problem of a string that serde_json refuses.
const INVALID_STRING: &str = "a string has an invalid escape or a control character: write `\\\\` for a backslash and \
                              `\\n` for a line break";

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// The position where the line begins.
    line_start: usize,
    /// A position in the line and its column. The characters of a long line are counted only once.
    counted: Cell<(usize, usize)>,
    limits: &'a Limits,
    nodes: usize,
}

pub(crate) fn read(text: &str, limits: &Limits) -> Result<Node, Problem> {
    let mut cursor =
        Cursor { text, at: 0, line: 1, line_start: 0, counted: Cell::new((0, 1)), limits, nodes: 0 };
    let root = cursor.value(0)?;
    cursor.skip_space();
    match cursor.peek() {
        None => Ok(root),
        Some(_) => Err(cursor.syntax_error("unexpected text after the value")),
    }
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn location(&self) -> (usize, usize) {
        let (from, column) = match self.counted.get() {
            (from, column) if (self.line_start..=self.at).contains(&from) => (from, column),
            (_, _) => (self.line_start, 1),
        };
        let column = column + self.text.get(from..self.at).unwrap_or_default().chars().count();
        self.counted.set((self.at, column));
        (self.line, column)
    }

    fn syntax_error(&self, detail: &str) -> Problem {
        Problem::new(SYNTAX, "", self.location(), format!("invalid JSON: {detail}"))
    }

    fn skip_space(&mut self) {
        while let Some(c @ (' ' | '\t' | '\r' | '\n')) = self.peek() {
            self.at += 1;
            if c == '\n' {
                self.line += 1;
                self.line_start = self.at;
            }
        }
    }

    fn eat(&mut self, expected: char) -> Result<(), Problem> {
        self.skip_space();
        if self.peek() == Some(expected) {
            self.at += expected.len_utf8();
            return Ok(());
        }
        let found = self.peek().map_or("the end of the text".to_owned(), |found| format!("`{found}`"));
        Err(self.syntax_error(&format!("expected `{expected}`, found {found}")))
    }

    fn next_is(&mut self, expected: char) -> bool {
        self.skip_space();
        self.peek() == Some(expected)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        self.skip_space();
        self.nodes += 1;
        if depth > self.limits.depth || self.nodes > self.limits.nodes {
            let detail = format!(
                "the text is nested more than {} levels deep or contains more than {} values",
                self.limits.depth, self.limits.nodes
            );
            return Err(Problem::new(LIMIT, "", self.location(), detail));
        }
        let (line, column) = self.location();
        let value = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => Value::Scalar(Json::String(self.string()?)),
            Some(_) => Value::Scalar(self.literal()?),
            None => return Err(self.syntax_error("expected a value, found the end of the text")),
        };
        Ok(Node { value, line, column })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Problem> {
        self.eat('{')?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        while !self.next_is('}') {
            if !entries.is_empty() {
                self.eat(',')?;
            }
            self.skip_space();
            let (line, column) = self.location();
            let key = self.string()?;
            if let Some(first) = lines.insert(key.clone(), line) {
                let detail = format!("duplicate key `{key}`: it is already used in line {first}");
                return Err(Problem::new(DUPLICATE, "", (line, column), detail));
            }
            self.eat(':')?;
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, line, column, value });
        }
        self.eat('}')?;
        Ok(Value::Map(entries))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Problem> {
        self.eat('[')?;
        let mut items = Vec::new();
        while !self.next_is(']') {
            if !items.is_empty() {
                self.eat(',')?;
            }
            items.push(self.value(depth + 1)?);
        }
        self.eat(']')?;
        Ok(Value::List(items))
    }

    /// Finds the end of a string. serde_json decodes the escapes.
    fn string(&mut self) -> Result<String, Problem> {
        if self.peek() != Some('"') {
            return Err(self.syntax_error("expected a string in double quotes"));
        }
        let mut escaped = false;
        let mut end = None;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    end = Some(offset + 1);
                    break;
                }
                '\n' => break,
                _ => {}
            }
        }
        let Some(end) = end else { return Err(self.syntax_error("unterminated string")) };
        let literal = self.rest().get(..end).unwrap_or_default();
        let string: String = serde_json::from_str(literal).map_err(|_| self.syntax_error(INVALID_STRING))?;
        if string.contains('\0') {
            return Err(self.syntax_error("a string must not contain a NUL character"));
        }
        self.at += end;
        Ok(string)
    }

    fn literal(&mut self) -> Result<Json, Problem> {
        let is_end = |c: char| c.is_whitespace() || ",]}:[{\"".contains(c);
        let rest = self.rest();
        let end = rest.find(is_end).unwrap_or(rest.len());
        let literal = rest.get(..end).unwrap_or_default();
        let is_number = literal.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let inexact = is_number && !keeps_number(literal);
        let value = serde_json::from_str(literal).map_err(|error| {
            if inexact && error.to_string().starts_with("number out of range") {
                return Problem::inexact(literal, self.location());
            }
            self.syntax_error("expected a value; a string needs double quotes")
        })?;
        if inexact {
            return Err(Problem::inexact(literal, self.location()));
        }
        self.at += end;
        Ok(value)
    }
}
