//! Filters of lists: the part of AIP-160 that has a meaning here, from text to what a store understands.
//!
//! `AND`, `OR` (which binds closer), `NOT` or `-`, parentheses, and comparisons of a field with a value.

use crate::error::{Answer, FILTER, Problem};
use crate::moment;
use goconductor_saga::{RollbackCause, Status, Timestamp};
use goconductor_store::{Comparison, Field, Filter, Value};

/// Bytes of a filter.
const BYTES: usize = 4096;
/// Parentheses in parentheses.
const DEPTH: usize = 16;
/// Comparisons.
const COMPARISONS: usize = 64;

const FIELDS: &str =
    "status, definition, version, cause, idempotency_key, created_at, ended_at, id, labels.<name>";
const CAUSES: [RollbackCause; 4] =
    [RollbackCause::StepFailed, RollbackCause::Cancelled, RollbackCause::TimedOut, RollbackCause::Operator];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Compare(Comparison),
    Minus,
    Dot,
    Open,
    Close,
}

/// Reads a filter; an empty one is none.
pub(crate) fn parse(text: &str, now: Timestamp) -> Answer<Option<Filter>> {
    if text.len() > BYTES {
        return Err(Problem::new(FILTER, format!("the filter has more than {BYTES} bytes")));
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { tokens, at: 0, end: text.len(), now, comparisons: 0 };
    let filter = parser.all(0)?;
    match parser.peek() {
        None => Ok(Some(filter)),
        Some(_) => Err(parser.wrong("expected AND, OR or the end")),
    }
}

fn wrong(at: usize, expected: &str) -> Problem {
    Problem::new(FILTER, format!("at character {}: {expected}", at + 1))
}

/// Each token with where it begins.
fn tokens(text: &str) -> Answer<Vec<(usize, Token)>> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let mut then_equals = || rest.next_if(|(_, next)| *next == '=').is_some();
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '.' => Token::Dot,
            '=' => Token::Compare(Comparison::Equal),
            '!' if then_equals() => Token::Compare(Comparison::NotEqual),
            '<' if then_equals() => Token::Compare(Comparison::LessOrEqual),
            '<' => Token::Compare(Comparison::Less),
            '>' if then_equals() => Token::Compare(Comparison::GreaterOrEqual),
            '>' => Token::Compare(Comparison::Greater),
            '-' => Token::Minus,
            '"' | '\'' => {
                Token::Text(quoted(c, &mut rest).ok_or_else(|| wrong(at, "a quote is not closed"))?)
            }
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some((_, c)) = rest.next_if(|(_, c)| is_word(*c) || *c == '-') {
                    word.push(c);
                }
                Token::Word(word)
            }
            _ => return Err(wrong(at, &format!("{c:?} means nothing here; put texts in quotes"))),
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
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
    now: Timestamp,
    comparisons: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, token)| token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, token)| token.clone());
        self.at += 1;
        token
    }

    fn wrong(&self, expected: &str) -> Problem {
        wrong(self.tokens.get(self.at).map_or(self.end, |(at, _)| *at), expected)
    }

    /// What was read last is wrong.
    fn wrong_before(&self, expected: &str) -> Problem {
        let last = self.tokens.get(self.at.saturating_sub(1));
        wrong(last.map_or(self.end, |(at, _)| *at), expected)
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word == keyword);
        self.at += usize::from(found);
        found
    }

    fn all(&mut self, depth: usize) -> Answer<Filter> {
        if depth > DEPTH {
            return Err(self.wrong("too many parentheses in parentheses"));
        }
        let mut parts = vec![self.any(depth)?];
        while self.takes("AND") {
            parts.push(self.any(depth)?);
        }
        Ok(one_or(parts, Filter::All))
    }

    fn any(&mut self, depth: usize) -> Answer<Filter> {
        let mut parts = vec![self.term(depth)?];
        while self.takes("OR") {
            parts.push(self.term(depth)?);
        }
        Ok(one_or(parts, Filter::Any))
    }

    fn term(&mut self, depth: usize) -> Answer<Filter> {
        let negated = self.takes("NOT") || {
            let minus = self.peek() == Some(&Token::Minus);
            self.at += usize::from(minus);
            minus
        };
        let filter = if self.peek() == Some(&Token::Open) {
            self.at += 1;
            let inner = self.all(depth + 1)?;
            match self.next() {
                Some(Token::Close) => inner,
                _ => return Err(self.wrong_before("expected )")),
            }
        } else {
            self.comparison()?
        };
        Ok(if negated { Filter::Not(Box::new(filter)) } else { filter })
    }

    fn comparison(&mut self) -> Answer<Filter> {
        self.comparisons += 1;
        if self.comparisons > COMPARISONS {
            return Err(self.wrong("too many comparisons"));
        }
        let field = self.field()?;
        let Some(Token::Compare(comparison)) = self.next() else {
            return Err(self.wrong_before("expected one of = != < <= > >="));
        };
        let text = self.value_text()?;
        let value = self.value(&field, comparison, text)?;
        Ok(Filter::Compare(field, comparison, value))
    }

    fn field(&mut self) -> Answer<Field> {
        let name = match self.next() {
            Some(Token::Word(name)) => name,
            _ => return Err(self.wrong_before(&format!("expected a field: {FIELDS}"))),
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
            "labels" => {
                return match (self.next(), self.next()) {
                    (Some(Token::Dot), Some(Token::Word(label) | Token::Text(label))) => {
                        Ok(self.label(label))
                    }
                    _ => Err(self.wrong_before("expected a label: labels.team, or labels.\"a name\"")),
                };
            }
            _ => return Err(self.wrong_before(&format!("there is no field {name}; there are {FIELDS}"))),
        };
        Ok(field)
    }

    /// A label's name may have dots in it.
    fn label(&mut self, mut label: String) -> Field {
        while let (Some((_, Token::Dot)), Some((_, Token::Word(more)))) =
            (self.tokens.get(self.at), self.tokens.get(self.at + 1))
        {
            label.push('.');
            label.push_str(more);
            self.at += 2;
        }
        Field::Label(label)
    }

    /// A value; without quotes it may have dots and a minus in it, as numbers and times have.
    fn value_text(&mut self) -> Answer<String> {
        let mut text = match self.next() {
            Some(Token::Text(text)) => return Ok(text),
            Some(Token::Word(word)) => word,
            Some(Token::Minus) => match self.next() {
                Some(Token::Word(word)) => format!("-{word}"),
                _ => return Err(self.wrong_before("expected a value")),
            },
            _ => return Err(self.wrong_before("expected a value")),
        };
        while self.peek() == Some(&Token::Dot) {
            self.at += 1;
            text.push('.');
            if let Some(Token::Word(more)) = self.peek() {
                text.push_str(more);
                self.at += 1;
            }
        }
        Ok(text)
    }

    fn value(&self, field: &Field, comparison: Comparison, text: String) -> Answer<Value> {
        let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let one_of = |known: Vec<&str>| {
            if !is_equality {
                return Err(self.wrong_before("it can be compared by = and != only"));
            }
            if known.contains(&text.as_str()) {
                return Ok(Value::Text(text.clone()));
            }
            Err(self.wrong_before(&format!("{text:?} is not one of {}", known.join(", "))))
        };
        match field {
            Field::Status => one_of(Status::ALL.iter().map(|status| status.as_str()).collect()),
            Field::Cause => one_of(CAUSES.iter().map(|cause| cause.as_str()).chain([""]).collect()),
            Field::Version => match text.parse() {
                Ok(number) => Ok(Value::Number(number)),
                Err(_) => Err(self.wrong_before(&format!("{text:?} is no version: it is a whole number"))),
            },
            Field::CreatedAt | Field::EndedAt => match self.time(&text) {
                Some(time) => Ok(Value::Time(time)),
                None => Err(self.wrong_before(&format!(
                    "{text:?} is no time: write \"2026-01-31T12:00:00Z\", or \"-24h\" for a day ago"
                ))),
            },
            Field::Id | Field::Definition | Field::IdempotencyKey | Field::Label(_) => Ok(Value::Text(text)),
        }
    }

    fn time(&self, text: &str) -> Option<Timestamp> {
        let Some(ago) = text.strip_prefix('-') else { return moment::parse(text) };
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
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what it expects")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000_000);

    fn read(text: &str) -> Filter {
        parse(text, NOW).unwrap_or_else(|problem| panic!("{text}: {problem:?}")).unwrap()
    }

    fn is(field: Field, text: &str) -> Filter {
        Filter::Compare(field, Comparison::Equal, Value::Text(text.to_owned()))
    }

    #[test]
    fn the_contracts_filter_is_read() {
        let day_ago = Timestamp(NOW.0 - 24 * 3600 * 1_000_000);
        assert_eq!(
            read(
                r#"status = ERROR AND definition = "order-processing" AND labels.team = "shop" AND created_at > "-24h""#
            ),
            Filter::All(vec![
                is(Field::Status, "ERROR"),
                is(Field::Definition, "order-processing"),
                is(Field::Label("team".to_owned()), "shop"),
                Filter::Compare(Field::CreatedAt, Comparison::Greater, Value::Time(day_ago)),
            ])
        );
        assert_eq!(read(r#"idempotency_key = "order-o-1""#), is(Field::IdempotencyKey, "order-o-1"));
    }

    #[test]
    fn or_binds_closer_than_and_and_not_closest() {
        let (a, b, c) = (is(Field::Id, "a"), is(Field::Id, "b"), is(Field::Id, "c"));
        let not_a = Filter::Not(Box::new(a.clone()));
        assert_eq!(
            read("id=a AND id=b OR id=c"),
            Filter::All(vec![a.clone(), Filter::Any(vec![b.clone(), c.clone()])])
        );
        assert_eq!(read("(id=a AND id=b) OR id=c"), Filter::Any(vec![Filter::All(vec![a, b]), c]));
        assert_eq!(read("NOT id=a"), not_a);
        assert_eq!(read("-id=a"), not_a);
        assert_eq!(
            read(r#"labels."odd name" != 'it\'s'"#),
            Filter::Compare(
                Field::Label("odd name".to_owned()),
                Comparison::NotEqual,
                Value::Text("it's".to_owned()),
            )
        );
        assert_eq!(read("labels.a.b-c = 1.5"), is(Field::Label("a.b-c".to_owned()), "1.5"));
        assert_eq!(parse("  ", NOW).unwrap(), None);
    }

    #[test]
    fn what_can_not_be_read_says_where() {
        for (text, says) in [
            ("stat = ERROR", "there is no field stat"),
            ("status = BROKEN", "not one of QUEUED"),
            ("status < ERROR", "only"),
            ("status ERROR", "expected one of ="),
            ("status =", "expected a value"),
            ("status = ERROR definition = x", "at character 16: expected AND"),
            ("(status = ERROR", "expected )"),
            ("version = one", "whole number"),
            ("created_at > yesterday", "no time"),
            ("definition = \"x", "not closed"),
            ("labels = x", "expected a label"),
            ("status = ERROR AND", "expected a field"),
            ("definition = a*", "means nothing"),
        ] {
            let problem = format!("{:?}", parse(text, NOW).expect_err(text));
            assert!(problem.contains(says), "{text}: {problem}");
        }
        assert!(parse(&"(".repeat(4000), NOW).is_err());
        assert!(parse(&"id=a OR ".repeat(400), NOW).is_err());
    }

    #[test]
    fn no_text_makes_a_panic() {
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
