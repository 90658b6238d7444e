//! The service api-gateway as a process of its own.

use std::process::ExitCode;

/// A third of the time at full load went into the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    goconductor_process::main("api-gateway", "listen", goconductor_api_gateway::run)
}
