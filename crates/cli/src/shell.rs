//! Completion at the shell prompt. The script of `goconductor completion` calls this program for each completion.

use crate::args::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// The variable by which the script of a shell asks for candidates. Its value is the name of the shell.
const VARIABLE: &str = "GOCONDUCTOR_COMPLETE";
const PROGRAM: &str = "goconductor";

/// Answers the script of a shell. Returns whether the shell asked. If it did, there is nothing else to do.
pub(crate) fn answer() -> bool {
    let completion = CompleteEnv::with_factory(Cli::command).var(VARIABLE).bin(PROGRAM);
    let directory = std::env::current_dir().ok();
    completion.try_complete(std::env::args_os(), directory.as_deref()).unwrap_or(true)
}

/// Returns the script that a shell evaluates once. It calls the program that wrote it, or the one on the `PATH` if that
/// was called by its name only.
pub(crate) fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let called = std::env::args_os().next().unwrap_or_default();
    let is_path = Path::new(&called).components().count() > 1;
    let program = if is_path { std::env::current_exe()?.into_os_string() } else { OsString::from(PROGRAM) };
    let shells = Shells::builtins();
    let name = shell.to_string();
    let completer =
        shells.completer(&name).ok_or_else(|| io::Error::other(format!("unknown shell {name}")))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, &program.to_string_lossy(), &mut script)?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_of_each_shell_asks_this_program() {
        for shell in [Shell::Bash, Shell::Elvish, Shell::Fish, Shell::PowerShell, Shell::Zsh] {
            let script = String::from_utf8(script(shell).unwrap()).unwrap();
            assert!(script.contains(VARIABLE) && script.contains(PROGRAM), "{shell}: {script}");
        }
    }
}
