//! Descriptions of texts that are not expressions. Those of the parser name its own rules and tokens.

use super::Finding;
use crate::problem::EXPRESSION;
use cel::ParseError;

/// Words that the grammar reserves. They cannot be selected with a dot.
const RESERVED: &[&str] = &["in", "true", "false", "null"];
/// Operators of other languages, and what to write.
const FOREIGN: &[(&str, &str)] = &[
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
    ("is", "=="),
    ("AND", "&&"),
    ("OR", "||"),
    ("NOT", "!"),
    ("===", "=="),
    ("!==", "!="),
    ("<>", "!="),
    ("=", "=="),
    ("&", "&&"),
    ("|", "||"),
];

/// A part of an expression that is separated from others by spaces or by its kind of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lexeme<'t> {
    text: &'t str,
    /// In characters, counted from 1.
    column: usize,
}

/// Returns the problem of a text that the parser refused.
pub(super) fn finding(text: &str, errors: &[ParseError]) -> Finding {
    let invalid =
        |detail: String| Finding::new(EXPRESSION, format!("`{text}` is not a valid expression: {detail}"));
    let lexemes = match lexemes(text) {
        Ok(lexemes) => lexemes,
        Err(column) => {
            return invalid(format!("the string that begins at column {column} has no end"))
                .hint("end it with the same quote");
        }
    };
    if let Some((path, word)) = reserved(&lexemes) {
        let detail = format!("`{word}` at column {} is a reserved word", word_column(&lexemes, word));
        return invalid(detail).hint(format!("write `{path}[\"{word}\"]`"));
    }
    if let Some((lexeme, instead)) = foreign(&lexemes) {
        return invalid(format!("`{}` at column {} is not an operator", lexeme.text, lexeme.column))
            .hint(format!("write `{instead}`"));
    }
    if let Some(detail) = brackets(&lexemes) {
        return invalid(detail);
    }
    let Some(error) = errors.first() else { return invalid("it has no meaning".to_owned()) };
    if lexemes.is_empty() || error.msg.contains("<EOF>") {
        return invalid("it ends too early: a value or a closing bracket is missing".to_owned());
    }
    let column = usize::try_from(error.pos.1).unwrap_or(0).max(1);
    let at = lexemes.iter().rev().find(|lexeme| lexeme.column <= column).or(lexemes.first());
    invalid(at.map_or_else(
        || "it has no meaning".to_owned(),
        |lexeme| format!("unexpected `{}` at column {}", lexeme.text, lexeme.column),
    ))
}

/// Splits a text. The error is the column of a string without an end.
fn lexemes(text: &str) -> Result<Vec<Lexeme<'_>>, usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_operator = |c: char| "=!<>&|".contains(c);
    let mut lexemes = Vec::new();
    let (mut rest, mut column) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => string_end(rest, first).ok_or(column)?,
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c if is_operator(c) => rest.find(|c| !is_operator(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (lexeme, after) = rest.split_at(end);
        if !first.is_whitespace() {
            lexemes.push(Lexeme { text: lexeme, column });
        }
        column += lexeme.chars().count();
        rest = after;
    }
    Ok(lexemes)
}

/// Returns the position after the string at the start of a text.
fn string_end(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

/// Returns a reserved word after a dot, and the path before the dot.
fn reserved<'t>(lexemes: &[Lexeme<'t>]) -> Option<(String, &'t str)> {
    let at = lexemes
        .windows(2)
        .position(|pair| matches!(pair, [dot, word] if dot.text == "." && RESERVED.contains(&word.text)))?;
    let is_path = |lexeme: &Lexeme<'_>| {
        lexeme.text == "." || lexeme.text.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let before = lexemes.get(..at).unwrap_or_default();
    let start = before.iter().rposition(|lexeme| !is_path(lexeme)).map_or(0, |at| at + 1);
    let path: String = before.get(start..).unwrap_or_default().iter().map(|lexeme| lexeme.text).collect();
    let path = if path.is_empty() { "…".to_owned() } else { path };
    Some((path, lexemes.get(at + 1)?.text))
}

fn word_column(lexemes: &[Lexeme<'_>], word: &str) -> usize {
    let pair =
        lexemes.windows(2).find(|pair| matches!(pair, [dot, each] if dot.text == "." && each.text == word));
    pair.and_then(|pair| pair.get(1)).map_or(1, |lexeme| lexeme.column)
}

/// Returns an operator of another language, and what to write.
fn foreign<'t>(lexemes: &[Lexeme<'t>]) -> Option<(Lexeme<'t>, &'static str)> {
    lexemes.iter().enumerate().find_map(|(index, lexeme)| {
        let (_, instead) = FOREIGN.iter().find(|(word, _)| *word == lexeme.text)?;
        // A field or a function may have such a name.
        let before = index.checked_sub(1).and_then(|index| lexemes.get(index));
        let is_field = before.is_some_and(|before| before.text == ".");
        (!is_field).then_some((*lexeme, *instead))
    })
}

/// Describes a bracket without a counterpart.
fn brackets(lexemes: &[Lexeme<'_>]) -> Option<String> {
    let mut open: Vec<Lexeme<'_>> = Vec::new();
    for lexeme in lexemes {
        let expected = match lexeme.text {
            "(" | "[" | "{" => {
                open.push(*lexeme);
                continue;
            }
            ")" => "(",
            "]" => "[",
            "}" => "{",
            _ => continue,
        };
        if open.pop().is_none_or(|open| open.text != expected) {
            return Some(format!("`{}` at column {} closes nothing", lexeme.text, lexeme.column));
        }
    }
    open.last().map(|open| format!("`{}` at column {} is not closed", open.text, open.column))
}
