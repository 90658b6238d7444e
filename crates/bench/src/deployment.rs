//! The deployments of GoConductor to measure: one process, or one process per service, with participants.

use crate::child_process::{ChildCommand, ChildProcess, free_port, goconductor_binary, sibling_binary};
use crate::database::Database;
use crate::gateway::Gateway;
use crate::meter::{MeteredProcess, Role};
use crate::participant::READY;
use crate::saga::{self, SERVICES, Saga};
use crate::security::{self, Certificates};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// The processes of GoConductor and its participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topology {
    /// `goconductor dev` with SQLite and in-process participants.
    Dev,
    /// `goconductor dev` with SQLite and HTTP participants.
    DevHttp,
    /// One process per service, with PostgreSQL, Kafka and participants over worker streams.
    Processes,
    /// One process per service, with PostgreSQL, Kafka and HTTP participants.
    ProcessesHttp,
}

impl Topology {
    /// Returns the name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::DevHttp => "dev-http",
            Self::Processes => "processes",
            Self::ProcessesHttp => "processes-http",
        }
    }

    pub(crate) fn is_dev(self) -> bool {
        matches!(self, Self::Dev | Self::DevHttp)
    }

    fn is_http(self) -> bool {
        matches!(self, Self::DevHttp | Self::ProcessesHttp)
    }

    /// Returns the duration of the warm-up, in which topics are created and assigned, and caches are filled.
    pub(crate) fn warm_up(self) -> Duration {
        if self.is_dev() { Duration::from_secs(1) } else { Duration::from_secs(8) }
    }
}

/// The parts of a deployment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeploymentParts<'a> {
    pub(crate) topology: Topology,
    pub(crate) database: &'a Database,
    pub(crate) brokers: &'a str,
    /// The directory of its files.
    pub(crate) folder: &'a Path,
    /// Whether all processes use TLS and check access.
    pub(crate) secure: bool,
    /// Further settings of each process, in the form `key=value`.
    pub(crate) settings: &'a [String],
}

/// A running deployment. Dropping it kills its processes.
#[derive(Debug)]
pub(crate) struct Deployment {
    processes: Vec<ChildProcess>,
    pub(crate) gateway: Gateway,
    pub(crate) ready_ms: f64,
}

impl Deployment {
    /// Starts a deployment and waits until it accepts sagas.
    pub(crate) async fn start(parts: DeploymentParts<'_>) -> anyhow::Result<Self> {
        let certificates = if parts.secure { Some(Certificates::create(parts.folder).await?) } else { None };
        let started = Instant::now();
        let gateway = Gateway { port: free_port()?, certificates, token: None };
        let mut this = Self { processes: Vec::new(), gateway, ready_ms: 0.0 };
        match parts.database {
            Database::Sqlite(_) => this.start_dev(parts).await?,
            Database::Postgres { url, name } => this.start_processes(url, name, parts).await?,
        }
        this.ready_ms = crate::figures::rounded(started.elapsed().as_secs_f64() * 1000.0, 1);
        this.start_participants(parts.topology, parts.folder).await?;
        this.apply().await?;
        if parts.secure {
            this.gateway.token = Some(security::create_key(&this.gateway.client()?).await?);
        }
        Ok(this)
    }

