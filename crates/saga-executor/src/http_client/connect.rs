//! Connections to participants, and why one could not be established.

use futures::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiAddrs, GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tower::Service;

/// `EMFILE` and `ENFILE`, which have no stable [`io::ErrorKind`]: this process, or the system, has too many open files.
const TOO_MANY_FILES: [i32; 2] = [24, 23];
/// `ENOBUFS`: the system has no memory for the socket.
const NO_BUFFERS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };

/// Why a connection could not be established.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectCause {
    /// The name was not resolved.
    Unresolved,
    /// The connection or the TLS handshake took too long.
    TimedOut,
    /// The host refused the connection.
    Refused,
    /// The host or its network cannot be reached.
    Unreachable,
    /// The TLS handshake failed.
    Tls,
    /// This process lacks files, ports or memory. The participant had no part in it.
    LocalShortage,
}

impl ConnectCause {
    /// Returns the code of the failure, which is part of the contract with participants.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unresolved => "DNS_FAILED",
            Self::TimedOut => "CONNECT_TIMEOUT",
            Self::Refused => "CONNECTION_REFUSED",
            Self::Unreachable => "UNREACHABLE",
            Self::Tls => "TLS_FAILED",
            Self::LocalShortage => "LOCAL_SHORTAGE",
        }
    }
}

/// A connection that could not be established.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct ConnectError {
    pub(crate) cause: ConnectCause,
    /// The reason, with all causes.
    reason: String,
}

impl ConnectError {
    fn new(cause: ConnectCause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into() }
    }

    /// Returns the connect error among the causes of an error.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        causes(error).find_map(|cause| cause.downcast_ref::<Self>()).cloned()
    }

    /// Classifies the error of a socket or of a resolver.
    fn dialling(error: &(dyn Error + 'static)) -> Self {
        if let Some(error) = Self::of(error) {
            return error;
        }
        let specific = |cause: &ConnectCause| *cause != ConnectCause::Unreachable;
        let cause = causes(error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>().map(cause_of))
            .find(specific)
            .unwrap_or(ConnectCause::Unreachable);
        Self::new(cause, chain(error))
    }
}

/// Returns an error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| next_cause(error))
}

/// Returns the cause of an error. An [`io::Error`] does not state the error inside it as its source.
fn next_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn cause_of(error: &io::Error) -> ConnectCause {
    use io::ErrorKind::{AddrNotAvailable, ConnectionAborted, ConnectionRefused, ConnectionReset, TimedOut};
    let kind = error.kind();
    if is_local_shortage(error) || (kind == AddrNotAvailable && ports_are_exhausted()) {
        return ConnectCause::LocalShortage;
    }
    if kind == TimedOut {
        return ConnectCause::TimedOut;
    }
    if [ConnectionRefused, ConnectionReset, ConnectionAborted].contains(&kind) {
        return ConnectCause::Refused;
    }
    ConnectCause::Unreachable
}

fn is_local_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    error.kind() == io::ErrorKind::OutOfMemory
        || number.is_some_and(|number| TOO_MANY_FILES.contains(&number) || number == NO_BUFFERS)
}

/// Returns whether the system has no free port for a connection. The same error also means that the address family of
/// the participant is not available here, which is no shortage.
fn ports_are_exhausted() -> bool {
    let bound =
        TcpSocket::new_v4().and_then(|socket| socket.bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse || is_local_shortage(&error))
}

/// Returns whether this process can open no further file. A resolver hides this error, because it treats a file that
/// it cannot open like one that does not exist.
fn files_are_exhausted() -> bool {
    TcpSocket::new_v4().is_err_and(|error| is_local_shortage(&error))
}

/// Formats an error with its sources, because the outermost error alone is not specific.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat the text of their source.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Resolves names, within a time limit.
#[derive(Debug, Clone)]
struct Resolver {
    system: GaiResolver,
    limit: Duration,
}

impl Service<Name> for Resolver {
    type Response = GaiAddrs;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<GaiAddrs, ConnectError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.system.poll_ready(context).map_err(|error| ConnectError::dialling(&error))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let limit = self.limit;
        let text = name.as_str().to_owned();
        let resolving = self.system.call(name);
        Box::pin(async move {
            match tokio::time::timeout(limit, resolving).await {
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) if is_local_shortage(&error) || files_are_exhausted() => {
                    Err(ConnectError::new(ConnectCause::LocalShortage, chain(&error)))
                }
                Ok(Err(error)) => {
                    let reason = format!("{text:?} was not resolved: {}", chain(&error));
                    Err(ConnectError::new(ConnectCause::Unresolved, reason))
                }
                Err(_) => {
                    let reason = format!("{text:?} was not resolved within {limit:?}");
                    Err(ConnectError::new(ConnectCause::Unresolved, reason))
                }
            }
        })
    }
}

