//! The service leader-elector as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    goconductor_process::main("leader-elector", "election.listen", goconductor_leader_elector::run)
}
