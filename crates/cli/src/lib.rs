//! The `goconductor` command: a client of the API, a checker of stores, and, as `dev`, a whole server
//! in one process.
//!
//! Data goes to standard output, everything else to standard error; exit codes say what scripts need to
//! know. The command deliberately takes no decision about a workflow: that is the server's.

mod args;
mod command;
mod demo;
mod dev;
mod doctor;
mod document;
mod drawing;
mod error;
mod event_line;
mod time;
mod output;
mod source;
mod timeline;

use clap::Parser;
use std::process::ExitCode;

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let out = output::Output::new(&cli.global);
    let code = command::run_to_end(cli, &out).unwrap_or_else(|error| {
        out.error(&error);
        error.exit_code()
    });
    ExitCode::from(code)
}
