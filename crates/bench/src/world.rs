//! GoConductor as it is measured: one process, or each service in its own, with its participants.

use crate::child::{Member, Start, beside, free_port};
use crate::database::Database;
use crate::meter::{Role, Target};
use crate::participant::READY;
use crate::saga::{self, SERVICES, Saga};
use goconductor_client::Client;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Where GoConductor and its participants run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting {
    /// `goconductor dev` over SQLite, the participants in it.
    Dev,
    /// The same, the participants over HTTP.
    DevHttp,
    /// Each service in a process of its own, PostgreSQL, Kafka, and participants over worker streams.
    Processes,
    /// The same, the participants over HTTP.
    ProcessesHttp,
}

impl Setting {
    /// Its name on the command line and in reports.
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

    /// How long it is driven before anything is measured: topics are made and shared out, caches filled.
    pub(crate) fn warm_up(self) -> Duration {
        if self.is_dev() { Duration::from_secs(1) } else { Duration::from_secs(8) }
    }
}

/// A running GoConductor with its participants. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct World {
    members: Vec<Member>,
    /// The gateway's.
    pub(crate) port: u16,
    pub(crate) ready_ms: f64,
}

impl World {
    /// Starts it over a database, with its files in a folder, and waits until it takes sagas.
    pub(crate) async fn start(
        setting: Setting,
        database: &Database,
        brokers: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut this = Self { members: Vec::new(), port: free_port()?, ready_ms: 0.0 };
        match database {
            Database::Sqlite(_) => this.start_dev(setting, folder).await?,
            Database::Postgres { url, name } => this.start_processes(url, name, brokers, folder).await?,
        }
        this.ready_ms = crate::figures::rounded(begun.elapsed().as_secs_f64() * 1000.0, 1);
        this.start_participants(setting, folder).await?;
        this.apply().await?;
        Ok(this)
    }

    async fn start_dev(&mut self, setting: Setting, folder: &Path) -> anyhow::Result<()> {
        let mut arguments = vec!["dev".to_owned()];
        arguments.extend(["--data-dir".to_owned(), crate::database::folder(folder).display().to_string()]);
        arguments.extend(["--listen".to_owned(), format!("127.0.0.1:{}", self.port)]);
        if !setting.is_http() {
            arguments.push("--bench-participants".to_owned());
        }
        let binary = std::env::current_exe()?;
        let dev = Start { name: "dev", role: Role::Server, binary, arguments, folder };
        let mut dev = dev.begin()?;
        dev.ready(self.port).await?;
        self.members.push(dev);
        Ok(())
    }

    async fn start_processes(
        &mut self,
        url: &str,
        name: &str,
        brokers: &str,
        folder: &Path,
    ) -> anyhow::Result<()> {
        let ports = [free_port()?, free_port()?, free_port()?, self.port];
        let [state_store, elector, ..] = ports;
        // Topics of its own, as the database is.
        let configuration = format!(
            "state_store:\n  backend: postgres\n  url: {url}\n  endpoints: [http://127.0.0.1:{state_store}]\n\
             queue: {{ backend: kafka, brokers: [{}], prefix: {} }}\n\
             election: {{ backend: postgres, url: {url}, electors: [http://127.0.0.1:{elector}] }}\n",
            brokers.replace(',', ", "),
            crate::database::prefix(name),
        );
        let file = folder.join("bench.yaml");
        std::fs::write(&file, configuration)?;
        let names = ["state-store", "leader-elector", "saga-executor", "api-gateway"];
        let mut begun = Vec::new();
        for (name, port) in names.into_iter().zip(ports) {
            let arguments = [
                "--config".to_owned(),
                file.display().to_string(),
                "--listen".to_owned(),
                format!("127.0.0.1:{port}"),
            ];
            let (role, binary, arguments) = (Role::Server, beside(name)?, arguments.to_vec());
            begun.push((Start { name, role, binary, arguments, folder }.begin()?, port));
        }
        for (mut member, port) in begun {
            member.ready(port).await?;
            self.members.push(member);
        }
        Ok(())
    }

    async fn start_participants(&mut self, setting: Setting, folder: &Path) -> anyhow::Result<()> {
        let (name, role, binary) = ("participants", Role::Participants, std::env::current_exe()?);
        let mut arguments = vec!["bench-participants".to_owned()];
        match setting {
            Setting::Dev => return Ok(()),
            Setting::Processes => {
                arguments.extend(["--gateway".to_owned(), format!("http://127.0.0.1:{}", self.port)]);
            }
            Setting::DevHttp | Setting::ProcessesHttp => {}
        }
        let start = Start { name, role, binary, arguments, folder };
        let (member, said) = start.until_said(READY).await?;
        self.members.push(member);
        if setting.is_http() {
            let client = self.client()?;
            for (service, _) in SERVICES {
                let url = format!("http://127.0.0.1:{said}/{service}");
                client.set_service(service, &json!({"http": {"url": url}})).await?;
            }
        }
        Ok(())
    }

    /// The definitions; those of workflows that were there before are the same.
    async fn apply(&self) -> anyhow::Result<()> {
        let client = self.client()?;
        let mut all: Vec<(&str, String)> =
            Saga::ALL.into_iter().map(|saga| (saga.definition(), saga.source())).collect();
        all.push(saga::waiting());
        for (name, source) in all {
            let applied = client.apply_definition(name, "application/yaml", &source, false).await?;
            anyhow::ensure!(applied.value.version == 1, "{name} is not the only version of its definition");
        }
        Ok(())
    }

    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&format!("http://127.0.0.1:{}", self.port), "default")?)
    }

    /// Its processes, and this one.
    pub(crate) fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let mut targets = self.members.iter().map(Member::target).collect::<Result<Vec<_>, _>>()?;
        targets.push(Target::client());
        Ok(targets)
    }

    /// Ends it in order: who asks ends before who is asked.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        while let Some(member) = self.members.pop() {
            member.end().await?;
        }
        Ok(())
    }
}
