//! `goconductor completion`

use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::shell;

/// Prints a completion script.
pub(super) fn run(kind: clap_complete::Shell, out: &Output) -> Result {
    let failed = |error| CliError::new(Exit::Other, format!("failed to write the script: {error}"));
    let script = shell::script(kind).map_err(failed)?;
    out.raw(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
