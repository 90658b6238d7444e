//! Core dumps of a process that has secrets in its memory.

use goconductor_service_kit::config::Config;

/// Excludes the memory of this process from core dumps, and from debuggers of the same user, if the process has a master key
/// and the configuration does not allow them. Must be called after the log was initialised.
pub fn restrict_core_dumps(config: &Config) {
    if config.process.core_dumps.unwrap_or(config.secrets.master_key.is_none()) {
        return;
    }
    match restrict() {
        Ok(()) => tracing::debug!("core dumps of the process were disabled"),
        Err(error) => tracing::warn!(%error, "core dumps of the process were not disabled"),
    }
}

/// The limit applies to dumps in files, and the attribute also to those that are piped to a program. Programs that the
/// process starts inherit the limit.
#[cfg(target_os = "linux")]
fn restrict() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(all(unix, not(target_os = "linux")))]
fn restrict() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    Ok(())
}

#[cfg(not(unix))]
fn restrict() -> std::io::Result<()> {
    Err(std::io::Error::from(std::io::ErrorKind::Unsupported))
}
