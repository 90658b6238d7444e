//! Limits of the text of an expression. They are checked before parsing, because the parser recurses for each bracket and
//! could overflow the stack.

use super::Finding;
use crate::problem::LIMIT;

/// Maximum bytes of an expression.
const MAX_BYTES: usize = 1024;
/// Maximum nesting depth of brackets.
const MAX_NESTING: usize = 12;
/// Maximum number of `?` operators. The parser recurses for each.
const MAX_CONDITIONALS: usize = 12;
/// Maximum number of operators and selections, which bounds the depth of the expression tree.
const MAX_OPERATORS: usize = 200;

/// Refuses an expression that exceeds the limits of the parser.
pub(super) fn check(text: &str) -> Result<(), Finding> {
    if text.len() > MAX_BYTES {
        let detail = format!("the expression has {} bytes, and the limit is {MAX_BYTES}", text.len());
        return Err(Finding::new(LIMIT, detail)
            .hint("compute the value in the service, or split it into several fields"));
    }
    let (mut depth, mut deepest, mut conditionals, mut operators) = (0_usize, 0_usize, 0_usize, 0_usize);
    for c in outside_of_strings(text) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '?' => conditionals += 1,
            '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '&' | '|' | '.' => operators += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    let over = |what: &str, limit: usize| {
        Err(Finding::new(LIMIT, format!("the expression has more than {limit} {what}")).hint("split it up"))
    };
    if deepest > MAX_NESTING {
        return over("levels of brackets", MAX_NESTING);
    }
    if conditionals > MAX_CONDITIONALS {
        return over("conditionals (`? :`)", MAX_CONDITIONALS);
    }
    if operators > MAX_OPERATORS {
        return over("operators", MAX_OPERATORS);
    }
    Ok(())
}

/// Returns the number of `+` operators.
pub(super) fn additions(text: &str) -> usize {
    outside_of_strings(text).filter(|c| *c == '+').count()
}

/// Returns the characters outside of string literals. With unbalanced quotes, it returns too many rather than too few.
fn outside_of_strings(text: &str) -> impl Iterator<Item = char> {
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
