//! The definition that an importer makes.

use goconductor_saga::Json;

/// An imported definition.
#[derive(Debug, Default)]
pub(crate) struct Workflow {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) input: Option<Json>,
    pub(crate) timeout: Option<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) output: Option<Json>,
}

/// A step, or a block of steps.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) when: Option<String>,
    pub(crate) action: Action,
    pub(crate) input: Option<Json>,
    pub(crate) timeout: Option<Json>,
    pub(crate) retry: Option<Json>,
    pub(crate) continues: bool,
    pub(crate) undo: Undo,
}

/// How a step is undone.
#[derive(Debug)]
pub(crate) enum Undo {
    /// The step has no setting for it.
    NotASetting,
    /// The source does not state it.
    Undeclared,
    /// The value of `compensate`.
    Declared(Json),
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Action {
    Run(String),
    Call(Json),
    Child(String),
    Sleep(String),
    Signal(Json),
    Parallel(Vec<(String, Vec<Step>)>),
    Switch(Vec<(Option<String>, Vec<Step>)>),
}

impl Step {
    /// A step without settings.
    pub(crate) fn new(name: String, action: Action) -> Self {
        let undo = match action {
            Action::Run(_) | Action::Call(_) => Undo::Undeclared,
            Action::Child(_)
            | Action::Sleep(_)
            | Action::Signal(_)
            | Action::Parallel(_)
            | Action::Switch(_) => Undo::NotASetting,
        };
        Self {
            name,
            title: None,
            when: None,
            action,
            input: None,
            timeout: None,
            retry: None,
            continues: false,
            undo,
        }
    }

    /// Whether the step has an action with attempts.
    pub(crate) fn has_attempts(&self) -> bool {
        matches!(self.action, Action::Run(_) | Action::Call(_))
    }
}
