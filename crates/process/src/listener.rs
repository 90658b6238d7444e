//! A listener that limits the number of open connections, because each uses memory and a file descriptor. At most half of
//! the files that the process may open are connections.

use crate::listeners::Listeners;
use crate::{file_limit, metrics};
use goconductor_tls::TlsIdentity;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Response to a connection beyond the limit. It is sent before the request is read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 164\r\n\r\n\
    {\"type\":\"/errors/GC2030\",\"title\":\"too many concurrent requests\",\"status\":503,\
    \"detail\":\"too many connections are open; retry later\",\"code\":\"GC2030\",\"retryable\":true}";
/// Delay after an error of the listener. Its usual cause is that the process has no file descriptor left.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Interval between two warnings about connections that were not accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A listener that limits the number of open connections.
#[derive(Debug)]
pub struct LimitedListener {
    listeners: Listeners,
    permits: Arc<Semaphore>,
    max: usize,
    warned_at: Option<Instant>,
}

/// A connection that counts towards the limit until it is dropped.
#[derive(Debug)]
pub struct LimitedConnection {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl LimitedListener {
    /// Creates a listener with at most `max` open connections. The limit of open files may lower it.
    #[must_use]
    pub fn new(listeners: impl Into<Listeners>, max: usize) -> Self {
        let max = file_limit::connections_within(max.min(Semaphore::MAX_PERMITS));
        let permits = Arc::new(Semaphore::new(max));
        Self { listeners: listeners.into(), permits, max, warned_at: None }
    }

    /// Returns the TLS of the listener. `None` means that its connections are not encrypted.
    pub(crate) fn tls(&self) -> Option<&TlsIdentity> {
        self.listeners.tls()
    }

    /// Accepts the next connection within the limit. Refuses connections beyond it. Cancel-safe.
    pub async fn next(&mut self) -> (LimitedConnection, SocketAddr) {
        loop {
            let (stream, address) = match self.listeners.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if self.should_warn() {
                        tracing::warn!(%error, "connection was not accepted");
                    }
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::trace!(%error, "TCP_NODELAY was not set");
            }
            match Arc::clone(&self.permits).try_acquire_owned() {
                Ok(permit) => return (LimitedConnection { stream, _permit: permit }, address),
                Err(_) => {
                    metrics::CONNECTIONS_REFUSED.increment(1);
                    if self.should_warn() {
                        tracing::warn!(
                            limit = self.max,
                            "connections were refused, because too many are open"
                        );
                    }
                    // Without waiting: a peer that cannot receive even this much gets no response.
                    drop(stream.try_write(FULL));
                }
            }
        }
    }
}

impl LimitedConnection {
    /// Waits for the first byte, which stays unread. Returns `None` if the peer closes the connection before.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let count = self.stream.peek(&mut first).await?;
        Ok(first.first().copied().filter(|_| count > 0))
    }
}

impl LimitedListener {
    /// Returns whether no warning was logged recently.
    fn should_warn(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.warned_at.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL);
        if is_due {
            self.warned_at = Some(now);
        }
        is_due
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn connection_beyond_the_limit_gets_a_503_response() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = LimitedListener::new(listener, 1);
        let _first_client = TcpStream::connect(address).await.unwrap();
        let (first, _) = connections.next().await;
        let mut second = TcpStream::connect(address).await.unwrap();
        let next = tokio::spawn(async move { connections.next().await });
        let mut response = String::new();
        second.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503") && head.contains("retry-after: 1"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes: {body}", body.len());
        assert!(body.contains("GC2030"));
        drop(first);
        let _third_client = TcpStream::connect(address).await.unwrap();
        next.await.unwrap();
    }
}
