//! The service state-store as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    goconductor_process::main("state-store", "state_store.listen", goconductor_state_store::run)
}