/// Establishes TCP connections.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    tcp: HttpConnector<Resolver>,
}

impl Dial {
    /// Creates a connector. `limit` applies to the resolution of a name and to the connect, each for itself.
    pub(super) fn new(limit: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver { system: GaiResolver::new(), limit });
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(Duration::from_secs(15)));
        // The client checks the scheme.
        tcp.enforce_http(false);
        Self { tcp }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.tcp.poll_ready(context).map_err(|error| ConnectError::dialling(&error))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        Box::pin(async move { connecting.await.map_err(|error| ConnectError::dialling(&error)) })
    }
}

/// Establishes TCP connections with TLS.
#[derive(Clone)]
pub(super) struct Handshake {
    https: HttpsConnector<Dial>,
    /// The limit of resolution, connect and handshake together.
    limit: Duration,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Handshake {
    pub(super) fn new(limit: Duration) -> Result<Self, ConnectError> {
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(tls_provider()?)
            .map_err(|error| {
                let exhausted = is_local_shortage(&error) || files_are_exhausted();
                let cause = if exhausted { ConnectCause::LocalShortage } else { ConnectCause::Tls };
                let reason = chain(&error);
                ConnectError::new(cause, format!("failed to load the system's root certificates: {reason}"))
            })?
            .https_only()
            .enable_http1()
            .wrap_connector(Dial::new(limit));
        Ok(Self { https, limit: limit * 3 })
    }
}

/// Returns the implementation of the cryptography. An explicit one, so that the choice does not depend on the features
/// of other crates.
#[cfg(feature = "aws-lc")]
fn tls_provider() -> Result<CryptoProvider, ConnectError> {
    Ok(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
fn tls_provider() -> Result<CryptoProvider, ConnectError> {
    Ok(rustls::crypto::ring::default_provider())
}

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
fn tls_provider() -> Result<CryptoProvider, ConnectError> {
    let reason = "this build does not contain TLS: build with `--features aws-lc`";
    Err(ConnectError::new(ConnectCause::Tls, reason))
}

impl Service<Uri> for Handshake {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.https.poll_ready(context).map_err(|error| ConnectError::dialling(&*error))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        let connecting = self.https.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                // An error that is not from `Dial` is one of the handshake.
                Ok(Err(error)) => Err(ConnectError::of(&*error)
                    .unwrap_or_else(|| ConnectError::new(ConnectCause::Tls, chain(&*error)))),
                Err(_) => {
                    let reason = format!("the TLS handshake did not end within {limit:?}");
                    Err(ConnectError::new(ConnectCause::TimedOut, reason))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectCause, ConnectError, Dial, cause_of};
    use std::io;
    use std::time::Duration;
    use tower::Service;

    #[test]
    fn each_socket_error_has_one_cause() {
        let cases = [
            (io::Error::from_raw_os_error(24), ConnectCause::LocalShortage),
            (io::Error::from_raw_os_error(23), ConnectCause::LocalShortage),
            (io::Error::from(io::ErrorKind::OutOfMemory), ConnectCause::LocalShortage),
            (io::Error::from_raw_os_error(super::NO_BUFFERS), ConnectCause::LocalShortage),
            // Ports are free on the machine that runs the test, so the address is the problem.
            (io::Error::from(io::ErrorKind::AddrNotAvailable), ConnectCause::Unreachable),
            (io::Error::from(io::ErrorKind::ConnectionRefused), ConnectCause::Refused),
            (io::Error::from(io::ErrorKind::ConnectionReset), ConnectCause::Refused),
            (io::Error::from(io::ErrorKind::TimedOut), ConnectCause::TimedOut),
            (io::Error::from(io::ErrorKind::HostUnreachable), ConnectCause::Unreachable),
            (io::Error::from(io::ErrorKind::NetworkUnreachable), ConnectCause::Unreachable),
            (io::Error::from(io::ErrorKind::PermissionDenied), ConnectCause::Unreachable),
        ];
        for (error, expected) in cases {
            assert_eq!(cause_of(&error), expected, "{error}");
            // The client wraps the error of a socket several times.
            let wrapped = io::Error::other(io::Error::other(error));
            assert_eq!(ConnectError::dialling(&wrapped).cause, expected, "{wrapped}");
        }
    }

    #[tokio::test]
    async fn name_that_does_not_exist_is_a_resolver_failure() {
        let mut dial = Dial::new(Duration::from_secs(5));
        let uri = "http://no-such-host.invalid:80/".parse().unwrap();
        let error = dial.call(uri).await.unwrap_err();
        assert_eq!(error.cause, ConnectCause::Unresolved, "{error}");
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    }
}
