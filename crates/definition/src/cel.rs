//! CEL expressions, behind the trait of `saga`.
//!
//! Expressions are untrusted, run inside every decision and have no time limit of their own. An expression that could
//! take long, use much memory or overflow the stack is therefore refused before it runs: by its text ([`source`]) and
//! by the size of the values that it would make ([`cost`]).

mod cost;
mod direct;
mod failure;
mod kinds;
mod names;
mod source;
mod syntax;
mod value;

use cel::{Context, Env, Program, Value};
use cost::EvaluationCost;
use direct::DirectPath;
use goconductor_saga::{ExpressionError, Expressions, Json, Scope, StepView, Timestamp, shortened};
use lru::LruCache;
use names::{CelNames, FieldNames};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

/// Maximum number of cached compiled expressions, enough for several hundred definitions.
const MAX_CACHED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// The cost of compiling an expression, in operations of an evaluation.
const COMPILE_OPERATIONS: u64 = 2000;
/// Maximum characters of a message, which repeats values of any length.
const MAX_MESSAGE_CHARS: usize = 300;

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A problem of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
}

impl Finding {
    fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A compiled expression.
pub(crate) struct Compiled {
    program: Program,
    names: CelNames,
    /// The path of the value, if the expression does nothing but select one.
    direct: Option<DirectPath>,
}

impl Compiled {
    /// Returns the value of an expression that only selects a small one.
    fn read(&self, scope: &Scope<'_>) -> Option<Json> {
        self.direct.as_ref()?.read(scope)
    }

    /// Returns the steps that the expression refers to.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &str> {
        self.names.steps.keys().map(String::as_str)
    }

