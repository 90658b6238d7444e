//! The arguments of `goconductor certs`.

use clap::{Args, Subcommand, ValueEnum};
use goconductor_tls::{DEFAULT_TRUST_DOMAIN, is_trust_domain};
use std::path::PathBuf;

/// Commands for certificates to try out TLS with.
#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Create an authority and a certificate for each role, and print the settings that use them
    Create(CertsCreateArgs),
    /// Replace the certificates by new ones, while the processes run
    Renew(CertsRenewArgs),
}

/// Arguments of `goconductor certs create`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CertsCreateArgs {
    /// Directory to create; it must not contain certificates
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// Host name or IP address of a process, in addition to localhost, 127.0.0.1 and ::1; can be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// Trust domain of the identities, spiffe://DOMAIN/ROLE
    #[arg(long, value_name = "DOMAIN", default_value = DEFAULT_TRUST_DOMAIN, value_parser = trust_domain)]
    pub(crate) trust_domain: String,
    /// Days for which the certificates are valid; the authority is valid for ten times as long
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=825))]
    pub(crate) days: u16,
    /// Succeed without a change if the directory contains certificates
    #[arg(long)]
    pub(crate) if_missing: bool,
}

/// Arguments of `goconductor certs renew`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CertsRenewArgs {
    /// Directory of the certificates
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    pub(crate) dir: PathBuf,
    /// Change the authorities instead of the certificates: first add, then renew without this option, then drop
    #[arg(long, value_enum, value_name = "CHANGE")]
    pub(crate) authority: Option<AuthorityChange>,
}

/// A change of the trusted authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthorityChange {
    /// Trust a new authority beside the old one; the next renewal uses it
    Add,
    /// Trust only the newest authority
    Drop,
}

fn trust_domain(text: &str) -> Result<String, String> {
    if is_trust_domain(text) {
        Ok(text.to_owned())
    } else {
        Err("expected lower-case letters, digits, dots, hyphens and underscores".to_owned())
    }
}
