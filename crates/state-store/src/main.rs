//! The process of the service `state-store`.

use std::process::ExitCode;

/// glibc's allocator took a third of the CPU time at full load. jemalloc returns unused memory, so the memory of a process
/// stays constant under a constant load.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    goconductor_process::main("state-store", "state_store.listen", goconductor_state_store::run)
}
