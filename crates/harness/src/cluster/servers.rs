//! The servers that a cluster uses: the queue, the election backend, and a proxy for the database.

use crate::free_port;
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// The queue of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// Kafka with this number of brokers.
    Kafka(u32),
    /// The emulator of Kinesis that keeps acknowledged data.
    Kinesis,
    /// NATS with this number of servers.
    Nats(u32),
    /// One RabbitMQ.
    RabbitMq,
}

impl Broker {
    /// The script that starts it, such as `kafka.sh`.
    #[must_use]
    pub fn script(self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka.sh",
            Self::Kinesis => "kinesis.sh",
            Self::Nats(_) => "nats.sh",
            Self::RabbitMq => "rabbitmq.sh",
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Kinesis => "kinesis",
            Self::Nats(_) => "nats",
            Self::RabbitMq => "rabbitmq",
        }
    }

    /// Starts it. Returns its addresses and the lines of the configuration below `queue`.
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

/// The election backend with its number of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionServers {
    /// The database.
    Postgres,
    /// A separate etcd.
    Etcd(u32),
    /// A separate ZooKeeper.
    ZooKeeper(u32),
}

impl ElectionServers {
    /// The script that starts it, or `None` for the database.
    #[must_use]
    pub fn script(self) -> Option<&'static str> {
        self.parts().map(|(script, ..)| script)
    }

    /// Its script, backend, variable and number of servers, or `None` for the database.
    pub(super) fn parts(self) -> Option<(&'static str, &'static str, &'static str, u32)> {
        match self {
            Self::Postgres => None,
            Self::Etcd(count) => Some(("etcd.sh", "etcd", "ETCD_ENDPOINTS", count)),
            Self::ZooKeeper(count) => Some(("zookeeper.sh", "zookeeper", "ZOOKEEPER_SERVERS", count)),
        }
    }

    /// Starts it and returns the value of `election` in the configuration.
    pub(super) async fn start(self, services: &Services, database: &str) -> anyhow::Result<String> {
        let Some((script, backend, variable, count)) = self.parts() else {
            return Ok(format!("backend: postgres, url: {database}"));
        };
        let exported = services.call(script, &["up", &count.to_string()]).await?;
        let servers = exported.get(variable).with_context(|| format!("no {variable}"))?;
        Ok(format!("backend: {backend}, endpoints: [{}]", servers.replace(',', ", ")))
    }
}

/// Temporary servers of a test, started by the project's scripts.
#[derive(Debug, Clone)]
pub struct Services {
    pub(super) folder: PathBuf,
}

impl Services {
    /// Creates temporary servers with their data in an existing folder.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Calls a script such as `postgres.sh` and returns the variables that it exports.
    ///
    /// # Errors
    /// Returns an error if the script fails.
    pub async fn call(&self, script: &str, arguments: &[&str]) -> anyhow::Result<BTreeMap<String, String>> {
        self.call_with(script, arguments, &[]).await
    }

    /// Like [`call`](Self::call), with further variables for the script.
    ///
    /// # Errors
    /// Returns an error if the script fails.
    pub async fn call_with(
        &self,
        script: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let text = self.output_with(script, arguments, variables).await?;
        let exported = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        Ok(exported.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect())
    }

    /// Calls a script and returns its output.
    ///
    /// # Errors
    /// Returns an error if the script fails.
    pub async fn output(&self, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
        self.output_with(script, arguments, &[]).await
    }

    async fn output_with(
        &self,
        script: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services").join(script);
        let mut command = Command::new(path);
        command.args(arguments).env("GOCONDUCTOR_SERVICES", &self.folder).stdin(Stdio::null());
        command.envs(variables.iter().copied());
        if let Some(cache) = std::env::var_os("GOCONDUCTOR_TEST_CACHE") {
            command.env("GOCONDUCTOR_CACHE", cache);
        }
        let output = command.output().await.with_context(|| format!("failed to run {script}"))?;
        if !output.status.success() {
            bail!("{script} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Services {
    /// Stops a server and removes its data, from code that cannot wait for a task. Does nothing if it does not run.
    pub fn wipe(&self, script: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services").join(script);
        let mut command = std::process::Command::new(path);
        command.arg("wipe").env("GOCONDUCTOR_SERVICES", &self.folder);
        drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// The name of the proxy for the database.
pub(super) const PROXY: &str = "database";

/// A Toxiproxy between the state stores and the database.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The address of its API.
    pub(super) url: String,
    /// The URL of the database through the proxy.
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
