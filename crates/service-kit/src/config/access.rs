//! The section `access`: authentication and authorisation of the callers of the API and of workers.

use super::reader::SettingReader;
use super::value;
use crate::permission::{BUILT_IN_ROLES, Permission, PermissionSet};
use goconductor_saga::NameKind;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use url::{Host, Url};

const ENABLED: &str = "access.enabled";
const OIDC: &str = "access.oidc";
const ISSUER: &str = "access.oidc.issuer";
const OIDC_DETAILS: [&str; 9] = [
    "audience",
    "jwks_url",
    "algorithms",
    "ca_file",
    "groups_claim",
    "clock_skew",
    "client_id",
    "client_secret",
    "scopes",
];
const CLIENT_ID: &str = "access.oidc.client_id";
const LIFETIME: &str = "access.session.lifetime";
const PUBLIC_URL: &str = "access.session.public_url";
/// The lifetime of a session of the console: from a minute to 30 days.
const SESSION_LIFETIMES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));
const DEFAULT_SESSION_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// The algorithms of tokens. All are of public keys: with a shared secret, every reader of the secret could issue tokens.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);
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
    /// The identity provider of users. `None` if there is none.
    pub oidc: Option<OidcConfig>,
    /// The sessions of the console.
    pub session: SessionConfig,
    /// Custom roles by name, with their permissions.
    pub roles: BTreeMap<String, PermissionSet>,
    /// Bindings by name.
    pub bindings: BTreeMap<String, BindingConfig>,
}

/// The identity provider of users, which issues JSON Web Tokens (OpenID Connect).
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// The issuer: the exact value of the claim `iss`, and the base URL of the discovery document.
    pub issuer: String,
    /// The accepted values of the claim `aud`.
    pub audience: Vec<String>,
    /// The URL of the keys. `None` for that of the discovery document.
    pub jwks_url: Option<String>,
    /// The accepted algorithms, by their names in the header `alg`.
    pub algorithms: Vec<String>,
    /// The authorities of the issuer's certificate. `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// The claim with the groups of the user.
    pub groups_claim: String,
    /// The accepted difference between the clocks of the issuer and of this process.
    pub clock_skew: Duration,
    /// The sign-in of the console at the provider. `None` if users cannot sign in to the console there.
    pub sign_in: Option<OidcSignIn>,
}

/// The console as a client of the identity provider.
#[derive(Debug, Clone)]
pub struct OidcSignIn {
    /// The client id that the provider has issued.
    pub client_id: String,
    /// The client secret. `None` for a public client, which PKCE protects.
    pub client_secret: Option<SecretString>,
    /// The scopes to request, besides `openid`.
    pub scopes: Vec<String>,
}

/// The sessions of the console.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The time after which a session ends.
    pub lifetime: Duration,
    /// The URL by which browsers reach the gateway, without a path. `None` if it was not stated.
    pub public_url: Option<String>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { lifetime: DEFAULT_SESSION_LIFETIME, public_url: None }
    }
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
        oidc: oidc(reader),
        session: SessionConfig::default(),
        roles: roles(reader),
        bindings: BTreeMap::new(),
    };
    config.bindings = bindings(reader, &config);
    let signs_in = config.oidc.as_ref().is_some_and(|oidc| oidc.sign_in.is_some());
    config.session = session(reader, signs_in);
    let has_more = config.allow_plaintext
        || config.bootstrap_key.is_some()
        || config.oidc.is_some()
        || reader.is_set(LIFETIME)
        || config.session.public_url.is_some()
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

fn oidc(reader: &mut SettingReader<'_>) -> Option<OidcConfig> {
    let is_text = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let has_details = OIDC_DETAILS.iter().any(|key| reader.is_set(&format!("{OIDC}.{key}")));
    let issuer = value::text("a URL such as https://login.example, without query", is_issuer);
    let issuer = reader.required_if(has_details, ISSUER, &issuer, OIDC);
    let audience = value::list("a list of audiences such as [goconductor]", |text| !text.is_empty());
    let audience = reader.required_if(issuer.is_some(), "access.oidc.audience", &audience, ISSUER);
    let jwks_url = value::text("a URL such as https://login.example/keys", is_url);
    let jwks_url = reader.optional("access.oidc.jwks_url", &jwks_url);
    let expected = format!("a list of algorithms: {}", ALGORITHMS.join(", "));
    let algorithms = value::list(expected, |text| ALGORITHMS.contains(&text));
    let all = ALGORITHMS.iter().map(|name| (*name).to_owned()).collect();
    let algorithms = reader.get("access.oidc.algorithms", &algorithms, all);
    let ca_file = reader.optional("access.oidc.ca_file", &value::path());
    let groups = value::text("the name of a claim", is_text);
    let groups_claim = reader.get("access.oidc.groups_claim", &groups, "groups".to_owned());
    let skew = value::duration(Duration::ZERO, MAX_SKEW);
    let clock_skew = reader.get("access.oidc.clock_skew", &skew, Duration::from_secs(60));
    let sign_in = sign_in(reader);
    let (issuer, audience) = (issuer?, audience?);
    Some(OidcConfig { issuer, audience, jwks_url, algorithms, ca_file, groups_claim, clock_skew, sign_in })
}

