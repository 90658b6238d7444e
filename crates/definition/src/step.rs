//! Steps with their block structure, as parsed and not yet expanded.

pub(crate) mod call;
mod child;
pub(crate) mod for_each;
mod probe;
mod signal;
pub(crate) mod sleep;

use crate::fields::{At, FieldReader, Fields};
use crate::lock::ParsedLock;
use crate::problem::{ACTION, COMPENSATION, EXPRESSION, NO_DEFAULT_BRANCH, PIVOT, VALUE};
use crate::settings::{CompensateKey, Defaults};
use crate::template::condition;
use goconductor_saga::{Action, FailurePolicy, Join, Kind, Retry, Timeouts};
use std::collections::BTreeMap;

/// The keys of a step.
const KNOWN: &[&str] = &[
    "name",
    "title",
    "description",
    "depends_on",
    "when",
    "run",
    "parallel",
    "switch",
    "child",
    "wait_for_signal",
    "sleep",
    "call",
    "for_each",
    "kind",
    "input",
    "compensate",
    "retry",
    "timeout",
    "lock",
    "on_error",
    "labels",
    "join",
    "probe",
    "on_unknown",
];
/// The action keys, of which a step has exactly one.
const ACTIONS: &[(&str, ActionKey)] = &[
    ("run", ActionKey::Run),
    ("parallel", ActionKey::Parallel),
    ("switch", ActionKey::Switch),
    ("child", ActionKey::Child),
    ("wait_for_signal", ActionKey::Signal),
    ("sleep", ActionKey::Sleep),
    ("call", ActionKey::Call),
];
/// Maximum characters of the name of a step or a branch, which are ASCII.
pub(crate) const MAX_NAME_CHARS: usize = 63;
/// Maximum nesting depth of blocks.
const MAX_BLOCK_DEPTH: usize = 16;

/// The action of a step, as its key names it.
#[derive(Debug, Clone, Copy)]
enum ActionKey {
    Run,
    Parallel,
    Switch,
    Child,
    Signal,
    Sleep,
    Call,
}

/// A step, or a block of steps.
#[derive(Debug)]
pub(crate) struct ParsedStep<'a> {
    pub(crate) at: At<'a>,
    pub(crate) name: String,
    pub(crate) name_at: At<'a>,
    pub(crate) title: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Names with their JSON pointers, or `None` for the step above.
    pub(crate) depends_on: Option<Vec<(String, String)>>,
    pub(crate) depends_at: Option<At<'a>>,
    pub(crate) when: Option<(String, At<'a>)>,
    pub(crate) body: Body<'a>,
}

