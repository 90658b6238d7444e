//! The command line of a service: where its settings come from, and no more.

use clap::{Arg, ArgAction, Command};
use goconductor_service_kit::config::{Flag, Sources};
use std::path::PathBuf;

/// Variables that other programs of ours read, so that they are not taken for settings.
const OTHER_VARIABLES: [&str; 2] = ["GOCONDUCTOR_SERVER", "GOCONDUCTOR_NAMESPACE"];

/// Reads the command line; ends the process with a message where it can't be read.
pub(crate) fn parse(name: &'static str, listen: &'static str) -> Sources {
    let matches = command(name).get_matches();
    let one = |flag: &str| matches.get_one::<String>(flag).cloned();
    let mut flags: Vec<Flag> = matches
        .get_many::<String>("set")
        .into_iter()
        .flatten()
        .filter_map(|setting| setting.split_once('='))
        .map(|(path, value)| flag(path, "--set", value.to_owned()))
        .collect();
    flags.extend(one("listen").map(|address| flag(listen, "--listen", address)));
    flags.extend(one("log-level").map(|level| flag("telemetry.log_level", "--log-level", level)));
    flags.extend(one("log-format").map(|format| flag("telemetry.log_format", "--log-format", format)));
    let mut sources = Sources::of_process(one("config").map(PathBuf::from), flags);
    sources.other_env = OTHER_VARIABLES.map(str::to_owned).to_vec();
    sources
}

fn flag(path: &str, name: &str, value: String) -> Flag {
    Flag { path: path.to_owned(), value, name: name.to_owned() }
}

fn command(name: &'static str) -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(format!("The GoConductor service {name}: see `goconductor config explain` for its settings"))
        .arg(option("config", "FILE", "A file with settings").env("GOCONDUCTOR_CONFIG"))
        .arg(option("listen", "ADDRESS", "Where to listen"))
        .arg(
            option("set", "PATH=VALUE", "A setting by its dotted path; may be repeated")
                .action(ArgAction::Append)
                .value_parser(|text: &str| match text.split_once('=') {
                    Some((path, _)) if !path.is_empty() => Ok(text.to_owned()),
                    _ => Err("a setting is written PATH=VALUE, such as limits.page_size=50"),
                }),
        )
        .arg(option("log-level", "LEVEL", "Which lines are logged: a level, or a filter by target"))
        .arg(option("log-format", "FORMAT", "How a line of the log looks: text or json"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command("state-store").debug_assert();
    }
}
