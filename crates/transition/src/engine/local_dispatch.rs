//! Dispatch of commands within this process, without the queue.

use super::Engine;
use crate::Command;
use goconductor_queue::Topic;
use std::sync::Weak;

/// Runs commands in the process that issued them, without a round trip through the queue.
///
/// The ledger records such a command as published. If the process dies, the command is redelivered like one that
/// was lost after a consumer received it.
pub trait LocalDispatch: std::fmt::Debug + Send + Sync {
    /// Accepts a command if a slot for it is free now. Returns the command if it was not accepted.
    fn try_accept(&self, topic: &Topic, command: Command) -> Option<Command>;
}

impl Engine {
    /// Sets the local dispatch of this process. Later calls have no effect.
    pub fn set_local_dispatch(&self, local: Weak<dyn LocalDispatch>) {
        drop(self.local_dispatch.set(local));
    }

    /// Dispatches the commands that this process has free slots for. Returns the rest, which must be published.
    pub(super) fn dispatch_locally(&self, commands: Vec<(Topic, Command)>) -> Vec<(Topic, Command)> {
        let Some(local) = self.local_dispatch.get().and_then(Weak::upgrade) else { return commands };
        let rest = |(topic, command)| local.try_accept(&topic, command).map(|command| (topic, command));
        commands.into_iter().filter_map(rest).collect()
    }
}
