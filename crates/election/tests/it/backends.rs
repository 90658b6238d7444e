//! The servers of the tests, and elections on them.

use async_trait::async_trait;
use goconductor_election::conformance::{Factory, StalledLeader, StalledProcess};
use goconductor_election::{Election, EtcdElection, Leadership, PostgresElection, ZooKeeperElection};
use goconductor_election::{etcd, postgres, zookeeper};
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use std::time::Duration;

/// The lease of the tests.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// The time that a change of leader may take in addition to the lease.
pub(crate) const TAKEOVER_MARGIN: Duration = Duration::from_secs(2);

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Etcd,
    ZooKeeper,
}

/// The environment variables with the addresses of the servers.
pub(crate) const POSTGRES: (Kind, &str) = (Kind::Postgres, "GOCONDUCTOR_TEST_POSTGRES_URL");
pub(crate) const ETCD: (Kind, &str) = (Kind::Etcd, "GOCONDUCTOR_TEST_ETCD_ENDPOINTS");
pub(crate) const ETCD3: (Kind, &str) = (Kind::Etcd, "GOCONDUCTOR_TEST_ETCD3_ENDPOINTS");
pub(crate) const ZOOKEEPER: (Kind, &str) = (Kind::ZooKeeper, "GOCONDUCTOR_TEST_ZOOKEEPER_SERVERS");
pub(crate) const ZOOKEEPER3: (Kind, &str) = (Kind::ZooKeeper, "GOCONDUCTOR_TEST_ZOOKEEPER3_SERVERS");
/// All servers.
pub(crate) const ALL: [(Kind, &str); 5] = [POSTGRES, ETCD, ETCD3, ZOOKEEPER, ZOOKEEPER3];

/// The address in a variable. Returns `None` without it, unless services are required.
pub(crate) fn address(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "{variable} is not set");
        eprintln!("skipped: {variable} is not set");
    }
    address
}

/// A separate election on shared servers. All processes that open it are candidates in the same election.
#[derive(Debug, Clone)]
pub(crate) struct TestElection {
    kind: Kind,
    /// The URL with a schema, or the addresses.
    address: String,
    /// The prefix of keys or nodes.
    prefix: String,
    lease: Duration,
}

impl TestElection {
    /// A new election, or `None` without the servers.
    pub(crate) async fn new((kind, variable): (Kind, &str)) -> Option<Self> {
        Some(Self::at(kind, address(variable)?).await)
    }

    /// A new election on these servers.
    pub(crate) async fn at(kind: Kind, address: String) -> Self {
        let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
        let address = match kind {
            Kind::Postgres => schema(&address).await,
            Kind::Etcd | Kind::ZooKeeper => address,
        };
        Self { kind, address, prefix, lease: LEASE }
    }

    /// The text form, for another process.
    pub(crate) fn to_text(&self) -> String {
        format!("{:?} {} {}", self.kind, self.prefix, self.address)
    }

    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ')?;
        let (prefix, address) = rest.split_once(' ')?;
        let kind = [Kind::Postgres, Kind::Etcd, Kind::ZooKeeper]
            .into_iter()
            .find(|known| format!("{known:?}") == kind)?;
        Some(Self { kind, address: address.to_owned(), prefix: prefix.to_owned(), lease: LEASE })
    }

    fn endpoints(&self) -> Vec<String> {
        self.address.split(',').map(str::to_owned).collect()
    }

    /// The same election with another lease.
    pub(crate) fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Opens the election as a separate process.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Election>, String> {
        let (prefix, lease) = (self.prefix.clone(), self.lease);
        let opened: Result<Arc<dyn Election>, _> = match self.kind {
            Kind::Postgres => {
                let settings = postgres::Settings { lease };
                PostgresElection::connect(&self.address, settings).await.map(|opened| Arc::new(opened) as _)
            }
            Kind::Etcd => {
                let settings = etcd::Settings { prefix, lease, ..etcd::Settings::new(self.endpoints()) };
                EtcdElection::connect(settings).await.map(|opened| Arc::new(opened) as _)
            }
            Kind::ZooKeeper => {
                let settings =
                    zookeeper::Settings { prefix, lease, ..zookeeper::Settings::new(self.endpoints()) };
                ZooKeeperElection::connect(settings).await.map(|opened| Arc::new(opened) as _)
            }
        };
        opened.map_err(|error| error.to_string())
    }
}

/// Campaigns like a real caller, with retries.
pub(crate) async fn lead(election: &dyn Election, name: &str, candidate: &str) -> Leadership {
    loop {
        match election.campaign(name, candidate).await {
            Ok(leadership) => return leadership,
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Creates a schema on a server.
pub(crate) async fn schema(url: &str) -> String {
    let name = format!("election_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(url).await.expect("a server");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {name}"))).execute(&mut connection).await.unwrap();
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options=-c%20search_path%3D{name}")
}

/// A factory of elections on servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) kind: Kind,
    pub(crate) address: String,
}

#[async_trait]
impl Factory for Servers {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        TestElection::at(self.kind, self.address.clone()).await.open().await
    }

    async fn stalled_leader(&self, name: &str) -> Result<StalledLeader, String> {
        let place = TestElection::at(self.kind, self.address.clone()).await;
        let (election, name) = (place.open().await?, name.to_owned());
        let process = tokio::task::spawn_blocking(move || {
            StalledProcess::lead(&name, move || Box::pin(async move { place.open().await }))
        });
        let (token, process) = process.await.map_err(|error| error.to_string())??;
        Ok(StalledLeader { token, election, process: Some(process) })
    }
}
