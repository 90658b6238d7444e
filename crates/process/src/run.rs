//! The main function of a service.

use crate::arguments;
use crate::configuration::{StoreAccess, load_config};
use crate::core_dumps::CoreDumps;
use crate::error_text::chain;
use crate::process::Process;
use crate::vault::VaultError;
use goconductor_service_kit::config::Invalid;
use goconductor_service_kit::drain::Drain;
use goconductor_service_kit::{log, telemetry};
use std::process::ExitCode;
use std::time::Duration;

/// Exit code of a configuration that cannot work.
const EXIT_CONFIGURATION: u8 = 8;
/// Time in which a service may end its work after a background task failed.
const FAILURE_DRAIN: Duration = Duration::from_secs(2);

/// Runs a service until SIGTERM or SIGINT. `listen` is the path of the setting that the flag `--listen` sets.
#[must_use]
pub fn main<F, R>(name: &'static str, listen: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Process) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    goconductor_supervisor::arm();
    let code = run_to_end(name, listen, run);
    log::flush(log::FLUSH_TIMEOUT);
    code
}

/// Runs a server until it ends or a background task fails. After a failure, the server has a short time to end its
/// work.
///
/// # Errors
/// Returns the error of the server, or the failure of the task.
pub async fn until_failure(
    drain: &Drain,
    server: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::pin!(server);
    // Cancel-safe: the server continues below.
    let failure = tokio::select! {
        served = &mut server => match goconductor_supervisor::failure() {
            // The failure is the cause of the server's error.
            Some(failure) => failure,
            None => return served,
        },
        failure = goconductor_supervisor::failed() => {
            drain.signal();
            drop(tokio::time::timeout(FAILURE_DRAIN, server).await);
            failure
        }
    };
    Err(failure.into())
}

fn run_to_end<F, R>(name: &'static str, listen: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Process) -> R,
    R: Future<Output = anyhow::Result<()>>,
{
    let core_dumps = CoreDumps::disable();
    let sources = arguments::parse(name, listen);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::print(&format!("error: failed to start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // Only the state stores have the database themselves.
    let access = if name == "state-store" { StoreAccess::Direct } else { StoreAccess::Remote };
    let config = match runtime.block_on(load_config(&sources, access)) {
        Ok(config) => config,
        Err(error) => {
            log::print(&match error.downcast_ref::<Invalid>() {
                Some(invalid) => invalid.to_string(),
                None => format!("error: {}", chain(&error)),
            });
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let result = runtime.block_on(async {
        let process = Process::start(name, config)?;
        core_dumps.apply(&process.config);
        log::report_panics();
        let drain = process.drain.clone();
        until_failure(&drain, run(process)).await
    });
    telemetry::shut_down_export();
    // Threads that are still blocked, such as those of a driver, are not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::print(&format!("error: {}", chain(&error)));
            let is_configuration = error.chain().any(is_about_configuration);
            if is_configuration { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

/// Returns whether a restart cannot help without a change of the configuration.
fn is_about_configuration(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_store = matches!(
        cause.downcast_ref::<goconductor_store::Error>(),
        Some(goconductor_store::Error::Configuration { .. } | goconductor_store::Error::Schema { .. })
    );
    let of_election = matches!(
        cause.downcast_ref::<goconductor_election::Error>(),
        Some(goconductor_election::Error::Configuration { .. })
    );
    let of_queue = cause
        .downcast_ref::<goconductor_queue::Error>()
        .is_some_and(|error| error.kind() == goconductor_queue::ErrorKind::Configuration);
    let of_tls = cause.is::<goconductor_tls::Error>();
    let of_secrets = cause.downcast_ref::<VaultError>().is_some_and(VaultError::is_about_configuration);
    of_secrets || of_store || of_election || of_queue || of_tls || cause.is::<Invalid>()
}
