//! `goconductor secret …`

use crate::args::SecretCommand;
use crate::error::{CliError, Exit, Result, unreadable};
use crate::output::{Output, PrintedPage};
use crate::session::ServerSession;
use goconductor_client::{Reply, Secret};
use goconductor_secrets::{MasterKey, Randomness};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const HEADS: [&str; 4] = ["NAME", "VERSION", "CREATED", "UPDATED"];
/// Interval between two questions for the progress of a rotation.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum size of a value. The server has the same limit.
const MAX_VALUE_BYTES: u64 = 64 << 10;

/// Runs a command for secrets. `session` connects to the server, which `generate-key` does not need.
pub(super) async fn run(
    command: SecretCommand,
    session: impl FnOnce() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    match command {
        SecretCommand::GenerateKey { to_file } => generate_key(to_file, out),
        SecretCommand::Set { name, from_file } => {
            let value = read_value(from_file)?;
            let session = session()?;
            let reply = session.client.put_secret(&name, &value).await?;
            show(&reply, &format!("secret {name} has version {}", reply.value.version), &session)
        }
        SecretCommand::Get { name } => {
            let session = session()?;
            show(&session.client.secret(&name).await?, "", &session)
        }
        SecretCommand::List { limit } => list(limit, &session()?).await,
        SecretCommand::Delete { name } => {
            let session = session()?;
            session.client.delete_secret(&name).await?;
            session.out.message(&format!("secret {name} deleted"));
            Ok(Exit::Success)
        }
        SecretCommand::RotatePayloadKey => {
            let ServerSession { client, out } = session()?;
            let reply = client.rotate_payload_key().await?;
            if !out.structured(&reply.text)? {
                out.data(&reply.value.version.to_string())?;
            }
            let namespace = &reply.value.namespace;
            out.message(&format!(
                "new payloads of namespace {namespace} are encrypted with the new key in 5 s"
            ));
            Ok(Exit::Success)
        }
        SecretCommand::RotateKey { wait } => rotate_key(wait, &session()?).await,
    }
}

fn show(reply: &Reply<Secret>, done: &str, session: &ServerSession) -> Result {
    let out = &session.out;
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&reply.value.name)?;
    } else {
        out.table(&HEADS, vec![row(&reply.value, out)])?;
    }
    if !done.is_empty() {
        out.message(done);
    }
    Ok(Exit::Success)
}

async fn list(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.secrets(Some(limit), None).await?;
    out.page(&PrintedPage {
        text: &reply.text,
        kind: "secrets",
        items: &reply.value.secrets,
        next_page_token: &reply.value.next_page_token,
        heads: &HEADS,
        name: |secret| &secret.name,
        row,
    })
}

fn row(secret: &Secret, out: &Output) -> Vec<String> {
    let [created, updated] = [&secret.created_at, &secret.updated_at].map(|time| out.time(Some(time)));
    vec![secret.name.clone(), secret.version.to_string(), created, updated]
}

async fn rotate_key(wait: Duration, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let start = Instant::now();
    let mut changed = false;
    loop {
        let reply = client.rotate_master_key().await?;
        changed |= reply.value.changed;
        let (key_id, pending) = (&reply.value.key_id, reply.value.pending);
        if pending == 0 {
            if !out.structured(&reply.text)? {
                out.data(key_id)?;
            }
            out.message(if changed {
                "the master key was rotated: earlier keys can be removed from all processes"
            } else {
                "this key was the current one already: put a new key on the first line of the master key to rotate it"
            });
            return Ok(Exit::Success);
        }
        if start.elapsed() >= wait {
            let message = format!("{pending} data keys are still wrapped with an earlier master key");
            let hint = "the server continues in the background: repeat the command to see its progress, and keep the earlier \
                        key until it succeeds";
            return Err(CliError::new(Exit::Timeout, message).hint(hint).code("GC3002"));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Reads a value. It is never an argument, which other users of the machine could see.
fn read_value(from_file: Option<PathBuf>) -> Result<SecretString> {
    let mut bytes = Zeroizing::new(Vec::new());
    let (read, origin) = match &from_file {
        Some(path) => {
            let shown = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|error| unreadable(&shown, &error))?;
            (file.take(MAX_VALUE_BYTES + 2).read_to_end(&mut bytes), shown)
        }
        None if std::io::stdin().is_terminal() => {
            return Err(CliError::new(
                Exit::Usage,
                "standard input is a terminal, which would show the value",
            )
            .hint("pipe the value into the command, or name its file with --from-file"));
        }
        None => {
            (std::io::stdin().lock().take(MAX_VALUE_BYTES + 2).read_to_end(&mut bytes), "stdin".to_owned())
        }
    };
    read.map_err(|error| unreadable(&origin, &error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        CliError::new(Exit::Invalid, "the value is not UTF-8 text: encode it, such as with base64")
    })?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(SecretString::from(text))
}

fn generate_key(to_file: Option<PathBuf>, out: &Output) -> Result {
    let failed = |error: String| CliError::new(Exit::Other, error);
    let randomness = Randomness::of_system().map_err(|error| failed(error.to_string()))?;
    let key = MasterKey::generate(&randomness);
    let parsed = MasterKey::parse(key.expose_secret()).map_err(|error| failed(error.to_string()))?;
    match to_file {
        Some(path) => {
            let error =
                |error| CliError::new(Exit::Other, format!("failed to create {}: {error}", path.display()));
            create(&path, key.expose_secret()).map_err(error)?;
            out.message(&format!("key {} was written to {}", parsed.id(), path.display()));
        }
        None => {
            out.data(key.expose_secret())?;
            out.message(&format!(
                "the id of the key is {}: keep the key where a backup of the database is not",
                parsed.id()
            ));
        }
    }
    Ok(Exit::Success)
}

fn create(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
