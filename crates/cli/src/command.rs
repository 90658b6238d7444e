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

use crate::args::{Cli, ConfigVerb, GlobalArgs, Noun};
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
    let mut builder = match &cli.noun {
        Noun::Dev(_) => tokio::runtime::Builder::new_multi_thread(),
        // A client waits for one answer at a time.
        Noun::Definition(_)
        | Noun::Workflow(_)
        | Noun::Service(_)
        | Noun::Process(_)
        | Noun::Dlq(_)
        | Noun::Lock(_)
        | Noun::Election(_)
        | Noun::Queue(_)
        | Noun::Config(_)
        | Noun::Doctor(_)
        | Noun::Bench(_)
        | Noun::BenchParticipants(_)
        | Noun::Explain { .. }
        | Noun::Completion { .. }
        | Noun::Version => tokio::runtime::Builder::new_current_thread(),
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
    match cli.noun {
        Noun::Dev(args) => {
            crate::dev::run(args).await?;
            Ok(Exit::Done)
        }
        Noun::Definition(verb) => definition::run(verb, || Session::new(global, out), out).await,
        Noun::Workflow(verb) => workflow::run(verb, &Session::new(global, out)?).await,
        Noun::Service(verb) => service::run(verb, &Session::new(global, out)?).await,
        Noun::Process(verb) => process::run(verb, &Session::new(global, out)?).await,
        Noun::Dlq(verb) => process::dead_letters(verb, &Session::new(global, out)?).await,
        Noun::Lock(verb) => lock::run(verb, &Session::new(global, out)?).await,
        Noun::Election(verb) => lock::elections(verb, &Session::new(global, out)?).await,
        Noun::Queue(verb) => queue::run(verb, &Session::new(global, out)?).await,
        Noun::Config(ConfigVerb::Explain(args)) => config::explain(&args, out),
        Noun::Doctor(args) => crate::doctor::run(&args, out).await,
        Noun::Bench(args) => bench::run(&args, out).await,
        Noun::BenchParticipants(args) => bench::participants(&args).await,
        Noun::Explain { code } => explain::run(code.as_deref(), out),
        Noun::Completion { shell } => completion::run(shell, out),
        Noun::Version => version(out),
    }
}

fn version(out: &Output) -> Result {
    let version = env!("CARGO_PKG_VERSION");
    if out.names_only() {
        out.data(version)?;
    } else if !out.answer(&serde_json::json!({ "version": version }).to_string())? {
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
