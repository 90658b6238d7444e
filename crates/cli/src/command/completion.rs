//! `goconductor completion`

use crate::args::Cli;
use crate::error::{Exit, Result};
use crate::output::Output;
use clap::CommandFactory;

/// Prints a completion script.
pub(super) fn run(shell: clap_complete::Shell, out: &Output) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "goconductor", &mut script);
    out.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
