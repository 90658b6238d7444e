//! The limit of open files of this process, and the share of it that connections may use.
//!
//! Accepted connections must leave files for the database, for the queue and for calls to participants. Otherwise peers
//! that only connect would make the process fail its own work.

/// The limit to which the soft limit is raised if the hard limit allows it. Drivers reserve memory in proportion to it.
#[cfg(unix)]
const WANTED: u64 = 1 << 16;

/// Returns the number of connections that may be open: `wanted`, or half of the limit of open files if that is less. Says
/// at the start which limits apply.
pub(crate) fn connections_within(wanted: usize) -> usize {
    let Some(files) = open_files() else { return wanted };
    let half = usize::try_from(files / 2).unwrap_or(usize::MAX).max(1);
    let connections = wanted.min(half);
    let reserve = files.saturating_sub(u64::try_from(connections).unwrap_or(u64::MAX));
    if connections < wanted {
        tracing::warn!(
            files,
            connections,
            reserve,
            configured = wanted,
            "maximum number of connections was lowered, because half of the open files are reserved for other \
             purposes; raise the limit of open files (ulimit -n)"
        );
    } else {
        tracing::info!(files, connections, reserve, "limit of open files was read");
    }
    connections
}

/// Raises the soft limit of open files as far as allowed and needed, and returns it. Returns `None` if there is none.
#[cfg(unix)]
fn open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    let wanted = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current >= wanted {
        return Some(current);
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(wanted),
        Err(error) => {
            tracing::debug!(%error, "limit of open files was not raised");
            Some(current)
        }
    }
}

#[cfg(not(unix))]
fn open_files() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn connections_leave_half_of_the_open_files() {
        assert_eq!(super::connections_within(1), 1);
        let most = super::connections_within(usize::MAX);
        assert!(
            super::open_files().is_none_or(|files| u64::try_from(most).is_ok_and(|most| most <= files / 2))
        );
    }
}