    /// Returns the operators whose operands have types that the operator does not accept for any values.
    pub(crate) fn type_problems(&self) -> Vec<Finding> {
        kinds::problems(self.program.expression())
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Compiles an expression, or returns all of its problems. `variable` is the variable that has an element, if the
/// expression is evaluated for one.
pub(crate) fn compile_for(text: &str, variable: Option<&str>) -> Result<Compiled, Vec<Finding>> {
    source::check(text).map_err(|finding| vec![finding])?;
    let parsed = catch_unwind(|| Program::compile(text));
    let program = match parsed {
        Ok(Ok(program)) => program,
        Ok(Err(errors)) => return Err(vec![syntax::finding(text, &errors.errors)]),
        Err(_) => return Err(vec![syntax::finding(text, &[])]),
    };
    let names = names::of(program.expression(), variable)?;
    let direct = DirectPath::of(&program.expression().expr);
    Ok(Compiled { program, names, direct })
}

/// Returns the first double in an expression that would be rounded. A definition that was applied earlier may have one.
pub(crate) fn inexact_number(text: &str) -> Option<String> {
    source::inexact_number(text)
}

/// Evaluates CEL expressions. A process has one instance, which caches compiled expressions.
pub struct Cel {
    compiled: Mutex<LruCache<String, Arc<Compiled>>>,
}

impl Cel {
    /// Creates an evaluator with an empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self { compiled: Mutex::new(LruCache::new(MAX_CACHED)) }
    }

    fn cached(&self, text: &str, scope: &Scope<'_>) -> Option<Arc<Compiled>> {
        self.compiled.lock().get(&*cache_key(text, scope)).map(Arc::clone)
    }

    fn compiled(&self, text: &str, scope: &Scope<'_>) -> Result<Arc<Compiled>, String> {
        if let Some(compiled) = self.cached(text, scope) {
            return Ok(compiled);
        }
        let variable = scope.element().map(|element| element.variable);
        let compiled = compile_for(text, variable).map_err(|findings| {
            findings.into_iter().map(|finding| finding.detail).collect::<Vec<_>>().join("; ")
        })?;
        let compiled = Arc::new(compiled);
        self.compiled.lock().put(cache_key(text, scope).into_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

impl Default for Cel {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Cel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cel").finish_non_exhaustive()
    }
}

impl Expressions for Cel {
    fn evaluate(&self, expression: &str, scope: &Scope<'_>) -> Result<Json, ExpressionError> {
        let error = |reason: String| error(expression, &reason);
        let compiled = self.compiled(expression, scope).map_err(error)?;
        if let Some(value) = compiled.read(scope) {
            return Ok(value);
        }
        let cost = cost::of(compiled.program.expression(), &compiled.names, scope);
        evaluate(&compiled, scope, cost).map_err(error)
    }

    fn wait_time(&self, text: &str) -> Option<goconductor_saga::WaitTime> {
        crate::step::sleep::wait_time(text)
    }

    fn check_input(&self, schema: &Json, input: &Json) -> Vec<String> {
        let problems = crate::check_input(schema, input).err().unwrap_or_default();
        let text = |problem: crate::InputProblem| match problem.pointer.as_str() {
            "" => problem.detail,
            pointer => format!("{pointer}: {}", problem.detail),
        };
        problems.into_iter().map(text).collect()
    }

    fn evaluate_within(
        &self,
        expression: &str,
        scope: &Scope<'_>,
        allowance: &mut u64,
    ) -> Option<Result<Json, ExpressionError>> {
        let error = |reason: String| error(expression, &reason);
        let compiled = match self.cached(expression, scope) {
            Some(compiled) => compiled,
            None => {
                *allowance = allowance.checked_sub(COMPILE_OPERATIONS)?;
                match self.compiled(expression, scope) {
                    Ok(compiled) => compiled,
                    Err(reason) => return Some(Err(error(reason))),
                }
            }
        };
        if let Some(value) = compiled.read(scope) {
            *allowance = allowance.checked_sub(1)?;
            return Some(Ok(value));
        }
        let cost = cost::of(compiled.program.expression(), &compiled.names, scope);
        // An evaluation that is refused costs no more than this.
        if cost.check().is_ok() {
            *allowance = allowance.checked_sub(cost.operations())?;
        }
        Some(evaluate(&compiled, scope, cost).map_err(error))
    }
}

/// Returns the key of a compiled expression. The names that it may refer to depend on the variable of the scope.
fn cache_key<'t>(text: &'t str, scope: &Scope<'_>) -> Cow<'t, str> {
    match scope.element() {
        Some(element) => Cow::Owned(format!("{}\0{text}", element.variable)),
        None => Cow::Borrowed(text),
    }
}

fn error(expression: &str, reason: &str) -> ExpressionError {
    // The ellipsis counts as well.
    let reason = shortened(reason, MAX_MESSAGE_CHARS - 1).into_owned();
    ExpressionError { expression: expression.to_owned(), reason }
}

fn evaluate(compiled: &Compiled, scope: &Scope<'_>, cost: EvaluationCost) -> Result<Json, String> {
    cost.check()?;
    let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
    for (name, variable) in variables(&compiled.names, scope) {
        context.add_variable_from_value(name, variable);
    }
    // A panic of the interpreter must affect only this expression.
    let evaluated = catch_unwind(AssertUnwindSafe(|| compiled.program.execute(&context)));
    let evaluated = evaluated.map_err(|_| "the evaluation failed".to_owned())?;
    value::to_json(&evaluated.map_err(|error| failure::reason(&error))?)
}

/// Returns only the values that the expression refers to, because inputs and outputs may be large.
fn variables<'s>(names: &CelNames, scope: &Scope<'s>) -> Vec<(&'s str, Value)> {
    let mut variables = Vec::new();
    if let Some(fields) = &names.input {
        variables.push(("input", part(scope.input(), fields)));
    }
    if let Some(element) = scope.element() {
        if let Some(fields) = &names.element {
            variables.push((element.variable, part(element.value, fields)));
        }
        if names.index {
            variables.push(("index", Value::Int(i64::from(element.index))));
        }
    }
    if !names.steps.is_empty() {
        let mut steps = Vec::new();
        for (name, fields) in &names.steps {
            steps.extend(scope.step(name).map(|view| (name.as_str(), step(&view, fields))));
        }
        variables.push(("steps", value::map(steps)));
    }
    if !names.signals.is_empty() {
        let signals = names
            .signals
            .iter()
            .filter_map(|(name, fields)| Some((name.as_str(), part(scope.signal(name)?, fields))));
        variables.push(("signals", value::map(signals)));
    }
    if names.workflow {
        let workflow = scope.workflow();
        let text = |text: &str| Value::from(text.to_owned());
        let labels = workflow.labels.iter().map(|(key, value)| (key.as_str(), text(value)));
        variables.push((
            "workflow",
            value::map([
                ("id", text(&workflow.id.to_string())),
                ("definition", text(&workflow.definition)),
                ("version", Value::Int(i64::from(workflow.version))),
                ("created_at", text(&rfc3339(workflow.created_at))),
                ("labels", value::map(labels)),
            ]),
        ));
    }
    variables
}

fn part(value: &Json, fields: &FieldNames) -> Value {
    match (value, fields) {
        (Json::Object(object), FieldNames::Some(names)) => value::map(
            names.iter().filter_map(|name| Some((name.as_str(), value::from_json(object.get(name)?)))),
        ),
        (whole, _) => value::from_json(whole),
    }
}

fn step(view: &StepView<'_>, fields: &FieldNames) -> Value {
    let mut step = Vec::new();
    if fields.has("output") {
        step.push(("output", view.output().map_or(Value::Null, value::from_json)));
    }
    if fields.has("status") {
        step.push(("status", Value::from(view.status.as_str().to_owned())));
    }
    if fields.has("error") {
        let error = view.error.and_then(|error| serde_json::to_value(error).ok());
        step.push(("error", error.map_or(Value::Null, |error| value::from_json(&error))));
    }
    value::map(step)
}

fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| time.to_string()).unwrap_or_default()
}
