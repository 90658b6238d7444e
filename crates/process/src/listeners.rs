//! The listening sockets of a process: one for each IP address of its listening address.

use anyhow::Context;
use goconductor_service_kit::config::{Config, ListenAddress};
use goconductor_tls::TlsIdentity;
use std::io;
use std::net::SocketAddr;
use std::task::{self, Poll};
use tokio::net::{TcpListener, TcpStream};

/// Attempts to find a port that is free on all addresses of a name, if the port is not configured.
const FREE_PORT_ATTEMPTS: usize = 16;

/// Listening sockets, at least one. A host name can have several IP addresses, such as `127.0.0.1` and `::1`.
#[derive(Debug)]
pub struct Listeners {
    first: TcpListener,
    others: Vec<TcpListener>,
    /// The number of connections that were accepted. It selects the socket that is polled first.
    accepted: usize,
    tls: Option<TlsIdentity>,
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self { first: listener, others: Vec::new(), accepted: 0, tls: None }
    }
}

impl Listeners {
    /// Listens on all IP addresses of an address, with the same port.
    ///
    /// # Errors
    /// Returns [`Invalid`](goconductor_service_kit::config::Invalid) if one of the IP addresses is not a loopback address
    /// and the configuration does not allow that. Returns another error if the name cannot be resolved or an address
    /// cannot be bound.
    pub async fn bind(address: &ListenAddress, config: &Config) -> anyhow::Result<Self> {
        const ADVICE: &str = "choose another address with --listen";
        let resolved = resolve(address).await;
        let resolved = resolved.with_context(|| format!("failed to resolve {address}; {ADVICE}"))?;
        config.check_resolved(address, &resolved)?;
        bind_all(&resolved).await.with_context(|| format!("failed to bind {address}; {ADVICE}"))
    }

    /// Encrypts the connections, if `tls` is not `None`.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<TlsIdentity>) -> Self {
        self.tls = tls;
        self
    }

    /// Returns the TLS of the connections.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsIdentity> {
        self.tls.as_ref()
    }

    /// Returns the first local address. The others differ only in their IP address.
    ///
    /// # Errors
    /// Returns the error of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.first.local_addr()
    }

    /// Accepts the next connection. Cancel-safe.
    ///
    /// # Errors
    /// Returns the error of the socket.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }

    /// Polls all sockets, in turn first, so that a busy one does not starve the others.
    fn poll_accept(&mut self, context: &mut task::Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let count = self.others.len() + 1;
        for offset in 0..count {
            let at = self.accepted.wrapping_add(offset) % count;
            let listener = at.checked_sub(1).and_then(|at| self.others.get(at)).unwrap_or(&self.first);
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                self.accepted = self.accepted.wrapping_add(1);
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

/// Returns the IP addresses of an address, each once and in the order of the resolver.
async fn resolve(address: &ListenAddress) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = match address {
        ListenAddress::Ip(address) => return Ok(vec![*address]),
        ListenAddress::Name { host, port } => (host.as_str(), *port),
    };
    let mut resolved = Vec::new();
    for address in tokio::net::lookup_host((host, port)).await? {
        if !resolved.contains(&address) {
            resolved.push(address);
        }
    }
    Ok(resolved)
}

/// Listens on all addresses, which have the same port. If that is 0, they get the same free port.
async fn bind_all(addresses: &[SocketAddr]) -> io::Result<Listeners> {
    let is_any_port = addresses.len() > 1 && addresses.iter().all(|address| address.port() == 0);
    let mut attempts = if is_any_port { FREE_PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match bind_once(addresses).await {
            // The port that is free on the first address is in use on another one.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            bound => return bound,
        }
    }
}

/// Listens on all addresses that this machine has. `localhost` is often both `127.0.0.1` and `::1`, also where IPv6 is
/// disabled.
async fn bind_once(addresses: &[SocketAddr]) -> io::Result<Listeners> {
    let mut bound: Vec<TcpListener> = Vec::new();
    let mut missing = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for address in addresses {
        let port = match bound.first() {
            Some(first) if address.port() == 0 => first.local_addr()?.port(),
            Some(_) | None => address.port(),
        };
        // Only the port changes, so that the scope of an IPv6 address is kept.
        let mut local = *address;
        local.set_port(port);
        match TcpListener::bind(local).await {
            Ok(listener) => bound.push(listener),
            Err(error) if is_missing(&error) => {
                tracing::debug!(%address, %error, "machine does not have the address");
                missing = error;
            }
            Err(error) if addresses.len() > 1 => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", address.ip())));
            }
            Err(error) => return Err(error),
        }
    }
    let mut bound = bound.into_iter();
    let first = bound.next().ok_or(missing)?;
    Ok(Listeners { first, others: bound.collect(), accepted: 0, tls: None })
}

