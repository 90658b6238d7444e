//! The definition that an importer makes.

use goconductor_saga::Json;

/// An imported definition.
#[derive(Debug, Default)]
pub(crate) struct ImportedWorkflow {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) input: Option<Json>,
    pub(crate) timeout: Option<String>,
    pub(crate) steps: Vec<ImportedStep>,
    pub(crate) output: Option<Json>,
}

/// A step, or a block of steps.
#[derive(Debug)]
pub(crate) struct ImportedStep {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    pub(crate) when: Option<String>,
    /// The value of `for_each`.
    pub(crate) for_each: Option<Json>,
    pub(crate) action: ImportedAction,
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

/// The action of a step.
#[derive(Debug)]
pub(crate) enum ImportedAction {
    Run(String),
    Call(Json),
    Child(String),
    Sleep(String),
    Signal(Json),
    Parallel(Vec<(String, Vec<ImportedStep>)>),
    Switch(Vec<(Option<String>, Vec<ImportedStep>)>),
}

impl ImportedStep {
    /// A step without settings.
    pub(crate) fn new(name: String, action: ImportedAction) -> Self {
        let undo = match action {
            ImportedAction::Run(_) | ImportedAction::Call(_) => Undo::Undeclared,
            ImportedAction::Child(_)
            | ImportedAction::Sleep(_)
            | ImportedAction::Signal(_)
            | ImportedAction::Parallel(_)
            | ImportedAction::Switch(_) => Undo::NotASetting,
        };
        Self {
            name,
            title: None,
            when: None,
            for_each: None,
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
        matches!(self.action, ImportedAction::Run(_) | ImportedAction::Call(_))
    }
}
