//! The death of the process.

use rustix::process::{Signal, getpid, kill_process};

/// Ends the process as a crash of the machine would.
pub(crate) fn die() -> ! {
    // The signal cannot be caught, and a process may send it to itself.
    kill_process(getpid(), Signal::KILL).ok();
    loop {
        std::thread::park();
    }
}
