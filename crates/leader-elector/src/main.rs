//! The leader elector as a separate process.

use std::process::ExitCode;

/// jemalloc. The allocator of the C library took a third of the time at full load. jemalloc returns unused memory, so
/// that the size of a process stays constant under a constant load.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    goconductor_process::main("leader-elector", "election.listen", goconductor_leader_elector::run)
}
