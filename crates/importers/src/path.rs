//! Paths to a value: `$.a.b[0]` of JSONPath, `.a.b[0]` of jq.

use crate::json::quoted;

/// Words that CEL reserves.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Maximum number of selections of a path.
const MAX_SEGMENTS: usize = 32;

/// A selection of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathSegment {
    Field(String),
    Index(usize),
}

/// Reads a path that names one value. Returns `None` for filters, wildcards and everything else.
pub(crate) fn parse(text: &str) -> Option<Vec<PathSegment>> {
    let text = text.trim();
    let mut rest = match text.strip_prefix('$') {
        Some(rest) => rest,
        None if text.starts_with('.') => text,
        None => return None,
    };
    if rest == "." {
        return Some(Vec::new());
    }
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let (segment, after) = segment(rest)?;
        if segments.len() == MAX_SEGMENTS {
            return None;
        }
        segments.push(segment);
        rest = after;
    }
    Some(segments)
}

fn segment(text: &str) -> Option<(PathSegment, &str)> {
    if let Some(inner) = text.strip_prefix('[') {
        let (inside, after) = inner.split_once(']')?;
        let bare = inside.trim_matches(['\'', '"']);
        let segment = match inside.parse::<usize>() {
            Ok(index) => PathSegment::Index(index),
            Err(_) if bare.len() + 2 == inside.len() => PathSegment::Field(bare.to_owned()),
            Err(_) => return None,
        };
        return Some((segment, after));
    }
    let inner = text.strip_prefix('.')?;
    if inner.starts_with('[') {
        return segment(inner);
    }
    let end = inner.find(|c: char| !is_name_char(c)).unwrap_or(inner.len());
    let (name, after) = inner.split_at_checked(end)?;
    (!name.is_empty()).then(|| (PathSegment::Field(name.to_owned()), after))
}

pub(crate) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// Appends the selection of a value to an expression.
pub(crate) fn select(expression: &str, path: &[PathSegment]) -> String {
    let mut text = expression.to_owned();
    for segment in path {
        match segment {
            PathSegment::Field(name) => text.push_str(&field(name)),
            PathSegment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// The selection of a field.
pub(crate) fn field(name: &str) -> String {
    let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.contains(&name);
    if is_identifier { format!(".{name}") } else { format!("[{}]", quoted(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_one_value() {
        for (text, expected) in [
            ("$", "x"),
            (".", "x"),
            ("$.a.b", "x.a.b"),
            (".a[0].in", "x.a[0]['in']"),
            ("$['first name'].b-c", "x['first name']['b-c']"),
        ] {
            assert_eq!(select("x", &parse(text).unwrap()), expected, "{text}");
        }
        for text in ["a", "$..a", "$.a[*]", "$.a[?(@.b)]", "$.a | length", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
