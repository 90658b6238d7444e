//! The HTTP client of participants: its connections, and why one could not be established.

mod connect;

use crate::task::DeadlineOutcome;
use bytes::Bytes;
use connect::{Dial, Handshake, Protocol};
use goconductor_service_kit::outbound::OutboundPolicy;
use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use connect::{ConnectCause, ConnectError, chain};

/// A connection that was idle for longer is not reused. Many servers close idle connections after five seconds, and a
/// request that races with the close has an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a connection of HTTP/2 with open requests is probed, and how long an answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

type SecureClient = Client<Handshake, RequestBody>;

/// The HTTP client that all participants of a process share, with its connection pools.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    http1: ConnectionPool,
    /// The connections of gRPC, which uses HTTP/2 without negotiation.
    http2: ConnectionPool,
}

/// The connections of one protocol.
#[derive(Debug, Clone)]
struct ConnectionPool {
    protocol: Protocol,
    plain: Client<Dial, RequestBody>,
    /// Establishes the connections of both clients, and checks their addresses.
    dial: Dial,
    connect_timeout: Duration,
    /// Created on first use, because loading the system's root certificates is slow. A failure is not kept, because it
    /// may be temporary.
    secure: Arc<Mutex<Option<SecureClient>>>,
}

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection was established, so the request was not sent.
    #[error(transparent)]
    Connect(ConnectError),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] hyper_util::client::legacy::Error),
}

impl HttpClient {
    /// Creates a client that connects to the addresses of a policy. `connect_timeout` limits the resolution of a name, the
    /// connect and the TLS handshake, each for itself.
    ///
    /// It ignores the proxy variables of the environment: a proxy would connect to addresses that were not checked.
    pub(crate) fn new(connect_timeout: Duration, outbound: Arc<OutboundPolicy>) -> Self {
        let dial = Dial::new(connect_timeout, outbound);
        let pool = |protocol| ConnectionPool::new(protocol, dial.clone(), connect_timeout);
        Self { http1: pool(Protocol::Http1), http2: pool(Protocol::Http2) }
    }

    /// Sends a request and returns the response as soon as its headers have arrived.
    ///
    /// # Errors
    /// Returns [`SendError::Connect`] if no connection was established, and [`SendError::Broken`] if the connection
    /// broke later.
    pub(crate) async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        self.http1.send(request).await
    }

    /// Sends a request of HTTP/2 and returns the response as soon as its headers have arrived.
    ///
    /// # Errors
    /// See [`send`](Self::send).
    pub(crate) async fn send_http2(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.http2.send(request).await
    }
}

impl ConnectionPool {
    fn new(protocol: Protocol, dial: Dial, connect_timeout: Duration) -> Self {
        let plain = builder(protocol).build(dial.clone());
        Self { protocol, plain, dial, connect_timeout, secure: Arc::default() }
    }

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let sent = if request.uri().scheme() == Some(&Scheme::HTTPS) {
            self.secure().map_err(SendError::Connect)?.request(request)
        } else {
            self.plain.request(request)
        };
        sent.await.map_err(|error| match ConnectError::of(&error) {
            Some(error) => SendError::Connect(error),
            None => SendError::Broken(error),
        })
    }

    fn secure(&self) -> Result<SecureClient, ConnectError> {
        let mut secure = self.secure.lock();
        if let Some(client) = &*secure {
            return Ok(client.clone());
        }
        let handshake = Handshake::new(self.dial.clone(), self.connect_timeout, self.protocol)?;
        Ok(secure.insert(builder(self.protocol).build(handshake)).clone())
    }
}

fn builder(protocol: Protocol) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).pool_max_idle_per_host(256);
    match protocol {
        Protocol::Http1 => {}
        Protocol::Http2 => {
            builder.http2_only(true).timer(TokioTimer::new());
            // A connection whose server is gone must not hold requests until their deadlines.
            builder.http2_keep_alive_interval(KEEP_ALIVE).http2_keep_alive_timeout(KEEP_ALIVE);
        }
    }
    builder
}

/// The body of a request. The request has no effect before the body is read.
///
/// The client reads the body when a connection is ready for the request, before it writes the first byte. From then on,
/// the outcome of an attempt without a response is unknown.
#[derive(Debug)]
pub(crate) struct RequestBody {
    bytes: Option<Bytes>,
    at_deadline: DeadlineOutcome,
}

/// The body was read after the deadline of the attempt, so the request must not be sent.
#[derive(Debug, thiserror::Error)]
#[error("the deadline of the attempt has passed")]
pub(crate) struct DeadlinePassed;

