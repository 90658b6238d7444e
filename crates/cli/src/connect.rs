//! The client of a server, with or without certificates.

use crate::error::{CliError, Exit, Result};
use anyhow::Context;
use goconductor_client::Client;
use goconductor_tls::{ClientTls, PeerRole, TlsFiles};

/// Creates a client. A server with `https` is verified by the files, or by the authorities of this machine if they name
/// none.
pub(crate) fn client(
    server: &str,
    namespace: &str,
    files: TlsFiles,
    adapt: fn(ClientTls) -> ClientTls,
) -> Result<Client> {
    if !server.starts_with("https://") {
        // Files without TLS would not be used, and a person who sets them expects a secure connection.
        if !files.is_empty() {
            let message = format!("--ca, --cert and --key require a server with https://, not {server}");
            return Err(CliError::new(Exit::Usage, message));
        }
        return Ok(Client::new(server, namespace)?);
    }
    let tls = ClientTls::load(files, "", PeerRole::ApiGateway).context("failed to load the certificates")?;
    Ok(Client::with_tls(server, namespace, Some(adapt(tls)))?)
}
