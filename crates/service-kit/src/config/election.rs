//! What chooses leaders.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::backend::Tls;
use super::reader::Reader;
use super::value::{self, SecretText, SecretUrl};

/// What chooses leaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Election {
    /// Which election.
    pub backend: ElectionBackend,
    /// The database's direct address; none: that of the state store.
    pub url: Option<SecretUrl>,
    /// The members of etcd, or the servers of ZooKeeper.
    pub endpoints: Vec<String>,
    /// What their keys or nodes are below.
    pub prefix: String,
    /// One who leads and is not heard of for this long is replaced.
    pub lease: Duration,
    /// How long it takes at most to connect to one of them; one that is silent for as long is given up.
    pub connect_timeout: Duration,
    /// How long one of them may take to answer.
    pub request_timeout: Duration,
    /// TLS to them; none: it is not spoken.
    pub tls: Option<Tls>,
    /// Who connects to them; none: anybody.
    pub user: Option<User>,
    /// What tokens begin with: to be raised when another backend takes the place of this one.
    pub era: u8,
    /// Where a leader-elector listens.
    pub listen: SocketAddr,
    /// The leader-electors that the other services ask; none: each stands in the election itself.
    pub electors: Vec<String>,
}

/// An election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionBackend {
    /// In this process.
    Local,
    /// On a database, by advisory locks.
    Postgres,
    /// On etcd, by leases.
    Etcd,
    /// On ZooKeeper, by ephemeral nodes.
    ZooKeeper,
}

impl ElectionBackend {
    /// Whether it is reached by `endpoints`.
    fn has_endpoints(self) -> bool {
        match self {
            Self::Local | Self::Postgres => false,
            Self::Etcd | Self::ZooKeeper => true,
        }
    }
}

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: SecretText,
}

const BACKENDS: &[(&str, ElectionBackend)] = &[
    ("local", ElectionBackend::Local),
    ("postgres", ElectionBackend::Postgres),
    ("etcd", ElectionBackend::Etcd),
    ("zookeeper", ElectionBackend::ZooKeeper),
];

/// The word of a value.
fn word<T: Copy + PartialEq>(words: &[(&str, T)], of: &T) -> String {
    words.iter().find(|(_, known)| known == of).map(|(word, _)| (*word).to_owned()).unwrap_or_default()
}

pub(super) fn election(reader: &mut Reader<'_>) -> Election {
    let seconds = Duration::from_secs;
    let kind = value::choice(BACKENDS, |backend| word(BACKENDS, backend));
    let backend = reader.get("election.backend", &kind, ElectionBackend::Local);
    let electors = reader.get(
        "election.electors",
        &value::endpoints("http://127.0.0.1:8473, http://127.0.0.1:8483"),
        Vec::new(),
    );
    let postgres = value::url(&["postgres", "postgresql"], "postgres://user@127.0.0.1/goconductor");
    let patience = value::span(Duration::from_millis(10), seconds(150));
    let is_prefix = |text: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (1..=100).contains(&text.len()) && text.chars().all(inside) && !matches!(text, "." | "..")
    };
    let prefix = value::text("up to 100 letters, digits, hyphens, underscores and dots", is_prefix);
    Election {
        backend,
        url: reader.optional("election.url", &postgres),
        endpoints: endpoints(reader, backend, !electors.is_empty()),
        prefix: reader.get("election.prefix", &prefix, "goconductor".to_owned()),
        lease: reader.get("election.lease", &value::span(seconds(2), seconds(300)), seconds(5)),
        connect_timeout: reader.get("election.connect_timeout", &patience, seconds(1)),
        request_timeout: reader.get("election.request_timeout", &patience, seconds(1)),
        tls: tls(reader),
        user: user(reader),
        era: u8::try_from(reader.get("election.era", &value::integer(0, 127), 0)).unwrap_or(u8::MAX),
        listen: reader.get(
            "election.listen",
            &value::address(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, 8473)),
        ),
        electors,
    }
}

fn endpoints(reader: &mut Reader<'_>, backend: ElectionBackend, has_electors: bool) -> Vec<String> {
    let hosts = value::hosts(match backend {
        ElectionBackend::ZooKeeper => "127.0.0.1:2181",
        ElectionBackend::Local | ElectionBackend::Postgres | ElectionBackend::Etcd => "127.0.0.1:2379",
    });
    let path = "election.endpoints";
    let endpoints = if backend.has_endpoints() && !has_electors {
        reader.required(path, &hosts, "election.backend")
    } else {
        // Who asks others does not need to know by what they are elected.
        reader.optional(path, &hosts)
    };
    if endpoints.is_some() && !backend.has_endpoints() {
        let message =
            "is for the backends etcd and zookeeper; the leader-electors are named by election.electors";
        reader.problem(path, reader.origin(path), message);
    }
    endpoints.unwrap_or_default()
}

fn tls(reader: &mut Reader<'_>) -> Option<Tls> {
    const SECURITIES: &[(&str, bool)] = &[("plaintext", false), ("tls", true)];
    let security = value::choice(SECURITIES, |security| word(SECURITIES, security));
    let is_spoken = reader.get("election.security", &security, false);
    let tls = Tls {
        ca_file: reader.optional("election.tls.ca_file", &value::path()),
        certificate_file: reader.optional("election.tls.certificate_file", &value::path()),
        key_file: reader.optional("election.tls.key_file", &value::path()),
    };
    if !is_spoken && tls != Tls::default() {
        let message = "is of no use unless election.security is tls";
        reader.problem("election.tls", reader.origin("election.tls"), message);
    }
    is_spoken.then_some(tls)
}

fn user(reader: &mut Reader<'_>) -> Option<User> {
    let is_name = |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_control() || c == ':');
    let name = value::text("a user's name", is_name);
    let (path, password) = ("election.password", value::secret_text());
    let Some(name) = reader.optional("election.user", &name) else {
        if reader.optional(path, &password).is_some() {
            reader.problem(path, reader.origin(path), "is of no use without election.user");
        }
        return None;
    };
    Some(User { name, password: reader.required(path, &password, "election.user")? })
}

/// What each value by itself can't show.
pub(super) fn check(election: &Election, reader: &mut Reader<'_>) {
    for (path, timeout) in [
        ("election.connect_timeout", election.connect_timeout),
        ("election.request_timeout", election.request_timeout),
    ] {
        if timeout * 2 > election.lease {
            let message =
                "has to be half of election.lease at most, or one server that is silent would cost the lease";
            reader.problem(path, reader.origin(path), message);
        }
    }
}
