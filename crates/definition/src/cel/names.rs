//! The names that an expression refers to.

use super::Finding;
use crate::fields::nearest;
use crate::problem::{EXPRESSION, LIMIT, REFERENCE};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use std::collections::{BTreeMap, BTreeSet};

/// The functions, besides operators and macros. There are no clocks, random numbers or regular expressions, so that an
/// expression always has the same value and is evaluated quickly.
const FUNCTIONS: &[&str] =
    &["size", "contains", "startsWith", "endsWith", "string", "int", "uint", "double", "bool", "dyn"];
/// The fields of `steps.<name>`.
const STEP: &[&str] = &["output", "status", "error"];
/// The fields of `workflow`.
const WORKFLOW: &[&str] = &["id", "definition", "version", "created_at", "labels"];
/// Maximum depth of the expression tree.
const MAX_DEPTH: usize = 250;

/// The names that an expression refers to.
#[derive(Debug, Default)]
pub(super) struct CelNames {
    pub(super) input: Option<FieldNames>,
    pub(super) steps: BTreeMap<String, FieldNames>,
    pub(super) workflow: bool,
    pub(super) signals: BTreeMap<String, FieldNames>,
    /// The variable that has an element.
    pub(super) element: Option<FieldNames>,
    /// Whether the expression refers to the position of the element.
    pub(super) index: bool,
}

/// The fields of an object that an expression refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldNames {
    /// The whole object.
    All,
    /// Some fields.
    Some(BTreeSet<String>),
}

impl FieldNames {
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }

    fn add(&mut self, field: Option<&str>) {
        match (self, field) {
            (Self::All, _) => {}
            (Self::Some(names), Some(field)) => {
                names.insert(field.to_owned());
            }
            (whole @ Self::Some(_), None) => *whole = Self::All,
        }
    }
}

/// Returns the names of an expression, or all problems with them.
pub(super) fn of(expression: &IdedExpr, variable: Option<&str>) -> Result<CelNames, Vec<Finding>> {
    let mut walk = Walk {
        names: CelNames::default(),
        findings: Vec::new(),
        bound: Vec::new(),
        in_loop: false,
        variable,
    };
    walk.expression(expression, MAX_DEPTH);
    if walk.findings.is_empty() {
        return Ok(walk.names);
    }
    walk.findings.dedup();
    Err(walk.findings)
}

struct Walk<'v> {
    names: CelNames,
    findings: Vec<Finding>,
    /// The variables of the enclosing comprehensions.
    bound: Vec<String>,
    in_loop: bool,
    /// The variable that has an element.
    variable: Option<&'v str>,
}

