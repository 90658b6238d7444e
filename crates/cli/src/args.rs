//! The command line as types. Doc comments of fields and variants are the help texts.

mod access;
mod audit;
mod batch;
#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "certs")]
mod certs;
mod config;
mod db;
mod definition;
mod lock;
mod queue;
mod repair;
mod schedule;
mod secret;
mod workflow;

use crate::complete;
use crate::defaults::{
    CA_VARIABLE, CERT_VARIABLE, DEFAULT_NAMESPACE, DEFAULT_SERVER, KEY_VARIABLE, NAMESPACE_VARIABLE,
    SERVER_VARIABLE, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::{ArgValueCandidates, Shell};
use goconductor_service_kit::config::{Flag, ListenAddress, Sources};
use goconductor_service_kit::duration;
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use access::{AccessCommand, AccessKeyCommand, CreateKeyArgs};
pub(crate) use audit::{AuditCommand, AuditFilterArgs, VerifyArgs};
pub(crate) use batch::{BatchCommand, BulkVerb, CreateBatchArgs, ItemStatus};
#[cfg(feature = "bench")]
pub(crate) use bench::{BenchArgs, Measurement, ParticipantsArgs};
#[cfg(feature = "certs")]
pub(crate) use certs::{AuthorityChange, CertsCommand, CertsCreateArgs, CertsRenewArgs};
pub(crate) use config::{ConfigChangeArgs, ConfigCommand};
pub(crate) use db::{DbCommand, MigrateArgs};
pub(crate) use definition::{
    DefinitionCommand, DefinitionTemplate, DiffArgs, GraphArgs, GraphFormat, ImportArgs, ImportSource,
    SimulateArgs,
};
use lock::path_segment;
pub(crate) use lock::{ElectionCommand, HoldArgs, LockCommand};
pub(crate) use queue::QueueCommand;
pub(crate) use repair::{RerunArgs, WorkflowMigrateArgs};
pub(crate) use schedule::{ScheduleApplyArgs, ScheduleCommand};
pub(crate) use secret::SecretCommand;
pub(crate) use workflow::{BulkArgs, BulkStepArgs, GroupingField, ListArgs, StartArgs, WorkflowCommand};

/// Run sagas: either every step completes, or the completed steps are compensated
#[derive(Debug, Parser)]
#[command(name = "goconductor", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 success, 1 other failure, 2 usage error, 3 not found, 4 conflict, \
    5 not allowed, 6 server unreachable, 7 timeout, 8 invalid definition or configuration, \
    9 `definition diff`, `definition fmt --check` or `config diff` found a difference, 10 the awaited workflow was rolled back, \
    11 the awaited workflow is in error")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// Options that every command accepts.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Address of the server
    #[arg(long, global = true, env = SERVER_VARIABLE, default_value = DEFAULT_SERVER)]
    #[arg(value_name = "URL", hide_env_values = true, help_heading = "Global options")]
    pub(crate) server: String,
    /// Namespace to use
    #[arg(long, global = true, env = NAMESPACE_VARIABLE, default_value = DEFAULT_NAMESPACE)]
    #[arg(value_name = "NAME", hide_env_values = true, help_heading = "Global options")]
    pub(crate) namespace: String,
    /// Access key or token to send; the variable and `--token-file` do not show it to other users of the machine
    #[arg(long, global = true, env = TOKEN_VARIABLE, value_name = "TOKEN", hide_env_values = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) access_token: Option<AccessToken>,
    /// File with the access key or token to send
    #[arg(long, global = true, env = TOKEN_FILE_VARIABLE, value_name = "FILE")]
    #[arg(help_heading = "Global options")]
    pub(crate) token_file: Option<PathBuf>,
    /// Authorities that signed the certificate of the server, in PEM form (default: those of this machine)
    #[arg(long, global = true, env = CA_VARIABLE, value_name = "FILE", hide_env_values = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate, in PEM form
    #[arg(long, global = true, env = CERT_VARIABLE, value_name = "FILE", hide_env_values = true)]
    #[arg(help_heading = "Global options", requires = "client_key")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of the client certificate, in PEM form
    #[arg(long = "key", global = true, env = KEY_VARIABLE, value_name = "FILE", hide_env_values = true)]
    #[arg(help_heading = "Global options", requires = "cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Output format of data
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    #[arg(help_heading = "Global options")]
    pub(crate) output: OutputFormat,
    /// Show exact times in UTC instead of ages in tables; `-o wide` does the same
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) utc: bool,
    /// Disable colours, like the environment variable NO_COLOR
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_color: bool,
    /// Suppress messages and progress; write only data and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

