//! The whole system as processes of their own, over a real PostgreSQL and a real queue: each can be killed, paused,
//! ended and started again by its name.

mod servers;

use crate::{Api, free_port, goconductor};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

pub use servers::{Broker, ElectionServers, Services};
use servers::{PROXY, Proxy};

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// What carries commands.
    pub queue: Broker,
    /// Other queues that its processes know how to reach.
    pub more_queues: Vec<Broker>,
    /// Processes of each kind.
    pub each: u32,
    /// Services that have executors of their own; none: the executors serve all.
    pub services: Vec<String>,
    /// Whether a Toxiproxy stands between the state stores and the database, so that their connections can be
    /// cut.
    pub proxied: bool,
    /// What chooses leaders.
    pub election: ElectionServers,
    /// Further lines of the configuration, at its top level.
    pub settings: String,
}

/// A running cluster. Everything is killed and removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    services: Services,
    members: BTreeMap<String, Member>,
    proxy: Option<Proxy>,
    /// The gateways' APIs.
    pub gateways: Vec<Api>,
    /// The database's address.
    pub database: String,
    /// The brokers' addresses, with commas between them; of Kinesis its endpoint.
    pub brokers: String,
    /// Of all that stands below it.
    scripts: Vec<&'static str>,
}

/// A process of the cluster.
#[derive(Debug)]
struct Member {
    binary: &'static str,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Cluster {
    /// Starts everything, and waits until it is ready.
    ///
    /// # Errors
    /// When something does not get ready.
    pub async fn start(options: ClusterOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let services = Services { folder: folder.path().join("s") };
        std::fs::create_dir_all(&services.folder)?;
        // The database's own user has to reach its folder.
        for path in [folder.path(), &services.folder] {
            let status = Command::new("chmod").arg("755").arg(path).status().await?;
            anyhow::ensure!(status.success(), "chmod failed");
        }
        let queue = options.queue;
        let (postgres, (brokers, mut lines)) =
            tokio::try_join!(services.call("postgres.sh", &["up"]), queue.up(&services))?;
        for more in &options.more_queues {
            lines.push_str(&more.up(&services).await?.1);
        }
        let lines = format!("queue:\n  backend: {}\n{lines}", queue.name());
        let database = postgres.get("DATABASE_URL").context("no DATABASE_URL")?.clone();
        let election = options.election.start(&services, &database).await?;
        let members = members(&options)?;
        let proxy = if options.proxied { Some(Proxy::start(&services, &database).await?) } else { None };
        let (gateways, scripts) = (Vec::new(), scripts(&options));
        let mut this = Self { folder, services, members, proxy, gateways, database, brokers, scripts };
        this.configure(&options, &lines, &election)?;
        this.gateways =
            this.ports("api-gateway").map(|port| Api::new(format!("http://127.0.0.1:{port}"))).collect();
        for name in this.names() {
            this.begin(&name)?;
        }
        for name in this.names() {
            this.ready(&name).await?;
        }
        Ok(this)
    }

    fn ports(&self, binary: &str) -> impl Iterator<Item = u16> {
        self.members.values().filter(move |member| member.binary == binary).map(|member| member.port)
    }

    fn configure(&self, options: &ClusterOptions, queue: &str, election: &str) -> anyhow::Result<()> {
        let list = |binary: &str| {
            self.ports(binary).map(|port| format!("http://127.0.0.1:{port}")).collect::<Vec<_>>().join(", ")
        };
        let text = format!(
            "state_store:\n  backend: postgres\n  url: {}\n  endpoints: [{}]\n\
             {queue}\
             election: {{ {election}, electors: [{}] }}\n{}",
            self.proxy.as_ref().map_or(&self.database, |proxy| &proxy.database),
            list("state-store"),
            list("leader-elector"),
            options.settings,
        );
        std::fs::write(self.configuration(), text)?;
        Ok(())
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("cluster.yaml")
    }

