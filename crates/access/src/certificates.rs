//! The principals of client certificates, by their URIs.

use crate::grants::Grants;
use crate::principal::{CredentialId, Principal};
use goconductor_service_kit::config::{AccessConfig, AccessSubject};
use goconductor_tls::Peer;
use std::collections::HashMap;
use std::sync::Arc;

/// The principals of the URIs that a binding names. They do not change while a process runs.
#[derive(Debug)]
pub(crate) struct CertificateGrants(HashMap<String, Arc<Principal>>);

impl CertificateGrants {
    /// Reads the bindings of certificates.
    pub(crate) fn of(config: &AccessConfig) -> Self {
        let mut by_uri: HashMap<String, Grants> = HashMap::new();
        for binding in config.bindings.values() {
            for subject in &binding.subjects {
                if let AccessSubject::Certificate(uri) = subject {
                    let grants = Grants::of_binding(binding, config);
                    by_uri.entry(uri.clone()).or_default().extend(grants);
                }
            }
        }
        Self(by_uri.into_iter().map(|(uri, grants)| (uri.clone(), principal(uri, grants))).collect())
    }

    /// Returns the principal of a verified certificate. It has the name of the first URI that a binding names, and the
    /// grants of all of them. A certificate with other URIs has no grants. `None` if the certificate has no URI.
    pub(crate) fn principal(&self, peer: &Peer) -> Option<Arc<Principal>> {
        let mut known = peer.uris.iter().filter_map(|uri| self.0.get(uri));
        let Some(first) = known.next() else {
            return peer.uris.first().map(|uri| principal(uri.clone(), Grants::default()));
        };
        let mut others = known.peekable();
        if others.peek().is_none() {
            return Some(Arc::clone(first));
        }
        let mut all = Principal::clone(first);
        others.for_each(|other| all.grants.extend(other.grants.clone()));
        Some(Arc::new(all))
    }
}

/// The listener ends a connection when its certificate expires, so the principal has no end of its own.
fn principal(uri: String, grants: Grants) -> Arc<Principal> {
    let credential = CredentialId::Certificate(uri);
    Arc::new(Principal { actor: credential.to_string(), credential, grants, expires_at: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_service_kit::config::BindingConfig;
    use goconductor_service_kit::permission::Permission;

    const OPERATOR: &str = "spiffe://shop/operator";
    const WORKER: &str = "spiffe://shop/worker/payments";

    fn binding(subject: &str, role: &str, services: &[&str]) -> BindingConfig {
        BindingConfig {
            subjects: vec![AccessSubject::parse(subject).unwrap()],
            roles: vec![role.to_owned()],
            namespaces: vec!["shop".to_owned()],
            services: services.iter().map(|service| (*service).to_owned()).collect(),
        }
    }

    fn principal_of(uris: &[&str]) -> Option<Arc<Principal>> {
        let mut config = AccessConfig::default();
        let subject = |uri: &str| format!("cert:{uri}");
        config.bindings.insert("viewer".to_owned(), binding(&subject(OPERATOR), "viewer", &[]));
        config.bindings.insert("operator".to_owned(), binding(&subject(OPERATOR), "operator", &[]));
        config.bindings.insert("worker".to_owned(), binding(&subject(WORKER), "worker", &["payments"]));
        config.bindings.insert("key".to_owned(), binding("key:spiffe", "admin", &[]));
        let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        CertificateGrants::of(&config).principal(&Peer::new(uris, Some("admin"), None))
    }

    #[test]
    fn certificate_has_the_grants_of_the_bindings_of_its_uris() {
        let operator = principal_of(&["https://other", OPERATOR]).unwrap();
        assert_eq!(operator.actor, format!("cert:{OPERATOR}"));
        assert!(operator.grants.allows(Permission::WorkflowsRead, "shop"));
        assert!(operator.grants.allows(Permission::WorkflowsOperate, "shop"));
        assert!(!operator.grants.allows(Permission::WorkflowsRead, "other"));
        assert!(!operator.grants.may_serve("shop", "payments"));
        let both = principal_of(&[WORKER, OPERATOR]).unwrap();
        assert_eq!(both.actor, format!("cert:{WORKER}"));
        assert!(both.grants.may_serve("shop", "payments") && !both.grants.may_serve("shop", "stock"));
        assert!(both.grants.allows(Permission::WorkflowsOperate, "shop"));
    }

    #[test]
    fn certificate_without_a_binding_has_no_grants() {
        for uri in ["spiffe://other/operator", "spiffe://shop/operator/", "key:spiffe", "cert:"] {
            assert_eq!(principal_of(&[uri]).unwrap().grants, Grants::default(), "{uri}");
        }
        assert!(principal_of(&[]).is_none(), "the common name is for people");
    }
}