#[derive(Debug)]
pub(crate) enum Body<'a> {
    Step(Box<ActionStep<'a>>),
    Block(Vec<Branch<'a>>),
    /// A body with problems. The step keeps its name, so that references to it cause no further problems.
    Broken,
}

/// A step that runs an action.
#[derive(Debug)]
pub(crate) struct ActionStep<'a> {
    pub(crate) action: Action,
    pub(crate) kind: Kind,
    pub(crate) join: Join,
    pub(crate) input: Option<At<'a>>,
    pub(crate) compensate: Option<CompensateKey<'a>>,
    pub(crate) retry: Retry,
    pub(crate) timeout: Timeouts,
    pub(crate) failure: FailurePolicy,
    /// The expressions of the action, which refer to steps upstream.
    pub(crate) expressions: Vec<(String, At<'a>)>,
    pub(crate) lock: Option<ParsedLock<'a>>,
    pub(crate) for_each: Option<for_each::ParsedForEach<'a>>,
}

/// A branch of a block.
#[derive(Debug)]
pub(crate) struct Branch<'a> {
    pub(crate) name: String,
    /// The condition of a `switch` branch, or `None` for the default branch.
    pub(crate) when: Option<(String, At<'a>)>,
    /// Whether the conditions of the branches above must be false.
    pub(crate) exclusive: bool,
    pub(crate) steps: Vec<ParsedStep<'a>>,
}

impl FieldReader {
    pub(crate) fn steps<'a>(
        &mut self,
        at: &At<'a>,
        defaults: &Defaults,
        depth: usize,
    ) -> Vec<ParsedStep<'a>> {
        let Some(items) = at.items() else {
            self.wrong_type(at, "a list of steps");
            return Vec::new();
        };
        if items.is_empty() {
            self.push(at.problem(VALUE, "the list of steps is empty: add at least one step"));
        }
        items.iter().filter_map(|item| self.step(item, defaults, depth)).collect()
    }

    fn step<'a>(&mut self, at: &At<'a>, defaults: &Defaults, depth: usize) -> Option<ParsedStep<'a>> {
        let fields = self.fields(at, KNOWN)?;
        let name_at = self.required(&fields, "name")?;
        let name = self.text(&name_at)?.to_owned();
        if !is_name(&name) {
            let detail = format!(
                "`{name}` is not a valid step name: use up to {MAX_NAME_CHARS} of a-z, 0-9 and _, with a letter first"
            );
            self.push(name_at.problem(VALUE, detail).hint("use `title` for free text"));
        }
        let depends_at = fields.get("depends_on");
        let depends_on = depends_at.as_ref().map(|at| self.texts(at));
        let when = fields.get("when").and_then(|at| self.condition(&at));
        self.optional_text(&fields, "description");
        Some(ParsedStep {
            at: at.clone(),
            name,
            name_at,
            title: self.optional_text(&fields, "title"),
            labels: self.labels(&fields),
            depends_on,
            depends_at,
            when,
            body: self.body(&fields, defaults, depth).unwrap_or(Body::Broken),
        })
    }

    pub(crate) fn condition<'a>(&mut self, at: &At<'a>) -> Option<(String, At<'a>)> {
        match condition(self.text(at)?) {
            Ok(text) => Some((text, at.clone())),
            Err(detail) => {
                self.push(at.problem(EXPRESSION, detail));
                None
            }
        }
    }

    fn body<'a>(&mut self, fields: &Fields<'a>, defaults: &Defaults, depth: usize) -> Option<Body<'a>> {
        let actions = ACTIONS.iter().filter_map(|(key, action)| Some((*key, *action, fields.get(key)?)));
        let actions: Vec<(&str, ActionKey, At<'a>)> = actions.collect();
        let (action, at) = match actions.as_slice() {
            [(_, action, at)] => (*action, at),
            [] => {
                let keys: Vec<&str> = ACTIONS.iter().map(|(key, _)| *key).collect();
                let problem = fields.at.problem(ACTION, "the step has no action");
                self.push(problem.hint(format!("add one of {}", keys.join(", "))));
                return None;
            }
            several => {
                let keys: Vec<&str> = several.iter().map(|(key, _, _)| *key).collect();
                let detail = format!("the step has {} actions: {}", keys.len(), keys.join(" and "));
                self.push(fields.at.problem(ACTION, detail).hint("split it into one step for each action"));
                return None;
            }
        };
        let body = match action {
            ActionKey::Run => self.single(fields, at, defaults),
            ActionKey::Call => self.call_step(fields, at, defaults),
            ActionKey::Child => self.child(fields, at, defaults),
            ActionKey::Sleep => self.sleep(fields, at),
            ActionKey::Signal => self.signal(fields, at),
            ActionKey::Parallel | ActionKey::Switch => {
                self.refuse_on_blocks(fields);
                if depth >= MAX_BLOCK_DEPTH {
                    let detail = format!("blocks are nested more than {MAX_BLOCK_DEPTH} levels deep");
                    self.push(at.problem(crate::problem::LIMIT, detail));
                    return None;
                }
                let branches = if matches!(action, ActionKey::Parallel) {
                    self.parallel(at, defaults, depth)
                } else {
                    self.switch(at, defaults, depth)
                };
                branches.map(Body::Block)
            }
        };
        self.with_elements(fields, body)
    }

    fn refuse_on_blocks(&mut self, fields: &Fields<'_>) {
        for key in [
            "kind",
            "input",
            "compensate",
            "retry",
            "timeout",
            "join",
            "labels",
            "on_error",
            "on_unknown",
            "probe",
            "lock",
        ] {
            if let Some(at) = fields.get(key) {
                let problem = at
                    .problem(VALUE, format!("`{key}` is a setting of a step, and this is a block of steps"));
                self.push(problem.hint("move it to the steps in the block"));
            }
        }
    }

    fn single<'a>(&mut self, fields: &Fields<'a>, run: &At<'a>, defaults: &Defaults) -> Option<Body<'a>> {
        let action = self.action(run, defaults.service.as_deref());
        self.action_step(fields, action, fields.get("input"), defaults)
    }

    /// Reads the settings of a step with one action.
    fn action_step<'a>(
        &mut self,
        fields: &Fields<'a>,
        action: Option<Action>,
        input: Option<At<'a>>,
        defaults: &Defaults,
    ) -> Option<Body<'a>> {
        let service = defaults.service.as_deref();
        let kind = fields.get("kind").and_then(|at| {
            let kinds = [
                ("compensatable", Kind::Compensatable),
                ("pivot", Kind::Pivot),
                ("retriable", Kind::Retriable),
            ];
            self.choice(&at, &kinds)
        });
        let compensate_at = fields.get("compensate");
        let compensate = compensate_at.as_ref().and_then(|at| self.compensate_key(at, service));
        self.check_compensation(fields, kind, compensate_at.as_ref(), compensate.as_ref(), defaults);
        let joins = [("all", Join::All), ("any", Join::Any), ("settled", Join::Settled)];
        let join = fields.get("join").and_then(|at| self.choice(&at, &joins));
        let retry_base = defaults.retry.clone().unwrap_or_default();
        let timeout_base = defaults.timeout.clone().unwrap_or_default();
        let retry = fields.get("retry").and_then(|at| self.retry(&at, &retry_base));
        let timeout = fields.get("timeout").and_then(|at| self.timeouts(&at, &timeout_base));
        let failure = self.failure_policy(fields, kind, action.as_ref(), service);
        Some(Body::Step(Box::new(ActionStep {
            action: action?,
            failure,
            kind: kind.unwrap_or(Kind::Compensatable),
            join: join.unwrap_or_default(),
            input,
            compensate,
            retry: retry.unwrap_or(retry_base),
            timeout: timeout.unwrap_or(timeout_base),
            expressions: Vec::new(),
            lock: fields.get("lock").and_then(|at| self.lock(&at)),
            for_each: None,
        })))
    }

    /// Checks that the step declares its compensation. There is no default, because a forgotten compensation would not
    /// be noticed until a rollback.
    fn check_compensation(
        &mut self,
        fields: &Fields<'_>,
        kind: Option<Kind>,
        compensate_at: Option<&At<'_>>,
        compensate: Option<&CompensateKey<'_>>,
        defaults: &Defaults,
    ) {
        match (kind, compensate_at) {
            (Some(Kind::Pivot | Kind::Retriable), Some(at)) => {
                let problem = at.problem(PIVOT, "a pivot or a retriable step is never compensated");
                self.push(problem.hint("remove `compensate` or `kind`"));
            }
            (None | Some(Kind::Compensatable), None) if fields.get("kind").is_none() || kind.is_some() => {
                let problem =
                    fields.at.problem(COMPENSATION, "the step does not declare how it is compensated");
                self.push(problem.hint(
                    "add `compensate: service/action`, `compensate: none` if there is nothing to undo, \
                     `kind: pivot` or `kind: retriable`",
                ));
            }
            (Some(Kind::Compensatable), Some(at)) if matches!(compensate, Some(CompensateKey::None)) => {
                let problem =
                    at.problem(COMPENSATION, "`kind: compensatable` contradicts `compensate: none`");
                self.push(problem.hint("remove `kind`, or name the action that compensates the step"));
            }
            (None, Some(at))
                if defaults.compensation_required && matches!(compensate, Some(CompensateKey::None)) =>
            {
                let detail =
                    "`compensate: none` is not allowed, because the definition has `compensation: required`";
                self.push(at.problem(COMPENSATION, detail));
            }
            (_, _) => {}
        }
    }

    fn parallel<'a>(&mut self, at: &At<'a>, defaults: &Defaults, depth: usize) -> Option<Vec<Branch<'a>>> {
        let Some(entries) = at.entries() else {
            self.wrong_type(at, "an object of branches, each of which is a list of steps");
            return None;
        };
        if entries.len() < 2 {
            self.push(at.problem(VALUE, "a `parallel` block needs at least two branches"));
        }
        let mut branches = Vec::new();
        for (entry, steps) in entries {
            if !is_name(&entry.key) {
                let detail = format!(
                    "`{}` is not a valid branch name: use up to {MAX_NAME_CHARS} of a-z, 0-9 and _, with a letter first",
                    entry.key
                );
                self.push(steps.problem(VALUE, detail));
            }
            let steps = self.steps(&steps, defaults, depth + 1);
            branches.push(Branch { name: entry.key.clone(), when: None, exclusive: false, steps });
        }
        Some(branches)
    }

    fn switch<'a>(&mut self, at: &At<'a>, defaults: &Defaults, depth: usize) -> Option<Vec<Branch<'a>>> {
        let Some(items) = at.items() else {
            self.wrong_type(at, "a list of branches with `when` and `steps`");
            return None;
        };
        if items.is_empty() {
            self.push(at.problem(VALUE, "a `switch` needs at least one branch"));
        }
        let mut branches = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let Some(fields) = self.fields(item, &["when", "steps"]) else { continue };
            let when_at = fields.get("when");
            if when_at.is_none() && number + 1 < items.len() {
                let problem = item.problem(
                    VALUE,
                    "a branch without `when` is always taken, so the branches below it are unreachable",
                );
                self.push(problem.hint("move it to the end"));
            }
            let when = when_at.and_then(|at| self.condition(&at));
            let Some(steps) = self.required(&fields, "steps") else { continue };
            let steps = self.steps(&steps, defaults, depth + 1);
            branches.push(Branch { name: (number + 1).to_string(), when, exclusive: true, steps });
        }
        if !branches.is_empty() && branches.iter().all(|branch| branch.when.is_some()) {
            let detail = "no branch is the default: if no condition is true, the `switch` is skipped";
            let warning = at.problem(NO_DEFAULT_BRANCH, detail);
            self.warn(warning.hint("add a last branch without `when`"));
        }
        Some(branches)
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME_CHARS
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
