//! A listener that limits the number of open connections, because each uses memory and a file descriptor. At most half of
//! the files that the process may open are connections. A single address can have a part of them, so that it cannot keep
//! others out.

use crate::connection_limits::{ConnectionLimits, PeerAddress};
use crate::count_limit::{CountLimit, CountPermit};
use crate::listeners::Listeners;
use crate::live_config::LiveConfig;
use crate::{file_limit, metrics};
use goconductor_service_kit::config;
use goconductor_tls::TlsIdentity;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Response to a connection beyond the limit of all connections. It is sent before the request is read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 164\r\n\r\n\
    {\"type\":\"/errors/GC2030\",\"title\":\"too many concurrent requests\",\"status\":503,\
    \"detail\":\"too many connections are open; retry later\",\"code\":\"GC2030\",\"retryable\":true}";
/// Response to a connection beyond the limit of its address.
const ADDRESS_FULL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 191\r\n\r\n\
    {\"type\":\"/errors/GC2096\",\"title\":\"too many connections from one address\",\"status\":429,\
    \"detail\":\"too many connections from this address are open; retry later\",\"code\":\"GC2096\",\"retryable\":true}";
/// Delay after an error of the listener. Its usual cause is that the process has no file descriptor left.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Interval between two warnings about connections that were not accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// A listener that limits the number of open connections.
#[derive(Debug)]
pub struct LimitedListener {
    listeners: Listeners,
    limits: ConnectionLimits,
    bounds: ConnectionBounds,
    addresses: AddressCounts,
    warned_at: Option<Instant>,
}

/// The limits of a listener that can change while it accepts connections: all but those of one connection.
#[derive(Debug, Clone)]
pub struct ConnectionBounds {
    connections: Arc<CountLimit>,
    per_address: Arc<AtomicUsize>,
    requests: Arc<CountLimit>,
    /// The limits that were set last.
    set: Arc<Mutex<ConnectionLimits>>,
}

impl ConnectionBounds {
    /// The limit of open files may lower the number of connections.
    fn new(limits: ConnectionLimits) -> Self {
        let max = file_limit::connections_within(limits.connections);
        Self {
            connections: CountLimit::new(max),
            per_address: Arc::new(AtomicUsize::new(limits.per_address(max))),
            requests: CountLimit::new(limits.requests),
            set: Arc::new(Mutex::new(limits)),
        }
    }

    /// Changes the limits. Connections and requests beyond the new ones are not ended.
    pub fn set(&self, limits: ConnectionLimits) {
        let previous = std::mem::replace(&mut *self.set.lock(), limits);
        if previous == limits {
            return;
        }
        let max = file_limit::connections_within(limits.connections);
        self.connections.set(max);
        self.per_address.store(limits.per_address(max), Ordering::Relaxed);
        self.requests.set(limits.requests);
    }

    /// Changes the limits with the settings of the API. `limits` returns those of the port.
    pub fn follow(&self, live: &LiveConfig, limits: fn(&config::Limits) -> ConnectionLimits) {
        let bounds = self.clone();
        live.on_change(move |config| bounds.set(limits(&config.limits)));
    }

    /// Returns the limit of the requests in progress over all connections.
    pub(crate) fn requests(&self) -> Arc<CountLimit> {
        Arc::clone(&self.requests)
    }

    fn per_address(&self) -> usize {
        self.per_address.load(Ordering::Relaxed)
    }
}

/// The open connections by address.
#[derive(Debug, Clone, Default)]
struct AddressCounts(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection of an address, which counts until it is dropped.
#[derive(Debug)]
struct AddressPermit {
    counts: AddressCounts,
    address: IpAddr,
}

impl AddressCounts {
    /// Counts a connection, unless the address has `max` connections.
    fn try_acquire(&self, address: IpAddr, max: usize) -> Option<AddressPermit> {
        let mut counts = self.0.lock();
        let open = counts.entry(address).or_default();
        if *open >= max {
            return None;
        }
        *open += 1;
        Some(AddressPermit { counts: self.clone(), address })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock();
        if let Some(open) = counts.get_mut(&self.address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection that counts towards the limit until it is dropped.
#[derive(Debug)]
pub struct LimitedConnection {
    stream: TcpStream,
    _permit: CountPermit,
    _address: AddressPermit,
}

/// The limit that a connection exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    All,
    Address,
}

impl LimitedListener {
    /// Creates a listener with limits. The limit of open files may lower the number of connections.
    #[must_use]
    pub fn new(listeners: impl Into<Listeners>, limits: ConnectionLimits) -> Self {
        Self {
            listeners: listeners.into(),
            limits,
            bounds: ConnectionBounds::new(limits),
            addresses: AddressCounts::default(),
            warned_at: None,
        }
    }

    /// Returns the limits that can change.
    #[must_use]
    pub fn bounds(&self) -> &ConnectionBounds {
        &self.bounds
    }

    /// Returns the TLS of the listener. `None` means that its connections are not encrypted.
    pub(crate) fn tls(&self) -> Option<&TlsIdentity> {
        self.listeners.tls()
    }

    /// Returns the limits of the connections.
    #[must_use]
    pub fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    /// Accepts the next connection within the limits. Refuses connections beyond them. Cancel-safe.
    pub async fn next(&mut self) -> (LimitedConnection, SocketAddr) {
        loop {
            let (stream, peer) = match self.listeners.accept().await {
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
            match self.admit(peer.ip()) {
                Ok((permit, address)) => {
                    let connection = LimitedConnection { stream, _permit: permit, _address: address };
                    return (connection, peer);
                }
                Err(excess) => self.refuse(&stream, peer, excess),
            }
        }
    }

    fn admit(&self, address: IpAddr) -> Result<(CountPermit, AddressPermit), Excess> {
        let permit = self.bounds.connections.try_acquire().ok_or(Excess::All)?;
        let network = PeerAddress(address).network();
        let max = self.bounds.per_address();
        let address = self.addresses.try_acquire(network, max).ok_or(Excess::Address)?;
        Ok((permit, address))
    }

    /// Responds without waiting: a peer that cannot receive even this much gets no response.
    fn refuse(&mut self, stream: &TcpStream, peer: SocketAddr, excess: Excess) {
        metrics::CONNECTIONS_REFUSED.increment(1);
        let should_warn = self.should_warn();
        let response = match excess {
            Excess::All => {
                if should_warn {
                    tracing::warn!(
                        limit = self.bounds.connections.max(),
                        "connections were refused, because too many are open"
                    );
                }
                FULL
            }
            Excess::Address => {
                if should_warn {
                    tracing::warn!(
                        address = %peer.ip(),
                        limit = self.bounds.per_address(),
                        "connections were refused, because too many of one address are open"
                    );
                }
                ADDRESS_FULL
            }
        };
        // A client that speaks TLS could not read a response without it.
        if self.tls().is_none() {
            drop(stream.try_write(response));
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

    const LIMITS: ConnectionLimits = ConnectionLimits {
        connections: 1,
        connections_per_address: None,
        streams_per_connection: 1,
        requests: 1,
        frame_bytes: 16 << 10,
    };

    /// Checks that a further connection is refused with this status and code.
    async fn check_refused(address: SocketAddr, status: &str, code: &str) {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && head.contains("retry-after: 1"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes: {body}", body.len());
        assert!(body.contains(code));
    }

    #[tokio::test]
    async fn connection_beyond_the_limit_gets_a_503_response() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = LimitedListener::new(listener, LIMITS);
        let _first_client = TcpStream::connect(address).await.unwrap();
        let (first, _) = connections.next().await;
        let next = tokio::spawn(async move { connections.next().await });
        check_refused(address, "503", "GC2030").await;
        drop(first);
        let _third_client = TcpStream::connect(address).await.unwrap();
        next.await.unwrap();
    }

    #[tokio::test]
    async fn changed_limits_apply_to_the_next_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = LimitedListener::new(listener, LIMITS);
        let bounds = connections.bounds().clone();
        bounds.set(ConnectionLimits { connections: 2, connections_per_address: Some(2), ..LIMITS });
        let _clients =
            [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let (first, second) = (connections.next().await, connections.next().await);
        bounds.set(LIMITS);
        let next = tokio::spawn(async move { connections.next().await });
        check_refused(address, "503", "GC2030").await;
        drop(first);
        check_refused(address, "503", "GC2030").await;
        drop(second);
        let _client = TcpStream::connect(address).await.unwrap();
        next.await.unwrap();
    }

    #[tokio::test]
    async fn one_address_cannot_keep_others_out() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limits = ConnectionLimits { connections: 4, ..LIMITS };
        let mut connections = LimitedListener::new(listener, limits);
        let greedy = SocketAddr::from(([127, 0, 0, 1], port));
        let mut clients = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(greedy).await.unwrap());
            accepted.push(connections.next().await.0);
        }
        let next = tokio::spawn(async move { connections.next().await });
        check_refused(greedy, "429", "GC2096").await;
        // Another address of this machine.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let _modest = socket.connect(greedy).await.unwrap();
        let (connection, peer) = next.await.unwrap();
        assert_eq!(peer.ip(), IpAddr::from([127, 0, 0, 2]));
        let counts = connection._address.counts.clone();
        drop((connection, accepted));
        assert!(counts.0.lock().is_empty(), "addresses without connections take no memory");
    }
}