/// The text of a credential, which `Debug` does not show.
#[derive(Clone)]
pub(crate) struct AccessToken(pub(crate) SecretString);

impl From<String> for AccessToken {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The output format of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns
    #[default]
    Table,
    /// Aligned columns, including secondary ones
    Wide,
    /// JSON of the API, indented
    Json,
    /// The same data as YAML
    Yaml,
    /// One JSON object per line
    Jsonl,
    /// Only names or ids
    Name,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Run all services in one process, with SQLite and an in-process queue
    Dev(DevArgs),
    /// Manage definitions, the graphs of steps that workflows run
    #[command(subcommand, visible_alias = "def")]
    Definition(DefinitionCommand),
    /// Start, inspect and operate workflows, the runs of a definition
    #[command(subcommand, visible_alias = "wf")]
    Workflow(WorkflowCommand),
    /// Apply an operation to all workflows that match a filter, and follow its progress
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Manage services, the participants that run steps
    #[command(subcommand, visible_alias = "svc")]
    Service(ServiceCommand),
    /// List running processes
    #[command(subcommand)]
    Process(ProcessCommand),
    /// Manage dead letters, messages that could not be processed
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// List, verify and export the audit log, the record of changes and refused requests
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Manage locks, keys that one owner holds at a time
    #[command(subcommand)]
    Lock(LockCommand),
    /// Inspect leader elections and make a leader step down
    #[command(subcommand)]
    Election(ElectionCommand),
    /// Show the backlog of the queue and migrate to another queue
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Manage the credentials of callers and workers
    #[command(subcommand)]
    Access(AccessCommand),
    /// Manage schedules, which start workflows at due times
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Manage secrets and rotate the master key
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Inspect and change the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Create and renew certificates to try out TLS with
    #[cfg(feature = "certs")]
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Inspect, migrate, back up and restore the database of the state store, without a server
    #[command(subcommand)]
    Db(DbCommand),
    /// Check that the histories, states and dispatch ledger of a store agree
    Doctor(StoreArgs),
    /// Measure throughput, latency, CPU time and memory on this machine
    #[cfg(feature = "bench")]
    Bench(BenchArgs),
    /// Measure throughput, latency, CPU time and memory on this machine (not part of this build)
    #[cfg(not(feature = "bench"))]
    #[command(disable_help_flag = true)]
    Bench {
        /// The arguments of `bench` in a build that contains it
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _arguments: Vec<std::ffi::OsString>,
    },
    /// Run the participants of `bench`
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    BenchParticipants(ParticipantsArgs),
    /// Check that a server is ready; exit with 0 if it is and with 1 otherwise
    Health(HealthArgs),
    /// Explain an error code
    Explain {
        /// Error code, such as GC2004 (default: list all codes)
        #[arg(add = ArgValueCandidates::new(complete::error_codes))]
        code: Option<String>,
    },
    /// Print a completion script for a shell; it also completes names and ids from the server
    Completion {
        /// Shell to complete in
        shell: Shell,
    },
    /// Print the version
    Version,
}

/// Arguments of `goconductor dev`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DevArgs {
    /// Serve demo participants and apply the definition order-processing
    #[arg(long)]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Run the participants of `bench` in this process
    #[cfg(feature = "bench")]
    #[arg(long, hide = true)]
    pub(crate) bench_participants: bool,
    /// Address to listen on (default: the setting `listen`)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<ListenAddress>,
    /// Keep all data in memory and lose it on exit
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) ephemeral: bool,
    /// Let tests move the clock of timers, retries and schedules by `POST /dev/clock/advance`
    #[arg(long, requires = "ephemeral")]
    pub(crate) virtual_time: bool,
    /// Log level, or a filter by target (default: the setting `telemetry.log_level`)
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Format of log lines: text or json (default: the setting `telemetry.log_format`)
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

/// Sources of the configuration.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingArgs {
    /// Configuration file in YAML
    #[arg(long, env = "GOCONDUCTOR_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Directory of local files (default: the setting `data_dir`)
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Set a configuration key by its dotted path; can be repeated
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
}

