//! The connection of a command to a server.

use crate::args::{AccessToken, GlobalArgs};
use crate::connect::client;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_client::Client;
use goconductor_tls::{ClientTls, TlsFiles};
use secrecy::{ExposeSecret, SecretString};

/// A client of the server and the output of the command.
#[derive(Debug, Clone)]
pub(crate) struct ServerSession {
    /// The client.
    pub(crate) client: Client,
    /// The output.
    pub(crate) out: Output,
}

impl ServerSession {
    /// Creates a session for the server and the namespace of the command line. It connects with the first request.
    pub(crate) fn new(global: &GlobalArgs, out: &Output) -> Result<Self> {
        Self::of(global, out, |tls| tls)
    }

    /// Creates a session for a process with any role. Only the health of a process that is not a gateway can be read.
    pub(crate) fn of_any_process(global: &GlobalArgs, out: &Output) -> Result<Self> {
        Self::of(global, out, ClientTls::of_any_role)
    }

    fn of(global: &GlobalArgs, out: &Output, adapt: fn(ClientTls) -> ClientTls) -> Result<Self> {
        let files = TlsFiles {
            ca_file: global.ca.clone(),
            certificate_file: global.cert.clone(),
            key_file: global.client_key.clone(),
        };
        let client = client(&global.server, &global.namespace, files, adapt)?;
        let client = match token(global)? {
            Some(token) => client.with_token(token.expose_secret())?,
            None => client,
        };
        Ok(Self { client, out: out.clone() })
    }
}

/// Returns the credential of the command line or of the environment.
fn token(global: &GlobalArgs) -> Result<Option<SecretString>> {
    if let Some(AccessToken(token)) = &global.access_token {
        return Ok(Some(token.clone()));
    }
    let Some(file) = &global.token_file else { return Ok(None) };
    let text = std::fs::read_to_string(file).map_err(|error| {
        CliError::new(Exit::Usage, format!("failed to read the token in {}: {error}", file.display()))
    })?;
    Ok(Some(text.trim().to_owned().into()))
}
