//! Core dumps of a process that has secrets in its memory.

use goconductor_service_kit::config::Config;
use std::io;

/// The exclusion of the memory of this process from core dumps. It begins before the configuration is read, because
/// settings can be secrets.
#[derive(Debug)]
#[must_use = "the configuration can allow core dumps"]
pub struct CoreDumps {
    disabled: io::Result<FormerDumpSettings>,
}

impl CoreDumps {
    /// Excludes the memory of this process from core dumps, and from debuggers and other readers of the same user.
    pub fn disable() -> Self {
        Self { disabled: disable() }
    }

    /// Enables core dumps again if the configuration allows them. Must be called after the log was initialised.
    pub fn apply(self, config: &Config) {
        let is_allowed = config.process.core_dumps.unwrap_or(false);
        match self.disabled {
            Ok(former) if is_allowed => match enable(&former) {
                Ok(()) => {
                    tracing::info!("core dumps of the process are allowed, and can contain its secrets")
                }
                Err(error) => tracing::warn!(%error, "core dumps of the process were not enabled"),
            },
            Ok(_) => tracing::debug!("core dumps of the process were disabled"),
            Err(error) => tracing::warn!(%error, "core dumps of the process were not disabled"),
        }
    }
}

/// The settings of the process before core dumps were disabled.
#[derive(Debug)]
struct FormerDumpSettings {
    #[cfg(unix)]
    limit: rustix::process::Rlimit,
    #[cfg(target_os = "linux")]
    dumpable: rustix::process::DumpableBehavior,
}

/// The limit applies to dumps in files, and the attribute also to those that are piped to a program. Programs that the
/// process starts inherit the limit.
#[cfg(unix)]
fn disable() -> io::Result<FormerDumpSettings> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum })?;
    Ok(FormerDumpSettings {
        limit,
        #[cfg(target_os = "linux")]
        dumpable: {
            use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
            let dumpable = dumpable_behavior()?;
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            dumpable
        },
    })
}

#[cfg(unix)]
fn enable(former: &FormerDumpSettings) -> io::Result<()> {
    rustix::process::setrlimit(rustix::process::Resource::Core, former.limit)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(former.dumpable)?;
    Ok(())
}

#[cfg(not(unix))]
fn disable() -> io::Result<FormerDumpSettings> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(not(unix))]
fn enable(_: &FormerDumpSettings) -> io::Result<()> {
    Ok(())
}
