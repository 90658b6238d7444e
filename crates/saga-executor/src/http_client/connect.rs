//! Connections to participants, and why one could not be established.

use futures::future::BoxFuture;
use goconductor_service_kit::outbound::OutboundPolicy;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
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
    /// The policy does not allow the address. Nothing was sent to it.
    AddressDenied,
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
            Self::AddressDenied => "ADDRESS_DENIED",
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
/// the participant is not available here, which is not a shortage.
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

/// Looks up the addresses of a name.
type AddressLookup = Arc<dyn Fn(Name) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Returns the resolver of the system.
fn system_lookup() -> AddressLookup {
    Arc::new(|name: Name| {
        let resolving = GaiResolver::new().call(name);
        Box::pin(async move { Ok(resolving.await?.collect()) })
    })
}

/// Resolves names, within a time limit, to addresses that the policy allows.
///
/// The connector connects to the addresses that it gets from here and never resolves a name again. So a name cannot
/// become another address between the check and the connection.
#[derive(Clone)]
struct Resolver {
    lookup: AddressLookup,
    outbound: Arc<OutboundPolicy>,
    limit: Duration,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lookup: _, outbound, limit } = self;
        f.debug_struct("Resolver").field("outbound", outbound).field("limit", limit).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Returns the allowed addresses of a name. A name without an allowed address is refused.
    fn allowed(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut denied = None;
        let mut allowed = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.outbound.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => denied = denied.or(Some(error)),
            }
        }
        match denied {
            Some(error) if allowed.is_empty() => {
                let reason = format!("{name:?} was resolved, but {error}");
                Err(ConnectError::new(ConnectCause::AddressDenied, reason))
            }
            Some(_) | None => Ok(allowed),
        }
    }

    /// Checks an address that a URL states itself. The connector does not resolve it.
    fn check_literal(&self, uri: &Uri) -> Result<(), ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let Ok(address) = host.parse::<IpAddr>() else { return Ok(()) };
        self.outbound
            .check(address)
            .map_err(|error| ConnectError::new(ConnectCause::AddressDenied, error.to_string()))
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let this = self.clone();
        let limit = self.limit;
        let text = name.as_str().to_owned();
        let resolving = (self.lookup)(name);
        Box::pin(async move {
            match tokio::time::timeout(limit, resolving).await {
                Ok(Ok(addresses)) => Ok(this.allowed(&text, addresses)?.into_iter()),
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

/// Establishes TCP connections to addresses that the policy allows.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    tcp: HttpConnector<Resolver>,
    resolver: Resolver,
}

impl Dial {
    /// Creates a connector. `limit` applies to the resolution of a name and to the connect, each for itself.
    pub(super) fn new(limit: Duration, outbound: Arc<OutboundPolicy>) -> Self {
        Self::with_lookup(limit, outbound, system_lookup())
    }

    fn with_lookup(limit: Duration, outbound: Arc<OutboundPolicy>, lookup: AddressLookup) -> Self {
        let resolver = Resolver { lookup, outbound, limit };
        let mut tcp = HttpConnector::new_with_resolver(resolver.clone());
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        tcp.set_keepalive(Some(Duration::from_secs(15)));
        // The client checks the scheme.
        tcp.enforce_http(false);
        Self { tcp, resolver }
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
        if let Err(error) = self.resolver.check_literal(&uri) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let connecting = self.tcp.call(uri);
        Box::pin(async move { connecting.await.map_err(|error| ConnectError::dialling(&error)) })
    }
}

/// The protocol that a connection with TLS offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
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
    pub(super) fn new(dial: Dial, limit: Duration, protocol: Protocol) -> Result<Self, ConnectError> {
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(tls_provider()?)
            .map_err(|error| {
                let exhausted = is_local_shortage(&error) || files_are_exhausted();
                let cause = if exhausted { ConnectCause::LocalShortage } else { ConnectCause::Tls };
                let reason = chain(&error);
                ConnectError::new(cause, format!("failed to load the system's root certificates: {reason}"))
            })?
            .https_only();
        let https = match protocol {
            Protocol::Http1 => builder.enable_http1().wrap_connector(dial),
            Protocol::Http2 => builder.enable_http2().wrap_connector(dial),
        };
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
    use super::{AddressLookup, ConnectCause, ConnectError, Dial, cause_of};
    use goconductor_service_kit::outbound::OutboundPolicy;
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tower::Service;

    /// Returns a resolver whose answers change, and the number of its calls.
    fn changing(answers: Vec<Vec<SocketAddr>>) -> (AddressLookup, Arc<AtomicUsize>) {
        let calls = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&calls);
        let lookup: AddressLookup = Arc::new(move |_| {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            let answer = answers.get(call).or(answers.last()).cloned().unwrap_or_default();
            Box::pin(async move { Ok(answer) })
        });
        (lookup, calls)
    }

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
        let mut dial = Dial::new(Duration::from_secs(5), Arc::default());
        let uri = "http://no-such-host.invalid:80/".parse().unwrap();
        let error = dial.call(uri).await.unwrap_err();
        assert_eq!(error.cause, ConnectCause::Unresolved, "{error}");
        assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
    }

    #[tokio::test]
    async fn name_is_resolved_once_for_the_check_and_the_connection() {
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let allowed = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let (canary_at, allowed_at) = (canary.local_addr().unwrap(), allowed.local_addr().unwrap());
        let outbound = OutboundPolicy::new(vec!["127.0.0.2".parse().unwrap()], Vec::new());
        // The second answer is the address that the policy denies.
        let (lookup, calls) = changing(vec![vec![allowed_at], vec![canary_at]]);
        let mut dial = Dial::with_lookup(Duration::from_secs(5), Arc::new(outbound), lookup);
        let uri = || format!("http://rebinding.example:{}/", allowed_at.port()).parse().unwrap();
        let stream = dial.call(uri()).await.unwrap();
        assert_eq!(stream.inner().peer_addr().unwrap(), allowed_at);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        let error = dial.call(uri()).await.unwrap_err();
        assert_eq!(error.cause, ConnectCause::AddressDenied, "{error}");
        assert!(error.to_string().contains("127.0.0.1 is of the class loopback"), "{error}");
        assert!(tokio::time::timeout(Duration::from_millis(300), canary.accept()).await.is_err());
    }

    #[tokio::test]
    async fn only_allowed_addresses_of_a_name_are_connected_to() {
        let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = canary.local_addr().unwrap().port();
        let allowed = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let outbound = OutboundPolicy::new(vec!["127.0.0.2".parse().unwrap()], Vec::new());
        let answer = vec![canary.local_addr().unwrap(), allowed.local_addr().unwrap()];
        let (lookup, _) = changing(vec![answer]);
        let mut dial = Dial::with_lookup(Duration::from_secs(5), Arc::new(outbound), lookup);
        let stream = dial.call(format!("http://both.example:{port}/").parse().unwrap()).await.unwrap();
        assert_eq!(stream.inner().peer_addr().unwrap(), allowed.local_addr().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(300), canary.accept()).await.is_err());
    }
}
