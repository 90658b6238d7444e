//! The main function of a service.

use crate::arguments;
use crate::process::Process;
use goconductor_service_kit::config::{Config, Invalid};
use std::process::ExitCode;

/// Exit code of a configuration that cannot work.
const EXIT_CONFIGURATION: u8 = 8;

/// Runs a service until SIGTERM or SIGINT. `listen` is the path of the setting that the flag `--listen` sets.
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
            print(&invalid.to_string());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print(&format!("error: failed to start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async { run(Process::start(name, config)?).await });
    // Threads that are still blocked, such as those of a driver, are not waited for.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&format!("error: {}", chain(&error)));
            let is_configuration = error.chain().any(is_about_configuration);
            if is_configuration { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE }
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
    of_store || of_election || of_queue || cause.is::<Invalid>()
}

#[allow(clippy::print_stderr, reason = "the log may not be installed, and the text is for a person")]
fn print(text: &str) {
    eprintln!("{text}");
}
