//! `goconductor certs`: certificates to try out TLS with.
//!
//! A set is a directory. `ca.crt` has the authorities to trust, `authority.crt` and `authority.key` are the one that signs,
//! and each role has a certificate and a key. `certs.json` keeps what a renewal repeats. Each file is replaced at once, so
//! that a process never reads a part of it.

mod issue;
mod settings;

use crate::args::{AuthorityChange, CertsCommand, CertsCreateArgs, CertsRenewArgs};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use anyhow::Context;
use goconductor_tls::PeerRole;
use issue::{Authority, LeafCertificate};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// The file of what a renewal repeats.
const RECORD: &str = "certs.json";
/// The names and addresses of this machine, which every certificate contains.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// The certificate of `goconductor dev`, which has the roles of all services.
const DEV: &str = "dev";
/// The roles of services.
const SERVICES: [PeerRole; 4] =
    [PeerRole::ApiGateway, PeerRole::StateStore, PeerRole::SagaExecutor, PeerRole::LeaderElector];

/// The properties of a set.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SetProperties {
    trust_domain: String,
    hosts: Vec<String>,
    days: u16,
}

/// Runs a command.
pub(crate) fn run(command: CertsCommand, out: &Output) -> Result {
    match command {
        CertsCommand::Create(args) => create(args, out),
        CertsCommand::Renew(args) => renew(&args, out),
    }
}

fn create(args: CertsCreateArgs, out: &Output) -> Result {
    let CertsCreateArgs { dir, hosts, trust_domain, days, if_missing } = args;
    if dir.join(RECORD).exists() {
        if if_missing {
            return Ok(Exit::Success);
        }
        let message = format!("{} already contains certificates", dir.display());
        return Err(CliError::new(Exit::Conflict, message)
            .hint("renew them with `goconductor certs renew`, or choose another directory with --dir"));
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
    let hosts = LOCAL_HOSTS.map(str::to_owned).into_iter().chain(hosts).collect();
    let properties = SetProperties { trust_domain, hosts, days };
    let authority = Authority::create(&properties.trust_domain, days)?;
    write_certificates(&dir, &authority, &properties)?;
    write(&dir, "authority.key", &authority.key_pem(), true)?;
    write(&dir, "authority.crt", authority.pem(), false)?;
    write(&dir, "ca.crt", authority.pem(), false)?;
    write_record(&dir, &properties)?;
    out.data(&settings::text(&dir, &properties.trust_domain))?;
    out.message("the private keys are not encrypted: use this set to try out TLS, and an authority of your own in production");
    Ok(Exit::Success)
}

fn renew(args: &CertsRenewArgs, out: &Output) -> Result {
    let dir = &args.dir;
    let text = read(dir, RECORD)?;
    let properties: SetProperties = serde_json::from_str(&text)
        .with_context(|| format!("{} is malformed", dir.join(RECORD).display()))?;
    match args.authority {
        None => {
            let authority = Authority::load(&read(dir, "authority.crt")?, &read(dir, "authority.key")?)?;
            write_certificates(dir, &authority, &properties)?;
            out.message("the certificates were renewed; running processes use them within a few seconds");
        }
        Some(AuthorityChange::Add) => {
            let authority = Authority::create(&properties.trust_domain, properties.days)?;
            let trusted = format!("{}{}", read(dir, "ca.crt")?, authority.pem());
            write(dir, "ca.crt", &trusted, false)?;
            write(dir, "authority.key", &authority.key_pem(), true)?;
            write(dir, "authority.crt", authority.pem(), false)?;
            out.message(
                "a new authority is trusted beside the old one; once all processes have loaded it, run `goconductor \
                 certs renew`",
            );
        }
        Some(AuthorityChange::Drop) => {
            write(dir, "ca.crt", &read(dir, "authority.crt")?, false)?;
            out.message("only the newest authority is trusted; connections with older certificates end");
        }
    }
    Ok(Exit::Success)
}

/// Writes a certificate and a key for each role, and those of `dev`.
fn write_certificates(dir: &Path, authority: &Authority, properties: &SetProperties) -> Result<()> {
    for role in PeerRole::ALL {
        write_certificate(dir, authority, properties, role.name(), &[role])?;
    }
    write_certificate(dir, authority, properties, DEV, &SERVICES)
}

fn write_certificate(
    dir: &Path,
    authority: &Authority,
    properties: &SetProperties,
    name: &str,
    roles: &[PeerRole],
) -> Result<()> {
    let uris = roles.iter().map(|role| format!("spiffe://{}/{role}", properties.trust_domain)).collect();
    let leaf = LeafCertificate { name, uris, hosts: &properties.hosts, days: properties.days };
    let (certificate, key) = authority.sign(leaf)?;
    write(dir, &format!("{name}.key"), &key, true)?;
    write(dir, &format!("{name}.crt"), &certificate, false)
}

fn write_record(dir: &Path, properties: &SetProperties) -> Result<()> {
    let text = serde_json::to_string_pretty(properties).context("failed to encode the record")?;
    write(dir, RECORD, &format!("{text}\n"), false)
}

fn read(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Other };
        CliError::new(exit, format!("failed to read {}: {error}", path.display()))
            .hint("create a set with `goconductor certs create`, and name its directory with --dir")
    })
}

/// Replaces a file at once. Only the owner can read a private one.
fn write(dir: &Path, name: &str, text: &str, is_private: bool) -> Result<()> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let failed = || format!("failed to write {}", path.display());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if is_private { 0o600 } else { 0o644 });
    }
    let mut file = options.open(&new).with_context(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    std::fs::rename(&new, &path).with_context(failed)?;
    Ok(())
}