    async fn start_dev(&mut self, parts: DeploymentParts<'_>) -> anyhow::Result<()> {
        let folder = parts.folder;
        let mut arguments = vec!["dev".to_owned()];
        arguments.extend(["--data-dir".to_owned(), crate::database::data_dir(folder).display().to_string()]);
        if !parts.topology.is_http() {
            arguments.push("--bench-participants".to_owned());
        }
        if parts.secure {
            let file = folder.join("bench.yaml");
            std::fs::write(&file, Certificates::access())?;
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        arguments.extend(self.server_arguments("dev", self.gateway.port, parts.settings));
        let dev = ChildCommand {
            name: "dev",
            role: Role::Server,
            binary: goconductor_binary()?,
            arguments,
            folder,
        };
        let mut dev = dev.spawn()?;
        dev.wait_until_ready(&self.gateway.client()?).await?;
        self.processes.push(dev);
        Ok(())
    }

    /// Returns the address, the certificate and the further settings of a server.
    fn server_arguments(&self, role: &str, port: u16, settings: &[String]) -> Vec<String> {
        let mut arguments = vec!["--listen".to_owned(), format!("127.0.0.1:{port}")];
        if let Some(certificates) = &self.gateway.certificates {
            arguments.extend(certificates.server_arguments(role));
        }
        arguments.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
        arguments
    }

    async fn start_processes(
        &mut self,
        url: &str,
        name: &str,
        parts: DeploymentParts<'_>,
    ) -> anyhow::Result<()> {
        let folder = parts.folder;
        let ports = [free_port()?, free_port()?, free_port()?, self.gateway.port];
        let [state_store, elector, ..] = ports.map(|port| self.gateway.url_of(port));
        // Like the database, the topics are used by this measurement only.
        let configuration = format!(
            "state_store:\n  backend: postgres\n  url: {url}\n  endpoints: [{state_store}]\n\
             queue: {{ backend: kafka, brokers: [{}], prefix: {} }}\n\
             election: {{ backend: postgres, url: {url}, electors: [{elector}] }}\n{}",
            parts.brokers.replace(',', ", "),
            crate::database::topic_prefix(name),
            if parts.secure { Certificates::access() } else { "" },
        );
        let file = folder.join("bench.yaml");
        std::fs::write(&file, configuration)?;
        let names = ["state-store", "leader-elector", "saga-executor", "api-gateway"];
        let mut started = Vec::new();
        for (name, port) in names.into_iter().zip(ports) {
            let mut arguments = vec!["--config".to_owned(), file.display().to_string()];
            arguments.extend(self.server_arguments(name, port, parts.settings));
            let (role, binary) = (Role::Server, sibling_binary(name)?);
            started.push((ChildCommand { name, role, binary, arguments, folder }.spawn()?, port));
        }
        for (mut process, port) in started {
            process.wait_until_ready(&self.gateway.client_of(port)?).await?;
            self.processes.push(process);
        }
        Ok(())
    }

    async fn start_participants(&mut self, topology: Topology, folder: &Path) -> anyhow::Result<()> {
        let (name, role, binary) = ("participants", Role::Participants, goconductor_binary()?);
        let mut arguments = vec!["bench-participants".to_owned()];
        match topology {
            Topology::Dev => return Ok(()),
            Topology::Processes => {
                arguments.extend(["--gateway".to_owned(), self.gateway.url()]);
                if let Some(certificates) = &self.gateway.certificates {
                    arguments.extend(certificates.participant_arguments());
                }
            }
            Topology::DevHttp | Topology::ProcessesHttp => {}
        }
        let start = ChildCommand { name, role, binary, arguments, folder };
        let (process, port) = start.spawn_until_line(READY).await?;
        self.processes.push(process);
        if topology.is_http() {
            let client = self.gateway.client()?;
            for (service, _) in SERVICES {
                let url = format!("http://127.0.0.1:{port}/{service}");
                client.set_service(service, &json!({"http": {"url": url}})).await?;
            }
        }
        Ok(())
    }

    /// Applies the definitions. Preloaded workflows use the same ones.
    async fn apply(&self) -> anyhow::Result<()> {
        let client = self.gateway.client()?;
        let mut all: Vec<(&str, String)> =
            Saga::ALL.into_iter().map(|saga| (saga.definition(), saga.source())).collect();
        all.push(saga::waiting());
        for (name, source) in all {
            let applied = client.apply_definition(name, "application/yaml", &source, false).await?;
            anyhow::ensure!(applied.value.version == 1, "definition {name} has more than one version");
        }
        Ok(())
    }

    /// Returns the processes to measure, including this one.
    pub(crate) fn targets(&self) -> anyhow::Result<Vec<MeteredProcess>> {
        let mut targets = self.processes.iter().map(ChildProcess::target).collect::<Result<Vec<_>, _>>()?;
        targets.push(MeteredProcess::client());
        Ok(targets)
    }

    /// Stops the processes, clients before servers.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        while let Some(process) = self.processes.pop() {
            process.stop().await?;
        }
        Ok(())
    }
}
