//! The bytes between us and a broker: TCP, or TLS over it, as everything else here has it.
//!
//! The library is given a stream that is connected and secured already. Its own TLS is not built in: without it, it
//! would take a connection that is to be encrypted for one that need not be.

use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use futures::Stream;
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

/// A broker that does not answer a connection for this long is passed over.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection of either kind.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the library reads and writes.
pub(super) type Bytes = Compat<Box<dyn Duplex>>;

fn bytes(stream: impl Duplex + 'static) -> Bytes {
    (Box::new(stream) as Box<dyn Duplex>).compat()
}

/// Connects, and speaks TLS if that is said.
pub(super) async fn connect(uri: &AMQPUri, tls: Option<&Arc<ClientConfig>>) -> io::Result<Bytes> {
    let connecting = async {
        let host = uri.authority.host.as_str();
        let stream = TcpStream::connect((host, uri.authority.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(bytes(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(bytes(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    };
    let silent = || Err(io::Error::new(io::ErrorKind::TimedOut, "does not answer"));
    tokio::time::timeout(CONNECT, connecting).await.unwrap_or_else(|_| silent())
}

/// Tokio, with streams of ours.
#[derive(Debug, Clone)]
pub(super) struct Kit(Tokio);

/// The runtime of whoever calls.
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
    type TcpStream = Bytes;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, span: Duration) -> Self::Sleep {
        self.0.sleep(span)
    }

    fn interval(&self, span: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(span)
    }

    #[allow(clippy::manual_async_fn, reason = "the future may not borrow, which an async function's would")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        async move { Ok(bytes(TcpStream::connect(address).await?)) }
    }
}