    /// Where a process writes its log.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// The real servers under it.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The names of all processes.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// The base address of a process.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<String> {
        self.members.get(name).map(|member| format!("http://127.0.0.1:{}", member.port))
    }

    fn begin(&mut self, name: &str) -> anyhow::Result<()> {
        let (log, configuration) = (self.log(name), self.configuration());
        let member = self.members.get_mut(name).with_context(|| format!("there is no {name}"))?;
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let goconductor = goconductor()?;
        let path = Path::new(goconductor.as_std().get_program()).with_file_name(member.binary);
        let mut command = Command::new(path);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("GOCONDUCTOR_") {
                command.env_remove(variable);
            }
        }
        let child = command
            .arg("--config")
            .arg(configuration)
            .args(["--listen", &format!("127.0.0.1:{}", member.port)])
            .args(&member.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        member.child = Some(child);
        Ok(())
    }

    async fn ready(&mut self, name: &str) -> anyhow::Result<()> {
        let log = self.log(name);
        let member = self.members.get_mut(name).with_context(|| format!("there is no {name}"))?;
        let api = Api::new(format!("http://127.0.0.1:{}", member.port));
        for _ in 0..1200 {
            if let Some(child) = &mut member.child
                && let Some(status) = child.try_wait()?
            {
                bail!("{name} ended with {status}: {}", std::fs::read_to_string(log)?);
            }
            if api.is_ready().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{name} does not get ready: {}", std::fs::read_to_string(log)?)
    }

    fn child(&mut self, name: &str) -> anyhow::Result<&mut Child> {
        let member = self.members.get_mut(name).with_context(|| format!("there is no {name}"))?;
        member.child.as_mut().with_context(|| format!("{name} does not run"))
    }

    async fn signal(&mut self, name: &str, signal: &str) -> anyhow::Result<()> {
        let pid = self.child(name)?.id().with_context(|| format!("{name} has ended"))?;
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status().await?;
        anyhow::ensure!(status.success(), "kill {signal} {name} failed");
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be killed.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.child(name)?.kill().await?;
        Ok(())
    }

    /// SIGTERM, and waits for its end; how long that took.
    ///
    /// # Errors
    /// When it does not end by itself, or not well.
    pub async fn terminate(&mut self, name: &str) -> anyhow::Result<Duration> {
        #[allow(clippy::disallowed_methods, reason = "the harness keeps its own time")]
        let begun = std::time::Instant::now();
        self.signal(name, "-TERM").await?;
        let status = tokio::time::timeout(Duration::from_secs(30), self.child(name)?.wait()).await??;
        anyhow::ensure!(status.success(), "{name} ended with {status}");
        Ok(begun.elapsed())
    }

    /// SIGSTOP: it holds what it has, and does nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name, "-STOP").await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resume(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name, "-CONT").await
    }

    /// Starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        self.begin(name)?;
        self.ready(name).await
    }

    /// What a process has measured, by name and labels as they are printed; summed over the processes of a
    /// kind.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn measured(&self, binary: &str, metric: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for port in self.ports(binary) {
            let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await?.text().await?;
            let lines = text
                .lines()
                .filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{'])));
            sum += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
        Ok(sum)
    }

    /// Resets every connection of the state stores to the database, whatever is on its way, for a while.
    ///
    /// # Errors
    /// When there is no proxy, or it does not do it.
    pub async fn cut_database(&self, for_a: Duration) -> anyhow::Result<()> {
        let proxy = self.proxy.as_ref().context("there is no proxy: ClusterOptions::proxied")?;
        let toxics = format!("{}/proxies/{PROXY}/toxics", proxy.url);
        let toxic = serde_json::json!({"name": "cut", "type": "reset_peer", "attributes": {"timeout": 0}});
        let client = reqwest::Client::new();
        client.post(&toxics).json(&toxic).send().await?.error_for_status()?;
        tokio::time::sleep(for_a).await;
        client.delete(format!("{toxics}/cut")).send().await?.error_for_status()?;
        Ok(())
    }

    /// The most resident memory that each of its own processes ever had, in KiB.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn peak_kib(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let running =
            self.members.iter().filter_map(|(name, member)| Some((name, member.child.as_ref()?.id()?)));
        running.map(|(name, pid)| Ok((name.clone(), crate::process::peak_kib(pid)?))).collect()
    }

    /// Ends the real servers. What is dropped without it leaves them to the next start of the machine.
    ///
    /// # Errors
    /// When they do not end.
    pub async fn down(mut self) -> anyhow::Result<()> {
        for name in self.names() {
            // One that was killed has gone already.
            drop(self.kill(&name).await);
        }
        for script in &self.scripts {
            self.services.call(script, &["wipe"]).await?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test that failed did not come to `down`: the servers would outlive it.
        for script in &self.scripts {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services").join(script);
            let mut command = std::process::Command::new(path);
            command.arg("wipe").env("GOCONDUCTOR_SERVICES", &self.services.folder);
            drop(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status());
        }
    }
}

/// What stands below a cluster.
fn scripts(options: &ClusterOptions) -> Vec<&'static str> {
    let queues = std::iter::once(&options.queue).chain(&options.more_queues).map(|queue| queue.script());
    ["toxiproxy.sh"]
        .into_iter()
        .chain(queues)
        .chain(options.election.script())
        .chain(["postgres.sh"])
        .collect()
}

fn members(options: &ClusterOptions) -> anyhow::Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    let mut add = |name: String, binary: &'static str, arguments: Vec<String>| -> anyhow::Result<()> {
        members.insert(name, Member { binary, port: free_port()?, arguments, child: None });
        Ok(())
    };
    for number in 1..=options.each {
        add(format!("gateway-{number}"), "api-gateway", Vec::new())?;
        add(format!("store-{number}"), "state-store", Vec::new())?;
        add(format!("elector-{number}"), "leader-elector", Vec::new())?;
        if options.services.is_empty() {
            add(format!("executor-{number}"), "saga-executor", Vec::new())?;
        }
        for service in &options.services {
            let serves = vec!["--set".to_owned(), format!("executor.services={service}")];
            add(format!("executor-{service}-{number}"), "saga-executor", serves)?;
        }
    }
    Ok(members)
}
