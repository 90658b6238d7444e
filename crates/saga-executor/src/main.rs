//! The service saga-executor as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    goconductor_process::main("saga-executor", "executor.listen", goconductor_saga_executor::run)
}
