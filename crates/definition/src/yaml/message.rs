//! Descriptions of texts that are not YAML. Those of the parser name its own states and tokens.

/// Parts of the parser's messages, and the description of the text. The first match counts.
const DESCRIPTIONS: &[(&[&str], &str)] = &[
    (&["recursion limit"], "the text is nested too deeply"),
    (&["byte order mark"], "a byte order mark is only allowed at the start of the text: remove it"),
    (&["unprintable"], "a character is not printable: remove it, or write it as an escape in double quotes"),
    (&["tab"], "a tab is not allowed here: indent with spaces"),
    (
        &["quoted scalar, found unexpected end", "quoted scalar, found unexpected document"],
        "a quoted string has no end",
    ),
    (
        &["escape", "hexadecimal", "unicode character"],
        "a string in double quotes has an invalid escape: write `\\\\` for a backslash, or use single quotes",
    ),
    (&["trailing content after"], "unexpected text after a quoted string"),
    (&["indentation"], "the indentation does not fit: indent all entries of a map or a list equally"),
    (&["wrongly indented"], "the indentation does not fit: indent all lines of a block equally"),
    (&["unknown anchor"], "an alias `*…` refers to no anchor `&…` before it"),
    (
        &["anchor"],
        "an anchor `&…` or an alias `*…` has no valid name: quote a text that begins with `&` or `*`",
    ),
    (
        &["tag", "TAG", "directive", "handle"],
        "tags (`!…`) and directives (`%…`) are not supported: quote the text",
    ),
    (&["flow sequence"], "expected `,` or `]` in a list"),
    (&["flow mapping"], "expected `,` or `}` in a map"),
    (&["misplaced bracket"], "a bracket closes nothing"),
    (
        &["'-'", "block collection", "block sequence"],
        "expected an item `- …` of a list: check the indentation",
    ),
    (
        &["simple key", "mapping", "':'", "block mapping"],
        "expected `key: value`: check the indentation, write a space after `:`, and quote texts that contain `: `",
    ),
    (&["comment"], "a comment must not interrupt a text"),
    (
        &["block scalar"],
        "the header of a block text is not valid: write `|` or `>`, and the text in the next lines",
    ),
    (&["unexpected character"], "a text must not begin with this character: quote the text"),
    (&["node content"], "a value is missing"),
    (&["eof", "end of stream", "end of plain"], "the text ends too early"),
    (&["document", "stream"], "a document marker `---` or `...` is not allowed here"),
];

/// Describes a text by the message of the parser.
pub(super) fn described(message: &str) -> &'static str {
    let found = DESCRIPTIONS.iter().find(|(parts, _)| parts.iter().any(|part| message.contains(part)));
    found.map_or("the text does not continue in a valid way", |(_, description)| description)
}

#[cfg(test)]
mod tests {
    use crate::yaml::{Limits, parse};

    #[test]
    fn common_mistake_is_described_without_terms_of_the_parser() {
        for (text, expected) in [
            ("a: b: c", "expected `key: value`"),
            ("a: [1, 2", "expected `,` or `]`"),
            ("a: {b: 1", "expected `,` or `}`"),
            ("a: \"x", "a quoted string has no end"),
            ("a: 'x", "a quoted string has no end"),
            ("a: \"\\q\"", "invalid escape"),
            ("a:\n\tb: 1", "a tab is not allowed here"),
            ("a: *x", "refers to no anchor"),
            ("a: @x", "must not begin with this character"),
            ("a: 1\n b: 2", ""),
            ("- a\nb: 1", ""),
            ("a\nb: 1", ""),
            ("a: ]", ""),
            ("a: %x", ""),
            ("? a\n: [", ""),
            ("a: |x\n b", ""),
            ("%YAML 9.9.9\na", ""),
            ("a: &", ""),
            ("a: `x`", ""),
            ("a: \"\u{7}\"", ""),
            ("a: - b", ""),
        ] {
            let Err(error) = parse(text, Limits { depth: 10, nodes: 100 }) else {
                assert!(expected.is_empty(), "{text:?} was accepted");
                continue;
            };
            let message = error.kind.to_string();
            assert!(message.contains(expected), "{text:?}: {message}");
            for term in ["while ", "scalar", "did not find", "stream", "simple key", "flow", "'"] {
                assert!(!message.contains(term), "{text:?}: {message}");
            }
        }
    }
}
