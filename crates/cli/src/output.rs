//! Output of the command: data goes to standard output, everything else to standard error.

use crate::args::{GlobalArgs, OutputFormat};
use crate::document::JsonDocument;
use crate::error::{CliError, Exit, Result};
use crate::time;
use anstyle::AnsiColor;
use std::io::{self, IsTerminal, Write};

/// The page width if neither `COLUMNS` nor the terminal provides one.
const DEFAULT_WIDTH: usize = 100;

/// The output settings of a command.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// The format of data.
    pub(crate) format: OutputFormat,
    /// The capabilities of standard output.
    pub(crate) terminal: Terminal,
    /// Whether tables show exact times instead of ages.
    pub(crate) exact_times: bool,
    quiet: bool,
    colour_errors: bool,
}

/// The capabilities of an output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The width in columns.
    pub(crate) width: usize,
    /// Whether it shows Unicode. Otherwise only ASCII is written.
    pub(crate) unicode: bool,
    /// Whether it shows colours.
    pub(crate) colour: bool,
    /// Whether lines can be redrawn.
    pub(crate) interactive: bool,
}

/// The style of a piece of text, named by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Completed.
    Success,
    /// Failed.
    Failure,
    /// Compensated, or being compensated.
    Compensation,
    /// In progress.
    Running,
    /// Less important.
    Dim,
    /// More important.
    Bold,
}

impl Style {
    fn ansi(self) -> anstyle::Style {
        match self {
            Self::Success => AnsiColor::Green.on_default(),
            Self::Failure => AnsiColor::Red.on_default(),
            Self::Compensation => AnsiColor::Magenta.on_default(),
            Self::Running => AnsiColor::Cyan.on_default(),
            Self::Dim => anstyle::Style::new().dimmed(),
            Self::Bold => anstyle::Style::new().bold(),
        }
    }
}

impl Terminal {
    /// Returns `text` in `style`, or unchanged if colours are off.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        let style = style.ansi();
        format!("{style}{text}{style:#}")
    }
}

/// A page of a list that the API returned.
pub(crate) struct PrintedPage<'p, T> {
    /// The response.
    pub(crate) text: &'p str,
    /// The items in the plural, which is also their field in the response.
    pub(crate) kind: &'static str,
    pub(crate) items: &'p [T],
    /// The token of the next page. It is empty on the last page.
    pub(crate) next_page_token: &'p str,
    pub(crate) heads: &'p [&'static str],
    pub(crate) name: fn(&T) -> &str,
    pub(crate) row: fn(&T, &Output) -> Vec<String>,
}

impl Output {
    /// Creates the output from the command line and the environment. `--no-color`, `NO_COLOR` and `TERM=dumb` turn
    /// colours off, and so does an output that is not a terminal.
    pub(crate) fn new(args: &GlobalArgs) -> Self {
        let plain = args.no_color
            || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let interactive = io::stdout().is_terminal();
        let terminal = Terminal {
            width: width(interactive),
            unicode: locale_is_unicode(),
            colour: interactive && !plain,
            interactive,
        };
        let colour_errors = io::stderr().is_terminal() && !plain;
        let exact_times = args.utc || args.output == OutputFormat::Wide;
        Self { format: args.output, terminal, exact_times, quiet: args.quiet, colour_errors }
    }

    /// Writes data and a line feed.
    pub(crate) fn data(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        written(writeln!(out, "{text}").and_then(|()| out.flush()))
    }

