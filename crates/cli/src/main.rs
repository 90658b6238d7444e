//! The `goconductor` command.

use std::process::ExitCode;

/// A third of the time at full load went into the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    goconductor_cli::main()
}
