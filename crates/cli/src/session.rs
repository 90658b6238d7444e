//! The connection of a command to a server.

use crate::args::{AccessToken, GlobalArgs};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_client::Client;
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
        let client = Client::new(&global.server, &global.namespace)?;
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
