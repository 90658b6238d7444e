//! The generated reference pages: the command line, rendered from the definitions of its commands, and the configuration.

mod configuration;

pub use configuration::configuration_reference;

use crate::args::Cli;
use clap::{Arg, Command, CommandFactory};

const HEAD: &str = "\
# Command line

<!-- Generated from `crates/cli/src/args.rs`; see the test `cli_reference_is_current` in `crates/cli`. -->

";

/// Renders the reference of all commands and options as Markdown. `docs/reference/cli.md` holds this text.
#[must_use]
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = String::from(HEAD);
    describe(&mut text, &root);
    table(&mut text, "## Global options", root.get_arguments().filter(|arg| arg.is_global_set()));
    for command in visible(&root) {
        section(&mut text, command, 2);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn section(text: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    text.push_str(&format!("{} `{name}`\n\n", "#".repeat(level)));
    describe(text, command);
    let own = || command.get_arguments().filter(|arg| !arg.is_global_set());
    table(text, "Arguments:", own().filter(|arg| arg.is_positional()));
    table(text, "Options:", own().filter(|arg| !arg.is_positional()));
    for command in visible(command) {
        section(text, command, level + 1);
    }
}

fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|each| !each.is_hide_set())
}

fn describe(text: &mut String, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!("{about}.\n\n"));
    let aliases: Vec<String> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
    match aliases.as_slice() {
        [] => {}
        [alias] => text.push_str(&format!("Alias: {alias}.\n\n")),
        several => text.push_str(&format!("Aliases: {}.\n\n", several.join(", "))),
    }
    if !command.has_subcommands() {
        let usage = command.clone().render_usage().to_string();
        text.push_str(&format!("```text\n{}\n```\n\n", usage.trim_start_matches("Usage: ").trim()));
    }
    if let Some(after) = command.get_after_help() {
        text.push_str(&format!("```text\n{after}\n```\n\n"));
    }
}

fn table<'a>(text: &mut String, title: &str, args: impl Iterator<Item = &'a Arg>) {
    let rows: Vec<String> = args.filter(|arg| !arg.is_hide_set() && !is_built_in(arg)).map(row).collect();
    if rows.is_empty() {
        return;
    }
    text.push_str(&format!(
        "{title}\n\n| name | description | default | environment |\n| --- | --- | --- | --- |\n"
    ));
    rows.iter().for_each(|row| text.push_str(row));
    text.push('\n');
}

/// Whether clap has added the argument.
fn is_built_in(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
        && arg.get_help_heading().is_none()
        && !takes_value(arg)
}

fn row(arg: &Arg) -> String {
    let mut description = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| takes_value(arg) && !value.is_hide_set())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        description.push_str(&format!(". Values: {}", values.join(", ")));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let default =
        if takes_value(arg) && !defaults.is_empty() { code(&defaults.join(",")) } else { String::new() };
    let environment = arg.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default();
    format!("| {} | {} | {default} | {environment} |\n", code(&name(arg)), escape(&description))
}

/// Returns the name as it is typed: `-o, --output <FORMAT>` or `<ID>`.
fn name(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let value = if takes_value(arg) { values.join(" ") } else { String::new() };
    let flags: Vec<String> =
        [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))]
            .into_iter()
            .flatten()
            .collect();
    format!("{} {value}", flags.join(", ")).trim().to_owned()
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn code(text: &str) -> String {
    format!("`{}`", escape(text))
}

/// Escapes the separator of table cells.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
