//! The service `api-gateway` as a process of its own.

use std::process::ExitCode;

/// With the C library's allocator, a third of the CPU time at full load was spent in it. jemalloc also returns unused
/// memory, so that the memory of a process stays constant under constant load.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    goconductor_process::main("api-gateway", "listen", goconductor_api_gateway::run)
}
