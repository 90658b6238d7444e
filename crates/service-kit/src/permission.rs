//! Permissions, and the roles that every installation has.
//!
//! A permission names a kind of request. Its reach says where a binding must grant it: in the namespace of the request,
//! or in all namespaces if the request affects the whole cluster.

use std::fmt;
use std::str::FromStr;

/// Where a permission must be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In the namespace of the request.
    Namespace,
    /// In all namespaces, because the request affects the whole cluster.
    Cluster,
    /// In any namespace, because the request returns nothing that belongs to a namespace.
    Anywhere,
}

/// Defines the permissions, in alphabetical order of their names.
macro_rules! permissions {
    ($($(#[$doc:meta])* $variant:ident $name:literal $reach:ident;)+) => {
        /// The right to make a kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[$doc])* $variant,)+
        }

        impl Permission {
            /// All permissions, ordered by name.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Returns where the permission must be granted.
            #[must_use]
            pub const fn reach(self) -> Reach {
                match self {
                    $(Self::$variant => Reach::$reach,)+
                }
            }

            const fn bit(self) -> u64 {
                1 << (self as u8)
            }
        }
    };
}

permissions! {
    /// List access keys.
    AccessRead "access.read" Cluster;
    /// Create, rotate and revoke access keys.
    AccessWrite "access.write" Cluster;
    /// Read the audit log.
    AuditRead "audit.read" Cluster;
    /// Create, pause, resume and cancel batches. Creating and resuming also require the permission of the operation.
    BatchesOperate "batches.operate" Namespace;
    /// Read batches.
    BatchesRead "batches.read" Namespace;
    /// Read the dynamic configuration.
    ConfigRead "config.read" Cluster;
    /// Change the dynamic configuration.
    ConfigWrite "config.write" Cluster;
    /// Requeue and delete dead letters.
    DeadLettersOperate "dead_letters.operate" Cluster;
    /// Read dead letters.
    DeadLettersRead "dead_letters.read" Cluster;
    /// Read definitions.
    DefinitionsRead "definitions.read" Namespace;
    /// Apply and delete definitions.
    DefinitionsWrite "definitions.write" Namespace;
    /// Read the documents of the API: OpenAPI, schemas, error pages and reflection.
    DocsRead "docs.read" Anywhere;
    /// Campaign in elections.
    ElectionsCampaign "elections.campaign" Cluster;
    /// End the term of a leader.
    ElectionsOperate "elections.operate" Cluster;
    /// Read the leaders of elections.
    ElectionsRead "elections.read" Cluster;
    /// Read locks.
    LocksRead "locks.read" Namespace;
    /// Acquire, renew and release locks.
    LocksWrite "locks.write" Namespace;
    /// Read metrics.
    MetricsRead "metrics.read" Cluster;
    /// See the fields that `encryption.redact` masks. Those of dead letters require it in all namespaces.
    PayloadsRead "payloads.read" Namespace;
    /// List the processes, with the services of the namespace that they serve.
    ProcessesRead "processes.read" Namespace;
    /// Switch to another queue.
    QueuesOperate "queues.operate" Cluster;
    /// Read the backlog of all services.
    QueuesRead "queues.read" Cluster;
    /// Pause, resume, trigger and backfill schedules. A trigger and a backfill also require `workflows.start`.
    SchedulesOperate "schedules.operate" Namespace;
    /// Read schedules.
    SchedulesRead "schedules.read" Namespace;
    /// Create, replace and delete schedules. Creating and replacing also require `workflows.start`.
    SchedulesWrite "schedules.write" Namespace;
    /// Read the names and versions of secrets.
    SecretsRead "secrets.read" Cluster;
    /// Write and delete secrets, and rotate their keys.
    SecretsWrite "secrets.write" Cluster;
    /// Read services.
    ServicesRead "services.read" Namespace;
    /// Serve a service as a worker.
    ServicesServe "services.serve" Namespace;
    /// Set the address and the limits of services.
    ServicesWrite "services.write" Namespace;
    /// Cancel, pause, resume, signal and terminate workflows, and retry, skip and complete steps.
    WorkflowsOperate "workflows.operate" Namespace;
    /// Read workflows.
    WorkflowsRead "workflows.read" Namespace;
    /// Start workflows.
    WorkflowsStart "workflows.start" Namespace;
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not the name of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown permission")]
pub struct UnknownPermission;

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL.iter().find(|each| each.as_str() == text).copied().ok_or(UnknownPermission)
    }
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PermissionSet(u64);

impl PermissionSet {
    /// All permissions.
    pub const ALL: Self = Self::of(Permission::ALL);

    /// Returns the set of some permissions.
    #[must_use]
    pub const fn of(permissions: &[Permission]) -> Self {
        let (mut bits, mut rest) = (0, permissions);
        while let [first, others @ ..] = rest {
            bits |= first.bit();
            rest = others;
        }
        Self(bits)
    }

    /// Returns whether the set contains a permission.
    #[must_use]
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Returns whether the set contains all permissions of another.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the permissions of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the permissions, ordered by name.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::default(), |set, permission| set.union(Self::of(&[permission])))
    }
}

