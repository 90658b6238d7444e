//! The rights of a principal, by namespace.

use goconductor_service_kit::config::{ALL_NAMESPACES, AccessConfig, AccessSubject, BindingConfig};
use goconductor_service_kit::permission::{Permission, PermissionSet, Reach};
use goconductor_store::AccessScope;
use std::collections::BTreeSet;

/// The role of an administrator.
const ADMIN: &str = "admin";

/// The rights of a principal. An empty value grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants(Vec<Grant>);

/// Permissions in some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    /// `None` for all.
    namespaces: Option<BTreeSet<String>>,
    /// The services that a worker may serve. `None` for all.
    services: Option<BTreeSet<String>>,
    permissions: PermissionSet,
    /// The names of the roles that give the permissions, for people.
    roles: Vec<String>,
}

/// Permissions in some namespaces, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantSummary {
    /// `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// The names of the roles.
    pub roles: Vec<String>,
    /// The permissions.
    pub permissions: Vec<Permission>,
}

impl Grant {
    fn applies_to(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
    }

    fn has_service(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.contains(service))
    }

    fn may_serve(&self) -> bool {
        self.permissions.contains(Permission::ServicesServe)
    }
}

impl Grants {
    /// Returns the grants of an administrator: all permissions in all namespaces.
    #[must_use]
    pub fn all() -> Self {
        let roles = vec![ADMIN.to_owned()];
        Self(vec![Grant { namespaces: None, services: None, permissions: PermissionSet::ALL, roles }])
    }

    /// Returns the grants of a scope. A role that the configuration does not have grants nothing.
    #[must_use]
    pub fn of_scope(scope: &AccessScope, config: &AccessConfig) -> Self {
        let roles = scope.roles.iter().filter_map(|role| config.permissions_of(role));
        let permissions = roles.fold(PermissionSet::default(), PermissionSet::union);
        let is_all = scope.namespaces.iter().any(|namespace| namespace == ALL_NAMESPACES);
        let services = (!scope.services.is_empty()).then(|| scope.services.iter().cloned().collect());
        let namespaces = (!is_all).then(|| scope.namespaces.iter().cloned().collect());
        let roles =
            scope.roles.iter().filter(|role| config.permissions_of(role).is_some()).cloned().collect();
        Self(vec![Grant { namespaces, services, permissions, roles }])
    }

    /// Returns the grants of a binding to each of its subjects.
    #[must_use]
    pub(crate) fn of_binding(binding: &BindingConfig, config: &AccessConfig) -> Self {
        let BindingConfig { subjects: _, roles, namespaces, services } = binding.clone();
        Self::of_scope(&AccessScope { roles, namespaces, services }, config)
    }

    /// Returns the grants that bindings give to any of some subjects.
    #[must_use]
    pub(crate) fn of_subjects(subjects: &[AccessSubject], config: &AccessConfig) -> Self {
        let mut grants = Self::default();
        let is_bound = |binding: &&BindingConfig| binding.subjects.iter().any(|each| subjects.contains(each));
        for binding in config.bindings.values().filter(is_bound) {
            grants.extend(Self::of_binding(binding, config));
        }
        grants
    }

    /// Returns the grants for people. Grants without a permission are left out.
    #[must_use]
    pub fn summaries(&self) -> Vec<GrantSummary> {
        let summary = |grant: &Grant| GrantSummary {
            namespaces: grant.namespaces.as_ref().map(|names| names.iter().cloned().collect()),
            roles: grant.roles.clone(),
            permissions: Permission::ALL
                .iter()
                .copied()
                .filter(|permission| grant.permissions.contains(*permission))
                .collect(),
        };
        self.0.iter().map(summary).filter(|grant| !grant.permissions.is_empty()).collect()
    }

    /// Adds the grants of another value.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns whether a request in `namespace` may be made.
    #[must_use]
    pub fn allows(&self, permission: Permission, namespace: &str) -> bool {
        self.0.iter().filter(|grant| grant.permissions.contains(permission)).any(|grant| {
            match permission.reach() {
                Reach::Namespace => grant.applies_to(namespace),
                Reach::Cluster => grant.namespaces.is_none(),
                Reach::Anywhere => true,
            }
        })
    }

    /// Returns whether a permission is granted in all namespaces.
    #[must_use]
    pub fn allows_everywhere(&self, permission: Permission) -> bool {
        self.0.iter().any(|grant| grant.namespaces.is_none() && grant.permissions.contains(permission))
    }

    /// Returns whether a worker may serve a service of a namespace.
    #[must_use]
    pub fn may_serve(&self, namespace: &str, service: &str) -> bool {
        let mut grants = self.0.iter().filter(|grant| grant.may_serve() && grant.applies_to(namespace));
        grants.any(|grant| grant.has_service(service))
    }

