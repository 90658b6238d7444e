//! When a change of a setting takes effect, and whether the API can change it.

use std::fmt;

/// When a changed setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apply {
    /// While the processes run.
    Live,
    /// When a process is restarted.
    Restart,
    /// The API refuses it. It takes effect when the process is restarted.
    FileOnly,
}

impl Apply {
    /// Returns the value of `x-apply` in the JSON Schema.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Restart => "restart",
            Self::FileOnly => "file-only",
        }
    }
}

impl fmt::Display for Apply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Settings and sections that take effect while the processes run.
const LIVE: &[&str] = &[
    "election",
    "executor.all_in_flight",
    "executor.compensations_in_flight",
    "executor.max_in_flight",
    "limits.backlog",
    "limits.body_bytes",
    "limits.calls_in_flight",
    "limits.connections",
    "limits.connections_per_address",
    "limits.inline_bytes",
    "limits.input_bytes",
    "limits.json_depth",
    "limits.page_size",
    "limits.rate",
    "limits.start_wait",
    "limits.starts_in_flight",
    "limits.starts_waiting",
    "limits.state_bytes",
    "limits.waiting_callers",
    "queue.backend",
    "services",
    "state_store.deduplication",
    "state_store.retention",
    "state_store.retention_completed",
    "state_store.retention_rolled_back",
    "state_store.retention_terminated",
    "telemetry.log_level",
];

/// Settings and sections that the API does not change.
///
/// A process needs `listen`, the limits of one connection, `data_dir`, the location of the state store and `telemetry` before
/// it can read the settings of the API. The others differ between processes, or decide who may use the API: a caller that
/// could change them could lock out everybody else.
const FILE_ONLY: &[&str] = &[
    "access",
    "advertise",
    "allow_insecure_bind",
    "audit",
    "data_dir",
    "election.electors",
    "election.listen",
    "encryption",
    "executor.duties",
    "executor.listen",
    "executor.services",
    "limits.streams_per_connection",
    "listen",
    "process",
    "secrets",
    "state_store.backend",
    "state_store.endpoints",
    "state_store.listen",
    "state_store.max_connections",
    "state_store.migrate",
    "state_store.tls",
    "state_store.url",
    "telemetry.log_format",
    "telemetry.logs",
    "telemetry.metrics",
    "telemetry.otlp",
    "telemetry.resource",
    "telemetry.traces",
    "tls",
];

/// Returns when a change of a setting takes effect. A setting that no list names takes effect at a restart.
#[must_use]
pub fn apply_of(path: &str) -> Apply {
    let is_named = |list: &[&str]| {
        list.iter()
            .any(|name| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    if is_named(FILE_ONLY) {
        Apply::FileOnly
    } else if is_named(LIVE) {
        Apply::Live
    } else {
        Apply::Restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_decides_for_its_settings() {
        for (path, apply) in [
            ("listen", Apply::FileOnly),
            ("listener", Apply::Restart),
            ("tls.ca_file", Apply::FileOnly),
            ("access", Apply::FileOnly),
            ("state_store.url", Apply::FileOnly),
            ("state_store.retention", Apply::Live),
            ("services.payments.http.url", Apply::Live),
            ("queue.backend", Apply::Live),
            ("queue.brokers", Apply::Restart),
            ("election.backend", Apply::Live),
            ("election.electors", Apply::FileOnly),
            ("executor.duty_shards", Apply::Restart),
            ("limits", Apply::Restart),
            ("limits.connections_per_address", Apply::Live),
            ("limits.streams_per_connection", Apply::FileOnly),
            ("executor.max_in_flight", Apply::Live),
            ("executor.redelivery", Apply::Restart),
            ("limits.rate.caller.burst", Apply::Live),
        ] {
            assert_eq!(apply_of(path), apply, "{path}");
        }
    }
}
