//! Execution of the command under test.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// A URL without a server: no process listens on the discard port, which requires a privilege to bind.
pub(crate) const UNREACHABLE: &str = "http://127.0.0.1:9";

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Creates a command without the `GOCONDUCTOR_` variables of this process.
pub(crate) fn goconductor(server: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goconductor"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GOCONDUCTOR_")) {
        command.env_remove(name);
    }
    command.env("GOCONDUCTOR_SERVER", server).env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null());
    command
}

/// Runs the command with arguments separated by spaces.
pub(crate) fn run(server: &str, args: &str) -> CommandOutput {
    run_args(server, &args.split_whitespace().collect::<Vec<_>>())
}

/// Runs the command with arguments.
pub(crate) fn run_args(server: &str, args: &[&str]) -> CommandOutput {
    command_output(goconductor(server).args(args).output().unwrap())
}

/// Runs the command with arguments and standard input.
pub(crate) fn run_with_input(server: &str, args: &[&str], input: &str) -> CommandOutput {
    let mut command = goconductor(server);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    command_output(child.wait_with_output().unwrap())
}

fn command_output(output: Output) -> CommandOutput {
    CommandOutput {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
