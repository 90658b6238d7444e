//! What an expression looks like, before it is parsed: a parser that goes down for each bracket can be
//! sent below the end of its stack.

use super::Finding;
use crate::problem::LIMIT;

/// Bytes of an expression.
const BYTES: usize = 1024;
/// Brackets in brackets.
const NESTING: usize = 12;
/// `?` of an expression: the parser goes down for each.
const CHOICES: usize = 12;
/// Operators, and selections: the tree that is computed is as deep as they are many.
const OPERATORS: usize = 200;

/// Refuses what would be too much for the parser.
pub(super) fn check(text: &str) -> Result<(), Finding> {
    if text.len() > BYTES {
        let detail = format!("the expression has {} bytes; at most {BYTES} are read", text.len());
        return Err(Finding::new(LIMIT, detail).hint("compute it in the service, or in more than one field"));
    }
    let (mut depth, mut deepest, mut choices, mut operators) = (0_usize, 0_usize, 0_usize, 0_usize);
    for c in outside_of_texts(text) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => choices += 1,
            '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '&' | '|' | '.' => operators += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let over = |what: &str, limit: usize| {
        Err(Finding::new(LIMIT, format!("the expression has more than {limit} {what}")).hint("take it apart"))
    };
    if deepest > NESTING {
        return over("brackets in brackets", NESTING);
    }
    if choices > CHOICES {
        return over("choices (`? :`)", CHOICES);
    }
    if operators > OPERATORS {
        return over("operators", OPERATORS);
    }
    Ok(())
}

/// How often `+` is written.
pub(super) fn additions(text: &str) -> usize {
    outside_of_texts(text).filter(|c| *c == '+').count()
}

/// The characters that are not in a quoted text. Where quotes do not match up it errs towards too many.
fn outside_of_texts(text: &str) -> impl Iterator<Item = char> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    text.chars().filter(move |c| match quote {
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(_) if *c == '\\' => {
            escaped = true;
            false
        }
        Some(open) => {
            if *c == open {
                quote = None;
            }
            false
        }
        None => {
            if matches!(c, '\'' | '"') {
                quote = Some(*c);
            }
            true
        }
    })
}
