//! Operators whose operands have the wrong types for all values of the workflow.
//!
//! Most types are known only when an expression is evaluated. Those of literals, of conversions and of the fields of
//! `workflow` are known before.

use super::Finding;
use super::failure::{advice, with_article};
use super::names::path;
use crate::problem::EXPRESSION;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

/// A type of an expression.
type KindName = &'static str;

const NUMBERS: &[KindName] = &["int", "uint", "double"];
/// The arithmetic operators, how they are written, and the types that they accept.
const ARITHMETIC: &[(&str, &str, &[KindName])] = &[
    (operators::ADD, "+", &["int", "uint", "double", "string", "list", "bytes"]),
    (operators::SUBSTRACT, "-", NUMBERS),
    (operators::MULTIPLY, "*", NUMBERS),
    (operators::DIVIDE, "/", NUMBERS),
    (operators::MODULO, "%", &["int", "uint"]),
];
const LOGIC: &[(&str, &str)] =
    &[(operators::LOGICAL_AND, "&&"), (operators::LOGICAL_OR, "||"), (operators::LOGICAL_NOT, "!")];
const ORDER: &[(&str, &str)] = &[
    (operators::LESS, "<"),
    (operators::LESS_EQUALS, "<="),
    (operators::GREATER, ">"),
    (operators::GREATER_EQUALS, ">="),
];

/// Returns the operators of an expression with operands of the wrong type.
pub(super) fn problems(expression: &IdedExpr) -> Vec<Finding> {
    let mut findings = Vec::new();
    kind(expression, &mut findings);
    findings.dedup();
    findings
}

/// Returns the type of an expression, or `None` if it depends on values.
fn kind(expression: &IdedExpr, findings: &mut Vec<Finding>) -> Option<KindName> {
    if let Some((root, fields)) = path(&expression.expr) {
        return match (root, fields.as_slice()) {
            ("workflow", ["version"]) => Some("int"),
            ("workflow", ["id" | "definition" | "created_at"]) | ("steps", [_, "status"]) => Some("string"),
            _ => None,
        };
    }
    match &expression.expr {
        Expr::Literal(literal) => Some(match literal {
            LiteralValue::Boolean(_) => "bool",
            LiteralValue::Bytes(_) => "bytes",
            LiteralValue::Double(_) => "double",
            LiteralValue::Int(_) => "int",
            LiteralValue::Null => "null",
            LiteralValue::String(_) => "string",
            LiteralValue::UInt(_) => "uint",
        }),
        Expr::List(list) => {
            for element in &list.elements {
                kind(element, findings);
            }
            Some("list")
        }
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    kind(&entry.key, findings);
                    kind(&entry.value, findings);
                }
            }
            Some("map")
        }
        Expr::Call(call) => called(call, findings),
        Expr::Select(select) => {
            kind(&select.operand, findings);
            select.test.then_some("bool")
        }
        Expr::Comprehension(comprehension) => {
            kind(&comprehension.iter_range, findings);
            kind(&comprehension.loop_step, findings);
            // A `map` and a `filter` start with an empty list.
            matches!(comprehension.accu_init.expr, Expr::List(_)).then_some("list")
        }
        Expr::Ident(_) | Expr::Struct(_) | Expr::Unspecified => None,
    }
}

fn called(call: &CallExpr, findings: &mut Vec<Finding>) -> Option<KindName> {
    let parts = call.target.as_deref().into_iter().chain(&call.args);
    let kinds: Vec<Option<KindName>> = parts.map(|part| kind(part, findings)).collect();
    let name = call.func_name.as_str();
    if let Some((_, symbol, accepted)) = ARITHMETIC.iter().find(|(operator, ..)| *operator == name) {
        let known: Vec<KindName> = kinds.iter().copied().flatten().collect();
        let refused = known.iter().any(|kind| !accepted.contains(kind));
        let mixed = matches!(known.as_slice(), [left, right] if left != right);
        if refused || mixed {
            findings.push(finding(symbol, &known));
        }
        return known.first().copied().filter(|_| !refused && !mixed);
    }
    if let Some((_, symbol)) = LOGIC.iter().find(|(operator, _)| *operator == name) {
        let wrong: Vec<KindName> = kinds.iter().copied().flatten().filter(|kind| *kind != "bool").collect();
        if !wrong.is_empty() {
            findings.push(finding(symbol, &wrong));
        }
        return Some("bool");
    }
    if let (Some((_, symbol)), [Some(left), Some(right)]) =
        (ORDER.iter().find(|(operator, _)| *operator == name), kinds.as_slice())
    {
        let both_numbers = NUMBERS.contains(left) && NUMBERS.contains(right);
        if left != right && !both_numbers {
            findings.push(finding(symbol, &[*left, *right]));
        }
    }
    match (name, kinds.as_slice()) {
        (operators::CONDITIONAL, [_, yes, no]) => yes.filter(|_| yes == no),
        ("size", _) => Some("int"),
        ("int" | "uint" | "double" | "string" | "bool", _) => {
            ["int", "uint", "double", "string", "bool"].into_iter().find(|kind| *kind == name)
        }
        ("contains" | "startsWith" | "endsWith", _) => Some("bool"),
        (_, _) => (name == operators::EQUALS || name == operators::NOT_EQUALS || name == operators::IN)
            .then_some("bool"),
    }
}

fn finding(symbol: &str, kinds: &[KindName]) -> Finding {
    let described: Vec<String> = kinds.iter().map(|kind| with_article(kind)).collect();
    let finding = Finding::new(EXPRESSION, format!("`{symbol}` does not take {}", described.join(" and ")));
    match advice(kinds) {
        Some(advice) => finding.hint(advice),
        None => finding,
    }
}
