//! The membership of a process in the cluster.

use goconductor_store::{Announcement, ClusterStore, ProcessInfo, RELEASE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Interval between renewals of the membership.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// Time after which a membership expires unless it is renewed. It allows for two lost renewals.
const TTL: Duration = Duration::from_secs(7);
/// Timeout of the withdrawal. The membership expires on its own if the withdrawal fails.
const WITHDRAWAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The membership of this process. A task renews it until it is withdrawn.
#[derive(Debug)]
pub struct MembershipLease {
    store: Arc<dyn ClusterStore>,
    announcement: Announcement,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl MembershipLease {
    /// Makes the process a member, and renews the membership at a fixed interval. Each renewal publishes the result of
    /// `info` and the release. If the process listens on all addresses of the machine, the address of its default route
    /// is announced.
    pub fn start(
        kind: &str,
        instance: &str,
        address: SocketAddr,
        store: Arc<dyn ClusterStore>,
        info: impl Fn() -> ProcessInfo + Send + 'static,
    ) -> Self {
        Self::start_with_notify(kind, instance, address, store, info, Arc::default())
    }

    /// Like [`start`](Self::start), but also renews the membership when `info_changed` is notified.
    pub fn start_with_notify(
        kind: &str,
        instance: &str,
        address: SocketAddr,
        store: Arc<dyn ClusterStore>,
        info: impl Fn() -> ProcessInfo + Send + 'static,
        info_changed: Arc<Notify>,
    ) -> Self {
        let announcement = Announcement {
            instance: instance.to_owned(),
            kind: kind.to_owned(),
            address: announced(address).to_string(),
            info: ProcessInfo::default(),
            ttl: TTL,
        };
        let stop = CancellationToken::new();
        let renewing = {
            let (store, first, stop) = (Arc::clone(&store), announcement.clone(), stop.clone());
            async move {
                while !stop.is_cancelled() {
                    let info = ProcessInfo { release: Some(RELEASE.to_owned()), ..info() };
                    renew_membership(&*store, &Announcement { info, ..first.clone() }).await;
                    // All arms are cancel-safe: the next renewal publishes a missed change.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = info_changed.notified() => {}
                        () = tokio::time::sleep(RENEWAL_INTERVAL) => {}
                    }
                }
            }
        };
        Self { store, announcement, stop, task: goconductor_supervisor::spawn("membership", renewing) }
    }

    /// Ends the membership.
    pub async fn withdraw(self) {
        self.stop.cancel();
        // A renewal may wait for a store that does not respond.
        drop(tokio::time::timeout(WITHDRAWAL_TIMEOUT, self.task).await);
        let withdrawal = Announcement { ttl: Duration::ZERO, ..self.announcement };
        drop(tokio::time::timeout(WITHDRAWAL_TIMEOUT, self.store.announce(&withdrawal)).await);
    }
}

async fn renew_membership(store: &dyn ClusterStore, announcement: &Announcement) {
    if let Err(error) = store.announce(announcement).await {
        tracing::debug!(%error, "renewal of the membership failed");
    }
}

/// Returns the address at which other machines reach a listener. Workers connect to the announced addresses of executors,
/// and `0.0.0.0` would be their own machine.
fn announced(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let [v4, v6] = [
        // Addresses for documentation (RFC 5737 and RFC 3849): only the default route applies to them.
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
    ];
    // A listener on `::` usually accepts IPv4 as well.
    let families = if address.is_ipv4() { vec![v4] } else { vec![v6, v4] };
    let outgoing = families.into_iter().find_map(|(local, remote)| outgoing_ip(local, remote).ok());
    outgoing.map_or(address, |ip| SocketAddr::new(ip, address.port()))
}

/// Returns the local address of the route to `remote`. To connect a UDP socket sends no packet.
fn outgoing_ip(local: IpAddr, remote: IpAddr) -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect((remote, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specific_address_is_announced_unchanged() {
        for text in ["127.0.0.1:8472", "10.1.2.3:1", "[::1]:8472", "[fd00::1]:8472"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(announced(address), address);
        }
    }

    #[test]
    fn listener_on_all_addresses_is_announced_with_one_of_this_machine() {
        for text in ["0.0.0.0:8472", "[::]:8472"] {
            let address: SocketAddr = text.parse().unwrap();
            let found = announced(address);
            assert_eq!(found.port(), 8472);
            // Binding succeeds only for addresses of this machine. A machine without a route announces what it listens on.
            std::net::TcpListener::bind((found.ip(), 0)).unwrap();
            let has_route =
                outgoing_ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Ipv4Addr::new(192, 0, 2, 1).into()).is_ok();
            assert_eq!(found.ip().is_unspecified(), !has_route, "{found}");
        }
    }
}
