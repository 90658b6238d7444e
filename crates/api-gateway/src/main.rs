//! The service api-gateway as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    goconductor_process::main("api-gateway", "listen", goconductor_api_gateway::run)
}
