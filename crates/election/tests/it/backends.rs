//! The servers that tests run against, and elections on them.

use async_trait::async_trait;
use goconductor_election::conformance::{Factory, HeldUp, Sleeper};
use goconductor_election::{Election, EtcdElection, Leadership, PostgresElection, ZooKeeperElection};
use goconductor_election::{etcd, postgres, zookeeper};
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use std::time::Duration;

/// One who leads and is not heard of for this long is replaced.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// What a change of leader may take beyond it.
pub(crate) const BEYOND: Duration = Duration::from_secs(2);

/// Servers of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Etcd,
    ZooKeeper,
}

/// The variables that say where servers are.
pub(crate) const POSTGRES: (Kind, &str) = (Kind::Postgres, "GOCONDUCTOR_TEST_POSTGRES_URL");
pub(crate) const ETCD: (Kind, &str) = (Kind::Etcd, "GOCONDUCTOR_TEST_ETCD_ENDPOINTS");
pub(crate) const ETCD3: (Kind, &str) = (Kind::Etcd, "GOCONDUCTOR_TEST_ETCD3_ENDPOINTS");
pub(crate) const ZOOKEEPER: (Kind, &str) = (Kind::ZooKeeper, "GOCONDUCTOR_TEST_ZOOKEEPER_SERVERS");
pub(crate) const ZOOKEEPER3: (Kind, &str) = (Kind::ZooKeeper, "GOCONDUCTOR_TEST_ZOOKEEPER3_SERVERS");
/// Each of them.
pub(crate) const ALL: [(Kind, &str); 5] = [POSTGRES, ETCD, ETCD3, ZOOKEEPER, ZOOKEEPER3];

/// The address in a variable; none: say so, unless that is a failure.
pub(crate) fn address(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "{variable} is not set");
        eprintln!("not run: {variable} is not set");
    }
    address
}

/// An election of its own at servers that others use as well: whoever opens it stands in the same one.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    kind: Kind,
    /// A URL with a schema; or addresses.
    address: String,
    /// What keys or nodes are below.
    prefix: String,
    lease: Duration,
}

impl Place {
    /// One that nobody has used before; none: there are no such servers.
    pub(crate) async fn new((kind, variable): (Kind, &str)) -> Option<Self> {
        Some(Self::at(kind, address(variable)?).await)
    }

    /// One at these servers.
    pub(crate) async fn at(kind: Kind, address: String) -> Self {
        let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
        let address = match kind {
            Kind::Postgres => schema(&address).await,
            Kind::Etcd | Kind::ZooKeeper => address,
        };
        Self { kind, address, prefix, lease: LEASE }
    }

    /// As a text for another process, and back.
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

    /// The same with another lease.
    pub(crate) fn with_lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Stands in it as a process of its own.
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

/// Comes to lead, as callers do: what may succeed later is tried again.
pub(crate) async fn lead(election: &dyn Election, name: &str, candidate: &str) -> Leadership {
    loop {
        match election.campaign(name, candidate).await {
            Ok(leadership) => return leadership,
            Err(error) if error.retryable() => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A schema of its own at a server.
pub(crate) async fn schema(url: &str) -> String {
    let name = format!("election_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(url).await.expect("a server");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {name}"))).execute(&mut connection).await.unwrap();
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options=-c%20search_path%3D{name}")
}

/// Elections at servers.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) kind: Kind,
    pub(crate) address: String,
}

#[async_trait]
impl Factory for Servers {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Place::at(self.kind, self.address.clone()).await.open().await
    }

    async fn held_up(&self, name: &str) -> Result<HeldUp, String> {
        let place = Place::at(self.kind, self.address.clone()).await;
        let (election, name) = (place.open().await?, name.to_owned());
        let sleeper = tokio::task::spawn_blocking(move || {
            Sleeper::lead(&name, move || Box::pin(async move { place.open().await }))
        });
        let (token, sleeper) = sleeper.await.map_err(|error| error.to_string())??;
        Ok(HeldUp { token, election, sleeper: Some(sleeper) })
    }
}
