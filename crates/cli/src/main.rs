//! The `goconductor` command.

use std::process::ExitCode;

/// With the allocator of the C library, allocation took a third of the CPU time at full load. jemalloc also returns
/// unused memory, so the size of the process stays constant under constant load.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    goconductor_cli::main()
}
