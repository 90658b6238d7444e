//! The command line of a service. It only sets the sources of the configuration.

use clap::{Arg, ArgAction, Command};
use goconductor_service_kit::config::{Flag, Sources};
use std::path::PathBuf;

/// Parses the command line. Ends the process with a message if it is not valid.
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
    Sources::of_process(one("config").map(PathBuf::from), flags)
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
        .about(format!("Run the GoConductor service {name}; `goconductor config explain` lists its settings"))
        .arg(option("config", "FILE", "YAML file with settings").env("GOCONDUCTOR_CONFIG"))
        .arg(option("listen", "ADDRESS", "Address to listen on"))
        .arg(
            option("set", "PATH=VALUE", "Set a setting by its dotted path; can be repeated")
                .action(ArgAction::Append)
                .value_parser(|text: &str| match text.split_once('=') {
                    Some((path, _)) if !path.is_empty() => Ok(text.to_owned()),
                    _ => Err("expected PATH=VALUE, such as limits.page_size=50"),
                }),
        )
        .arg(option("log-level", "LEVEL", "Log level, or a filter by target"))
        .arg(option("log-format", "FORMAT", "Format of log lines: text or json"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn command_line_is_consistent() {
        super::command("state-store").debug_assert();
    }
}
