//! The transport to a broker: TCP, with TLS by rustls if configured.
//!
//! The driver receives a stream that is already connected and encrypted. Its own TLS support is not compiled in, and
//! without it the driver would treat an `amqps` address like an unencrypted one.

use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use lapin::uri::AMQPUri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

/// Timeout of one attempt to connect. After it, the next host is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A TCP or TLS stream.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The stream type of the driver.
pub(super) type Stream = Compat<Box<dyn Duplex>>;

fn boxed(stream: impl Duplex + 'static) -> Stream {
    (Box::new(stream) as Box<dyn Duplex>).compat()
}

/// Connects to a broker, with TLS if `tls` is set.
pub(super) async fn connect(uri: &AMQPUri, tls: Option<&Arc<ClientConfig>>) -> io::Result<Stream> {
    let connecting = async {
        let host = uri.authority.host.as_str();
        let stream = TcpStream::connect((host, uri.authority.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(boxed(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(boxed(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    };
    let timed_out = || Err(io::Error::new(io::ErrorKind::TimedOut, "connection timed out"));
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| timed_out())
}

/// Tokio, with the stream type of this module.
#[derive(Debug, Clone)]
pub(super) struct Kit(Tokio);

/// Returns the driver's view of the current runtime.
pub(super) fn runtime() -> Runtime<Kit> {
    Runtime::new(Kit(Tokio::current()))
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for Kit {
    type TcpStream = Stream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl futures::Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    #[allow(clippy::manual_async_fn, reason = "the future of an async function would borrow `self`")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        async move { Ok(boxed(TcpStream::connect(address).await?)) }
    }
}