fn sign_in(reader: &mut SettingReader<'_>) -> Option<OidcSignIn> {
    let is_text = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    let has_details = ["client_secret", "scopes"].iter().any(|key| reader.is_set(&format!("{OIDC}.{key}")));
    let client_id = value::text("the client id that the provider has issued", is_text);
    let client_id = reader.required_if(has_details, CLIENT_ID, &client_id, OIDC);
    let client_secret = value::secret_text("the client secret that the provider has issued", |text| {
        !text.is_empty() && !text.contains(char::is_control)
    });
    let client_secret = reader.optional("access.oidc.client_secret", &client_secret);
    let is_scope = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    let scopes = value::list("a list of scopes such as [profile, groups]", is_scope);
    let scopes = reader.get("access.oidc.scopes", &scopes, Vec::new());
    Some(OidcSignIn { client_id: client_id?, client_secret, scopes })
}

/// Reads the section `access.session`. `signs_in` is whether users sign in at the identity provider, which sends their
/// browsers back to the public URL.
fn session(reader: &mut SettingReader<'_>, signs_in: bool) -> SessionConfig {
    let lifetime = value::duration(SESSION_LIFETIMES.0, SESSION_LIFETIMES.1);
    let lifetime = reader.get(LIFETIME, &lifetime, DEFAULT_SESSION_LIFETIME);
    let public_url = value::text("a URL such as https://conductor.example, without a path", is_origin);
    let public_url = reader.required_if(signs_in, PUBLIC_URL, &public_url, CLIENT_ID);
    SessionConfig { lifetime, public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()) }
}

/// Whether a text is a URL without a path, a query and credentials. Plain HTTP is for a server on this machine.
fn is_origin(text: &str) -> bool {
    is_url(text) && Url::parse(text).is_ok_and(|url| url.path() == "/" && url.query().is_none())
}

fn is_issuer(text: &str) -> bool {
    is_url(text) && !text.contains('?')
}

/// Whether a text is a URL of an identity provider. Plain HTTP is for a provider on this machine.
fn is_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    is_secure && url.has_host() && !has_credentials && url.fragment().is_none()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_provider_needs_tls_except_on_loopback() {
        for (text, is_valid) in [
            ("https://login.example/realms/shop", true),
            ("http://127.0.0.1:9000", true),
            ("http://localhost:9000", true),
            ("http://[::1]:9000", true),
            ("http://login.example", false),
            ("https://user:password@login.example", false),
            ("https://login.example?tenant=1", false),
            ("https://login.example#keys", false),
            ("file:///etc/issuer", false),
            ("login.example", false),
        ] {
            assert_eq!(is_issuer(text), is_valid, "{text}");
        }
        assert!(is_url("https://login.example/keys?tenant=1"));
    }

    #[test]
    fn identity_provider_needs_an_issuer_and_an_audience() {
        let load = |settings: &[(&str, &str)]| {
            let flag = |(path, value): &(&str, &str)| crate::config::Flag {
                path: (*path).to_owned(),
                value: (*value).to_owned(),
                name: "--set".to_owned(),
            };
            let flags = settings.iter().map(flag).collect();
            crate::config::Config::load(&crate::config::Sources { flags, ..Default::default() })
        };
        let (enabled, issuer) = (("access.enabled", "true"), ("access.oidc.issuer", "https://login.example"));
        let audience = ("access.oidc.audience", "goconductor");
        let oidc = load(&[enabled, issuer, audience]).unwrap().access.oidc.unwrap();
        assert_eq!(oidc.audience, ["goconductor"]);
        assert_eq!(oidc.groups_claim, "groups");
        for (settings, missing) in [([enabled, issuer], audience.0), ([enabled, audience], issuer.0)] {
            let invalid = load(&settings).unwrap_err();
            assert!(invalid.problems.iter().any(|problem| problem.path == missing), "{missing}");
        }
        assert!(load(&[issuer, audience]).is_err(), "access control is off");
    }

    #[test]
    fn sign_in_needs_a_client_id_and_a_public_url() {
        let load = |settings: &[(&str, &str)]| {
            let provider = [
                ("access.enabled", "true"),
                ("access.oidc.issuer", "https://login.example"),
                ("access.oidc.audience", "goconductor"),
            ];
            let flag = |(path, value): &(&str, &str)| crate::config::Flag {
                path: (*path).to_owned(),
                value: (*value).to_owned(),
                name: "--set".to_owned(),
            };
            let flags = provider.iter().chain(settings).map(flag).collect();
            crate::config::Config::load(&crate::config::Sources { flags, ..Default::default() })
        };
        let access = load(&[]).unwrap().access;
        assert!(access.oidc.unwrap().sign_in.is_none());
        assert_eq!(access.session.lifetime, Duration::from_secs(8 * 3600));
        let client = ("access.oidc.client_id", "console");
        let secret = ("access.oidc.client_secret", "hunter2");
        let url = ("access.session.public_url", "https://conductor.example/");
        let access = load(&[client, secret, url]).unwrap().access;
        assert_eq!(access.oidc.unwrap().sign_in.unwrap().client_id, "console");
        assert_eq!(access.session.public_url.as_deref(), Some("https://conductor.example"));
        for (settings, missing) in [([client, secret], url.0), ([secret, url], client.0)] {
            let invalid = load(&settings).unwrap_err();
            assert!(invalid.problems.iter().any(|problem| problem.path == missing), "{missing}");
        }
        for url in ["http://conductor.example", "https://conductor.example/console", "conductor.example"] {
            assert!(load(&[client, ("access.session.public_url", url)]).is_err(), "{url}");
        }
    }
}