impl RequestBody {
    pub(crate) fn new(bytes: Vec<u8>, at_deadline: DeadlineOutcome) -> Self {
        Self { bytes: Some(bytes.into()), at_deadline }
    }

    /// Creates the body of a request without one. The client never reads it, so the caller must clear the outcome at the
    /// deadline before it sends the request.
    pub(crate) fn empty(at_deadline: DeadlineOutcome) -> Self {
        Self { bytes: None, at_deadline }
    }

    /// Returns whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = DeadlinePassed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DeadlinePassed>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        let may_send = self.at_deadline.clear();
        Poll::Ready(Some(if may_send { Ok(Frame::data(bytes)) } else { Err(DeadlinePassed) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectCause, HttpClient, RequestBody, SendError};
    use crate::task::DeadlineOutcome;
    use goconductor_saga::{Failure, Outcome};
    use goconductor_service_kit::outbound::OutboundPolicy;
    use http::Request;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn nothing() -> Outcome {
        Outcome::Retryable { failure: Failure::of("CONNECT_TIMEOUT", ""), not_before: None }
    }

    fn client() -> HttpClient {
        let outbound = OutboundPolicy::default().with_loopback();
        HttpClient::new(Duration::from_secs(5), Arc::new(outbound))
    }

    fn request(url: &str, at_deadline: &DeadlineOutcome) -> Request<RequestBody> {
        let body = RequestBody::new(b"{}".to_vec(), at_deadline.clone());
        Request::post(url).body(body).unwrap()
    }

    #[tokio::test]
    async fn request_whose_deadline_has_passed_writes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = self::client();
        let at_deadline = DeadlineOutcome::default();
        at_deadline.set(nothing);
        assert_eq!(at_deadline.pass(), Some(nothing()));
        let received = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            received
        };
        let (sent, received) = tokio::join!(client.send(request(&url, &at_deadline)), received);
        assert!(matches!(sent, Err(SendError::Broken(_))), "{sent:?}");
        assert_eq!(received, b"");
    }

    #[tokio::test]
    async fn request_is_in_doubt_once_it_is_written_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = self::client();
        let at_deadline = DeadlineOutcome::default();
        at_deadline.set(nothing);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.unwrap();
            assert!(!at_deadline.is_set(), "the request was written");
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            drop(listener);
        };
        let url = format!("http://{address}/");
        let (sent, ()) = tokio::join!(client.send(request(&url, &at_deadline)), server);
        assert_eq!(sent.unwrap().status(), 204);
        // The port is closed now, and the idle connection was closed with the stream.
        let refused = DeadlineOutcome::default();
        refused.set(nothing);
        let other = self::client();
        let error = other.send(request(&url, &refused)).await.unwrap_err();
        let SendError::Connect(error) = error else { panic!("{error:?}") };
        assert_eq!(error.cause, ConnectCause::Refused);
        assert!(refused.is_set(), "nothing was written");
    }

    /// Returns whether a listener gets a connection within a short time.
    async fn is_reached(canary: &TcpListener) -> bool {
        tokio::time::timeout(Duration::from_millis(300), canary.accept()).await.is_ok()
    }

    #[tokio::test]
    async fn no_form_of_a_denied_address_is_connected_to() {
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = canary.local_addr().unwrap().port();
        let client = HttpClient::new(Duration::from_secs(5), Arc::new(OutboundPolicy::default()));
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0.0.0.0",
            "0",
            "localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
        ] {
            let at_deadline = DeadlineOutcome::default();
            at_deadline.set(nothing);
            let url = format!("http://{host}:{port}/");
            let error = client.send(request(&url, &at_deadline)).await.expect_err(host);
            let SendError::Connect(error) = error else { panic!("{host}: {error:?}") };
            // Not every resolver accepts every form. None of them may lead to a connection.
            let refused = [ConnectCause::AddressDenied, ConnectCause::Unresolved];
            assert!(refused.contains(&error.cause), "{host}: {error}");
            assert!(at_deadline.is_set(), "{host}: nothing was written");
        }
        assert!(!is_reached(&canary).await);
    }

    #[tokio::test]
    async fn redirect_to_a_denied_address_is_not_followed() {
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let location = canary.local_addr().unwrap();
        let redirect = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.unwrap();
            let response = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{location}/\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(response.as_bytes()).await.unwrap();
            stream
        };
        let client = client();
        let at_deadline = DeadlineOutcome::default();
        let url = format!("http://{address}/");
        let (sent, _stream) = tokio::join!(client.send(request(&url, &at_deadline)), redirect);
        assert_eq!(sent.unwrap().status(), 307);
        assert!(!is_reached(&canary).await);
    }
}
