//! A connection of a listener, with or without TLS.

use crate::listener::LimitedConnection;
use goconductor_tls::{HandshakeFailure, ServerStream, TlsIdentity, TlsSession};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Time in which a client must complete the TLS handshake. A handshake takes a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The first byte of a TLS connection: a record of the type handshake.
const HANDSHAKE_RECORD: u8 = 22;
/// Response to a request without TLS. It is sent before the request is read.
const PLAIN_TEXT: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
    connection: close\r\ncontent-length: 170\r\n\r\n\
    {\"type\":\"/errors/GC3032\",\"title\":\"request without TLS\",\"status\":400,\
    \"detail\":\"this port speaks TLS only; write https:// in the address\",\"code\":\"GC3032\",\"retryable\":false}";

/// A connection that is ready for HTTP.
#[derive(Debug)]
pub(crate) enum AcceptedConnection {
    /// A connection without TLS.
    Plain(LimitedConnection),
    /// A connection with TLS.
    Secure(Box<ServerStream<LimitedConnection>>),
}

/// Completes the TLS handshake of a connection, if its listener has TLS. Returns `None` if it failed. The connection counts
/// towards the limit of connections meanwhile.
pub(crate) async fn establish(
    connection: LimitedConnection,
    peer: SocketAddr,
    tls: Option<&TlsIdentity>,
) -> Option<(AcceptedConnection, Option<TlsSession>)> {
    let Some(tls) = tls else { return Some((AcceptedConnection::Plain(connection), None)) };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(connection, tls)).await {
        Ok(Ok((stream, session))) => Some((AcceptedConnection::Secure(Box::new(stream)), Some(session))),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            HandshakeFailure::Timeout.count();
            tracing::debug!(%peer, timeout = ?HANDSHAKE_TIMEOUT, "TLS handshake did not complete in time");
            None
        }
    }
}

async fn handshake(
    mut connection: LimitedConnection,
    tls: &TlsIdentity,
) -> io::Result<(ServerStream<LimitedConnection>, TlsSession)> {
    match connection.first_byte().await? {
        Some(HANDSHAKE_RECORD) => tls.accept(connection).await,
        Some(_) => {
            HandshakeFailure::PlainText.count();
            connection.write_all(PLAIN_TEXT).await?;
            connection.shutdown().await?;
            // The client may still send its request. A reset would discard the response.
            drain(&mut connection).await?;
            Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"))
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads up to 64 KiB, until the client closes the connection.
async fn drain(connection: &mut LimitedConnection) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    tokio::io::copy(&mut connection.take(64 << 10), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Forwards a call to the stream of either variant.
macro_rules! forward {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain($stream) => $call,
            Self::Secure($stream) => $call,
        }
    };
}

impl AsyncRead for AcceptedConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for AcceptedConnection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write(context, buffer))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, stream => Pin::new(stream).poll_write_vectored(context, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PLAIN_TEXT;

    #[test]
    fn response_to_plain_text_states_its_length() {
        let response = std::str::from_utf8(PLAIN_TEXT).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes: {body}", body.len());
    }
}
