//! The command line as types.

mod bench;
mod definition;
mod lock;
mod queue;
mod workflow;

use clap::{Args, Parser, Subcommand, ValueEnum};
use goconductor_service_kit::config::{Flag, Sources};
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use bench::{BenchArgs, Measurement, ParticipantsArgs};
pub(crate) use definition::{DefinitionCommand, GraphArgs, GraphFormat};
pub(crate) use lock::{ElectionCommand, HoldArgs, LockCommand};
pub(crate) use queue::QueueCommand;
pub(crate) use workflow::{BulkArgs, CountBy, ListArgs, StartArgs, WorkflowCommand};

/// Variables that the command line reads itself, so that they are not taken for settings.
const OWN_VARIABLES: [&str; 2] = ["GOCONDUCTOR_SERVER", "GOCONDUCTOR_NAMESPACE"];

/// Runs sagas: every step done, or everything undone.
#[derive(Debug, Parser)]
#[command(name = "goconductor", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 other, 2 usage, 3 not found, 4 conflict, 5 not allowed, \
    6 unreachable, 7 time-out, 8 invalid definition or configuration, 9 diff found a difference, \
    10 the awaited workflow rolled back, 11 it is in error.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command knows.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// The server's address
    #[arg(long, global = true, env = "GOCONDUCTOR_SERVER", default_value = "http://127.0.0.1:8470")]
    #[arg(value_name = "URL", hide_env_values = true, help_heading = "Global options")]
    pub(crate) server: String,
    /// The namespace that the command is about
    #[arg(long, global = true, env = "GOCONDUCTOR_NAMESPACE", default_value = "default")]
    #[arg(value_name = "NAME", hide_env_values = true, help_heading = "Global options")]
    pub(crate) namespace: String,
    /// How data is written
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    #[arg(help_heading = "Global options")]
    pub(crate) output: Format,
    /// Without colours; so does NO_COLOR
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
    /// No messages and no progress, only data and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For people with a wide window
    Wide,
    /// The API's JSON
    Json,
    /// The same as YAML
    Yaml,
    /// One JSON object a line
    Jsonl,
    /// Names or ids only
    Name,
}

/// What a command is about.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole server in this process, over SQLite and an in-process queue
    Dev(DevArgs),
    /// Definitions: the graphs that workflows run
    #[command(subcommand)]
    Definition(DefinitionCommand),
    /// Workflows: runs of a definition
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Services: who carries out steps
    #[command(subcommand)]
    Service(ServiceCommand),
    /// The processes that are there
    #[command(subcommand)]
    Process(ProcessCommand),
    /// Dead letters: messages that nobody could act on
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Locks: keys that one owner holds at a time
    #[command(subcommand)]
    Lock(LockCommand),
    /// Elections: who leads what
    #[command(subcommand)]
    Election(ElectionCommand),
    /// Queues: what waits in the one that is in use, and the move to another one
    #[command(subcommand)]
    Queue(QueueCommand),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check a store: histories, states and ledger have to agree
    Doctor(DoctorArgs),
    /// Measure GoConductor on this machine: sagas a second, latency, processor time, memory
    Bench(BenchArgs),
    /// The participants of `bench`
    #[command(hide = true)]
    BenchParticipants(ParticipantsArgs),
    /// Explain an error's code; without one, list them
    Explain {
        /// Such as GC2004
        code: Option<String>,
    },
    /// Write a completion script for a shell
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Show this program's release
    Version,
}

/// `goconductor dev`: a whole server in this process.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DevArgs {
    /// Serve demo participants, and apply the definition order-processing
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Have the participants of `bench` in this process
    #[arg(long, hide = true)]
    pub(crate) bench_participants: bool,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Keep everything in memory: nothing is left at the end
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) ephemeral: bool,
    /// Which lines are logged: a level, or a filter by target
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// How a line of the log looks: text or json
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// Where settings come from.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingArgs {
    /// A file with settings
    #[arg(long, env = "GOCONDUCTOR_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where local files live
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A setting by its dotted path; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
}

impl DevArgs {
    /// What the server's configuration is made of.
    #[must_use]
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = self.settings.sources();
        let named = [
            ("listen", "--listen", self.listen.map(|listen| listen.to_string())),
            ("telemetry.log_level", "--log-level", self.log_level.clone()),
            ("telemetry.log_format", "--log-format", self.log_format.clone()),
        ];
        sources
            .flags
            .extend(named.into_iter().filter_map(|(path, name, value)| Some(flag(path, name, value?))));
        sources
    }
}

impl SettingArgs {
    /// What a configuration is made of.
    #[must_use]
    pub(crate) fn sources(&self) -> Sources {
        let mut flags: Vec<Flag> =
            self.set.iter().map(|(path, value)| flag(path, "--set", value.clone())).collect();
        flags.extend(
            self.data_dir.as_ref().map(|dir| flag("data_dir", "--data-dir", dir.display().to_string())),
        );
        let mut sources = Sources::of_process(self.config.clone(), flags);
        sources.other_env = OWN_VARIABLES.map(str::to_owned).to_vec();
        sources
    }
}

fn flag(path: &str, name: &str, value: String) -> Flag {
    Flag { path: path.to_owned(), value, name: name.to_owned() }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("a setting is written PATH=VALUE, such as limits.page_size=50".to_owned()),
    }
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List the services
    List,
    /// Show a service
    Get {
        /// Its name
        name: String,
    },
    /// Say how a service is reached, and what it is limited to; what is there is replaced
    Set {
        /// Its name
        name: String,
        /// Where it is called: actions are appended to it; without, workers carry it out
        #[arg(long, required_unless_present_any = ["max_in_flight", "limit"])]
        url: Option<String>,
        /// Commands of it under way at once
        #[arg(long)]
        max_in_flight: Option<u32>,
        /// Commands of one of its actions under way at once, such as charge=4; repeat it for others
        #[arg(long, value_name = "ACTION=N", value_parser = limit)]
        limit: Vec<(String, u32)>,
    },
}

/// `charge=4`
fn limit(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("expected an action and a number such as charge=4, found {text}");
    let (action, number) = text.split_once('=').ok_or_else(wrong)?;
    let number = number.parse().map_err(|_| wrong())?;
    Ok((action.to_owned(), number))
}

/// What to do with processes.
#[derive(Debug, Subcommand)]
pub(crate) enum ProcessCommand {
    /// List the processes
    List,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List the newest
    List {
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one
    Get {
        /// Its id
        id: String,
    },
    /// Put one back where it came from
    Requeue {
        /// Its id
        id: String,
    },
    /// Remove one
    Delete {
        /// Its id
        id: String,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show each value and where it came from, secrets masked
    Explain(SettingArgs),
}

/// `goconductor doctor`: which store to check.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// The store's address: sqlite:///path or postgres://…
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "data_dir"])]
    pub(crate) state_store_url: Option<String>,
}
