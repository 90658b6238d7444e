//! What each command does.

mod bench;
mod completion;
mod config;
mod definition;
mod explain;
mod lock;
mod operate;
mod process;
mod queue;
mod service;
mod wait;
mod workflow;

use crate::args::{Cli, Command, ConfigCommand, GlobalArgs};
use crate::error::{CliError, Exit, Result, unreadable};
use crate::output::Output;
use goconductor_client::Client;
use serde_json::Value;
use std::io::Read;

/// Threads for what blocks: reads of SQLite, of which few run at once, and names of hosts. Each keeps memory.
const BLOCKING_THREADS: usize = 6;

/// A command's surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The server.
    pub(crate) client: Client,
    /// Where to write.
    pub(crate) out: Output,
}

impl Session {
    fn new(global: &GlobalArgs, out: &Output) -> Result<Self> {
        Ok(Self { client: Client::new(&global.server, &global.namespace)?, out: out.clone() })
    }
}

/// Carries a command out, on a runtime of its own; the exit code.
pub(crate) fn run_to_end(cli: Cli, out: &Output) -> Result<u8> {
    let mut builder = match &cli.command {
        Command::Dev(_) => tokio::runtime::Builder::new_multi_thread(),
        // A client waits for one answer at a time.
        Command::Definition(_)
        | Command::Workflow(_)
        | Command::Service(_)
        | Command::Process(_)
        | Command::Dlq(_)
        | Command::Lock(_)
        | Command::Election(_)
        | Command::Queue(_)
        | Command::Config(_)
        | Command::Doctor(_)
        | Command::Bench(_)
        | Command::BenchParticipants(_)
        | Command::Explain { .. }
        | Command::Completion { .. }
        | Command::Version => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| CliError::new(Exit::Other, format!("no threads can be started: {error}")))?;
    runtime.block_on(run(cli, out)).map(Exit::code)
}

async fn run(cli: Cli, out: &Output) -> Result {
    let global = &cli.global;
    match cli.command {
        Command::Dev(args) => {
            crate::dev::run(args).await?;
            Ok(Exit::Done)
        }
        Command::Definition(command) => definition::run(command, || Session::new(global, out), out).await,
        Command::Workflow(command) => workflow::run(command, &Session::new(global, out)?).await,
        Command::Service(command) => service::run(command, &Session::new(global, out)?).await,
        Command::Process(command) => process::run(command, &Session::new(global, out)?).await,
        Command::Dlq(command) => process::dead_letters(command, &Session::new(global, out)?).await,
        Command::Lock(command) => lock::run(command, &Session::new(global, out)?).await,
        Command::Election(command) => lock::elections(command, &Session::new(global, out)?).await,
        Command::Queue(command) => queue::run(command, &Session::new(global, out)?).await,
        Command::Config(ConfigCommand::Explain(args)) => config::explain(&args, out),
        Command::Doctor(args) => crate::doctor::run(&args, out).await,
        Command::Bench(args) => bench::run(&args, out).await,
        Command::BenchParticipants(args) => bench::participants(&args).await,
        Command::Explain { code } => explain::run(code.as_deref(), out),
        Command::Completion { shell } => completion::run(shell, out),
        Command::Version => version(out),
    }
}

fn version(out: &Output) -> Result {
    let version = env!("CARGO_PKG_VERSION");
    if out.names_only() {
        out.data(version)?;
    } else if !out.structured(&serde_json::json!({ "version": version }).to_string())? {
        out.data(&format!("goconductor {version}"))?;
    }
    Ok(Exit::Done)
}

/// JSON as an argument gives it: itself, `@file`, or `-` for standard input.
fn json_argument(name: &str, text: &str) -> Result<Value> {
    let (place, text) = match (text, text.strip_prefix('@')) {
        ("-", _) => {
            let mut read = String::new();
            let result = std::io::stdin().lock().read_to_string(&mut read);
            result.map_err(|error| unreadable("standard input", &error))?;
            ("standard input".to_owned(), read)
        }
        (_, Some(path)) => {
            (path.to_owned(), std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?)
        }
        (text, None) => (name.to_owned(), text.to_owned()),
    };
    serde_json::from_str(&text).map_err(|error| {
        CliError::new(Exit::Usage, format!("{name} is not JSON: {error}"))
            .code("GC3005")
            .place(format!("{place}:{}:{}", error.line(), error.column()))
            .hint("write JSON in single quotes, or @FILE for a file")
    })
}
