//! Turns news about a workflow into a committed transition and published commands
