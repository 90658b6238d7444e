//! The roles of identities.

use std::fmt;

/// The trust domain of identities, unless the settings name another one.
pub const DEFAULT_TRUST_DOMAIN: &str = "goconductor";

const SCHEME: &str = "spiffe://";

/// A role of a peer. A certificate states it as `spiffe://<trust domain>/<role>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRole {
    /// The API gateway.
    ApiGateway,
    /// The state store.
    StateStore,
    /// The saga executor.
    SagaExecutor,
    /// The leader elector.
    LeaderElector,
    /// A worker: a microservice that serves actions over a stream. `spiffe://<trust domain>/worker/<service>` limits it
    /// to one service.
    Worker,
    /// A person or a program that operates the cluster.
    Operator,
}

impl PeerRole {
    /// All roles.
    pub const ALL: [Self; 6] = [
        Self::ApiGateway,
        Self::StateStore,
        Self::SagaExecutor,
        Self::LeaderElector,
        Self::Worker,
        Self::Operator,
    ];

    /// Returns the name of the role, which is the path of the URI.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiGateway => "api-gateway",
            Self::StateStore => "state-store",
            Self::SagaExecutor => "saga-executor",
            Self::LeaderElector => "leader-elector",
            Self::Worker => "worker",
            Self::Operator => "operator",
        }
    }

    const fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerRoles(u8);

impl PeerRoles {
    /// Creates a set.
    #[must_use]
    pub const fn of(roles: &[PeerRole]) -> Self {
        let (mut bits, mut rest) = (0, roles);
        while let [first, others @ ..] = rest {
            bits |= first.bit();
            rest = others;
        }
        Self(bits)
    }

    /// Returns whether the set contains a role.
    #[must_use]
    pub const fn contains(self, role: PeerRole) -> bool {
        self.0 & role.bit() != 0
    }

    /// Returns whether two sets have a role in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether the set has no role.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn add(&mut self, role: PeerRole) {
        self.0 |= role.bit();
    }
}

impl fmt::Display for PeerRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            PeerRole::ALL.into_iter().filter(|role| self.contains(*role)).map(PeerRole::name).collect();
        if names.is_empty() { f.write_str("no role") } else { f.write_str(&names.join(" or ")) }
    }
}

/// The identities of a certificate: its roles, and the services to which its worker role is limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identities {
    pub(crate) roles: PeerRoles,
    /// The services that a worker may serve. Empty means all.
    pub(crate) services: Vec<String>,
}

impl Identities {
    /// Reads the URIs of a certificate. URIs of another trust domain have no meaning. `None` accepts every domain.
    pub(crate) fn read<'a>(uris: impl Iterator<Item = &'a str>, trust_domain: Option<&str>) -> Self {
        let mut identities = Self::default();
        let mut is_limited = true;
        for uri in uris {
            let Some((domain, path)) = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            if trust_domain.is_some_and(|expected| expected != domain) {
                continue;
            }
            let (name, service) = match path.split_once('/') {
                Some((name, service)) => (name, Some(service)),
                None => (path, None),
            };
            let Some(role) = PeerRole::ALL.into_iter().find(|role| role.name() == name) else { continue };
            match (role, service) {
                (PeerRole::Worker, Some(service)) if is_service(service) => {
                    identities.services.push(service.to_owned());
                }
                (PeerRole::Worker, None) => is_limited = false,
                (_, None) => {}
                // An identity that says more than a role is not one of ours.
                (_, Some(_)) => continue,
            }
            identities.roles.add(role);
        }
        if !is_limited {
            identities.services.clear();
        }
        identities
    }
}

/// Returns whether a text has the form of an identity.
pub(crate) fn is_identity(uri: &str) -> bool {
    uri.starts_with(SCHEME)
}

fn is_service(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

/// Returns whether a text can be a trust domain: up to 255 lower-case letters, digits, dots, hyphens and underscores.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    (1..=255).contains(&text.len()) && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uris: &[&str]) -> (String, Vec<String>) {
        let identities = Identities::read(uris.iter().copied(), Some("shop"));
        (identities.roles.to_string(), identities.services)
    }

    #[test]
    fn roles_are_read_from_uris_of_the_trust_domain() {
        for role in PeerRole::ALL {
            assert_eq!(read(&[&format!("spiffe://shop/{role}")]), (role.to_string(), Vec::new()));
        }
        let both = ["spiffe://shop/api-gateway", "spiffe://shop/saga-executor"];
        assert_eq!(read(&both).0, "api-gateway or saga-executor");
    }

    #[test]
    fn other_uris_have_no_role() {
        for uri in [
            "spiffe://other/api-gateway",
            "spiffe://shop.example/api-gateway",
            "spiffe://SHOP/api-gateway",
            "spiffe://shop/api-gateway/x",
            "spiffe://shop/api-gateway/",
            "spiffe://shop//api-gateway",
            "spiffe://shop/API-GATEWAY",
            "spiffe://shop/api-gateway?x",
            "spiffe://shop/worker/",
            "spiffe://shop/worker/a/b",
            "spiffe://shop/",
            "spiffe://shop",
            "https://shop/api-gateway",
            "shop/api-gateway",
            "",
        ] {
            assert_eq!(read(&[uri]), ("no role".to_owned(), Vec::new()), "{uri}");
        }
    }

    #[test]
    fn worker_is_limited_to_its_services_unless_an_identity_is_not() {
        let limited = ["spiffe://shop/worker/payments", "spiffe://shop/worker/stock"];
        assert_eq!(read(&limited), ("worker".to_owned(), vec!["payments".to_owned(), "stock".to_owned()]));
        let all = ["spiffe://shop/worker/payments", "spiffe://shop/worker"];
        assert_eq!(read(&all), ("worker".to_owned(), Vec::new()));
    }

    #[test]
    fn trust_domain_is_a_name_in_lower_case() {
        for valid in ["goconductor", "prod.shop.example", "a_b-1"] {
            assert!(is_trust_domain(valid), "{valid}");
        }
        for invalid in ["", "Shop", "a/b", "a b", "a:1", &"a".repeat(256)] {
            assert!(!is_trust_domain(invalid), "{invalid}");
        }
    }
}
