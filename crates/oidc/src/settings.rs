//! Settings of a verifier, and their checks.

use std::path::PathBuf;
use std::time::Duration;
use url::{Host, Url};

/// The largest accepted difference between the clocks of the issuer and of this process.
pub const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// A signature algorithm of RFC 7518 or RFC 8037 that a verifier may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The value of `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Returns the algorithm with this value of `alg`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// Settings of a [`Verifier`](crate::Verifier).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The issuer: the exact value of `iss`, and the base URL of the discovery document.
    pub issuer: String,
    /// The accepted values of `aud`. A token must have one of them.
    pub audiences: Vec<String>,
    /// The accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The URL of the key set. `None` reads it from the discovery document of the issuer.
    pub jwks_url: Option<String>,
    /// A PEM file with the authorities of the issuer's certificate, in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name of the claim with the groups of the subject: a string or a list of strings.
    pub groups_claim: String,
    /// The accepted difference between the clocks of the issuer and of this process, at most [`MAX_SKEW`].
    pub skew: Duration,
    /// The age from which keys are fetched again in the background.
    pub refresh_interval: Duration,
    /// The minimum interval between two fetches, from any cause. It limits how often tokens with an unknown `kid`
    /// cause one.
    pub min_fetch_interval: Duration,
    /// The age up to which keys are used if they cannot be fetched again.
    pub keys_max_age: Duration,
    /// The timeout of one fetch.
    pub fetch_timeout: Duration,
}

impl Settings {
    /// Creates settings with the defaults: all algorithms, the discovery document, the claim `groups`, 60 s skew, a
    /// refresh each 15 min, 5 s between fetches, keys up to 24 h old, 5 s timeout.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audiences: Vec<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences,
            algorithms: Algorithm::ALL.to_vec(),
            jwks_url: None,
            ca_file: None,
            groups_claim: "groups".to_owned(),
            skew: Duration::from_secs(60),
            refresh_interval: Duration::from_secs(15 * 60),
            min_fetch_interval: Duration::from_secs(5),
            keys_max_age: Duration::from_secs(24 * 60 * 60),
            fetch_timeout: Duration::from_secs(5),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Returns the first setting that is not valid, see [`Error`].
    pub fn check(&self) -> Result<(), Error> {
        let issuer = checked_url("issuer", &self.issuer)?;
        if issuer.query().is_some() {
            return Err(invalid("issuer", "it must not have a query"));
        }
        if let Some(url) = &self.jwks_url {
            checked_url("jwks_url", url)?;
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(invalid("audiences", "at least one is required, and none may be empty"));
        }
        if self.algorithms.is_empty() {
            return Err(invalid("algorithms", "at least one is required"));
        }
        if self.groups_claim.is_empty() {
            return Err(invalid("groups_claim", "it must not be empty"));
        }
        if self.skew > MAX_SKEW {
            return Err(invalid("skew", "it must be at most 5m"));
        }
        if self.min_fetch_interval.is_zero() || self.fetch_timeout.is_zero() {
            return Err(invalid("min_fetch_interval and fetch_timeout", "they must be longer than 0s"));
        }
        if self.refresh_interval < self.min_fetch_interval {
            return Err(invalid("refresh_interval", "it must be at least min_fetch_interval"));
        }
        if self.keys_max_age < self.refresh_interval {
            return Err(invalid("keys_max_age", "it must be at least refresh_interval"));
        }
        Ok(())
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is not valid.
    #[error("invalid OIDC setting {setting}: {reason}")]
    Setting {
        /// The name of the field of [`Settings`].
        setting: &'static str,
        /// The reason, with the accepted values.
        reason: String,
    },
    /// The certificates of authorities cannot be used.
    #[error("failed to load the certificates of authorities from {source_name}")]
    Certificates {
        /// The file, or the store of the system.
        source_name: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn invalid(setting: &'static str, reason: impl Into<String>) -> Error {
    Error::Setting { setting, reason: reason.into() }
}

fn checked_url(setting: &'static str, text: &str) -> Result<Url, Error> {
    let url =
        Url::parse(text).map_err(|error| invalid(setting, format!("`{text}` is not a URL: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(invalid(setting, "it must not have credentials or a fragment"));
    }
    if !is_secure(&url) {
        return Err(invalid(
            setting,
            format!("`{text}` must begin with https://, except on a loopback address"),
        ));
    }
    Ok(url)
}

/// Whether the keys of this URL can be trusted: they come by TLS, or from this machine.
pub(crate) fn is_secure(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether the host of a URL is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(issuer: &str) -> Settings {
        Settings::new(issuer, vec!["goconductor".to_owned()])
    }

    #[test]
    fn https_is_required_except_on_loopback() {
        for (issuer, is_accepted) in [
            ("https://login.example", true),
            ("https://login.example:8443/realms/shop", true),
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000", true),
            ("http://localhost:9000", true),
            ("http://login.example", false),
            ("http://127.0.0.1.example", false),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
            ("file:///etc/keys", false),
            ("https://user:pw@login.example", false),
            ("https://login.example#keys", false),
            ("https://login.example?x=1", false),
            ("login.example", false),
            ("", false),
        ] {
            assert_eq!(settings(issuer).check().is_ok(), is_accepted, "{issuer}");
        }
    }

    #[test]
    fn unusable_settings_are_refused_by_name() {
        type Change = fn(&mut Settings);
        let cases: [(&str, Change); 8] = [
            ("audiences", |settings| settings.audiences.clear()),
            ("audiences", |settings| settings.audiences.push(String::new())),
            ("algorithms", |settings| settings.algorithms.clear()),
            ("groups_claim", |settings| settings.groups_claim.clear()),
            ("skew", |settings| settings.skew = MAX_SKEW + Duration::from_secs(1)),
            ("jwks_url", |settings| settings.jwks_url = Some("http://login.example/keys".to_owned())),
            ("refresh_interval", |settings| settings.refresh_interval = Duration::from_secs(1)),
            ("keys_max_age", |settings| settings.keys_max_age = Duration::from_secs(60)),
        ];
        for (name, change) in cases {
            let mut settings = settings("https://login.example");
            change(&mut settings);
            let message = settings.check().expect_err(name).to_string();
            assert!(message.contains(name), "{name}: {message}");
        }
        assert!(settings("https://login.example").check().is_ok());
    }

    #[test]
    fn algorithms_without_a_public_key_do_not_exist() {
        for name in
            ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "rs256", "ES512", "ES256K", "RSA-OAEP"]
        {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
        }
    }
}
