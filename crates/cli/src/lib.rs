//! The `goconductor` command: a client of the API, administration and a consistency check of stores and, as
//! `goconductor dev`, a server with all services in one process.
//!
//! Data goes to standard output, everything else to standard error. Exit codes distinguish the outcomes that scripts
//! need. The command deliberately makes no decision about a workflow: only the server does.

mod args;
#[cfg(feature = "certs")]
mod certs;
mod command;
mod complete;
mod connect;
mod db;
mod defaults;
mod demo;
mod dev;
mod diagram;
mod doctor;
mod document;
mod error;
mod event_line;
mod json_argument;
mod output;
mod parse;
mod reference;
mod session;
mod shell;
mod source;
mod store_location;
mod time;
mod timeline;

pub use reference::{configuration_reference, reference};

use goconductor_service_kit::log;
use std::process::ExitCode;

/// Runs the command of this process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    if shell::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = parse::command_line();
    let out = output::Output::new(&cli.global);
    let is_server = matches!(cli.command, args::CliCommand::Dev(_));
    let code = command::run_to_end(cli, &out).unwrap_or_else(|error| {
        // A pipe that is not read must not keep a server from ending.
        if is_server {
            log::print(&error.to_string());
        } else {
            out.error(&error);
        }
        error.exit_code()
    });
    log::flush(log::FLUSH_TIMEOUT);
    ExitCode::from(code)
}
