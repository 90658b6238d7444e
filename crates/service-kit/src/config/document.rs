//! The YAML file as a list of values by dotted path, each with its place.

use std::collections::BTreeMap;
use std::path::Path;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use super::source::{Origin, Problem};

/// More is no configuration that a person wrote.
const MAX_BYTES: u64 = 1024 * 1024;
/// The deepest setting is four levels down.
const MAX_DEPTH: usize = 16;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// Without quotes: YAML gives it its type.
    Plain(String),
    /// In quotes, or as a block: a text.
    Quoted(String),
    /// From outside YAML: the setting gives it its type.
    Untyped(String),
    /// A list of texts.
    List(Vec<String>),
}

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The values by dotted path.
    pub(super) values: BTreeMap<String, Entry>,
    /// Where each key stands, sections included.
    pub(super) keys: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
    /// It could not be read to its end, so what it says is not known.
    pub(super) broken: bool,
}

impl Document {
    pub(super) fn read(path: &Path) -> Self {
        match read_limited(path) {
            Ok(text) => Self::parse(path, &text),
            Err(reason) => {
                let mut document = Self::default();
                document.problem(Origin::File { path: path.to_owned(), line: 1, column: 1 }, "", reason);
                document.broken = true;
                document
            }
        }
    }

    pub(super) fn parse(path: &Path, text: &str) -> Self {
        let mut reader =
            Reader { file: path, parser: Parser::new(StrInput::new(text)), document: Self::default() };
        reader.documents();
        reader.document
    }

    fn problem(&mut self, origin: Origin, path: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), origin, message: message.into() });
    }
}

fn read_limited(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("can't be read: {error}"))?.len();
    if size > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))
}

/// Walks over the parser's events. At the first that is no YAML it stops: what follows it can't be told.
struct Reader<'a> {
    file: &'a Path,
    parser: Parser<'a, StrInput<'a>>,
    document: Document,
}

impl<'a> Reader<'a> {
    fn documents(&mut self) {
        let mut seen = false;
        while let Some((event, origin)) = self.next() {
            match event {
                Event::DocumentStart(_) if seen => {
                    self.document.problem(origin, "", "holds more than one document");
                    return;
                }
                Event::DocumentStart(_) => seen = true,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::MappingStart(..) => self.mapping("", 1),
                Event::Scalar(ref text, ScalarStyle::Plain, _, None) if is_null(text) => {}
                Event::Scalar(..)
                | Event::Alias(_)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingEnd => {
                    self.document.problem(origin, "", "holds no keys with values");
                    return;
                }
            }
        }
    }

    fn next(&mut self) -> Option<(Event<'a>, Origin)> {
        if self.document.broken {
            return None;
        }
        match self.parser.next_event()? {
            Ok((event, span)) => Some((event, self.place(&span.start))),
            Err(error) => {
                let origin = self.place(error.marker());
                self.document.problem(origin, "", format!("this is not YAML: {}", error.info()));
                self.document.broken = true;
                None
            }
        }
    }

    fn place(&self, marker: &Marker) -> Origin {
        Origin::File { path: self.file.to_owned(), line: marker.line(), column: marker.col() + 1 }
    }

    fn mapping(&mut self, path: &str, depth: usize) {
        while let Some((event, origin)) = self.next() {
            if let Event::MappingEnd = event {
                return;
            }
            let key = if let Event::Scalar(key, ..) = &event {
                self.key(path, key, &origin)
            } else {
                self.document.problem(origin, path, "a key has to be a text");
                self.skip(&event);
                None
            };
            let Some((event, origin)) = self.next() else { return };
            match key {
                Some(key) => self.value(&key, event, origin, depth),
                None => self.skip(&event),
            }
        }
    }

    /// The dotted path of a key; none if it was reported.
    fn key(&mut self, parent: &str, key: &str, origin: &Origin) -> Option<String> {
        if key.contains('.') {
            self.document.problem(
                origin.clone(),
                parent,
                format!("the key {key} has a dot: nest the keys instead"),
            );
            return None;
        }
        let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
        if let Some(first) = self.document.keys.get(&path) {
            let message = format!("is said twice, first at {first}");
            self.document.problem(origin.clone(), &path, message);
            return None;
        }
        self.document.keys.insert(path.clone(), origin.clone());
        Some(path)
    }

    fn value(&mut self, path: &str, event: Event<'a>, origin: Origin, depth: usize) {
        let raw = match event {
            Event::Scalar(_, _, _, Some(_)) => Err("tags are not supported here"),
            Event::Scalar(text, ScalarStyle::Plain, _, None) if is_null(&text) => return,
            Event::Scalar(text, ScalarStyle::Plain, _, None) => Ok(Raw::Plain(text.into_owned())),
            Event::Scalar(text, _, _, None) => Ok(Raw::Quoted(text.into_owned())),
            Event::MappingStart(..) if depth < MAX_DEPTH => return self.mapping(path, depth + 1),
            Event::MappingStart(..) => {
                self.skip(&event);
                Err("is nested too deeply")
            }
            Event::SequenceStart(..) => {
                self.list().map(Raw::List).ok_or("is a list of something else than texts")
            }
            Event::Alias(_) => Err("aliases are not supported here"),
            // Invariant: the parser opens what it closes, and a document ends after its mapping.
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return,
        };
        match raw {
            Ok(raw) => drop(self.document.values.insert(path.to_owned(), Entry { raw, origin })),
            Err(message) => self.document.problem(origin, path, message),
        }
    }

    /// The texts of a list; none if something else is among them.
    fn list(&mut self) -> Option<Vec<String>> {
        let mut items = Some(Vec::new());
        while let Some((event, _)) = self.next() {
            match event {
                Event::SequenceEnd => break,
                Event::Scalar(text, _, _, None) => {
                    if let Some(items) = &mut items {
                        items.push(text.into_owned());
                    }
                }
                Event::Scalar(_, _, _, Some(_))
                | Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)
                | Event::MappingEnd => {
                    self.skip(&event);
                    items = None;
                }
            }
        }
        items
    }

    /// Passes over the rest of a value that began with this event.
    fn skip(&mut self, first: &Event<'_>) {
        let mut depth = opens(first);
        while depth > 0 {
            let Some((event, _)) = self.next() else { return };
            depth += opens(&event);
        }
    }
}

fn opens(event: &Event<'_>) -> i32 {
    match event {
        Event::MappingStart(..) | Event::SequenceStart(..) => 1,
        Event::MappingEnd | Event::SequenceEnd => -1,
        Event::Nothing
        | Event::StreamStart
        | Event::StreamEnd
        | Event::DocumentStart(_)
        | Event::DocumentEnd
        | Event::Alias(_)
        | Event::Scalar(..) => 0,
    }
}

fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}
