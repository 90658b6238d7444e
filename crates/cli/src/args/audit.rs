//! The arguments of `goconductor audit`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Commands for the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List records, newest first
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        filter: AuditFilterArgs,
        /// Maximum number to list, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Check the hashes of all records; exit with 1 if one was altered, removed or inserted
    Verify(VerifyArgs),
    /// Write all records to standard output, oldest first, one JSON object per line
    Export {
        #[command(flatten)]
        filter: AuditFilterArgs,
    },
    /// Show the number and the hash of the last record; `-o json` prints an anchor for `verify`
    Head,
}

/// Conditions on records. All of them must hold.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AuditFilterArgs {
    /// Name of the caller
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// Id of the credential
    #[arg(long, value_name = "ID")]
    pub(crate) credential: Option<String>,
    /// Address of the peer
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: Option<String>,
    /// Operation, such as workflows.cancel
    #[arg(long, value_name = "NAME")]
    pub(crate) action: Option<String>,
    /// Namespace of the target (default: all)
    #[arg(long, value_name = "NAME")]
    pub(crate) target_namespace: Option<String>,
    /// Kind of the target, such as workflow
    #[arg(long, value_name = "KIND")]
    pub(crate) target_kind: Option<String>,
    /// Name or id of the target
    #[arg(long, value_name = "NAME")]
    pub(crate) target_name: Option<String>,
    /// Outcome
    #[arg(long, value_parser = ["ALLOWED", "REFUSED", "FAILED", "UNKNOWN"], ignore_case = true)]
    pub(crate) outcome: Option<String>,
    /// At this time or later, such as 2026-11-30T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

/// Arguments of `goconductor audit verify`.
#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// File with the output of `goconductor audit head -o json`; the log must continue that record
    #[arg(long, value_name = "FILE")]
    pub(crate) anchor: Option<PathBuf>,
    /// File that `goconductor audit export` has written, to verify in place of the log
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Address of the store, to read its log without a server: sqlite:///path or postgres://…
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    pub(crate) state_store_url: Option<String>,
}

impl AuditFilterArgs {
    /// Returns the conditions as query parameters.
    pub(crate) fn conditions(self) -> Vec<(&'static str, String)> {
        let named = [
            ("actor", self.actor),
            ("credential", self.credential),
            ("source", self.source),
            ("action", self.action),
            ("namespace", self.target_namespace),
            ("target_kind", self.target_kind),
            ("target_name", self.target_name),
            ("outcome", self.outcome.map(|outcome| outcome.to_ascii_uppercase())),
            ("since", self.since),
            ("until", self.until),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
