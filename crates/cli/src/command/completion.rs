//! `goconductor completion`

use crate::complete;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;

/// Prints a completion script.
pub(super) fn run(shell: clap_complete::Shell, out: &Output) -> Result {
    let failed = |error| CliError::new(Exit::Other, format!("failed to write the script: {error}"));
    let script = complete::script(shell).map_err(failed)?;
    out.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
