//! The one place that writes: data to standard output, everything else to standard error.
#![allow(clippy::print_stderr, reason = "messages of a command go to standard error, and this is where")]

use crate::args::{Format, GlobalArgs};
use crate::document::Document;
use crate::error::{CliError, Exit, Result};
use std::io::{self, IsTerminal, Write};

/// How wide a page is where nobody can say.
const DEFAULT_WIDTH: usize = 100;

/// Where a command writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// How data is written.
    pub(crate) format: Format,
    /// How pictures are drawn.
    pub(crate) look: Look,
    quiet: bool,
    colour_errors: bool,
}

/// How pictures are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Columns.
    pub(crate) width: usize,
    /// Whether more than ASCII can be shown.
    pub(crate) unicode: bool,
    /// Whether colours can be shown.
    pub(crate) colour: bool,
    /// Whether it can be drawn over.
    pub(crate) terminal: bool,
}

/// A colour by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Done.
    Success,
    /// Went wrong.
    Failure,
    /// Undone, or being undone.
    Compensation,
    /// Under way.
    Running,
    /// Of less importance.
    Dim,
    /// Of more importance.
    Bold,
}

impl Look {
    /// A text in a colour, if there are colours.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let code = match style {
            Style::Success => "32",
            Style::Failure => "31",
            Style::Compensation => "35",
            Style::Running => "36",
            Style::Dim => "2",
            Style::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

impl Output {
    /// As the command line and the environment want it.
    pub(crate) fn new(args: &GlobalArgs) -> Self {
        let plain = args.no_color
            || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let terminal = io::stdout().is_terminal();
        let look =
            Look { width: width(terminal), unicode: speaks_unicode(), colour: terminal && !plain, terminal };
        let colour_errors = io::stderr().is_terminal() && !plain;
        Self { format: args.output, look, quiet: args.quiet, colour_errors }
    }

    /// Writes data and a line's end.
    pub(crate) fn data(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        written(writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Writes data as it is.
    pub(crate) fn raw(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Writes one answer of the API in the format for programs; false: a person wants to read it.
    pub(crate) fn answer(&self, text: &str) -> Result<bool> {
        self.rendered(text, |document| document.to_line())
    }

    /// The same for an answer that holds a list under `key`: one member a line, where lines are wanted.
    pub(crate) fn answer_list(&self, text: &str, key: &str) -> Result<bool> {
        self.rendered(text, |document| {
            let list = document.field(key).unwrap_or(document);
            list.members().iter().map(Document::to_line).collect::<Vec<_>>().join("\n")
        })
    }

    fn rendered(&self, text: &str, lines: impl Fn(&Document) -> String) -> Result<bool> {
        let document = || {
            Document::parse(text).map_err(|error| {
                CliError::new(Exit::Other, format!("the answer is not JSON: {error}")).code("GC3003")
            })
        };
        let text = match self.format {
            Format::Json => document()?.to_json(),
            Format::Yaml => document()?.to_yaml(),
            Format::Jsonl => lines(&document()?),
            Format::Table | Format::Wide | Format::Name => return Ok(false),
        };
        if !text.is_empty() {
            self.data(&text)?;
        }
        Ok(true)
    }

    /// Whether only names are wanted.
    pub(crate) fn names_only(&self) -> bool {
        self.format == Format::Name
    }

    /// Whether a person reads it.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Says something that is no data.
    pub(crate) fn message(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// How messages look.
    pub(crate) fn message_look(&self) -> Look {
        Look { colour: self.colour_errors, terminal: io::stderr().is_terminal(), ..self.look }
    }

    /// Whether progress can be shown.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Says a part of what went wrong, even to the quiet.
    pub(crate) fn error_text(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Says what went wrong, even to the quiet.
    pub(crate) fn error(&self, error: &CliError) {
        let text = error.to_string();
        if !self.colour_errors {
            eprintln!("{text}");
            return;
        }
        let look = Look { width: 0, unicode: true, colour: true, terminal: true };
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("error", rest)) => eprintln!("{} {rest}", look.paint(Style::Failure, "error:")),
                Some((head @ ("where" | "hint" | "see"), rest)) => {
                    eprintln!("{} {rest}", look.paint(Style::Bold, &format!("{head}:")));
                }
                _ => eprintln!("{line}"),
            }
        }
    }

    /// Rows below their heads, as wide as they need.
    pub(crate) fn table(&self, heads: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(heads.to_vec());
        for row in rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        self.data(&text.join("\n"))
    }
}

/// A reader that has gone, such as `head`, is no error of ours.
fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(CliError::new(Exit::Other, format!("standard output can't be written: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn width(terminal: bool) -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen =
        || terminal.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0));
    said.or_else(seen).filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH)
}

/// Unicode unless the locale says that it is something else.
fn speaks_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
