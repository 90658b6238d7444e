//! The commands.

mod access;
mod audit;
mod batch;
#[cfg(feature = "bench")]
mod bench;
mod completion;
pub(crate) mod config;
mod definition;
mod explain;
mod health;
mod lock;
mod process;
mod queue;
mod schedule;
mod secret;
mod service;
mod wait;
mod workflow;

use crate::args::{Cli, CliCommand};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use std::time::Duration;

/// Threads for blocking calls: reads of SQLite, of which few run at once, and DNS lookups. Each thread costs memory.
const BLOCKING_THREADS: usize = 6;

/// Time for which the end of the process waits for its threads. It lets `dev` close its database.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a command on a new runtime and returns the exit code.
pub(crate) fn run_to_end(cli: Cli, out: &Output) -> Result<u8> {
    let mut builder = match &cli.command {
        CliCommand::Dev(_) => tokio::runtime::Builder::new_multi_thread(),
        // A client waits for one response at a time.
        CliCommand::Definition(_)
        | CliCommand::Workflow(_)
        | CliCommand::Batch(_)
        | CliCommand::Service(_)
        | CliCommand::Process(_)
        | CliCommand::Dlq(_)
        | CliCommand::Audit(_)
        | CliCommand::Lock(_)
        | CliCommand::Election(_)
        | CliCommand::Queue(_)
        | CliCommand::Access(_)
        | CliCommand::Schedule(_)
        | CliCommand::Secret(_)
        | CliCommand::Config(_)
        | CliCommand::Db(_)
        | CliCommand::Doctor(_)
        | CliCommand::Bench { .. }
        | CliCommand::Health(_)
        | CliCommand::Explain { .. }
        | CliCommand::Completion { .. }
        | CliCommand::Version => tokio::runtime::Builder::new_current_thread(),
        #[cfg(feature = "certs")]
        CliCommand::Certs(_) => tokio::runtime::Builder::new_current_thread(),
        #[cfg(feature = "bench")]
        CliCommand::BenchParticipants(_) => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(|error| CliError::new(Exit::Other, format!("failed to start the runtime: {error}")))?;
    let result = runtime.block_on(run(cli, out)).map(Exit::code);
    // A thread that is blocked, such as one that reads a dead disk, must not keep the process from ending.
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

async fn run(cli: Cli, out: &Output) -> Result {
    let global = &cli.global;
    match cli.command {
        CliCommand::Dev(args) => {
            crate::dev::run(args).await?;
            Ok(Exit::Success)
        }
        CliCommand::Definition(command) => {
            definition::run(command, || ServerSession::new(global, out), out).await
        }
        CliCommand::Workflow(command) => workflow::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Batch(command) => batch::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Service(command) => service::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Process(command) => process::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Dlq(command) => process::dead_letters(command, &ServerSession::new(global, out)?).await,
        CliCommand::Audit(command) => audit::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Lock(command) => lock::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Election(command) => lock::elections(command, &ServerSession::new(global, out)?).await,
        CliCommand::Queue(command) => queue::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Access(command) => access::run(command, global, out).await,
        CliCommand::Schedule(command) => schedule::run(command, &ServerSession::new(global, out)?).await,
        CliCommand::Secret(command) => secret::run(command, || ServerSession::new(global, out), out).await,
        CliCommand::Config(command) => config::run(command, || ServerSession::new(global, out), out).await,
        #[cfg(feature = "certs")]
        CliCommand::Certs(command) => crate::certs::run(command, out),
        CliCommand::Db(command) => crate::db::run(command, out).await,
        CliCommand::Doctor(args) => crate::doctor::run(&args, out).await,
        #[cfg(feature = "bench")]
        CliCommand::Bench(args) => bench::run(&args, out).await,
        #[cfg(not(feature = "bench"))]
        CliCommand::Bench { .. } => Err(no_bench()),
        #[cfg(feature = "bench")]
        CliCommand::BenchParticipants(args) => bench::participants(&args).await,
        CliCommand::Health(args) => health::run(&args, &ServerSession::of_any_process(global, out)?).await,
        CliCommand::Explain { code } => explain::run(code.as_deref(), out),
        CliCommand::Completion { shell } => completion::run(shell, out),
        CliCommand::Version => version(out),
    }
}

#[cfg(not(feature = "bench"))]
fn no_bench() -> CliError {
    CliError::new(Exit::Usage, "this build does not contain bench")
        .hint("build all of GoConductor with cargo build --workspace --release, and run goconductor bench of that build")
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
