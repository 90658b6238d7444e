//! Limits of the text of an expression. They are checked before parsing, because the parser recurses for each bracket and
//! could overflow the stack.

use super::Finding;
use crate::problem::LIMIT;
use goconductor_saga::keeps_number;

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

/// Returns the first double in an expression that is not kept exactly.
pub(super) fn inexact_number(text: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let text: String = outside_of_strings(text).collect();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        // The length of a name, which may contain digits, or of a number.
        let mut length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if first.is_ascii_digit() {
            length = number_length(rest).max(length);
            let number = rest.get(..length).unwrap_or_default();
            let is_double = number.contains(['.', 'e', 'E']) && number.parse::<f64>().is_ok();
            if is_double && !keeps_number(number) {
                return Some(number.to_owned());
            }
        }
        rest = rest.get(length.max(first.len_utf8())..).unwrap_or_default();
    }
    None
}

/// Returns the number of bytes of a decimal number at the start of a text.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.bytes().take_while(u8::is_ascii_digit).count()
    };
    let mut length = digits(0);
    if text.get(length..).is_some_and(|rest| rest.starts_with('.')) && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if let Some(exponent) = text.get(length..).and_then(|rest| rest.strip_prefix(['e', 'E'])) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        if digits(length + 1 + sign) > 0 {
            length += 1 + sign + digits(length + 1 + sign);
        }
    }
    length
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn double_that_is_not_kept_is_found() {
        for (text, found) in [
            ("input.amount > 123456789012345678.99", Some("123456789012345678.99")),
            ("[1.5, 0.12345678901234567890][0]", Some("0.12345678901234567890")),
            ("-1e-400 + x", Some("1e-400")),
            ("1.5 + 2e3 - 19.90 * 0x1F + 7u", None),
            ("a1.b2.c3_4 == '123456789012345678.99'", None),
            ("list[12].size() > 9223372036854775807", None),
            ("\"\\\"\" + string(0.5)", None),
        ] {
            assert_eq!(inexact_number(text).as_deref(), found, "{text}");
        }
    }
}