impl Walk<'_> {
    fn expression(&mut self, expression: &IdedExpr, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            self.findings
                .push(Finding::new(LIMIT, "the expression is nested too deeply").hint("split it up"));
            return;
        };
        if let Some((root, fields)) = path(&expression.expr) {
            self.name(root, &fields);
            return;
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => {}
            Expr::Call(call) => self.call(call, depth),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
            Expr::List(list) => list.elements.iter().for_each(|element| self.expression(element, depth)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    self.entry(&entry.expr, depth);
                }
            }
            Expr::Select(select) => self.expression(&select.operand, depth),
            Expr::Struct(message) => {
                let detail =
                    format!("unknown type `{}`: expressions have the types of JSON", message.type_name);
                self.findings.push(Finding::new(EXPRESSION, detail));
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key, depth);
                self.expression(&entry.value, depth);
            }
            EntryExpr::StructField(field) => self.expression(&field.value, depth),
        }
    }

    fn call(&mut self, call: &CallExpr, depth: usize) {
        let is_operator = call.func_name.contains(|c: char| "_!-@".contains(c)) && !is_word(&call.func_name);
        let optional = [operators::OPT_INDEX, operators::OPT_SELECT].contains(&call.func_name.as_str());
        if optional || !(is_operator || FUNCTIONS.contains(&call.func_name.as_str())) {
            let finding = Finding::new(EXPRESSION, format!("unknown function `{}`", call.func_name));
            self.findings.push(match nearest(&call.func_name, FUNCTIONS) {
                Some(near) => finding.hint(format!("did you mean `{near}`?")),
                None => finding.hint(format!(
                    "known functions are {}, has, all, exists, exists_one, map, filter",
                    FUNCTIONS.join(", ")
                )),
            });
        }
        for part in call.target.as_deref().into_iter().chain(&call.args) {
            self.expression(part, depth);
        }
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr, depth: usize) {
        if self.in_loop {
            let finding =
                Finding::new(LIMIT, "a loop (all, exists, exists_one, map, filter) is inside another loop");
            self.findings.push(finding.hint(
                "compute the value in the service, because the time grows with the square of the list",
            ));
            return;
        }
        self.expression(&comprehension.iter_range, depth);
        self.expression(&comprehension.accu_init, depth);
        let bound = self.bound.len();
        self.bound.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
        self.bound.extend(comprehension.iter_var2.clone());
        self.in_loop = true;
        for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
            self.expression(part, depth);
        }
        self.in_loop = false;
        self.bound.truncate(bound);
    }

    /// Records a name and the fields that are selected from it.
    fn name(&mut self, root: &str, fields: &[&str]) {
        if self.bound.iter().any(|bound| bound == root) {
            return;
        }
        match (root, fields) {
            ("input", _) => {
                let field = fields.first().copied();
                self.names.input.get_or_insert_with(|| FieldNames::Some(BTreeSet::new())).add(field);
            }
            ("steps", []) => {
                let finding = Finding::new(REFERENCE, "`steps` has no value of its own");
                self.findings.push(finding.hint("select a field of a step, such as `steps.<name>.output`"));
            }
            ("steps", [step, rest @ ..]) => self.step(step, rest.first().copied()),
            ("workflow", [field, ..]) if !WORKFLOW.contains(field) => {
                self.unknown(field, "workflow", WORKFLOW);
            }
            ("workflow", _) => self.names.workflow = true,
            ("signals", []) => {
                let finding = Finding::new(REFERENCE, "`signals` has no value of its own");
                self.findings
                    .push(finding.hint(
                        "select a signal, such as `signals.<name>` or `signals[\"manager-approval\"]`",
                    ));
            }
            ("signals", [signal, rest @ ..]) => {
                let fields = self.names.signals.entry((*signal).to_owned());
                fields.or_insert_with(|| FieldNames::Some(BTreeSet::new())).add(rest.first().copied());
            }
            (root, _) if self.variable == Some(root) => {
                let field = fields.first().copied();
                self.names.element.get_or_insert_with(|| FieldNames::Some(BTreeSet::new())).add(field);
            }
            ("index", _) if self.variable.is_some() => self.names.index = true,
            (_, _) => {
                let known = ["input", "steps", "workflow", "signals"];
                let finding = Finding::new(REFERENCE, format!("unknown name `{root}`"));
                self.findings.push(match nearest(root, &known) {
                    Some(near) => finding.hint(format!("did you mean `{near}`?")),
                    None => finding.hint(
                        "known names are input, steps.<name>.output|status|error, signals.<name>, workflow",
                    ),
                });
            }
        }
    }

    fn step(&mut self, step: &str, field: Option<&str>) {
        match field {
            Some(field) if !STEP.contains(&field) => {
                self.unknown(field, &format!("steps.{step}"), STEP);
            }
            Some(_) | None => {
                let fields = self.names.steps.entry(step.to_owned());
                fields.or_insert_with(|| FieldNames::Some(BTreeSet::new())).add(field);
            }
        }
    }

    fn unknown(&mut self, field: &str, of: &str, known: &[&str]) {
        let finding = Finding::new(REFERENCE, format!("`{of}` has no field `{field}`"));
        let fields = format!("its fields are {}", known.join(", "));
        self.findings.push(match nearest(field, known) {
            Some(near) => finding.hint(format!("did you mean `{of}.{near}`? {fields}")),
            None if known == STEP => finding.hint(format!("{fields}: did you mean `{of}.output.{field}`?")),
            None => finding.hint(fields),
        });
    }
}

/// Returns whether a function name is an identifier and not the name of an operator.
fn is_word(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        && name.chars().any(|c| c.is_ascii_alphabetic())
}

/// Returns a name and the fields that are selected from it: `steps.pay.output` or `steps["pay"].output`. A field may be
/// tested by `has(…)`.
pub(super) fn path(expression: &Expr) -> Option<(&str, Vec<&str>)> {
    path_of(expression, |_| true)
}

/// Returns the [`path`] of an expression that selects a value. `has(…)` tests for a field and does not select it.
pub(super) fn value_path(expression: &Expr) -> Option<(&str, Vec<&str>)> {
    path_of(expression, |select| !select.test)
}

fn path_of(expression: &Expr, accepts: impl Fn(&SelectExpr) -> bool) -> Option<(&str, Vec<&str>)> {
    let mut fields = Vec::new();
    let mut at = expression;
    loop {
        match at {
            Expr::Ident(name) => {
                fields.reverse();
                return Some((name, fields));
            }
            Expr::Select(select) if accepts(select) => {
                fields.push(select.field.as_str());
                at = &select.operand.expr;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [operand, index] = call.args.as_slice() else { return None };
                let Expr::Literal(LiteralValue::String(key)) = &index.expr else { return None };
                fields.push(key.inner());
                at = &operand.expr;
            }
            Expr::Unspecified
            | Expr::Call(_)
            | Expr::Comprehension(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Select(_)
            | Expr::Struct(_) => return None,
        }
    }
}
