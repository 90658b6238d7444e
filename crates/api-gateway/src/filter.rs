//! Parser of list filters: a subset of AIP-160.
//!
//! A filter consists of comparisons of a field with a value, `AND`, `OR` (which has the higher precedence), `NOT` or
//! `-`, and parentheses.

use crate::error::{ApiResult, FILTER, Problem};
use crate::time;
use goconductor_saga::{RollbackCause, Status, Timestamp};
use goconductor_store::{Comparison, Field, Filter, FilterValue};

/// The longest filter, in characters.
pub(crate) const MAX_CHARS: usize = 4096;
/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;
/// The most comparisons.
const MAX_COMPARISONS: usize = 64;

const FIELDS: &str = "status, definition, version, cause, error.code, idempotency_key, created_at, ended_at, id, labels.<name>";
pub(crate) const CAUSES: [RollbackCause; 5] = [
    RollbackCause::StepFailed,
    RollbackCause::Cancelled,
    RollbackCause::TimedOut,
    RollbackCause::Operator,
    RollbackCause::Parent,
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum FilterToken {
    Word(String),
    Text(String),
    Compare(Comparison),
    Minus,
    Dot,
    Open,
    Close,
}

/// Parses a filter. An empty text is accepted as the absence of a filter. Times relative to `now` become absolute.
pub(crate) fn parse(text: &str, now: Timestamp) -> ApiResult<Option<Filter>> {
    let length = text.chars().count();
    if length > MAX_CHARS {
        let detail =
            format!("the filter has {length} characters, which is over the limit of {MAX_CHARS} characters");
        return Err(Problem::new(FILTER, detail));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { tokens, at: 0, end: text.len(), now, comparisons: 0 };
    let filter = parser.all(0)?;
    match parser.peek() {
        None => Ok(Some(filter)),
        Some(_) => Err(parser.invalid("expected AND, OR or the end of the filter")),
    }
}

fn invalid(at: usize, reason: &str) -> Problem {
    Problem::new(FILTER, format!("at character {}: {reason}", at + 1))
}

/// Splits a filter into tokens, each with its position.
fn tokens(text: &str) -> ApiResult<Vec<(usize, FilterToken)>> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut then_equals = || rest.next_if(|(_, next)| *next == '=').is_some();
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => FilterToken::Open,
            ')' => FilterToken::Close,
            '.' => FilterToken::Dot,
            '=' => FilterToken::Compare(Comparison::Equal),
            '!' if then_equals() => FilterToken::Compare(Comparison::NotEqual),
            '<' if then_equals() => FilterToken::Compare(Comparison::LessOrEqual),
            '<' => FilterToken::Compare(Comparison::Less),
            '>' if then_equals() => FilterToken::Compare(Comparison::GreaterOrEqual),
            '>' => FilterToken::Compare(Comparison::Greater),
            '-' => FilterToken::Minus,
            '"' | '\'' => {
                FilterToken::Text(quoted(c, &mut rest).ok_or_else(|| invalid(at, "the quote is not closed"))?)
            }
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some((_, c)) = rest.next_if(|(_, c)| is_word(*c) || *c == '-') {
                    word.push(c);
                }
                FilterToken::Word(word)
            }
            _ => return Err(invalid(at, &format!("unexpected character {c:?}; put texts in quotes"))),
        };
        tokens.push((at, token));
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ':' | '+' | '/')
}

fn quoted(quote: char, rest: &mut impl Iterator<Item = (usize, char)>) -> Option<String> {
    let mut text = String::new();
    while let Some((_, c)) = rest.next() {
        match c {
            '\\' => text.push(rest.next()?.1),
            c if c == quote => return Some(text),
            c => text.push(c),
        }
    }
    None
}

struct Parser {
    tokens: Vec<(usize, FilterToken)>,
    at: usize,
    end: usize,
    now: Timestamp,
    comparisons: usize,
}

impl Parser {
    fn peek(&self) -> Option<&FilterToken> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<FilterToken> {
        let token = self.tokens.get(self.at).map(|(_, token)| token.clone());
        self.at += 1;
        token
    }

    /// The problem of the next token.
    fn invalid(&self, reason: &str) -> Problem {
        invalid(self.tokens.get(self.at).map_or(self.end, |(at, _)| *at), reason)
    }

    /// The problem of the previous token.
    fn invalid_before(&self, reason: &str) -> Problem {
        let last = self.tokens.get(self.at.saturating_sub(1));
        invalid(last.map_or(self.end, |(at, _)| *at), reason)
    }

