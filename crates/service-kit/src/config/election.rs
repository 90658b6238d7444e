//! The section `election`: how leaders are elected.

use super::listen_address::ListenAddress;
use super::reader::SettingReader;
use super::secret_url::SecretUrl;
use super::{database_tls, tls, value};
use goconductor_election::settings::{Credentials, ElectionTls, Settings};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Settings of leader election.
#[derive(Debug, Clone)]
pub struct ElectionConfig {
    /// The election backend.
    pub backend: ElectionBackend,
    /// URL of a direct connection to the database. `None` means the URL of the state store.
    pub url: Option<SecretUrl>,
    /// Settings of the backend. PostgreSQL uses only the lease; etcd and ZooKeeper use all of them.
    pub settings: Settings,
    /// High bits of every fencing token. It must be raised when the backend changes.
    pub era: u8,
    /// Listening address of a leader-elector process.
    pub listen: ListenAddress,
    /// URLs of the leader-elector processes that the other services connect to. If it is empty, each service is a
    /// candidate at the backend itself.
    pub electors: Vec<String>,
}

/// Backend of leader election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionBackend {
    /// This process only.
    Local,
    /// PostgreSQL, by advisory locks.
    Postgres,
    /// etcd, by leases.
    Etcd,
    /// ZooKeeper, by ephemeral nodes.
    ZooKeeper,
}

impl ElectionConfig {
    /// Returns whether the election connects processes.
    #[must_use]
    pub fn connects_processes(&self) -> bool {
        self.backend != ElectionBackend::Local || !self.electors.is_empty()
    }
}

const BACKENDS: &[(&str, ElectionBackend)] = &[
    (ElectionBackend::Local.name(), ElectionBackend::Local),
    (ElectionBackend::Postgres.name(), ElectionBackend::Postgres),
    (ElectionBackend::Etcd.name(), ElectionBackend::Etcd),
    (ElectionBackend::ZooKeeper.name(), ElectionBackend::ZooKeeper),
];

impl ElectionBackend {
    /// The value of `election.backend`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Postgres => "postgres",
            Self::Etcd => "etcd",
            Self::ZooKeeper => "zookeeper",
        }
    }

    /// Returns whether the backend is configured by `endpoints`.
    fn has_endpoints(self) -> bool {
        match self {
            Self::Local | Self::Postgres => false,
            Self::Etcd | Self::ZooKeeper => true,
        }
    }
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> ElectionConfig {
    let backend = reader.get("election.backend", &value::choice(BACKENDS), ElectionBackend::Local);
    let electors = value::endpoints("http://127.0.0.1:8473, http://127.0.0.1:8483");
    let electors = reader.get("election.electors", &electors, Vec::new());
    let postgres = value::url(&["postgres", "postgresql"], "postgres://user@127.0.0.1/goconductor");
    let url = reader.optional("election.url", &postgres);
    let settings = settings(reader, backend, !electors.is_empty());
    let url = match (&settings.tls, backend) {
        (Some(tls), ElectionBackend::Postgres) if url.is_some() => {
            let ElectionTls { ca_file, certificate_file, key_file } = tls.clone();
            let files = tls::Files { ca_file, certificate_file, key_file };
            database_tls::with_tls(reader, "election", url, files)
        }
        (_, _) => url,
    };
    let era = u8::try_from(reader.get("election.era", &value::integer(0, 127), 0)).unwrap_or(u8::MAX);
    let listen = ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 8473)));
    let listen = reader.get("election.listen", &value::address(), listen);
    ElectionConfig { backend, url, settings, era, listen, electors }
}

/// Checks the settings against each other.
pub(super) fn check(election: &ElectionConfig, reader: &mut SettingReader<'_>) {
    let Settings { lease, connect_timeout, request_timeout, .. } = &election.settings;
    for (path, timeout) in
        [("election.connect_timeout", *connect_timeout), ("election.request_timeout", *request_timeout)]
    {
        if timeout * 2 > *lease {
            let message =
                "must be at most half of election.lease, or one unresponsive server could cost the lease";
            reader.problem(path, reader.origin(path), message);
        }
    }
}

fn settings(reader: &mut SettingReader<'_>, backend: ElectionBackend, has_electors: bool) -> Settings {
    let seconds = Duration::from_secs;
    let timeout = value::duration(Duration::from_millis(10), seconds(150));
    let is_prefix = |text: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (1..=100).contains(&text.len()) && text.chars().all(is_allowed) && !matches!(text, "." | "..")
    };
    let prefix = value::text("up to 100 letters, digits, hyphens, underscores and dots", is_prefix);
    Settings {
        endpoints: endpoints(reader, backend, has_electors),
        prefix: reader.get("election.prefix", &prefix, "goconductor".to_owned()),
        lease: reader.get("election.lease", &value::duration(seconds(2), seconds(300)), seconds(5)),
        connect_timeout: reader.get("election.connect_timeout", &timeout, seconds(1)),
        request_timeout: reader.get("election.request_timeout", &timeout, seconds(1)),
        tls: tls(reader),
        credentials: credentials(reader),
    }
}

fn endpoints(reader: &mut SettingReader<'_>, backend: ElectionBackend, has_electors: bool) -> Vec<String> {
    let hosts = value::hosts(match backend {
        ElectionBackend::ZooKeeper => "127.0.0.1:2181",
        ElectionBackend::Local | ElectionBackend::Postgres | ElectionBackend::Etcd => "127.0.0.1:2379",
    });
    let path = "election.endpoints";
    // A process that connects to leader-electors does not need to know their backend.
    let is_required = backend.has_endpoints() && !has_electors;
    let endpoints = reader.required_if(is_required, path, &hosts, "election.backend");
    if endpoints.is_some() && !backend.has_endpoints() {
        let message =
            "applies only to the backends etcd and zookeeper; name leader-electors in election.electors";
        reader.problem(path, reader.origin(path), message);
    }
    endpoints.unwrap_or_default()
}

fn tls(reader: &mut SettingReader<'_>) -> Option<ElectionTls> {
    let is_enabled = tls::is_enabled(reader, "election");
    let files = tls::files(reader, "election.tls");
    if !is_enabled && files != tls::Files::default() {
        let message = "has no effect unless election.security is tls";
        reader.problem("election.tls", reader.origin("election.tls"), message);
    }
    let tls::Files { ca_file, certificate_file, key_file } = files;
    is_enabled.then_some(ElectionTls { ca_file, certificate_file, key_file })
}

fn credentials(reader: &mut SettingReader<'_>) -> Option<Credentials> {
    // A colon separates the name from the password in ZooKeeper's scheme `digest`.
    let is_name = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || c == ':');
    let name = value::text("a user name", is_name);
    let (path, password) = ("election.password", value::secret());
    let Some(user) = reader.optional("election.user", &name) else {
        if reader.optional(path, &password).is_some() {
            reader.problem(path, reader.origin(path), "has no effect without election.user");
        }
        return None;
    };
    Some(Credentials { user, password: reader.required(path, &password, "election.user")? })
}
