//! The commands.

mod bench;
mod completion;
mod config;
mod definition;
mod explain;
mod lock;
mod process;
mod queue;
mod service;
mod wait;
mod workflow;

use crate::args::{Cli, Command, ConfigCommand};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::session::Session;

/// Threads for blocking calls: reads of SQLite, of which few run at once, and DNS lookups. Each thread costs memory.
const BLOCKING_THREADS: usize = 6;

/// Runs a command on a new runtime and returns the exit code.
pub(crate) fn run_to_end(cli: Cli, out: &Output) -> Result<u8> {
    let mut builder = match &cli.command {
        Command::Dev(_) => tokio::runtime::Builder::new_multi_thread(),
        // A client waits for one response at a time.
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
        .map_err(|error| CliError::new(Exit::Other, format!("failed to start the runtime: {error}")))?;
    runtime.block_on(run(cli, out)).map(Exit::code)
}

async fn run(cli: Cli, out: &Output) -> Result {
    let global = &cli.global;
    match cli.command {
        Command::Dev(args) => {
            crate::dev::run(args).await?;
            Ok(Exit::Success)
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
    Ok(Exit::Success)
}