    /// Consumes the next token if it is `keyword`.
    fn accept(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(FilterToken::Word(word)) if word == keyword);
        self.at += usize::from(found);
        found
    }

    fn all(&mut self, depth: usize) -> ApiResult<Filter> {
        if depth > MAX_DEPTH {
            return Err(self.invalid(&format!("more than {MAX_DEPTH} nested parentheses")));
        }
        let mut parts = vec![self.any(depth)?];
        while self.accept("AND") {
            parts.push(self.any(depth)?);
        }
        Ok(one_or(parts, Filter::All))
    }

    fn any(&mut self, depth: usize) -> ApiResult<Filter> {
        let mut parts = vec![self.term(depth)?];
        while self.accept("OR") {
            parts.push(self.term(depth)?);
        }
        Ok(one_or(parts, Filter::Any))
    }

    fn term(&mut self, depth: usize) -> ApiResult<Filter> {
        let negated = self.accept("NOT") || {
            let minus = self.peek() == Some(&FilterToken::Minus);
            self.at += usize::from(minus);
            minus
        };
        let filter = if self.peek() == Some(&FilterToken::Open) {
            self.at += 1;
            let inner = self.all(depth + 1)?;
            match self.next() {
                Some(FilterToken::Close) => inner,
                _ => return Err(self.invalid_before("expected )")),
            }
        } else {
            self.comparison()?
        };
        Ok(if negated { Filter::Not(Box::new(filter)) } else { filter })
    }

    fn comparison(&mut self) -> ApiResult<Filter> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(self.invalid(&format!("more than {MAX_COMPARISONS} comparisons")));
        }
        let field = self.field()?;
        let Some(FilterToken::Compare(comparison)) = self.next() else {
            return Err(self.invalid_before("expected one of = != < <= > >="));
        };
        let text = self.value_text()?;
        let value = self.value(&field, comparison, text)?;
        Ok(Filter::Compare(field, comparison, value))
    }

    fn field(&mut self) -> ApiResult<Field> {
        let name = match self.next() {
            Some(FilterToken::Word(name)) => name,
            _ => return Err(self.invalid_before(&format!("expected a field: {FIELDS}"))),
        };
        let field = match name.as_str() {
            "id" => Field::Id,
            "status" => Field::Status,
            "definition" => Field::Definition,
            "version" => Field::Version,
            "cause" => Field::Cause,
            "idempotency_key" => Field::IdempotencyKey,
            "created_at" => Field::CreatedAt,
            "ended_at" => Field::EndedAt,
            "error" => {
                return match (self.next(), self.next()) {
                    (Some(FilterToken::Dot), Some(FilterToken::Word(part))) if part == "code" => {
                        Ok(Field::ErrorCode)
                    }
                    _ => Err(self.invalid_before("expected error.code")),
                };
            }
            "labels" => {
                return match (self.next(), self.next()) {
                    (Some(FilterToken::Dot), Some(FilterToken::Word(label) | FilterToken::Text(label))) => {
                        Ok(self.label(label))
                    }
                    _ => {
                        Err(self.invalid_before("expected a label, such as labels.team or labels.\"a name\""))
                    }
                };
            }
            _ => return Err(self.invalid_before(&format!("unknown field {name}; the fields are {FIELDS}"))),
        };
        Ok(field)
    }

    /// Reads the rest of a label's name, which may contain dots.
    fn label(&mut self, mut label: String) -> Field {
        while let (Some((_, FilterToken::Dot)), Some((_, FilterToken::Word(more)))) =
            (self.tokens.get(self.at), self.tokens.get(self.at + 1))
        {
            label.push('.');
            label.push_str(more);
            self.at += 2;
        }
        Field::Label(label)
    }

    /// Reads a value. Without quotes, it may contain dots and begin with a minus, as numbers and times do.
    fn value_text(&mut self) -> ApiResult<String> {
        let mut text = match self.next() {
            Some(FilterToken::Text(text)) => return Ok(text),
            Some(FilterToken::Word(word)) => word,
            Some(FilterToken::Minus) => match self.next() {
                Some(FilterToken::Word(word)) => format!("-{word}"),
                _ => return Err(self.invalid_before("expected a value")),
            },
            _ => return Err(self.invalid_before("expected a value")),
        };
        while self.peek() == Some(&FilterToken::Dot) {
            self.at += 1;
            text.push('.');
            if let Some(FilterToken::Word(more)) = self.peek() {
                text.push_str(more);
                self.at += 1;
            }
        }
        Ok(text)
    }

    fn value(&self, field: &Field, comparison: Comparison, text: String) -> ApiResult<FilterValue> {
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let one_of = |known: Vec<&str>| {
            if !is_equality {
                return Err(self.invalid_before("this field supports only = and !="));
            }
            if known.contains(&text.as_str()) {
                return Ok(FilterValue::Text(text.clone()));
            }
            Err(self.invalid_before(&format!("{text:?} is not one of {}", known.join(", "))))
        };
        match field {
            Field::Status => one_of(Status::ALL.iter().map(|status| status.as_str()).collect()),
            Field::Cause => one_of(CAUSES.iter().map(|cause| cause.as_str()).chain([""]).collect()),
            Field::Version => match text.parse() {
                Ok(number) => Ok(FilterValue::Number(number)),
                Err(_) => Err(self.invalid_before(&format!("invalid version {text:?}: it must be a whole number"))),
            },
            Field::CreatedAt | Field::EndedAt => match self.time(&text) {
                Some(time) => Ok(FilterValue::Time(time)),
                None => Err(self.invalid_before(&format!(
                    "invalid time {text:?}: use a time such as \"2026-01-31T12:00:00Z\", or \"-24h\" for 24 hours ago"
                ))),
            },
            Field::ErrorCode if !is_equality => {
                Err(self.invalid_before("this field supports only = and !="))
            }
            Field::Id
            | Field::Definition
            | Field::IdempotencyKey
            | Field::ErrorCode
            | Field::RunsElements
            | Field::Label(_) => Ok(FilterValue::Text(text)),
        }
    }

    fn time(&self, text: &str) -> Option<Timestamp> {
        let Some(ago) = text.strip_prefix('-') else { return time::parse(text) };
        let ago = goconductor_service_kit::duration::parse(ago).ok()?;
        let micros = i64::try_from(ago.as_micros()).ok()?;
        Some(Timestamp(self.now.0.saturating_sub(micros)))
    }
}

