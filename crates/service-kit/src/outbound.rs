//! Which IP addresses the requests of an executor may go to.
//!
//! The rule is about addresses, never about names: a name can resolve to another address at any time. The executor asks
//! for each address right before it connects to that address.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use url::Host;

/// The class of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// An address of the Internet.
    Public,
    /// An address of this machine.
    Loopback,
    /// An address of the local link, or of the metadata service of a cloud.
    LinkLocal,
    /// An address of a private network.
    Private,
    /// An address that carriers share between their customers (RFC 6598).
    Shared,
    /// An address that is not a destination of a request: multicast, documentation, benchmarks, tunnels and reserved ranges.
    Special,
}

impl AddressClass {
    /// Returns the class of an address. An IPv6 address that stands for an IPv4 address has the class of that address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let found = match destination(address) {
            IpAddr::V4(address) => V4.iter().find_map(|(network, prefix, class)| {
                Ipv4Net::new(*network, *prefix).ok()?.contains(&address).then_some(*class)
            }),
            IpAddr::V6(address) => V6.iter().find_map(|(network, prefix, class)| {
                Ipv6Net::new(*network, *prefix).ok()?.contains(&address).then_some(*class)
            }),
        };
        found.unwrap_or(Self::Special)
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Private => "private",
            Self::Shared => "shared",
            Self::Special => "special",
        })
    }
}

/// Networks of IPv4 by class, the more specific ones first (RFC 6890 and the IANA registry of special addresses).
const V4: &[(Ipv4Addr, u8, AddressClass)] = &[
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressClass::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressClass::LinkLocal),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressClass::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressClass::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressClass::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressClass::Shared),
    // This network. Linux connects to the loopback interface.
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressClass::Special),
    // Protocol assignments, documentation, the relays of 6to4, and benchmarks.
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressClass::Special),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressClass::Special),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressClass::Special),
    // Multicast, and the reserved range with the broadcast address.
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressClass::Special),
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressClass::Special),
    (Ipv4Addr::UNSPECIFIED, 0, AddressClass::Public),
];

/// Networks of IPv6 by class, the more specific ones first. Only 2000::/3 is in use as the Internet.
const V6: &[(Ipv6Addr, u8, AddressClass)] = &[
    (Ipv6Addr::LOCALHOST, 128, AddressClass::Loopback),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressClass::LinkLocal),
    // The metadata services of AWS and of Google Cloud are in the private range, and they hand out credentials.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, AddressClass::LinkLocal),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32, AddressClass::LinkLocal),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressClass::Private),
    // Teredo and the other protocol assignments, documentation, and 6to4.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressClass::Special),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressClass::Special),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, AddressClass::Special),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressClass::Special),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, AddressClass::Public),
    (Ipv6Addr::UNSPECIFIED, 0, AddressClass::Special),
];

/// Returns the address that packets reach: the IPv4 address inside of an IPv6 address that is mapped, compatible or
/// translated (RFC 4291, section 2.5.5, and RFC 6052).
fn destination(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [.., a, b, c, d] = v6.octets();
    let embedded = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            embedded
        }
        _ => address,
    }
}

/// An item of `executor.outbound.allow` or `executor.outbound.deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRule {
    /// All addresses of a class.
    Class(AddressClass),
    /// All addresses of a network.
    Network(IpNet),
}

/// A text that is not an [`AddressRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not loopback, private, link-local, an IP address or a network such as 10.1.0.0/16")]
pub struct InvalidRule;

impl FromStr for AddressRule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        match text {
            "loopback" => return Ok(Self::Class(AddressClass::Loopback)),
            "private" => return Ok(Self::Class(AddressClass::Private)),
            "link-local" => return Ok(Self::Class(AddressClass::LinkLocal)),
            _ => {}
        }
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(|network| Self::Network(network.trunc())).ok_or(InvalidRule)
    }
}

impl AddressRule {
    fn matches(&self, address: IpAddr) -> bool {
        match self {
            Self::Class(class) => AddressClass::of(address) == *class,
            Self::Network(network) => network.contains(&address),
        }
    }
}

/// An address that the policy does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address {address} is {why}; an operator can allow it with the setting executor.outbound.allow, and nothing was \
     sent"
)]
pub struct AddressDenied {
    /// The address.
    pub address: IpAddr,
    why: String,
}

/// The addresses to which requests may go. By default, all public addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundPolicy {
    allow: Vec<AddressRule>,
    deny: Vec<AddressRule>,
}

impl OutboundPolicy {
    /// Creates a policy that allows public addresses and those of `allow`, without those of `deny`.
    #[must_use]
    pub fn new(allow: Vec<AddressRule>, deny: Vec<AddressRule>) -> Self {
        Self { allow, deny }
    }

    /// Returns the policy that allows loopback as well.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.allow.push(AddressRule::Class(AddressClass::Loopback));
        self
    }

    /// Checks an address.
    ///
    /// # Errors
    /// Returns [`AddressDenied`] with the address and its class.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressDenied> {
        let reached = destination(address);
        let denied = |why: String| Err(AddressDenied { address, why });
        // A network of IPv6 can also deny the form in which the address was written.
        if self.deny.iter().any(|rule| rule.matches(reached) || rule.matches(address)) {
            return denied("denied by the setting executor.outbound.deny".to_owned());
        }
        let class = AddressClass::of(reached);
        if class == AddressClass::Public || self.allow.iter().any(|rule| rule.matches(reached)) {
            return Ok(());
        }
        denied(format!("of the class {class}, which is not allowed"))
    }

    /// Checks the host of a URL as far as it states an address: an IP address in any form that resolvers accept, such as
    /// `127.1` or `0x7f000001`, and the names of loopback. Other names are checked when they are resolved.
    ///
    /// # Errors
    /// Returns [`AddressDenied`] with the address and its class.
    pub fn check_host(&self, host: &str) -> Result<(), AddressDenied> {
        match Host::parse(host) {
            Ok(Host::Ipv4(address)) => self.check(address.into()),
            Ok(Host::Ipv6(address)) => self.check(address.into()),
            Ok(Host::Domain(name)) if is_localhost(&name) => {
                // The name is usable if one of its addresses is.
                let v4 = self.check(Ipv4Addr::LOCALHOST.into());
                if self.check(Ipv6Addr::LOCALHOST.into()).is_ok() { Ok(()) } else { v4 }
            }
            Ok(Host::Domain(_)) | Err(_) => Ok(()),
        }
    }
}

