//! Conditions in JavaScript and jq: comparisons of a path with a literal or another path, joined by and, or, not.

use crate::json::quoted;
use crate::path::{PathSegment, is_name_char, parse};

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Value(String),
    Number(f64),
    Operator(&'static str),
    Open,
    Close,
}

/// The operators of the source and of CEL. A longer one precedes its beginning.
const OPERATORS: &[(&str, &str)] = &[
    ("===", "=="),
    ("!==", "!="),
    ("==", "=="),
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("&&", "&&"),
    ("||", "||"),
    ("<", "<"),
    (">", ">"),
    ("!", "!"),
];

/// Translates a condition to CEL. Returns `None` if it has anything else than comparisons, or a path is not known.
pub(crate) fn translate(text: &str, resolve: impl Fn(&[PathSegment]) -> Option<String>) -> Option<String> {
    let tokens = tokens(text, &resolve)?;
    let mut parser = ConditionParser { tokens: &tokens, depth: 0 };
    let cel = parser.either()?;
    parser.tokens.is_empty().then_some(cel)
}

/// A comparison with a number. CEL does not mix ints and doubles, and JSON does not distinguish them.
pub(crate) fn numeric(left: &str, operator: &str, right: f64) -> String {
    format!("double({left}) {operator} {right:?}")
}

fn tokens(text: &str, resolve: &impl Fn(&[PathSegment]) -> Option<String>) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let (token, after) = match c {
            '(' => (Token::Open, rest.get(1..)?),
            ')' => (Token::Close, rest.get(1..)?),
            '\'' | '"' => {
                let (inside, after) = rest.get(1..)?.split_once(c)?;
                // An escape could end the string elsewhere.
                if inside.contains('\\') {
                    return None;
                }
                (Token::Value(quoted(inside)), after)
            }
            '$' | '.' => {
                let end = rest
                    .find(|c: char| !(is_name_char(c) || matches!(c, '$' | '.' | '[' | ']')))
                    .unwrap_or(rest.len());
                let (path, after) = rest.split_at_checked(end)?;
                (Token::Value(resolve(&parse(path)?)?), after)
            }
            c if c.is_ascii_digit() || c == '-' => {
                let end = rest
                    .char_indices()
                    .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && *c == '-')))
                    .map_or(rest.len(), |(at, _)| at);
                let (number, after) = rest.split_at_checked(end)?;
                (Token::Number(number.parse().ok()?), after)
            }
            c if c.is_ascii_alphabetic() => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end)?;
                (keyword(word)?, after)
            }
            _ => {
                let (source, cel) = OPERATORS.iter().find(|(source, _)| rest.starts_with(source))?;
                (Token::Operator(cel), rest.get(source.len()..)?)
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Some(tokens)
}

fn keyword(word: &str) -> Option<Token> {
    Some(match word {
        "true" | "false" | "null" => Token::Value(word.to_owned()),
        "undefined" => Token::Value("null".to_owned()),
        "and" => Token::Operator("&&"),
        "or" => Token::Operator("||"),
        _ => return None,
    })
}

/// Maximum nesting depth of parentheses.
const MAX_DEPTH: usize = 32;

struct ConditionParser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl ConditionParser<'_> {
    fn take(&mut self, accepts: impl Fn(&Token) -> bool) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        accepts(first).then(|| {
            self.tokens = rest;
            first.clone()
        })
    }

    fn either(&mut self) -> Option<String> {
        let mut text = self.both()?;
        while self.take(|token| *token == Token::Operator("||")).is_some() {
            text = format!("{text} || {}", self.both()?);
        }
        Some(text)
    }

    fn both(&mut self) -> Option<String> {
        let mut text = self.comparison()?;
        while self.take(|token| *token == Token::Operator("&&")).is_some() {
            text = format!("{text} && {}", self.comparison()?);
        }
        Some(text)
    }

    fn comparison(&mut self) -> Option<String> {
        if self.take(|token| *token == Token::Operator("!")).is_some() {
            return self.operand().map(|operand| format!("!({operand})"));
        }
        let number = |token: &Token| matches!(token, Token::Number(_));
        let left = match self.take(number) {
            Some(Token::Number(value)) => format!("{value:?}"),
            Some(_) | None => self.operand()?,
        };
        let comparing =
            |token: &Token| matches!(token, Token::Operator("==" | "!=" | "<" | ">" | "<=" | ">="));
        let Some(Token::Operator(operator)) = self.take(comparing) else { return Some(left) };
        match self.take(number) {
            Some(Token::Number(right)) => Some(numeric(&left, operator, right)),
            Some(_) | None => {
                let right = self.operand()?;
                Some(format!("{left} {operator} {right}"))
            }
        }
    }

    fn operand(&mut self) -> Option<String> {
        if self.take(|token| *token == Token::Open).is_some() {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return None;
            }
            let inner = self.either()?;
            self.take(|token| *token == Token::Close)?;
            return Some(format!("({inner})"));
        }
        match self.take(|token| matches!(token, Token::Value(_)))? {
            Token::Value(value) => Some(value),
            Token::Number(_) | Token::Operator(_) | Token::Open | Token::Close => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::select;

    #[test]
    fn simple_conditions_are_translated() {
        let cel = |text: &str| translate(text, |path| Some(select("input", path)));
        for (text, expected) in [
            ("$.type === 'gold'", "input.type == 'gold'"),
            (".amount >= 100", "double(input.amount) >= 100.0"),
            (".a == \"x\" and .b or (.c != null)", "input.a == 'x' && input.b || (input.c != null)"),
            ("!$.done", "!(input.done)"),
            ("$.a < $.b", "input.a < input.b"),
        ] {
            assert_eq!(cel(text).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["$.a.length > 1 ? 1 : 2", ".a | length > 0", "function() {}", "$.a + 1 > 2", "", "$.a =="]
        {
            assert_eq!(cel(text), None, "{text}");
        }
    }
}
