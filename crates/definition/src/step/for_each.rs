//! The modifier `for_each`.

use super::Body;
use crate::fields::{At, FieldReader, Fields};
use crate::problem::{FOR_EACH, VALUE};
use crate::template::condition;
use goconductor_saga::{Action, DEFAULT_MAX_PARALLEL, Kind};

/// The name of the variable that has the element, if the definition does not state it.
const DEFAULT_VARIABLE: &str = "item";
/// The names of expressions, which the variable must not hide.
const TAKEN: [&str; 5] = ["input", "steps", "signals", "workflow", "index"];

/// The elements of a step.
#[derive(Debug)]
pub(crate) struct ParsedForEach<'a> {
    /// The expression of the list.
    pub(crate) list: (String, At<'a>),
    pub(crate) variable: String,
    pub(crate) max_parallel: u32,
}

impl FieldReader {
    /// Adds the elements to a step, if it declares some.
    pub(super) fn with_elements<'a>(
        &mut self,
        fields: &Fields<'a>,
        body: Option<Body<'a>>,
    ) -> Option<Body<'a>> {
        let Some(at) = fields.get("for_each") else { return body };
        let Some(Body::Step(mut step)) = body else {
            self.refuse_elements(&at, "a block of steps");
            return None;
        };
        match &step.action {
            Action::Run { .. } | Action::Call(_) | Action::Child(_) => {}
            Action::Sleep { .. } => self.refuse_elements(&at, "`sleep`"),
            Action::Signal { .. } => self.refuse_elements(&at, "`wait_for_signal`"),
        }
        if step.kind == Kind::Pivot {
            let problem = at.problem(FOR_EACH, "a pivot is one operation, so it has no elements");
            self.push(problem.hint("make one step the pivot, before or after the elements"));
        }
        step.for_each = Some(self.for_each(&at)?);
        Some(Body::Step(step))
    }

    fn refuse_elements(&mut self, at: &At<'_>, what: &str) {
        let problem = at.problem(FOR_EACH, format!("`for_each` is not a modifier of {what}"));
        self.push(problem.hint("use it at a step with `run`, `call` or `child`"));
    }

    fn for_each<'a>(&mut self, at: &At<'a>) -> Option<ParsedForEach<'a>> {
        let (variable, max_parallel) = (DEFAULT_VARIABLE.to_owned(), DEFAULT_MAX_PARALLEL);
        if at.node.text().is_some() {
            return Some(ParsedForEach { list: self.list(at)?, variable, max_parallel });
        }
        let inner = self.fields(at, &["in", "as", "max_parallel"])?;
        let list = self.required(&inner, "in").and_then(|at| self.list(&at));
        let variable = inner.get("as").map_or(Some(variable), |at| self.variable(&at));
        let max_parallel = inner.get("max_parallel").map_or(Some(max_parallel), |at| self.count(&at));
        Some(ParsedForEach { list: list?, variable: variable?, max_parallel: max_parallel? })
    }

    /// Reads the list: a single expression, with or without `${ }`.
    fn list<'a>(&mut self, at: &At<'a>) -> Option<(String, At<'a>)> {
        match condition(self.text(at)?) {
            Ok(text) => Some((text, at.clone())),
            Err(_) => {
                let problem = at.problem(FOR_EACH, "the list is not a single expression");
                self.push(problem.hint("write an expression such as `${ input.items }`"));
                None
            }
        }
    }

    fn variable(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        if !super::is_name(text) {
            let detail = format!("`{text}` is not a valid name of a variable");
            self.push(at.problem(VALUE, detail).hint("use a-z, 0-9 and _, with a letter first"));
            return None;
        }
        if TAKEN.contains(&text) {
            let problem = at.problem(FOR_EACH, format!("`{text}` is a name that expressions have already"));
            self.push(problem.hint("choose another name"));
            return None;
        }
        Some(text.to_owned())
    }
}