const VIEWER: PermissionSet = PermissionSet::of(&[
    Permission::BatchesRead,
    Permission::DeadLettersRead,
    Permission::DefinitionsRead,
    Permission::DocsRead,
    Permission::ElectionsRead,
    Permission::LocksRead,
    Permission::MetricsRead,
    Permission::ProcessesRead,
    Permission::QueuesRead,
    Permission::SchedulesRead,
    Permission::ServicesRead,
    Permission::WorkflowsRead,
]);
const OPERATOR: PermissionSet = VIEWER.union(PermissionSet::of(&[
    Permission::BatchesOperate,
    Permission::ConfigRead,
    Permission::DeadLettersOperate,
    Permission::ElectionsOperate,
    Permission::QueuesOperate,
    Permission::SchedulesOperate,
    Permission::SecretsRead,
    Permission::ServicesWrite,
    Permission::WorkflowsOperate,
]));
const DEVELOPER: PermissionSet = VIEWER.union(PermissionSet::of(&[
    Permission::DefinitionsWrite,
    Permission::ElectionsCampaign,
    Permission::LocksWrite,
    Permission::SchedulesOperate,
    Permission::SchedulesWrite,
    Permission::ServicesServe,
    Permission::ServicesWrite,
    Permission::WorkflowsStart,
]));
const WORKER: PermissionSet = PermissionSet::of(&[Permission::ProcessesRead, Permission::ServicesServe]);

/// The roles that every installation has, with their permissions.
pub const BUILT_IN_ROLES: &[(&str, PermissionSet)] = &[
    ("admin", PermissionSet::ALL),
    ("developer", DEVELOPER),
    ("operator", OPERATOR),
    ("viewer", VIEWER),
    ("worker", WORKER),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_ordered() {
        let names: Vec<&str> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
        assert!(Permission::ALL.len() <= 64, "a set has 64 bits");
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(*permission));
        }
        assert_eq!("workflows".parse::<Permission>(), Err(UnknownPermission));
    }

    #[test]
    fn viewer_changes_nothing_and_admin_may_everything() {
        assert!(VIEWER.iter().all(|permission| permission.as_str().ends_with(".read")));
        assert!(Permission::ALL.iter().all(|permission| PermissionSet::ALL.contains(*permission)));
        for (name, permissions) in BUILT_IN_ROLES {
            assert!(PermissionSet::ALL.covers(*permissions), "{name}");
            assert_eq!(permissions.iter().collect::<PermissionSet>(), *permissions, "{name}");
            let is_admin = permissions.contains(Permission::AccessWrite);
            assert_eq!(is_admin, *name == "admin", "{name} can create keys");
        }
    }
}
