//! The servers that stand below a cluster: what carries commands, what chooses leaders, and a proxy before the
//! database.

use crate::free_port;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// What carries commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// So many brokers of Kafka.
    Kafka(u32),
    /// An emulator of Kinesis: the one that keeps what it has answered.
    Kinesis,
    /// So many servers of NATS.
    Nats(u32),
    /// One RabbitMQ.
    RabbitMq,
}

impl Broker {
    /// The project's script for it, such as `kafka.sh`.
    #[must_use]
    pub fn script(self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka.sh",
            Self::Kinesis => "kinesis.sh",
            Self::Nats(_) => "nats.sh",
            Self::RabbitMq => "rabbitmq.sh",
        }
    }

    /// What the configuration calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Kinesis => "kinesis",
            Self::Nats(_) => "nats",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// Starts it; where it is, and the lines below `queue` that say how it is reached.
    pub(super) async fn up(self, services: &Services) -> anyhow::Result<(String, String)> {
        let mut up = vec!["up".to_owned()];
        if let Self::Kafka(count) | Self::Nats(count) = self {
            up.push(count.to_string());
        }
        let up: Vec<&str> = up.iter().map(String::as_str).collect();
        let exported = services.call(self.script(), &up).await?;
        let get = |name: &str| exported.get(name).cloned().with_context(|| format!("no {name}"));
        Ok(match self {
            Self::Kafka(_) => {
                let all = get("KAFKA_BROKERS")?;
                let lines = format!("  brokers: [{}]\n", all.replace(',', ", "));
                (all, lines)
            }
            Self::Kinesis => {
                let (endpoint, region) = (get("KINESIS_ENDPOINT")?, get("AWS_REGION")?);
                let (id, secret) = (get("AWS_ACCESS_KEY_ID")?, get("AWS_SECRET_ACCESS_KEY")?);
                let lines = format!(
                    "  kinesis:\n    region: {region}\n    endpoint: {endpoint}\n    \
                     credentials: {{ access_key_id: {id}, secret_access_key: {secret} }}\n"
                );
                (endpoint, lines)
            }
            Self::Nats(_) => {
                let all = get("NATS_SERVERS")?;
                let list = all.replace(',', ", ");
                let lines = format!("  nats: {{ servers: [{list}] }}\n");
                (all, lines)
            }
            Self::RabbitMq => {
                let hosts = get("RABBITMQ_HOSTS")?;
                let (user, password) = (get("RABBITMQ_USER")?, get("RABBITMQ_PASSWORD")?);
                let lines = format!(
                    "  rabbitmq: {{ hosts: [{hosts}], user: {user}, \
                     password: \"{password}\" }}\n"
                );
                (hosts, lines)
            }
        })
    }
}

/// What chooses leaders, with how many servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionServers {
    /// The database.
    Postgres,
    /// An etcd of its own.
    Etcd(u32),
    /// A ZooKeeper of its own.
    ZooKeeper(u32),
}

impl ElectionServers {
    /// The project's script for it; none: the database does it.
    #[must_use]
    pub fn script(self) -> Option<&'static str> {
        self.parts().map(|(script, ..)| script)
    }

    /// Its script, backend, variable and number of servers; none: the database does it.
    pub(super) fn parts(self) -> Option<(&'static str, &'static str, &'static str, u32)> {
        match self {
            Self::Postgres => None,
            Self::Etcd(count) => Some(("etcd.sh", "etcd", "ETCD_ENDPOINTS", count)),
            Self::ZooKeeper(count) => Some(("zookeeper.sh", "zookeeper", "ZOOKEEPER_SERVERS", count)),
        }
    }

    /// Starts them; what the configuration says of them.
    pub(super) async fn start(self, services: &Services, database: &str) -> anyhow::Result<String> {
        let Some((script, backend, variable, count)) = self.parts() else {
            return Ok(format!("backend: postgres, url: {database}"));
        };
        let exported = services.call(script, &["up", &count.to_string()]).await?;
        let servers = exported.get(variable).with_context(|| format!("no {variable}"))?;
        Ok(format!("backend: {backend}, endpoints: [{}]", servers.replace(',', ", ")))
    }
}

/// Real servers of a test's own, by the project's scripts.
#[derive(Debug)]
pub struct Services {
    pub(super) folder: PathBuf,
}

impl Services {
    /// Calls a script such as `postgres.sh`; what it exports.
    ///
    /// # Errors
    /// When it fails.
    pub async fn call(&self, script: &str, arguments: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
        let text = self.output(script, arguments).await?;
        let exported = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        Ok(exported.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect())
    }

    /// Calls a script; what it prints.
    ///
    /// # Errors
    /// When it fails.
    pub async fn output(&self, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services").join(script);
        let mut command = Command::new(path);
        command.args(arguments).env("GOCONDUCTOR_SERVICES", &self.folder).stdin(Stdio::null());
        if let Some(cache) = std::env::var_os("GOCONDUCTOR_TEST_CACHE") {
            command.env("GOCONDUCTOR_CACHE", cache);
        }
        let output = command.output().await.with_context(|| format!("{script} can't be run"))?;
        if !output.status.success() {
            bail!("{script} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The proxy's name for the way to the database.
pub(super) const PROXY: &str = "database";

/// A Toxiproxy between the state stores and the database.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Where it is told what to do.
    pub(super) url: String,
    /// The database's address through it.
    pub(super) database: String,
}

impl Proxy {
    pub(super) async fn start(services: &Services, database: &str) -> anyhow::Result<Self> {
        let exported = services.call("toxiproxy.sh", &["up"]).await?;
        let url = exported.get("TOXIPROXY_URL").context("no TOXIPROXY_URL")?.clone();
        let (before, rest) = database.split_once('@').context("a database's address has a user")?;
        let (upstream, name) = rest.split_once('/').context("a database's address has a name")?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let proxy =
            serde_json::json!({"name": PROXY, "listen": listen, "upstream": upstream, "enabled": true});
        reqwest::Client::new()
            .post(format!("{url}/proxies"))
            .json(&proxy)
            .send()
            .await?
            .error_for_status()?;
        Ok(Self { url, database: format!("{before}@{listen}/{name}") })
    }
}
