//! What this process issues and can run itself goes by no queue.

use super::Engine;
use crate::Command;
use goconductor_queue::Topic;
use std::sync::Weak;

/// Takes commands past the queue. The ledger has them as delivered: one that is lost with this process comes
/// back as one that was taken from a queue would.
pub trait Shortcut: std::fmt::Debug + Send + Sync {
    /// Takes a command on, if there is room for it now; gives it back if not.
    fn take(&self, topic: &Topic, command: Command) -> Option<Command>;
}

impl Engine {
    /// Who takes commands on in this process. The first that is set stays.
    pub fn set_shortcut(&self, shortcut: Weak<dyn Shortcut>) {
        drop(self.shortcut.set(shortcut));
    }

    /// Has this process run what it has room for; what is left is to be published.
    pub(super) fn keep(&self, commands: Vec<(Topic, Command)>) -> Vec<(Topic, Command)> {
        let Some(shortcut) = self.shortcut.get().and_then(Weak::upgrade) else { return commands };
        let left = |(topic, command)| shortcut.take(&topic, command).map(|command| (topic, command));
        commands.into_iter().filter_map(left).collect()
    }
}