fn one_or(mut parts: Vec<Filter>, many: fn(Vec<Filter>) -> Filter) -> Filter {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            many(parts)
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation fails the test"
)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000_000);

    fn parsed(text: &str) -> Filter {
        parse(text, NOW).unwrap_or_else(|problem| panic!("{text}: {problem:?}")).unwrap()
    }

    fn is(field: Field, text: &str) -> Filter {
        Filter::Compare(field, Comparison::Equal, FilterValue::Text(text.to_owned()))
    }

    #[test]
    fn filter_of_the_api_contract_is_parsed() {
        let day_ago = Timestamp(NOW.0 - 24 * 3600 * 1_000_000);
        assert_eq!(
            parsed(
                r#"status = ERROR AND definition = "order-processing" AND labels.team = "shop" AND created_at > "-24h""#
            ),
            Filter::All(vec![
                is(Field::Status, "ERROR"),
                is(Field::Definition, "order-processing"),
                is(Field::Label("team".to_owned()), "shop"),
                Filter::Compare(Field::CreatedAt, Comparison::Greater, FilterValue::Time(day_ago)),
            ])
        );
        assert_eq!(parsed(r#"idempotency_key = "order-o-1""#), is(Field::IdempotencyKey, "order-o-1"));
    }

    #[test]
    fn not_precedes_or_and_or_precedes_and() {
        let (a, b, c) = (is(Field::Id, "a"), is(Field::Id, "b"), is(Field::Id, "c"));
        let not_a = Filter::Not(Box::new(a.clone()));
        assert_eq!(
            parsed("id=a AND id=b OR id=c"),
            Filter::All(vec![a.clone(), Filter::Any(vec![b.clone(), c.clone()])])
        );
        assert_eq!(parsed("(id=a AND id=b) OR id=c"), Filter::Any(vec![Filter::All(vec![a, b]), c]));
        assert_eq!(parsed("NOT id=a"), not_a);
        assert_eq!(parsed("-id=a"), not_a);
        assert_eq!(
            parsed(r#"labels."odd name" != 'it\'s'"#),
            Filter::Compare(
                Field::Label("odd name".to_owned()),
                Comparison::NotEqual,
                FilterValue::Text("it's".to_owned()),
            )
        );
        assert_eq!(parsed("labels.a.b-c = 1.5"), is(Field::Label("a.b-c".to_owned()), "1.5"));
        assert_eq!(parse("  ", NOW).unwrap(), None);
    }

    #[test]
    fn invalid_filter_error_says_where() {
        for (text, says) in [
            ("stat = ERROR", "unknown field stat"),
            ("status = BROKEN", "not one of QUEUED"),
            ("status < ERROR", "only"),
            ("status ERROR", "expected one of ="),
            ("status =", "expected a value"),
            ("status = ERROR definition = x", "at character 16: expected AND"),
            ("(status = ERROR", "expected )"),
            ("version = one", "whole number"),
            ("created_at > yesterday", "invalid time"),
            ("definition = \"x", "not closed"),
            ("labels = x", "expected a label"),
            ("status = ERROR AND", "expected a field"),
            ("definition = a*", "unexpected character"),
        ] {
            let problem = format!("{:?}", parse(text, NOW).expect_err(text));
            assert!(problem.contains(says), "{text}: {problem}");
        }
        assert!(parse(&"(".repeat(4000), NOW).is_err());
        assert!(parse(&"id=a OR ".repeat(400), NOW).is_err());
    }

    #[test]
    fn random_text_never_panics() {
        let parts = [
            "status", "=", "(", ")", "AND", "OR", "NOT", "-", "\"", "'", "labels", ".", "x", "\\", "é", "<",
            "!", " ", "9",
        ];
        let mut noise = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                let at = usize::try_from(noise % 19).unwrap();
                text.push_str(parts.get(at).unwrap());
            }
            drop(parse(&text, NOW));
        }
    }
}