/// Returns whether this machine does not have the address, or not its family.
fn is_missing(error: &io::Error) -> bool {
    /// `EAFNOSUPPORT` of Linux, for which the standard library has no kind.
    const FAMILY_NOT_SUPPORTED: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(FAMILY_NOT_SUPPORTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::{Invalid, Sources};
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn config() -> Config {
        Config::load(&Sources::default()).expect("the defaults are valid")
    }

    fn loopback(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port))
    }

    #[tokio::test]
    async fn localhost_is_bound_on_all_its_addresses() {
        let address: ListenAddress = "localhost:0".parse().unwrap();
        let mut listeners = Listeners::bind(&address, &config()).await.unwrap();
        let port = listeners.local_addr().unwrap().port();
        assert_ne!(port, 0);
        let resolved = resolve(&address.with_port(port)).await.unwrap();
        let mut reachable = 0;
        for address in resolved {
            // This machine may not have IPv6.
            let Ok(mut client) = TcpStream::connect(address).await else { continue };
            let (mut accepted, _) = listeners.accept().await.unwrap();
            assert_eq!(accepted.local_addr().unwrap(), address);
            client.write_all(b"x").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap(), b'x');
            reachable += 1;
        }
        assert_eq!(reachable, listeners.others.len() + 1);
    }

    #[tokio::test]
    async fn connections_of_all_sockets_are_accepted() {
        let mut listeners = bind_all(&[loopback(1, 0), loopback(2, 0), loopback(3, 0)]).await.unwrap();
        let port = listeners.local_addr().unwrap().port();
        let mut clients = Vec::new();
        for last in [1, 1, 1, 2, 3] {
            clients.push(TcpStream::connect(loopback(last, port)).await.unwrap());
        }
        let mut accepted = Vec::new();
        for _ in &clients {
            accepted.push(listeners.accept().await.unwrap().0.local_addr().unwrap());
        }
        assert!(
            accepted.contains(&loopback(2, port)) && accepted.contains(&loopback(3, port)),
            "{accepted:?}"
        );
        assert_eq!(accepted.len(), 5);
    }

    #[tokio::test]
    async fn address_that_the_machine_lacks_is_skipped_unless_it_is_the_only_one() {
        // A documentation address, which no machine has.
        let missing = SocketAddr::from(([192, 0, 2, 1], 0));
        let listeners = bind_all(&[missing, loopback(1, 0)]).await.unwrap();
        assert!(listeners.local_addr().unwrap().ip().is_loopback());
        assert_eq!(bind_all(&[missing]).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[tokio::test]
    async fn address_in_use_is_an_error_that_names_it() {
        let taken = TcpListener::bind(loopback(2, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind_all(&[loopback(1, port), loopback(2, port)]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with("127.0.0.2: "), "{error}");
    }

    #[tokio::test]
    async fn name_with_an_address_other_than_loopback_is_refused() {
        let name: ListenAddress = "gateway.example:8470".parse().unwrap();
        let config = config();
        assert!(config.check_resolved(&name, &[loopback(1, 8470), loopback(9, 8470)]).is_ok());
        let resolved = [loopback(1, 8470), SocketAddr::from(([192, 168, 0, 1], 8470))];
        let Invalid { problems } = config.check_resolved(&name, &resolved).unwrap_err();
        let message = &problems[0].message;
        assert!(
            message.contains("gateway.example:8470 resolves to 192.168.0.1, which is reachable"),
            "{message}"
        );
        assert!(message.contains("`allow_insecure_bind: true`"), "{message}");
        let env = vec![("GOCONDUCTOR_ALLOW_INSECURE_BIND".to_owned(), "true".to_owned())];
        let allowed = Config::load(&Sources { env, ..Sources::default() }).unwrap();
        assert!(allowed.check_resolved(&name, &resolved).is_ok());
    }
}
