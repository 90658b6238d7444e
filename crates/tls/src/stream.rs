//! A connection to a server, which ends when the certificate of the server is no longer trusted.

use crate::verifier::ServerVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// Time for which a connection is used after its server is no longer trusted. The server usually ends it earlier, and
/// without a failed request, because its own files changed as well.
const GRACE: Duration = Duration::from_secs(30);

/// A verified connection to a server.
#[derive(Debug)]
pub struct ClientStream {
    inner: Box<TlsStream<TcpStream>>,
    verifier: Arc<ServerVerifier>,
    name: ServerName<'static>,
    chain: Vec<CertificateDer<'static>>,
    generation: u64,
    refused_at: Option<Instant>,
}

impl ClientStream {
    pub(crate) fn new(
        inner: TlsStream<TcpStream>,
        verifier: Arc<ServerVerifier>,
        name: ServerName<'static>,
        generation: u64,
    ) -> Self {
        let chain = inner.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|each| each.clone().into_owned()).collect();
        Self { inner: Box::new(inner), verifier, name, chain, generation, refused_at: None }
    }

    /// Checks the certificate again if the files changed since the last check.
    fn check(&mut self) -> io::Result<()> {
        let generation = self.verifier.identity.generation();
        if generation != self.generation {
            self.generation = generation;
            let verified = self.chain.split_first().is_some_and(|(first, others)| {
                self.verifier.verify(first, others, &self.name, UnixTime::now()).is_ok()
            });
            self.refused_at = if verified { None } else { self.refused_at.or(Some(Instant::now())) };
        }
        match self.refused_at {
            Some(at) if at.elapsed() >= GRACE => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the certificate of the server is no longer trusted",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
