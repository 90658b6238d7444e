//! A program of the harness that kills itself, and is restarted.

use goconductor_harness::goconductor;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::process::Command;

/// Runs a program and restarts it whenever it dies. Counts its deaths.
pub(crate) async fn keep_alive(name: &str, arguments: Vec<OsString>, deaths: Arc<AtomicU64>) {
    let program = goconductor().unwrap().as_std().get_program().to_owned();
    let program = Path::new(&program).with_file_name(name);
    loop {
        let mut child = Command::new(&program)
            .args(&arguments)
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.wait().await.unwrap();
        deaths.fetch_add(1, Ordering::Relaxed);
    }
}
