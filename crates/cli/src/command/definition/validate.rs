//! `goconductor definition validate`

use crate::fault::{Ended, Exit, Fault};
use crate::output::Output;
use crate::source::Source;
use goconductor_saga::Definition;
use std::path::PathBuf;

/// Checks files without a server.
pub(super) fn run(files: &[PathBuf], out: &Output) -> Ended {
    for source in Source::read_all(files)? {
        checked(&source, out)?;
    }
    Ok(Exit::Done)
}

/// The definition in a source.
pub(super) fn checked(source: &Source, _out: &Output) -> Result<Definition, Fault> {
    Err(Fault::new(Exit::Other, "this build can't check definitions without a server")
        .place(source.path.clone()))
}
