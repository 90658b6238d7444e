//! A connector for gRPC clients: TCP, and TLS with the verification of [`ClientTls`].

use crate::client::ClientTls;
use crate::error::Error;
use crate::stream::ClientStream;
use crate::verifier::ServerVerifier;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

/// The protocol of gRPC.
const HTTP2: &[u8] = b"h2";

/// Why no secure connection was established. No request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailure {
    /// The host of the address cannot be in a certificate.
    #[error("{0:?} is not a host name or an IP address")]
    Name(String),
    /// The host cannot be reached.
    #[error("failed to connect to {address}: {source}")]
    Connect {
        /// The address.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The handshake failed: the certificate of the server was refused, or the server refused this client.
    #[error("the TLS handshake with {address} failed: {source}")]
    Handshake {
        /// The address.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// The server does not speak HTTP/2.
    #[error("{address} does not speak HTTP/2 over TLS")]
    Protocol {
        /// The address.
        address: String,
    },
}

/// Establishes verified connections to the host of a URI. Clones are cheap.
#[derive(Debug, Clone)]
pub struct SecureConnector {
    config: Arc<ClientConfig>,
    verifier: Arc<ServerVerifier>,
    /// The address to dial instead of that of the host, whose name the certificate must still contain.
    address: Option<SocketAddr>,
}

impl SecureConnector {
    /// Creates a connector.
    ///
    /// # Errors
    /// Returns [`Error`] if this build cannot speak TLS.
    pub fn new(tls: &ClientTls) -> Result<Self, Error> {
        let config = Arc::new(tls.config(&[HTTP2])?);
        Ok(Self { config, verifier: Arc::new(tls.verifier()), address: None })
    }

    /// Dials this address, one of several that the name of the host has.
    #[must_use]
    pub fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<ClientStream>, ConnectFailure> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(443);
        let address = format!("{}:{port}", uri.host().unwrap_or_default());
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_| ConnectFailure::Name(host.to_owned()))?;
        // Before the handshake: files that change meanwhile are compared at the first use.
        let generation = self.verifier.identity.generation();
        let dialled = match self.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host, port)).await,
        };
        let failed = |source| ConnectFailure::Connect { address: address.clone(), source };
        let tcp = dialled.map_err(failed)?;
        tcp.set_nodelay(true).map_err(failed)?;
        let stream = TlsConnector::from(self.config).connect(name.clone(), tcp).await;
        let stream =
            stream.map_err(|source| ConnectFailure::Handshake { address: address.clone(), source })?;
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(ConnectFailure::Protocol { address });
        }
        Ok(TokioIo::new(ClientStream::new(stream, self.verifier, name, generation)))
    }
}

impl Service<Uri> for SecureConnector {
    type Response = TokioIo<ClientStream>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
