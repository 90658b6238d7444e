//! The limits of the connections of one port.

use goconductor_service_kit::config;
use std::net::{IpAddr, Ipv6Addr};

/// Frames of clients. Their requests are small, and each connection can make the process buffer one frame.
const CLIENT_FRAME: u32 = 16 << 10;
/// Frames of other services. A batch of writes has several hundred kilobytes, and frames of 16 KiB would split it into
/// dozens.
const SERVICE_FRAME: u32 = 1 << 20;
/// Maximum number of concurrent streams of a connection of another service: a gateway's default limit of requests in
/// flight.
const SERVICE_STREAMS: u32 = 4096;
/// The bits of an IPv6 address that belong to one network. A host can have every address in it.
const NETWORK_MASK: u128 = u128::MAX << 64;

/// Limits of the connections of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number of open connections from one address. `None` is three quarters of `connections`.
    pub connections_per_address: Option<usize>,
    /// Maximum number of concurrent streams of one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// Maximum number of requests in progress over all connections, from the headers to the last byte of the response.
    pub requests: usize,
    /// Maximum size of an HTTP/2 frame, in bytes.
    pub frame_bytes: u32,
}

impl ConnectionLimits {
    /// Returns the limits of a port for clients and workers, whose peers are not trusted.
    #[must_use]
    pub fn of_clients(limits: &config::Limits) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let connections = count(limits.connections);
        // The requests that are admitted, those that wait, and one of each connection that is neither: a worker, a health
        // check, or a request that is being refused.
        let requests = count(limits.calls_in_flight).saturating_add(count(limits.waiting_callers));
        Self {
            connections,
            connections_per_address: limits.connections_per_address.map(count),
            streams_per_connection: limits.streams_per_connection,
            requests: requests.saturating_add(connections),
            frame_bytes: CLIENT_FRAME,
        }
    }

    /// Returns the limits of a port for the other services of the cluster.
    #[must_use]
    pub fn of_services(limits: &config::Limits) -> Self {
        let connections = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        Self {
            connections,
            connections_per_address: Some(connections),
            streams_per_connection: SERVICE_STREAMS,
            requests: usize::MAX,
            frame_bytes: SERVICE_FRAME,
        }
    }

    /// Returns the limit of one address if `connections` may be open.
    pub(crate) fn per_address(&self, connections: usize) -> usize {
        let share = connections - connections / 4;
        self.connections_per_address.unwrap_or(share).min(connections).max(1)
    }
}

/// The address of the peer of a connection. It is an extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// Returns the address that counts for limits: the address itself for IPv4, its network of 64 bits for IPv6.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK_MASK)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let network = |text: &str| PeerAddress(text.parse().unwrap()).network();
        assert_eq!(network("2001:db8:1:2::7"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::7"), network("2001:db8:1:3::7"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn one_address_cannot_take_all_connections_by_default() {
        let config = config::Config::load(&config::Sources::default()).unwrap();
        let limits = ConnectionLimits::of_clients(&config.limits);
        assert_eq!((limits.per_address(400), limits.per_address(1)), (300, 1));
        let limits = ConnectionLimits { connections_per_address: Some(10), ..limits };
        assert_eq!((limits.per_address(400), limits.per_address(4)), (10, 4));
        let limits = ConnectionLimits::of_services(&config.limits);
        assert_eq!(limits.per_address(400), 400);
    }
}
