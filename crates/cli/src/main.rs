//! The `goconductor` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    goconductor_cli::main()
}
