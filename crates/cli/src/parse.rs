//! Parsing of the command line of this process.

use crate::args::Cli;
use crate::error::Exit;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error, Parser};
use std::io::Write;

/// Parses the command line. Ends the process with a message if it is not valid.
pub(crate) fn command_line() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if error.kind() == ErrorKind::MissingSubcommand {
            show_commands(&error);
        }
        error.exit()
    })
}

/// Shows the help of a command that was called without a subcommand, and ends the process. The help says what each
/// subcommand does, in contrast to the message of clap.
fn show_commands(error: &Error) -> ! {
    let name = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => name.as_str(),
        Some(_) | None => "",
    };
    let mut root = Cli::command();
    root.build();
    let help = named(root, name).render_help();
    // Help that cannot be written is lost, as with clap.
    drop(writeln!(std::io::stderr(), "{help}"));
    std::process::exit(Exit::Usage.code().into())
}

/// Returns the command with a name such as `goconductor workflow`.
fn named(root: Command, name: &str) -> Command {
    name.split_whitespace().skip(1).fold(root, |command, word| {
        let subcommand = command.find_subcommand(word).cloned();
        subcommand.unwrap_or(command)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_found_by_its_full_name() {
        let mut root = Cli::command();
        root.build();
        for (name, expected) in [
            ("", "goconductor"),
            ("goconductor", "goconductor"),
            ("goconductor workflow", "workflow"),
            ("goconductor wf", "workflow"),
            ("goconductor workflow start", "start"),
            ("goconductor nothing", "goconductor"),
        ] {
            assert_eq!(named(root.clone(), name).get_name(), expected, "{name}");
        }
    }

    #[test]
    fn missing_subcommand_is_reported_with_the_name_of_its_command() {
        // An option that is set, such as by a variable, turns off the help that clap would show.
        let root = ["goconductor", "--namespace", "n"];
        let workflow = ["goconductor", "wf", "--namespace", "n"];
        for (args, name) in [(&root[..], "goconductor"), (&workflow[..], "goconductor workflow")] {
            let error = Cli::try_parse_from(args).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MissingSubcommand);
            let context = error.get(ContextKind::InvalidSubcommand);
            assert!(matches!(context, Some(ContextValue::String(text)) if text == name), "{context:?}");
        }
    }
}
