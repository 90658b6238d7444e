//! The section `access`: authentication and authorisation of the callers of the API and of workers.

use super::reader::SettingReader;
use super::value;
use crate::permission::{BUILT_IN_ROLES, Permission, PermissionSet};
use goconductor_saga::NameKind;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};

const ENABLED: &str = "access.enabled";
const ROLES: &str = "access.roles";
const BINDINGS: &str = "access.bindings";
/// The name that stands for all namespaces.
pub const ALL_NAMESPACES: &str = "*";
/// Minimum length of the bootstrap key. 32 characters of a random text in hexadecimal have 128 bits.
const MIN_BOOTSTRAP_CHARS: usize = 32;
const MAX_BOOTSTRAP_CHARS: usize = 256;
/// Maximum length of the name of a role, and of a subject.
const MAX_ROLE_CHARS: usize = 63;
const MAX_SUBJECT_CHARS: usize = 512;

/// Authentication and authorisation.
#[derive(Debug, Clone, Default)]
pub struct AccessConfig {
    /// Whether callers are authenticated and authorised.
    pub enabled: bool,
    /// Whether a listening address may be reachable from other machines without TLS, because a proxy terminates it.
    pub allow_plaintext: bool,
    /// A key with the role admin in all namespaces, which is not stored.
    pub bootstrap_key: Option<SecretString>,
    /// Custom roles by name, with their permissions.
    pub roles: BTreeMap<String, PermissionSet>,
    /// Bindings by name.
    pub bindings: BTreeMap<String, BindingConfig>,
}

/// Grants roles to subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingConfig {
    /// The subjects, at least one.
    pub subjects: Vec<AccessSubject>,
    /// The names of the roles, at least one.
    pub roles: Vec<String>,
    /// The namespaces, or `*` for all.
    pub namespaces: Vec<String>,
    /// The services that a worker may serve. Empty for all.
    pub services: Vec<String>,
}

/// A subject to which a binding grants roles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessSubject {
    /// An access key, by its id.
    Key(String),
    /// A user of the identity provider, by the subject of its tokens.
    User(String),
    /// A group of the identity provider.
    Group(String),
    /// A client certificate, by one of its URIs.
    Certificate(String),
}

impl AccessSubject {
    /// Parses `key:ID`, `user:SUBJECT`, `group:NAME` or `cert:URI`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        if name.is_empty() || name.chars().count() > MAX_SUBJECT_CHARS || name.contains(char::is_control) {
            return None;
        }
        let name = name.to_owned();
        match kind {
            "key" => Some(Self::Key(name)),
            "user" => Some(Self::User(name)),
            "group" => Some(Self::Group(name)),
            "cert" => Some(Self::Certificate(name)),
            _ => None,
        }
    }
}

impl AccessConfig {
    /// Returns the permissions of a role. `None` if there is no such role.
    #[must_use]
    pub fn permissions_of(&self, role: &str) -> Option<PermissionSet> {
        let built_in = BUILT_IN_ROLES.iter().find(|(name, _)| *name == role).map(|(_, set)| *set);
        built_in.or_else(|| self.roles.get(role).copied())
    }

    /// Returns the names of all roles, in order.
    #[must_use]
    pub fn role_names(&self) -> BTreeSet<&str> {
        let built_in = BUILT_IN_ROLES.iter().map(|(name, _)| *name);
        built_in.chain(self.roles.keys().map(String::as_str)).collect()
    }
}

