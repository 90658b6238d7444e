//! Settings of the elections on etcd and ZooKeeper, as plain data.
//!
//! The types name no type of a driver, so they compile without any. The configuration reads its section straight into
//! them.

use secrecy::SecretString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of an election on the members of etcd or the servers of ZooKeeper.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Members or servers, as `host:port`.
    pub endpoints: Vec<String>,
    /// Prefix of keys in etcd, or the root node in ZooKeeper. Elections with different prefixes are independent.
    pub prefix: String,
    /// Time after which a leader that does not renew its lease is replaced. etcd rounds it up to whole seconds, and
    /// ZooKeeper servers may enforce bounds of their own.
    pub lease: Duration,
    /// Timeout of a connection attempt to one endpoint.
    pub connect_timeout: Duration,
    /// Timeout of a request to one endpoint.
    pub request_timeout: Duration,
    /// TLS files. `None` means that connections are not encrypted.
    pub tls: Option<ElectionTls>,
    /// Credentials; ZooKeeper uses them with the scheme `digest`. `None` means that clients do not authenticate.
    pub credentials: Option<Credentials>,
}

impl Settings {
    /// Creates settings for these endpoints, with defaults for everything else.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            endpoints,
            prefix: "goconductor".to_owned(),
            lease: 5 * second,
            connect_timeout: second,
            request_timeout: second,
            tls: None,
            credentials: None,
        }
    }
}

/// TLS files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ElectionTls {
    /// Certificate authorities to trust. `None` means those that this machine trusts; ZooKeeper requires a file.
    pub ca_file: Option<PathBuf>,
    /// The client certificate.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the client certificate.
    pub key_file: Option<PathBuf>,
}

/// A user name and a password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: SecretString,
}
