//! The service saga-executor as a process of its own.

use std::process::ExitCode;

/// A third of the time at full load went into the C library's. This one gives back what is not in use, so that what a
/// process takes stays the same for as long as its load does.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    goconductor_process::main("saga-executor", "executor.listen", goconductor_saga_executor::run)
}