/// Returns whether a text can be the name of a role.
#[must_use]
pub fn is_role_name(text: &str) -> bool {
    (1..=MAX_ROLE_CHARS).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

/// Returns whether a text is the name of a namespace, or `*` for all.
#[must_use]
pub fn is_namespace_pattern(text: &str) -> bool {
    text == ALL_NAMESPACES || NameKind::Namespace.check(text).is_ok()
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> AccessConfig {
    let mut config = AccessConfig {
        enabled: reader.get(ENABLED, &value::boolean(), false),
        allow_plaintext: reader.get("access.allow_plaintext", &value::boolean(), false),
        bootstrap_key: reader.optional("access.bootstrap_key", &bootstrap_key()),
        roles: roles(reader),
        bindings: BTreeMap::new(),
    };
    config.bindings = bindings(reader, &config);
    let has_more = config.allow_plaintext
        || config.bootstrap_key.is_some()
        || !config.roles.is_empty()
        || !config.bindings.is_empty();
    if !config.enabled && has_more {
        let message =
            "must be true, because the section access has other settings, which would have no effect";
        reader.problem(ENABLED, reader.origin("access"), message);
    }
    config
}

fn bootstrap_key() -> value::Kind<SecretString> {
    value::secret_text(
        "32 to 256 visible ASCII characters, such as the output of `openssl rand -hex 32`",
        |text| {
            (MIN_BOOTSTRAP_CHARS..=MAX_BOOTSTRAP_CHARS).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        },
    )
}

fn roles(reader: &mut SettingReader<'_>) -> BTreeMap<String, PermissionSet> {
    let expected = "a list of permissions such as [workflows.read, workflows.start]";
    let kind = value::list(expected, |text| text.parse::<Permission>().is_ok());
    let mut roles = BTreeMap::new();
    for name in reader.names(ROLES) {
        let is_built_in = BUILT_IN_ROLES.iter().any(|(known, _)| *known == name);
        if is_built_in || !is_role_name(&name) {
            let message = if is_built_in {
                format!("{name} is a built-in role, which cannot be changed: choose another name")
            } else {
                format!("{name} is not a name of a role: use 1 to {MAX_ROLE_CHARS} of a-z, 0-9, _ and -")
            };
            reader.refuse_name(ROLES, &name, message);
            continue;
        }
        let path = format!("{ROLES}.{name}.permissions");
        if let Some(permissions) = reader.required(&path, &kind, ROLES) {
            let permissions = permissions.iter().filter_map(|permission| permission.parse().ok());
            roles.insert(name, permissions.collect());
        }
    }
    roles
}

fn bindings(reader: &mut SettingReader<'_>, config: &AccessConfig) -> BTreeMap<String, BindingConfig> {
    let subjects = value::list("a list of key:ID, user:SUBJECT, group:NAME or cert:URI", |text| {
        AccessSubject::parse(text).is_some()
    });
    let role_list = value::list("a list of roles such as [viewer]", is_role_name);
    let namespaces =
        value::list("a list of namespaces such as [shop], or [\"*\"] for all", is_namespace_pattern);
    let services = value::list("a list of services such as [payments, inventory]", |name| {
        NameKind::Service.check(name).is_ok()
    });
    let mut bindings = BTreeMap::new();
    for name in reader.names(BINDINGS) {
        if !is_role_name(&name) {
            let message =
                format!("{name} is not a name of a binding: use 1 to {MAX_ROLE_CHARS} of a-z, 0-9, _ and -");
            reader.refuse_name(BINDINGS, &name, message);
            continue;
        }
        let path = |key: &str| format!("{BINDINGS}.{name}.{key}");
        let subjects = reader.required(&path("subjects"), &subjects, BINDINGS);
        let roles = reader.required(&path("roles"), &role_list, BINDINGS);
        let namespaces = reader.required(&path("namespaces"), &namespaces, BINDINGS);
        let services = reader.get(&path("services"), &services, Vec::new());
        if let Some(unknown) = roles.iter().flatten().find(|role| config.permissions_of(role).is_none()) {
            let known = Vec::from_iter(config.role_names()).join(", ");
            let message = format!("there is no role {unknown}: the roles are {known}");
            reader.problem(&path("roles"), reader.origin(&path("roles")), message);
        }
        if let (Some(subjects), Some(roles), Some(namespaces)) = (subjects, roles, namespaces) {
            let subjects = subjects.iter().filter_map(|subject| AccessSubject::parse(subject)).collect();
            bindings.insert(name, BindingConfig { subjects, roles, namespaces, services });
        }
    }
    bindings
}
