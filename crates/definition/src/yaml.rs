//! YAML text to a tree with the position of every key and value.
//!
//! The tree is the text as it was written: scalars are not converted, aliases are not expanded, and duplicate keys
//! are kept. The callers decide what they allow: the definition language and the configuration differ in that.

mod message;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

/// Position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// A value with its position.
#[derive(Debug, Clone)]
pub struct YamlNode {
    /// The position of the first character.
    pub position: Position,
    /// Whether the value has a tag, such as `!!str`.
    pub has_tag: bool,
    /// The anchor, such as `&a`, as a number that is unique in the document.
    pub anchor: Option<usize>,
    /// The value.
    pub value: YamlValue,
}

/// A value as it was written.
#[derive(Debug, Clone)]
pub enum YamlValue {
    /// A scalar.
    Scalar {
        /// The text, without quotes.
        text: String,
        /// Whether the text has no quotes and is not a block, so that YAML may give it another type than string.
        is_plain: bool,
    },
    /// A sequence.
    List(Vec<YamlNode>),
    /// A mapping: keys and values in their order.
    Map(Vec<(YamlNode, YamlNode)>),
    /// A reference to the value with this anchor.
    Alias(usize),
}

/// Limits of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum nesting depth.
    pub depth: usize,
    /// Maximum number of keys and values. An alias counts as one.
    pub nodes: usize,
}

/// Error that stops reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The cause.
    pub kind: ErrorKind,
    /// The position of the cause.
    pub position: Position,
}

/// Cause of an [`Error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The text is not YAML.
    #[error("this is not YAML: {0}")]
    Syntax(String),
    /// The text contains a second document.
    #[error("contains more than one document")]
    ManyDocuments,
    /// The text exceeds [`Limits::depth`].
    #[error("nested too deeply: the maximum depth is {0}")]
    TooDeep(usize),
    /// The text exceeds [`Limits::nodes`].
    #[error("contains more than {0} keys and values")]
    TooManyNodes(usize),
}

/// Reads a document. Returns `None` if the text is empty or contains only comments.
///
/// # Errors
/// Returns the first [`Error`] in the text.
pub fn parse(text: &str, limits: Limits) -> Result<Option<YamlNode>, Error> {
    if flow_depth(text) > limits.depth {
        let position = Position { line: 1, column: 1 };
        return Err(Error { kind: ErrorKind::TooDeep(limits.depth), position });
    }
    let mut builder = Builder { limits, open: Vec::new(), nodes: 0, root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Error {
            kind: ErrorKind::Syntax(message::described(error.info()).to_owned()),
            position: position(error.marker()),
        })?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(Error { kind: ErrorKind::ManyDocuments, position: position(&span.start) });
            }
        }
        builder.add(event, &span)?;
    }
    Ok(builder.root)
}

/// Returns whether a plain scalar is null by YAML's core schema.
#[must_use]
pub fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

/// Returns the maximum nesting of brackets, regardless of their context. It is checked before parsing, because the
/// parser itself recurses into brackets.
fn flow_depth(text: &str) -> usize {
    let (mut depth, mut max) = (0_usize, 0);
    for c in text.chars() {
        match c {
            '[' | '{' => {
                depth += 1;
                max = max.max(depth);
            }
            ']' | '}' => depth = depth.saturating_sub(1),
            // Far beyond every limit, so the rest of the text cannot change the outcome.
            '\n' if depth > 256 => return depth,
            _ => {}
        }
    }
    max
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// A collection whose end has not been read.
struct OpenCollection {
    position: Position,
    has_tag: bool,
    anchor: Option<usize>,
    items: Items,
}

enum Items {
    List(Vec<YamlNode>),
    Map { entries: Vec<(YamlNode, YamlNode)>, key: Option<YamlNode> },
}

struct Builder {
    limits: Limits,
    open: Vec<OpenCollection>,
    nodes: usize,
    root: Option<YamlNode>,
}

impl Builder {
    fn add(&mut self, event: Event<'_>, span: &Span) -> Result<(), Error> {
        let position = position(&span.start);
        // The parser numbers anchors from 1.
        let anchor = |number: usize| (number > 0).then_some(number);
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(number) => {
                self.count(position)?;
                let value = YamlValue::Alias(number);
                self.put(YamlNode { position, has_tag: false, anchor: None, value });
            }
            Event::Scalar(text, style, number, tag) => {
                self.count(position)?;
                let is_plain = style == ScalarStyle::Plain;
                let value = YamlValue::Scalar { text: text.into_owned(), is_plain };
                self.put(YamlNode { position, has_tag: tag.is_some(), anchor: anchor(number), value });
            }
            Event::SequenceStart(number, tag) => {
                let items = Items::List(Vec::new());
                self.open(OpenCollection {
                    position,
                    has_tag: tag.is_some(),
                    anchor: anchor(number),
                    items,
                })?;
            }
            Event::MappingStart(number, tag) => {
                let items = Items::Map { entries: Vec::new(), key: None };
                self.open(OpenCollection {
                    position,
                    has_tag: tag.is_some(),
                    anchor: anchor(number),
                    items,
                })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                // Invariant: the parser closes only what it opened.
                let Some(OpenCollection { position, has_tag, anchor, items }) = self.open.pop() else {
                    return Ok(());
                };
                let value = match items {
                    Items::List(items) => YamlValue::List(items),
                    Items::Map { entries, .. } => YamlValue::Map(entries),
                };
                self.put(YamlNode { position, has_tag, anchor, value });
            }
        }
        Ok(())
    }

    fn open(&mut self, open: OpenCollection) -> Result<(), Error> {
        self.count(open.position)?;
        if self.open.len() >= self.limits.depth {
            return Err(Error { kind: ErrorKind::TooDeep(self.limits.depth), position: open.position });
        }
        self.open.push(open);
        Ok(())
    }

    fn count(&mut self, position: Position) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(Error { kind: ErrorKind::TooManyNodes(self.limits.nodes), position });
        }
        Ok(())
    }

    fn put(&mut self, node: YamlNode) {
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { entries, key }) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(node),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { depth: 3, nodes: 10 };

    fn error(text: &str) -> (String, usize, usize) {
        let error = parse(text, LIMITS).unwrap_err();
        (error.kind.to_string(), error.position.line, error.position.column)
    }

    #[test]
    fn keys_and_values_have_positions() {
        let root = parse("a: 1\nb:\n  - \"x\"\n", LIMITS).unwrap().unwrap();
        let YamlValue::Map(entries) = root.value else { panic!("expected a mapping") };
        let positions: Vec<_> = entries
            .iter()
            .flat_map(|(key, value)| [key.position, value.position])
            .map(|position| (position.line, position.column))
            .collect();
        assert_eq!(positions, [(1, 1), (1, 4), (2, 1), (3, 3)]);
    }

    #[test]
    fn text_without_a_value_is_none() {
        for text in ["", "# only a comment\n"] {
            assert!(parse(text, LIMITS).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn text_beyond_a_limit_is_refused() {
        assert_eq!(error("[[[[]]]]"), ("nested too deeply: the maximum depth is 3".to_owned(), 1, 1));
        assert_eq!(error("a:\n b:\n  c:\n   d: 1\n").0, "nested too deeply: the maximum depth is 3");
        assert_eq!(error("[1,2,3,4,5,6,7,8,9,10]").0, "contains more than 10 keys and values");
        assert_eq!(error("{}\n---\n{}"), ("contains more than one document".to_owned(), 2, 1));
        assert!(error("a: [").0.starts_with("this is not YAML: "));
    }
}
