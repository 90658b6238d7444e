//! The binary of the service saga-executor.

use std::process::ExitCode;

/// At full load, a third of the CPU time was spent in the allocator of the C library. jemalloc also returns unused
/// memory to the system, so that the memory of a process stays constant under constant load.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    goconductor_process::main("saga-executor", "executor.listen", goconductor_saga_executor::run)
}
