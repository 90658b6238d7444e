//! What this process issues and can run itself goes by no queue.

use super::Conductor;
use crate::Command;
use goconductor_queue::Topic;
use goconductor_saga::State;
use std::sync::{Arc, Weak};

/// Takes commands past the queue. The ledger has them as delivered: one that is lost with this process comes
/// back as one that was taken from a queue would.
pub trait Shortcut: std::fmt::Debug + Send + Sync {
    /// Takes a command on, if there is room for it now; gives it back if not.
    fn take(&self, topic: &Topic, command: Command) -> Option<Command>;
}

impl Conductor {
    /// Who takes commands on in this process. The first that is set stays.
    pub fn set_shortcut(&self, shortcut: Weak<dyn Shortcut>) {
        drop(self.shortcut.set(shortcut));
    }

    /// Has this process run what it has room for; what is left is to be published, with the state for whoever
    /// takes it, if that may be another process.
    pub(super) fn keep(&self, commands: Vec<(Topic, Command)>, state: &Arc<State>) -> Vec<(Topic, Command)> {
        let shortcut = self.shortcut.get().and_then(Weak::upgrade);
        let travels = self.queue.outlives_processes();
        let mut left = Vec::with_capacity(commands.len());
        for (topic, command) in commands {
            let command = match &shortcut {
                Some(shortcut) => shortcut.take(&topic, command),
                None => Some(command),
            };
            if let Some(command) = command {
                let state = travels.then(|| Arc::clone(state));
                left.push((topic, Command { state, ..command }));
            }
        }
        left
    }
}