/// Returns whether a name is one of loopback (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str], deny: &[&str]) -> OutboundPolicy {
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        OutboundPolicy::new(rules(allow), rules(deny))
    }

    #[test]
    fn each_address_has_one_class() {
        for (class, addresses) in [
            (
                AddressClass::Public,
                "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 192.0.1.1 100.63.255.255 100.128.0.1 198.17.0.1",
            ),
            (
                AddressClass::Public,
                "2606:4700::1111 2a00::1 2001:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808 ::8.8.8.8",
            ),
            (
                AddressClass::Loopback,
                "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1",
            ),
            (AddressClass::Loopback, "::ffff:0:127.0.0.1"),
            (AddressClass::LinkLocal, "169.254.169.254 169.254.0.1 fe80::1 febf::1 ::ffff:169.254.169.254"),
            (AddressClass::LinkLocal, "64:ff9b::a9fe:a9fe fd00:ec2::254 fd20:ce::254"),
            (
                AddressClass::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fdff::1 ::ffff:10.1.2.3",
            ),
            (AddressClass::Shared, "100.64.0.1 100.127.255.255 ::ffff:100.64.0.1"),
            (
                AddressClass::Special,
                "0.0.0.0 0.1.2.3 255.255.255.255 224.0.0.1 239.1.1.1 240.0.0.1 192.0.0.8 192.0.2.1",
            ),
            (AddressClass::Special, "198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 192.88.99.1"),
            (
                AddressClass::Special,
                ":: ff02::1 2001:db8::1 2001::1 2001:2::1 2002:7f00:1:: 3fff::1 fec0::1 100::1",
            ),
            (AddressClass::Special, "64:ff9b:1::1 5f00::1 4000::1"),
        ] {
            for text in addresses.split(' ') {
                assert_eq!(AddressClass::of(text.parse().unwrap()), class, "{text}");
            }
        }
    }

    #[test]
    fn default_allows_public_addresses_only() {
        let default = OutboundPolicy::default();
        assert!(default.check("8.8.8.8".parse().unwrap()).is_ok());
        for text in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "0.0.0.0", "100.64.0.1"] {
            let error = default.check(text.parse().unwrap()).unwrap_err();
            assert_eq!(error.address.to_string(), text);
        }
    }

    #[test]
    fn deny_takes_precedence_over_allow() {
        let cases: [(&[&str], &[&str], &str, bool); 14] = [
            (&["loopback"], &[], "127.0.0.2", true),
            (&["loopback"], &[], "::ffff:127.0.0.2", true),
            (&["loopback"], &[], "::1", true),
            (&["loopback"], &[], "10.0.0.1", false),
            (&["loopback"], &[], "0.0.0.0", false),
            (&["private"], &[], "10.0.0.1", true),
            (&["private"], &[], "169.254.169.254", false),
            (&["private"], &[], "fd00:ec2::254", false),
            (&["private"], &["10.1.0.0/16"], "10.1.2.3", false),
            (&["private"], &["10.1.0.0/16"], "::ffff:10.1.2.3", false),
            (&["10.1.2.3"], &[], "10.1.2.3", true),
            (&["10.1.2.3"], &[], "10.1.2.4", false),
            (&[], &["8.8.8.0/24"], "8.8.8.8", false),
            (&["100.64.0.0/10"], &[], "100.64.0.1", true),
        ];
        for (allow, deny, address, allowed) in cases {
            let checked = policy(allow, deny).check(address.parse().unwrap());
            assert_eq!(checked.is_ok(), allowed, "{allow:?} {deny:?} {address}: {checked:?}");
        }
    }

    #[test]
    fn host_is_judged_as_the_address_that_it_becomes() {
        let default = OutboundPolicy::default();
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0x7f000001",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "169.254.169.254",
            "0xa9fea9fe",
            "10.0.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
        ] {
            assert!(default.check_host(host).is_err(), "{host}");
        }
        for host in ["8.8.8.8", "payments.example", "payments", "localhost.example", "[2606:4700::1111]"] {
            assert!(default.check_host(host).is_ok(), "{host}");
        }
        let loopback = OutboundPolicy::default().with_loopback();
        assert!(loopback.check_host("localhost").is_ok() && loopback.check_host("127.1").is_ok());
        assert!(policy(&["127.0.0.0/8"], &[]).check_host("localhost").is_ok());
        assert!(policy(&["10.0.0.0/8"], &[]).check_host("localhost").is_err());
    }

    #[test]
    fn rule_is_a_class_or_a_network() {
        for text in ["", "public", "10.0.0.0/33", "10.0.0", "*", "Loopback", "example.com"] {
            assert_eq!(text.parse::<AddressRule>(), Err(InvalidRule), "{text}");
        }
        assert_eq!(
            "10.1.2.3/8".parse::<AddressRule>(),
            "10.0.0.0/8".parse(),
            "the rest of the address is ignored"
        );
    }
}
