//! The service state-store as a process of its own.

use std::process::ExitCode;

/// A third of the time at full load went into the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    goconductor_process::main("state-store", "state_store.listen", goconductor_state_store::run)
}
