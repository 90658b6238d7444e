//! Running the command.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Nobody listens here: the discard port, which needs a privilege to be bound.
pub(crate) const NOBODY: &str = "http://127.0.0.1:9";

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command without any setting of this process's environment.
pub(crate) fn goconductor(server: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goconductor"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GOCONDUCTOR_")) {
        command.env_remove(name);
    }
    command.env("GOCONDUCTOR_SERVER", server).env("COLUMNS", "100").env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null());
    command
}

/// Runs it with arguments as a shell would split them at spaces.
pub(crate) fn run(server: &str, args: &str) -> Ran {
    run_args(server, &args.split_whitespace().collect::<Vec<_>>())
}

/// Runs it with arguments.
pub(crate) fn run_args(server: &str, args: &[&str]) -> Ran {
    ran(goconductor(server).args(args).output().unwrap())
}

/// Runs it with something on its standard input.
pub(crate) fn run_fed(server: &str, args: &[&str], input: &str) -> Ran {
    let mut command = goconductor(server);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    ran(child.wait_with_output().unwrap())
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
