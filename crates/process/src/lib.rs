//! What a service that runs in a process of its own is made of: [`main`] reads arguments and configuration,
//! [`Process`] holds what every service has, [`Host`] is its one port, [`Backends`] opens what the
//! configuration names, [`Queues`] knows which queue is in use and moves to another one, [`Presence`] says that the
//! process is there.
//!
//! A process listens at once and says by `/readyz` what is still missing, so that processes can be started
//! in any order; what is open waits for nobody, and what is not answers that it may be tried again.
//!
//! The crate deliberately knows no service.
//!
//! Invariants: liveness depends on nothing; readiness tells the truth; a configuration that can't work ends
//! the process at its start, with what is wrong and where; what a process holds is let go in order.

mod arguments;
mod backends;
mod connections;
mod election;
mod host;
mod leases;
mod presence;
mod queues;

use anyhow::Context;
use goconductor_service_kit::config::Config;
use goconductor_service_kit::drain::Drain;
use goconductor_service_kit::health::Readiness;
use goconductor_service_kit::telemetry::{self, Metrics};
use std::process::ExitCode;

pub use backends::{Backends, open_database};
pub use connections::{Connection, Connections};
pub use host::{Host, serve};
pub use presence::Presence;
pub use queues::{Move, MoveError, Phase, Queues, Standing, Status, User, served};

/// What every service has.
#[derive(Debug)]
pub struct Process {
    /// Which service it is.
    pub name: &'static str,
    /// Random at each boot, so that no two processes are ever taken for one another.
    pub instance: String,
    /// What it was told.
    pub config: Config,
    /// What it measures.
    pub metrics: Metrics,
    /// What has to hold for it to be ready.
    pub readiness: Readiness,
    /// Its end.
    pub drain: Drain,
}

/// A configuration that can't work.
const EXIT_CONFIGURATION: u8 = 8;

/// Runs a service until SIGTERM or SIGINT. `listen` is the setting that the flag `--listen` stands for.
#[must_use]
pub fn main<F, R>(name: &'static str, listen: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Process) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let sources = arguments::parse(name, listen);
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(invalid) => {
            complain(&invalid.to_string());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: no threads can be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async { run(Process::start(name, config)?).await });
    // What still blocks a thread, such as a broker's library, is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {}", chain(&error)));
            let configuration = error.chain().any(is_about_configuration);
            if configuration { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

/// Returns an error and its causes in one line. A cause whose text is part of the previous ones is left out.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| {
        if text.is_empty() {
            cause
        } else if text.contains(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// Whether to start again would make no difference, unless something is configured in another way.
fn is_about_configuration(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_store = matches!(
        cause.downcast_ref::<goconductor_store::Error>(),
        Some(goconductor_store::Error::Configuration { .. } | goconductor_store::Error::Schema { .. })
    );
    let of_election = matches!(
        cause.downcast_ref::<goconductor_election::Error>(),
        Some(goconductor_election::Error::Configuration { .. })
    );
    of_store || of_election
}

#[allow(clippy::print_stderr, reason = "the log may not be there yet, and this is for a person")]
fn complain(text: &str) {
    eprintln!("{text}");
}

impl Process {
    /// Begins a process: its log, its metrics, its end by signals. To be called within a runtime.
    ///
    /// # Errors
    /// When the log can't be set up, or signals can't be listened to.
    pub fn start(name: &'static str, config: Config) -> anyhow::Result<Self> {
        let metrics = telemetry::init(&config.telemetry)?;
        drop(tokio::spawn(metrics.clone().maintenance_loop()));
        let drain = Drain::new();
        drain.on_signals().context("signals can't be listened to")?;
        let instance = format!("{name}-{}", uuid::Uuid::now_v7().simple());
        Ok(Self { name, instance, config, metrics, readiness: Readiness::new(), drain })
    }
}
