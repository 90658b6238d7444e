//! The connection of a command to a server.

use crate::args::GlobalArgs;
use crate::error::Result;
use crate::output::Output;
use goconductor_client::Client;

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
        Ok(Self { client: Client::new(&global.server, &global.namespace)?, out: out.clone() })
    }
}
