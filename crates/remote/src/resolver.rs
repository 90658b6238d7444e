//! Addresses of host names.

use async_trait::async_trait;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tonic::transport::Uri;

/// Interval at which a name is resolved again. Answers of DNS in a cluster are usually cached for five seconds.
const INTERVAL: Duration = Duration::from_secs(5);

/// Finds the addresses of host names.
#[async_trait]
pub trait NameResolver: Debug + Send + Sync {
    /// Returns the addresses of a host, each once.
    ///
    /// # Errors
    /// Returns the error of the resolution. Addresses that were found earlier may still be valid.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// Returns the interval at which a name is resolved again.
    fn interval(&self) -> Duration {
        INTERVAL
    }
}

/// The resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl NameResolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// Returns the host and the port of a URL whose host is a name. Returns `None` for an IP address.
pub(crate) fn host_name(address: &str) -> Option<(String, u16)> {
    let uri: Uri = address.parse().ok()?;
    let host = uri.host()?;
    let is_ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let default = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return None,
    };
    (!is_ip).then(|| (host.to_owned(), uri.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_resolved() {
        let name = |address: &str| host_name(address).map(|(host, port)| format!("{host} {port}"));
        for (address, expected) in [
            ("http://state-store:8471", Some("state-store 8471")),
            ("http://state-store.shop.svc.cluster.local", Some("state-store.shop.svc.cluster.local 80")),
            ("http://127.0.0.1:8471", None),
            ("http://[::1]:8471", None),
            ("https://state-store:8471", Some("state-store 8471")),
            ("https://state-store", Some("state-store 443")),
            ("https://127.0.0.1:8471", None),
            ("state-store", None),
            ("", None),
        ] {
            assert_eq!(name(address).as_deref(), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn system_resolver_returns_each_address_once() {
        let found = SystemResolver.resolve("localhost", 8471).await.unwrap();
        assert!(!found.is_empty());
        assert!(
            found.iter().all(|address| address.ip().is_loopback() && address.port() == 8471),
            "{found:?}"
        );
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{found:?}");
    }
}
