//! JSON to a document: a reader of our own, as serde's keeps no places. RFC 8259, and nothing beside it.

use crate::Limits;
use crate::node::{Entry, Node, Value};
use crate::problem::{DUPLICATE, LIMIT, Problem, SYNTAX};
use goconductor_saga::Json;

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// Where the line began.
    line_start: usize,
    limits: &'a Limits,
    nodes: usize,
}

pub(crate) fn read(text: &str, limits: &Limits) -> Result<Node, Problem> {
    let mut cursor = Cursor { text, at: 0, line: 1, line_start: 0, limits, nodes: 0 };
    let root = cursor.value(0)?;
    cursor.space();
    match cursor.peek() {
        None => Ok(root),
        Some(_) => Err(cursor.wrong("something follows the end of the value")),
    }
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn place(&self) -> (usize, usize) {
        let line = self.text.get(self.line_start..self.at).unwrap_or_default();
        (self.line, line.chars().count() + 1)
    }

    fn wrong(&self, detail: &str) -> Problem {
        Problem::new(SYNTAX, "", self.place(), format!("this is no JSON: {detail}"))
    }

    fn space(&mut self) {
        while let Some(c @ (' ' | '\t' | '\r' | '\n')) = self.peek() {
            self.at += 1;
            if c == '\n' {
                self.line += 1;
                self.line_start = self.at;
            }
        }
    }

    fn eat(&mut self, expected: char) -> Result<(), Problem> {
        self.space();
        if self.peek() == Some(expected) {
            self.at += expected.len_utf8();
            return Ok(());
        }
        let found = self.peek().map_or("the end of the text".to_owned(), |found| format!("`{found}`"));
        Err(self.wrong(&format!("expected `{expected}`, found {found}")))
    }

    fn next_is(&mut self, expected: char) -> bool {
        self.space();
        self.peek() == Some(expected)
    }

    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        self.space();
        self.nodes += 1;
        if depth > self.limits.depth || self.nodes > self.limits.nodes {
            let detail = format!(
                "it is nested deeper than {} or holds more than {} values",
                self.limits.depth, self.limits.nodes
            );
            return Err(Problem::new(LIMIT, "", self.place(), detail));
        }
        let (line, column) = self.place();
        let value = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => Value::Scalar(Json::String(self.string()?)),
            Some(_) => Value::Scalar(self.literal()?),
            None => return Err(self.wrong("the text ends where a value is expected")),
        };
        Ok(Node { value, line, column })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Problem> {
        self.eat('{')?;
        let mut entries: Vec<Entry> = Vec::new();
        while !self.next_is('}') {
            if !entries.is_empty() {
                self.eat(',')?;
            }
            self.space();
            let (line, column) = self.place();
            let key = self.string()?;
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let detail = format!("the key {key} is there already, in line {}", first.line);
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

    /// The extent of a string is found here, its escapes are serde's matter.
    fn string(&mut self) -> Result<String, Problem> {
        if self.peek() != Some('"') {
            return Err(self.wrong("a text in double quotes is expected"));
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
        let Some(end) = end else { return Err(self.wrong("a text is not ended by a double quote")) };
        let literal = self.rest().get(..end).unwrap_or_default();
        let string: String = serde_json::from_str(literal)
            .map_err(|error| self.wrong(&format!("a text is wrong: {error}")))?;
        if string.contains('\0') {
            return Err(self.wrong("a NUL character can't be part of a text"));
        }
        self.at += end;
        Ok(string)
    }

    fn literal(&mut self) -> Result<Json, Problem> {
        let is_end = |c: char| c.is_whitespace() || ",]}:[{\"".contains(c);
        let rest = self.rest();
        let end = rest.find(is_end).unwrap_or(rest.len());
        let literal = rest.get(..end).unwrap_or_default();
        let value = serde_json::from_str(literal)
            .map_err(|_| self.wrong("expected a value: a text needs double quotes"))?;
        self.at += end;
        Ok(value)
    }
}