    /// Returns whether these grants include all of `other`, so that a caller with these may issue a key with those.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| match &wanted.namespaces {
            None => self.cover_where(wanted, |own| own.namespaces.is_none()),
            Some(names) => names.iter().all(|name| self.cover_where(wanted, |own| own.applies_to(name))),
        })
    }

    /// Returns whether the own grants for which `applies` include the permissions and the services of another.
    fn cover_where(&self, wanted: &Grant, applies: impl Fn(&Grant) -> bool) -> bool {
        let own = || self.0.iter().filter(|own| applies(own));
        let permissions =
            own().map(|own| own.permissions).fold(PermissionSet::default(), PermissionSet::union);
        let serves = |service: &String| own().any(|own| own.may_serve() && own.has_service(service));
        let has_services = !wanted.may_serve()
            || match &wanted.services {
                None => own().any(|own| own.may_serve() && own.services.is_none()),
                Some(services) => services.iter().all(serves),
            };
        permissions.covers(wanted.permissions) && has_services
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(roles: &[&str], namespaces: &[&str], services: &[&str]) -> Grants {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let scope =
            AccessScope { roles: texts(roles), namespaces: texts(namespaces), services: texts(services) };
        let mut config = AccessConfig::default();
        config.roles.insert("keys".to_owned(), PermissionSet::of(&[Permission::AccessWrite]));
        Grants::of_scope(&scope, &config)
    }

    #[test]
    fn permission_applies_to_its_namespaces_only() {
        let grants = scope(&["viewer"], &["shop"], &[]);
        assert!(grants.allows(Permission::WorkflowsRead, "shop"));
        assert!(!grants.allows(Permission::WorkflowsRead, "default"));
        assert!(!grants.allows(Permission::WorkflowsOperate, "shop"));
        assert!(!grants.allows(Permission::MetricsRead, "shop"), "metrics are of all namespaces");
        assert!(grants.allows(Permission::DocsRead, "default"), "documents belong to no namespace");
        assert!(scope(&["viewer"], &["*"], &[]).allows(Permission::MetricsRead, "shop"));
    }

    #[test]
    fn nothing_is_granted_without_a_role_or_a_namespace() {
        for grants in [
            Grants::default(),
            scope(&[], &["*"], &[]),
            scope(&["admin"], &[], &[]),
            scope(&["typo"], &["*"], &[]),
        ] {
            for permission in Permission::ALL {
                let is_open = grants.allows(*permission, "default") && permission.reach() != Reach::Anywhere;
                assert!(!is_open, "{permission}");
            }
        }
    }

    #[test]
    fn worker_serves_its_services_only() {
        let grants = scope(&["worker"], &["shop"], &["payments"]);
        assert!(grants.may_serve("shop", "payments"));
        assert!(!grants.may_serve("shop", "inventory"));
        assert!(!grants.may_serve("default", "payments"));
        assert!(!scope(&["viewer"], &["shop"], &[]).may_serve("shop", "payments"));
        assert!(scope(&["worker"], &["shop"], &[]).may_serve("shop", "anything"));
    }

    #[test]
    fn key_with_more_rights_than_its_creator_is_not_covered() {
        let admin = Grants::all();
        let shop = scope(&["developer", "operator"], &["shop"], &[]);
        for (own, wanted, covered) in [
            (&admin, scope(&["admin"], &["*"], &[]), true),
            (&admin, shop.clone(), true),
            (&shop, scope(&["viewer"], &["shop"], &[]), true),
            (&shop, scope(&["admin"], &["shop"], &[]), false),
            (&shop, scope(&["viewer"], &["*"], &[]), false),
            (&shop, scope(&["viewer"], &["shop", "other"], &[]), false),
            (&scope(&["keys"], &["*"], &[]), scope(&["viewer"], &["*"], &[]), false),
            (&scope(&["worker"], &["shop"], &["a"]), scope(&["worker"], &["shop"], &["a"]), true),
            (&scope(&["worker"], &["shop"], &["a"]), scope(&["worker"], &["shop"], &["a", "b"]), false),
            (&scope(&["worker"], &["shop"], &["a"]), scope(&["worker"], &["shop"], &[]), false),
        ] {
            assert_eq!(own.cover(&wanted), covered, "{own:?} {wanted:?}");
        }
        let mut both = scope(&["viewer"], &["shop"], &[]);
        both.extend(scope(&["operator"], &["*"], &[]));
        assert!(both.cover(&scope(&["operator"], &["shop", "other"], &[])));
    }
}