    /// Writes a line of a stream that may have no end. The process ends successfully once the reader has closed the
    /// pipe.
    pub(crate) fn stream(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            result => written(result),
        }
    }

    /// Writes data unchanged.
    pub(crate) fn raw(&self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
    }

    /// Writes a response of the API if the format is JSON, YAML or JSONL. Returns `false` for the other formats,
    /// which the caller writes.
    pub(crate) fn structured(&self, text: &str) -> Result<bool> {
        self.rendered(text, JsonDocument::to_line)
    }

    /// Like [`structured`](Self::structured), for a response that holds a list under `key`: JSONL has one line per
    /// member.
    pub(crate) fn structured_list(&self, text: &str, key: &str) -> Result<bool> {
        self.rendered(text, |document| {
            let list = document.field(key).unwrap_or(document);
            list.members().iter().map(JsonDocument::to_line).collect::<Vec<_>>().join("\n")
        })
    }

    fn rendered(&self, text: &str, lines: impl Fn(&JsonDocument) -> String) -> Result<bool> {
        let document = || {
            JsonDocument::parse(text).map_err(|error| {
                CliError::new(Exit::Other, format!("the response is not valid JSON: {error}")).code("GC3003")
            })
        };
        let text = match self.format {
            OutputFormat::Json => document()?.to_json(),
            OutputFormat::Yaml => document()?.to_yaml(),
            OutputFormat::Jsonl => lines(&document()?),
            OutputFormat::Table | OutputFormat::Wide | OutputFormat::Name => return Ok(false),
        };
        if !text.is_empty() {
            self.data(&text)?;
        }
        Ok(true)
    }

    /// Whether the format is `name`.
    pub(crate) fn names_only(&self) -> bool {
        self.format == OutputFormat::Name
    }

    /// Whether the format is `table` or `wide`.
    pub(crate) fn is_human_readable(&self) -> bool {
        matches!(self.format, OutputFormat::Table | OutputFormat::Wide)
    }

    /// Writes a message to standard error unless `--quiet` is set.
    pub(crate) fn message(&self, text: &str) {
        if !self.quiet {
            message(text);
        }
    }

    /// The capabilities of standard error.
    pub(crate) fn message_terminal(&self) -> Terminal {
        Terminal { colour: self.colour_errors, interactive: io::stderr().is_terminal(), ..self.terminal }
    }

    /// Whether to draw a progress bar.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Writes a part of an error to standard error, even with `--quiet`.
    pub(crate) fn error_text(&self, text: &str) {
        message(text);
    }

    /// Writes an error to standard error, even with `--quiet`.
    pub(crate) fn error(&self, error: &CliError) {
        let text = error.to_string();
        let terminal = self.message_terminal();
        if !terminal.colour {
            message(&text);
            return;
        }
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("error", rest)) => {
                    message(&format!("{} {rest}", terminal.paint(Style::Failure, "error:")));
                }
                Some((head @ ("where" | "hint" | "see"), rest)) => {
                    message(&format!("{} {rest}", terminal.paint(Style::Bold, &format!("{head}:"))));
                }
                _ => message(line),
            }
        }
    }

    /// Returns a time of the API for a table: its age, or the exact time if that is wanted. A missing time is `-`.
    pub(crate) fn time(&self, time: Option<&str>) -> String {
        let Some(text) = time.filter(|text| !text.is_empty()) else { return "-".to_owned() };
        match time::parse(text) {
            Some(time) if !self.exact_times => time::format_age(time, time::now()),
            Some(_) | None => text.to_owned(),
        }
    }

    /// Writes a page of a list in every format.
    pub(crate) fn page<T>(&self, page: &PrintedPage<'_, T>) -> Result {
        let PrintedPage { text, kind, items, next_page_token, heads, name, row } = page;
        if self.structured_list(text, kind)? {
            return Ok(Exit::Success);
        }
        if self.names_only() {
            for item in *items {
                self.data(name(item))?;
            }
        } else if items.is_empty() {
            self.message(&format!("no {kind}"));
        } else {
            self.table(heads, items.iter().map(|item| row(item, self)).collect())?;
        }
        if !next_page_token.is_empty() {
            self.message(&format!("more {kind} exist: increase --limit, up to 1000"));
        }
        Ok(Exit::Success)
    }

    /// Writes a table whose columns are as wide as their widest cell.
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

/// Writes a line to standard error. A message that cannot be written is lost: the command continues.
fn message(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Returns the result of a write to standard output. If the reader, such as `head`, has closed the pipe, the command
/// continues to its own exit code without output.
fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::new(Exit::Other, format!("failed to write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn width(interactive: bool) -> usize {
    let configured = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let detected =
        || interactive.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0));
    configured.or_else(detected).filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH)
}

/// Returns `true` unless the locale names another encoding.
fn locale_is_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