impl DevArgs {
    /// Returns the sources of the server's configuration.
    #[must_use]
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = self.settings.sources();
        let named = [
            ("listen", "--listen", self.listen.as_ref().map(ListenAddress::to_string)),
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
    /// Returns the sources of a configuration.
    #[must_use]
    pub(crate) fn sources(&self) -> Sources {
        let mut flags: Vec<Flag> =
            self.set.iter().map(|(path, value)| flag(path, "--set", value.clone())).collect();
        flags.extend(
            self.data_dir.as_ref().map(|dir| flag("data_dir", "--data-dir", dir.display().to_string())),
        );
        Sources::of_process(self.config.clone(), flags)
    }
}

fn flag(path: &str, name: &str, value: String) -> Flag {
    Flag { path: path.to_owned(), value, name: name.to_owned() }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err("expected PATH=VALUE, such as limits.page_size=50".to_owned()),
    }
}

/// Commands for services.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List services
    #[command(visible_alias = "ls")]
    List,
    /// Show a service
    #[command(visible_alias = "describe")]
    Get {
        /// Name of the service
        #[arg(add = ArgValueCandidates::new(complete::services))]
        name: String,
    },
    /// Delete the settings of a service, and show what still uses it
    Delete {
        /// Name of the service
        #[arg(add = ArgValueCandidates::new(complete::services))]
        name: String,
    },
    /// Set the address and the limits of a service, replacing its previous settings
    Set {
        /// Name of the service
        #[arg(add = ArgValueCandidates::new(complete::services))]
        name: String,
        /// Base URL; the action is appended to it (default: workers run the steps)
        #[arg(long, required_unless_present_any = ["max_in_flight", "limit"])]
        url: Option<String>,
        /// Header of each request, such as Authorization=secret://payments-token; can be repeated
        #[arg(long, value_name = "NAME=SECRET", value_parser = header, requires = "url")]
        header: Vec<(String, String)>,
        /// Maximum number of commands of the service in flight (default: the limit of the executor)
        #[arg(long)]
        max_in_flight: Option<u32>,
        /// Maximum number of commands of one action in flight, such as charge=4; can be repeated
        #[arg(long, value_name = "ACTION=N", value_parser = limit)]
        limit: Vec<(String, u32)>,
    },
}

/// Parses the header of a service, such as `Authorization=secret://payments-token`.
fn header(text: &str) -> Result<(String, String), String> {
    let (name, reference) = text.split_once('=').ok_or("expected NAME=secret://SECRET")?;
    if !reference.starts_with("secret://") {
        return Err(
            "the value of a header is a reference to a secret: expected NAME=secret://SECRET".to_owned()
        );
    }
    Ok((name.to_owned(), reference.to_owned()))
}

/// Parses the limit of an action, such as `charge=4`.
fn limit(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("expected ACTION=N, such as charge=4, found {text:?}");
    let (action, number) = text.split_once('=').ok_or_else(wrong)?;
    let number = number.parse().map_err(|_| wrong())?;
    Ok((action.to_owned(), number))
}

/// Commands for processes.
#[derive(Debug, Subcommand)]
pub(crate) enum ProcessCommand {
    /// List running processes
    #[command(visible_alias = "ls")]
    List,
}

/// Commands for dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show a dead letter
    #[command(visible_alias = "describe")]
    Get {
        /// Id of the dead letter
        #[arg(add = ArgValueCandidates::new(complete::dead_letters))]
        id: String,
    },
    /// Publish a dead letter again to the topic that it came from
    Requeue {
        /// Id of the dead letter
        #[arg(add = ArgValueCandidates::new(complete::dead_letters))]
        id: String,
    },
    /// Delete a dead letter
    Delete {
        /// Id of the dead letter
        #[arg(add = ArgValueCandidates::new(complete::dead_letters))]
        id: String,
    },
}

/// Arguments of `goconductor health`.
#[derive(Debug, Clone, Args)]
pub(crate) struct HealthArgs {
    /// Only check that the process responds, even if it is not ready
    #[arg(long)]
    pub(crate) live: bool,
    /// Maximum time to wait for the response
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "3s")]
    pub(crate) timeout: Duration,
}

/// The store of a command that needs no server.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Address of the store: sqlite:///path or postgres://… (default: the store of the configuration)
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "data_dir"])]
    pub(crate) state_store_url: Option<String>,
}
