//! Addresses to listen on.

use super::http_url::is_dns_name;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// An address to listen on: an IP address or a host name, with a port. A name is resolved when the process starts to
/// listen, because a process does not listen on the addresses of other services in its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address with a port.
    Ip(SocketAddr),
    /// A host name with a port.
    Name {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Reason why a text is not a [`ListenAddress`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}, found {text:?}")]
pub struct InvalidListenAddress {
    text: String,
}

/// Description of a valid address.
pub(super) const EXPECTED: &str = "an address and port such as 127.0.0.1:8470, [::1]:8470 or localhost:8470";

impl ListenAddress {
    /// Returns the port. Port 0 stands for any free port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name { port, .. } => *port,
        }
    }

    /// Returns whether a client can connect to the address: it has a port, and its host is not `0.0.0.0` or `[::]`.
    pub(super) fn is_destination(&self) -> bool {
        let is_any = matches!(self, Self::Ip(address) if address.ip().to_canonical().is_unspecified());
        self.port() != 0 && !is_any
    }

    /// Returns the same host with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        match self.clone() {
            Self::Ip(mut address) => {
                address.set_port(port);
                Self::Ip(address)
            }
            Self::Name { host, .. } => Self::Name { host, port },
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.rsplit_once(':').and_then(|(host, port)| {
            // `u16::from_str` accepts a plus sign, which is not part of a port.
            let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten()?;
            is_host_name(host).then(|| Self::Name { host: host.to_owned(), port })
        });
        name.ok_or_else(|| InvalidListenAddress { text: text.to_owned() })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Returns whether a text can be a host name. The last label of a name is not a number, so that a misspelt IP address
/// such as `127.0.0.256` is not looked up.
fn is_host_name(text: &str) -> bool {
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    is_dns_name(text) && !text.rsplit('.').next().is_some_and(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_parsed_and_printed_unchanged() {
        for text in [
            "127.0.0.1:8470",
            "[::1]:8470",
            "[::]:0",
            "localhost:8470",
            "LOCALHOST:0",
            "gateway-0.gateway.shop.svc.cluster.local:65535",
            "my_host:1",
            "1host:1",
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        assert!(matches!("[::1]:80".parse(), Ok(ListenAddress::Ip(address)) if address.port() == 80));
        let name: ListenAddress = "localhost:80".parse().unwrap();
        assert_eq!((name.port(), name.with_port(81).to_string()), (80, "localhost:81".to_owned()));
    }

    #[test]
    fn other_texts_are_refused_with_examples() {
        let long = format!("{}:1", "a".repeat(64));
        for text in [
            "",
            "8470",
            ":8470",
            "localhost",
            "localhost:",
            "localhost:+1",
            "localhost:65536",
            "::1",
            "[::1]",
            "::1:8470",
            "127.0.0.256:1",
            "127.1:1",
            "1.2.3.4.5:1",
            "a..b:1",
            "-a:1",
            "a b:1",
            "http://a:1",
            "user@host:1",
            "[localhost]:1",
            "localhost:80:80",
            "*:80",
            &long,
        ] {
            let refused = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(refused.contains("localhost:8470"), "{text:?}: {refused}");
            assert!(refused.ends_with(&format!("found {text:?}")), "{refused}");
        }
    }
}
