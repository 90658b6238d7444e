//! The address under which other processes reach this one. Workers connect to the addresses of the executors.

use goconductor_service_kit::config::Config;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses reserved for documentation. They only select the interface of the default route: nothing is sent to them.
const DESTINATIONS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
];
/// Any port will do.
const PORT: u16 = 9;

/// Returns the address that a process announces: the setting `advertise`, or else the address `listens` on which it
/// listens. A process that listens on all addresses announces that of the interface of the default route, which in a
/// container is the address of the container.
#[must_use]
pub fn advertised_address(config: &Config, listens: SocketAddr) -> String {
    if let Some(advertise) = &config.advertise {
        return advertise.to_string();
    }
    if !listens.ip().to_canonical().is_unspecified() {
        return listens.to_string();
    }
    // A socket on 0.0.0.0 does not accept connections over IPv6. One on [::] accepts both.
    let families = if listens.is_ipv4() { 1 } else { 2 };
    let interface = DESTINATIONS.iter().take(families).find_map(|(any, to)| interface_address(*any, *to));
    let Some(interface) = interface else {
        tracing::warn!(
            address = %listens,
            "process announced an address that other machines cannot reach; set advertise"
        );
        return listens.to_string();
    };
    SocketAddr::new(interface, listens.port()).to_string()
}

/// Returns the address of the interface that leads to a destination. `None` without a route.
fn interface_address(any: IpAddr, destination: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((destination, PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::Sources;

    fn config(advertise: Option<&str>) -> Config {
        let variable = |value: &str| ("GOCONDUCTOR_ADVERTISE".to_owned(), value.to_owned());
        let env = advertise.map(variable).into_iter().collect();
        Config::load(&Sources { env, ..Sources::default() }).expect("the configuration is valid")
    }

    #[test]
    fn configured_address_and_then_the_listening_address_are_announced() {
        let listens = "127.0.0.1:8472".parse().unwrap();
        assert_eq!(advertised_address(&config(None), listens), "127.0.0.1:8472");
        let any = "0.0.0.0:8472".parse().unwrap();
        let named = config(Some("executor-1.example:18472"));
        assert_eq!(advertised_address(&named, any), "executor-1.example:18472");
    }

    #[test]
    fn process_that_listens_on_all_addresses_announces_that_of_an_interface() {
        for listens in ["0.0.0.0:8472", "[::]:8472"] {
            let listens: SocketAddr = listens.parse().unwrap();
            let announced: SocketAddr = advertised_address(&config(None), listens).parse().unwrap();
            assert_eq!(announced.port(), 8472);
            let has_route = DESTINATIONS.iter().any(|(any, to)| interface_address(*any, *to).is_some());
            assert_eq!(announced.ip().is_unspecified(), !has_route, "{announced}");
        }
    }

    #[test]
    fn address_to_which_no_client_can_connect_is_refused() {
        for advertise in ["0.0.0.0:8472", "[::]:8472", "127.0.0.1:0"] {
            let env = vec![("GOCONDUCTOR_ADVERTISE".to_owned(), advertise.to_owned())];
            let invalid = Config::load(&Sources { env, ..Sources::default() }).unwrap_err();
            let expected = format!("{advertise} is not an address to which other processes can connect");
            assert!(invalid.to_string().contains(&expected), "{invalid}");
        }
    }
}
