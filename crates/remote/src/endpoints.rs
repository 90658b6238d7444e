//! Endpoints of equivalent servers.

use goconductor_tls::{ClientTls, SecureConnector};
use goconductor_wire::handshake;
use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Timeout for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval and timeout of HTTP/2 keep-alive pings. A connection without a response to a ping is closed.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Timeout of a request. Another endpoint may respond faster.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// An invalid endpoint address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid address {address:?}: {reason}; use the form http://127.0.0.1:8471, or https:// with TLS")]
pub struct InvalidEndpoint {
    /// The address.
    pub address: String,
    /// The reason.
    pub reason: String,
}

/// A list of equivalent endpoints. The endpoint that responded last is used first.
#[derive(Debug)]
pub struct Endpoints {
    channels: Vec<(String, Channel)>,
    connector: Connector,
    current: AtomicUsize,
}

impl Endpoints {
    /// Creates the list, without TLS. Connections are opened on demand. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Returns [`InvalidEndpoint`] if an address is invalid or `addresses` is empty.
    pub fn new(addresses: &[String]) -> Result<Self, InvalidEndpoint> {
        Self::with_tls(addresses, None)
    }

    /// Like [`new`](Self::new), and connects to `https` addresses by `tls`.
    ///
    /// # Errors
    /// Returns [`InvalidEndpoint`] if an address is invalid, if it requires TLS and `tls` is `None`, or if `addresses` is
    /// empty.
    pub fn with_tls(addresses: &[String], tls: Option<&ClientTls>) -> Result<Self, InvalidEndpoint> {
        let connector = Connector::new(tls).map_err(|error| InvalidEndpoint {
            address: addresses.first().cloned().unwrap_or_default(),
            reason: error.to_string(),
        })?;
        let channels: Vec<(String, Channel)> = addresses
            .iter()
            .map(|address| Ok((address.clone(), connector.channel(address, None)?)))
            .collect::<Result<_, InvalidEndpoint>>()?;
        if channels.is_empty() {
            return Err(InvalidEndpoint {
                address: String::new(),
                reason: "the list of addresses is empty".to_owned(),
            });
        }
        // Each process starts with a random endpoint, which distributes the load.
        let first = usize::from(uuid::Uuid::now_v7().as_bytes().last().copied().unwrap_or(0));
        Ok(Self { current: AtomicUsize::new(first % channels.len()), channels, connector })
    }

    /// Returns all endpoints.
    pub fn all(&self) -> impl Iterator<Item = (&str, Channel)> {
        self.channels.iter().map(|(address, channel)| (address.as_str(), channel.clone()))
    }

    /// Returns the connector of further channels to the same servers.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns the number of endpoints.
    #[must_use]
    pub fn count(&self) -> usize {
        self.channels.len()
    }

    /// Returns the endpoint to use and its index.
    pub(crate) fn current(&self) -> (usize, Option<Channel>) {
        let index = self.current.load(Ordering::Relaxed);
        (index, self.channels.get(index).map(|(_, channel)| channel.clone()))
    }

    /// Switches from an endpoint that did not respond to the next one, unless another caller has already switched.
    pub(crate) fn move_on(&self, from: usize) {
        let next = (from + 1) % self.channels.len();
        if self.current.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && self.channels.len() > 1
        {
            let name = self.channels.get(next).map(|(address, _)| address.as_str());
            tracing::debug!(endpoint = name, "switched to the next endpoint");
        }
    }
}

/// Creates channels to servers.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    /// `None` if only `http` addresses can be used.
    secure: Option<SecureConnector>,
}

impl Connector {
    fn new(tls: Option<&ClientTls>) -> Result<Self, goconductor_tls::Error> {
        Ok(Self { secure: tls.map(SecureConnector::new).transpose()? })
    }

    /// Returns a channel to the server at `address`, with the timeouts of connections between processes. It dials `dialled`
    /// if that is set, one of several addresses of the host.
    pub(crate) fn channel(
        &self,
        address: &str,
        dialled: Option<SocketAddr>,
    ) -> Result<Channel, InvalidEndpoint> {
        let invalid = |reason: String| InvalidEndpoint { address: address.to_owned(), reason };
        let parse = |address: &str| {
            Endpoint::from_shared(address.to_owned())
                .map_err(|error| invalid(error.source().unwrap_or(&error).to_string()))
        };
        let Some(rest) = address.strip_prefix("https://") else {
            let dialled = dialled.map(|dialled| format!("http://{dialled}"));
            return Ok(with_timeouts(parse(dialled.as_deref().unwrap_or(address))?).connect_lazy());
        };
        let Some(connector) = self.secure.clone() else {
            return Err(invalid("the settings contain no certificates for TLS".to_owned()));
        };
        let connector = match dialled {
            Some(dialled) => connector.with_address(dialled),
            None => connector,
        };
        let origin = address.parse().map_err(|_| invalid("it is not a URL".to_owned()))?;
        // The connector adds TLS itself. The library refuses `https` without a TLS configuration of its own.
        let endpoint = parse(&format!("http://{rest}"))?.origin(origin);
        Ok(with_timeouts(endpoint).connect_with_connector_lazy(connector))
    }
}

fn with_timeouts(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
}

/// Whether a failed request was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeliveryStatus {
    /// The server responded with an error.
    Answered,
    /// The request certainly did not reach the server.
    NotSent,
    /// The request may have reached the server.
    Lost,
}

/// Returns whether the request of a status was delivered. A response of the server itself carries the error of the port
/// (`is_response`).
pub(crate) fn delivery(status: &Status, is_response: bool) -> DeliveryStatus {
    if is_response {
        return DeliveryStatus::Answered;
    }
    if handshake::is_refusal(status) {
        // Another endpoint may be of a release that this process can use.
        return DeliveryStatus::NotSent;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return DeliveryStatus::NotSent;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return DeliveryStatus::NotSent;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>()
            && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || error.get_io().is_some_and(goconductor_tls::is_refused_certificate))
        {
            return DeliveryStatus::NotSent;
        }
        if error.downcast_ref::<std::io::Error>().is_some_and(goconductor_tls::is_refused_certificate) {
            return DeliveryStatus::NotSent;
        }
        source = error.source();
    }
    match status.code() {
        Code::Unimplemented | Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            DeliveryStatus::Answered
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => DeliveryStatus::Lost,
        // The server refused the identity of this process before it read the request.
        Code::PermissionDenied | Code::Unauthenticated => DeliveryStatus::NotSent,
    }
}
