//! The whole system as separate processes over a real PostgreSQL and a real queue. Each process can be killed, paused,
//! terminated and restarted by name.

mod servers;

use crate::{Api, Certificates, free_port, goconductor};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

pub use servers::{Broker, ElectionServers, Services};
use servers::{PROXY, Proxy};

/// The warnings of each process in a diagnosis.
const DIAGNOSIS_LINES: usize = 15;

/// The parts of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The queue.
    pub queue: Broker,
    /// Other queues that the processes can reach.
    pub more_queues: Vec<Broker>,
    /// The number of processes of each kind.
    pub each: u32,
    /// The services with separate executors. If empty, each executor serves all services.
    pub services: Vec<String>,
    /// Whether the state stores reach the database through a Toxiproxy, so that their connections can be reset.
    pub proxied: bool,
    /// The election backend.
    pub election: ElectionServers,
    /// Further lines of the configuration, at the top level.
    pub settings: String,
    /// The folder of the binaries (default: those of this build). [`Cluster::use_binaries`] changes it for one process.
    pub binaries: Option<PathBuf>,
}

impl ClusterOptions {
    /// Returns the parts of a cluster with a number of processes of each kind. Each executor serves all services, and
    /// PostgreSQL elects the leaders.
    #[must_use]
    pub fn new(queue: Broker, each: u32) -> Self {
        Self {
            queue,
            more_queues: Vec::new(),
            each,
            services: Vec::new(),
            proxied: false,
            election: ElectionServers::Postgres,
            settings: String::new(),
            binaries: None,
        }
    }
}

/// A running cluster. All processes are killed and removed when this value is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    services: Services,
    members: BTreeMap<String, Member>,
    proxy: Option<Proxy>,
    /// The clients of the gateways' APIs.
    pub gateways: Vec<Api>,
    /// The URL of the database.
    pub database: String,
    /// The addresses of the brokers, separated by commas, or the endpoint of Kinesis.
    pub brokers: String,
    /// The ports of the servers.
    scripts: Vec<&'static str>,
    /// The certificates of the processes. `None` if they do not use TLS.
    certificates: Option<Certificates>,
}

/// A process of the cluster.
#[derive(Debug)]
struct Member {
    binary: &'static str,
    port: u16,
    arguments: Vec<String>,
    binaries: Option<PathBuf>,
    child: Option<Child>,
}

impl Cluster {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if a process does not become ready.
    pub async fn start(options: ClusterOptions) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, options, None).await
    }

    /// Like [`start`](Self::start), with TLS between all processes.
    ///
    /// # Errors
    /// Returns an error if a process does not become ready.
    pub async fn start_with_tls(options: ClusterOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::create(folder.path().join("certificates")).await?;
        Self::start_in(folder, options, Some(certificates)).await
    }

    async fn start_in(
        folder: tempfile::TempDir,
        options: ClusterOptions,
        certificates: Option<Certificates>,
    ) -> anyhow::Result<Self> {
        let services = Services { folder: folder.path().join("s") };
        std::fs::create_dir_all(&services.folder)?;
        // The database's user needs access to its folder.
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
        let mut members = members(&options)?;
        for member in members.values_mut() {
            let certificate = certificates.as_ref().map(|all| all.arguments(member.binary));
            member.arguments.extend(certificate.unwrap_or_default());
        }
        let proxy = if options.proxied { Some(Proxy::start(&services, &database).await?) } else { None };
        let (gateways, scripts) = (Vec::new(), scripts(&options));
        let mut this =
            Self { folder, services, members, proxy, gateways, database, brokers, scripts, certificates };
        this.configure(&options, &lines, &election)?;
        this.gateways = this.ports("api-gateway").map(|port| this.api(port)).collect::<Result<_, _>>()?;
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

    /// The URL of a process, without its port.
    fn host(&self) -> &'static str {
        if self.certificates.is_some() { "https://127.0.0.1" } else { "http://127.0.0.1" }
    }

    /// A client of a process. With TLS, it has the certificate of an operator.
    fn api(&self, port: u16) -> anyhow::Result<Api> {
        let base = format!("{}:{port}", self.host());
        match &self.certificates {
            Some(certificates) => Ok(Api::with_client(base, certificates.http_client("operator")?)),
            None => Ok(Api::new(base)),
        }
    }

    /// The certificates of the processes. `None` if they do not use TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    fn configure(&self, options: &ClusterOptions, queue: &str, election: &str) -> anyhow::Result<()> {
        let list = |binary: &str| {
            let url = |port| format!("{}:{port}", self.host());
            self.ports(binary).map(url).collect::<Vec<_>>().join(", ")
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

    /// The path of a process's log.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// The servers of the cluster.
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
        self.members.get(name).map(|member| format!("{}:{}", self.host(), member.port))
    }

    fn begin(&mut self, name: &str) -> anyhow::Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log(name))?;
        let missing = || format!("the cluster has no process {name}");
        let member = self.members.get(name).with_context(missing)?;
        let mut command = self.command_in(member.binaries.as_deref(), member.binary, member.port)?;
        command.args(&member.arguments).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        self.members.get_mut(name).with_context(missing)?.child = Some(child);
        Ok(())
    }

    /// A command that runs one more process of the cluster. The cluster does not know the process.
    ///
    /// # Errors
    /// Returns an error if the programs were not built.
    pub fn command(&self, binary: &str, port: u16) -> anyhow::Result<Command> {
        self.command_in(None, binary, port)
    }

    /// A command that runs a process, with the binary of `folder` or of this build.
    fn command_in(&self, folder: Option<&Path>, binary: &str, port: u16) -> anyhow::Result<Command> {
        let path = match folder {
            Some(folder) => folder.join(binary),
            None => Path::new(goconductor()?.as_std().get_program()).with_file_name(binary),
        };
        let mut command = Command::new(path);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("GOCONDUCTOR_") {
                command.env_remove(variable);
            }
        }
        // A former release ignores a variable that it does not know, and refuses such a key of the file.
        command.env("GOCONDUCTOR_EXECUTOR__OUTBOUND__ALLOW", "loopback");
        let listen = format!("127.0.0.1:{port}");
        command.arg("--config").arg(self.configuration()).args(["--listen", &listen]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    async fn ready(&mut self, name: &str) -> anyhow::Result<()> {
        let log = self.log(name);
        let missing = || format!("the cluster has no process {name}");
        let api = self.api(self.members.get(name).with_context(missing)?.port)?;
        let member = self.members.get_mut(name).with_context(missing)?;
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
        bail!("{name} did not become ready: {}", std::fs::read_to_string(log)?)
    }

    fn child(&mut self, name: &str) -> anyhow::Result<&mut Child> {
        let member =
            self.members.get_mut(name).with_context(|| format!("the cluster has no process {name}"))?;
        member.child.as_mut().with_context(|| format!("{name} is not running"))
    }

    async fn signal(&mut self, name: &str, signal: &str) -> anyhow::Result<()> {
        let pid = self.child(name)?.id().with_context(|| format!("{name} has ended"))?;
        let status = Command::new("kill").arg(signal).arg(pid.to_string()).status().await?;
        anyhow::ensure!(status.success(), "kill {signal} {name} failed");
        Ok(())
    }

    /// Kills a process with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// Returns an error if the process cannot be killed.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.child(name)?.kill().await?;
        Ok(())
    }

    /// Sends SIGTERM to a process, waits for its end and returns the duration.
    ///
    /// # Errors
    /// Returns an error if the process does not end or ends with a failure.
    pub async fn terminate(&mut self, name: &str) -> anyhow::Result<Duration> {
        #[allow(clippy::disallowed_methods, reason = "the harness keeps its own time")]
        let begun = std::time::Instant::now();
        self.signal(name, "-TERM").await?;
        let status = tokio::time::timeout(Duration::from_secs(30), self.child(name)?.wait()).await??;
        anyhow::ensure!(status.success(), "{name} ended with {status}");
        Ok(begun.elapsed())
    }

    /// Suspends a process with SIGSTOP.
    ///
    /// # Errors
    /// Returns an error if the process is not running.
    pub async fn pause(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name, "-STOP").await
    }

    /// Continues a process with SIGCONT.
    ///
    /// # Errors
    /// Returns an error if the process is not running.
    pub async fn resume(&mut self, name: &str) -> anyhow::Result<()> {
        self.signal(name, "-CONT").await
    }

    /// Starts a process again and waits until it is ready.
    ///
    /// # Errors
    /// Returns an error if the process does not become ready.
    pub async fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        self.begin(name)?;
        self.ready(name).await
    }

    /// Sets the folder of the binary with which a process is started next. `None` is that of this build.
    ///
    /// # Errors
    /// Returns an error if the cluster has no such process.
    pub fn use_binaries(&mut self, name: &str, folder: Option<&Path>) -> anyhow::Result<()> {
        let member =
            self.members.get_mut(name).with_context(|| format!("the cluster has no process {name}"))?;
        member.binaries = folder.map(Path::to_owned);
        Ok(())
    }

    /// The metrics of a process by name and labels as printed. The values of processes of one kind are added up.
    ///
    /// # Errors
    /// Returns an error if a process does not answer.
    pub async fn measured(&self, binary: &str, metric: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for port in self.ports(binary) {
            let api = self.api(port)?;
            let text = api.http().get(format!("{}/metrics", api.base())).send().await?.text().await?;
            let lines = text
                .lines()
                .filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{'])));
            sum += lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
        Ok(sum)
    }

    /// Describes the present state for the message of a failed test: the backlog of the queues, their move, the members,
    /// and the last warnings of each process.
    pub async fn diagnosis(&self) -> String {
        let mut text = String::new();
        if let Some(api) = self.gateways.first() {
            for path in ["/queues", "/queues/switch", "/services"] {
                let found = api.send("GET", path, None).await;
                text.push_str(&match found {
                    Ok((status, body)) => format!("GET {path}: {status} {body}\n"),
                    Err(error) => format!("GET {path}: {error:#}\n"),
                });
            }
        }
        for name in self.names() {
            let log = std::fs::read(self.log(&name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let warnings: Vec<&str> = log
                .lines()
                .filter(|line| [" WARN ", "ERROR "].iter().any(|level| line.contains(level)))
                .collect();
            let last = warnings.len().saturating_sub(DIAGNOSIS_LINES);
            let lines = warnings.get(last..).unwrap_or_default();
            text.push_str(&format!("{name}: {} warnings, the last of which are:\n", warnings.len()));
            lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        }
        text
    }

    /// Resets every connection between the state stores and the database for some time.
    ///
    /// # Errors
    /// Returns an error without a proxy, or if the proxy refuses.
    pub async fn cut_database(&self, for_a: Duration) -> anyhow::Result<()> {
        let toxics = self.toxics()?;
        let toxic = serde_json::json!({"name": "cut", "type": "reset_peer", "attributes": {"timeout": 0}});
        let client = reqwest::Client::new();
        client.post(&toxics).json(&toxic).send().await?.error_for_status()?;
        tokio::time::sleep(for_a).await;
        client.delete(format!("{toxics}/cut")).send().await?.error_for_status()?;
        Ok(())
    }

    /// Delays every response of the database to the state stores. A delay of zero ends that.
    ///
    /// # Errors
    /// Returns an error without a proxy, or if the proxy refuses.
    pub async fn delay_database(&self, delay: Duration) -> anyhow::Result<()> {
        let (toxics, client) = (self.toxics()?, reqwest::Client::new());
        if delay.is_zero() {
            client.delete(format!("{toxics}/delay")).send().await?.error_for_status()?;
            return Ok(());
        }
        let latency = u64::try_from(delay.as_millis())?;
        let toxic =
            serde_json::json!({"name": "delay", "type": "latency", "attributes": {"latency": latency}});
        client.post(&toxics).json(&toxic).send().await?.error_for_status()?;
        Ok(())
    }

    fn toxics(&self) -> anyhow::Result<String> {
        let proxy = self.proxy.as_ref().context("the cluster has no proxy; set ClusterOptions::proxied")?;
        Ok(format!("{}/proxies/{PROXY}/toxics", proxy.url))
    }

    /// The peak resident memory of each process, in KiB.
    ///
    /// # Errors
    /// Returns an error if the system does not report it.
    pub fn peak_kib(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let running =
            self.members.iter().filter_map(|(name, member)| Some((name, member.child.as_ref()?.id()?)));
        running.map(|(name, pid)| Ok((name.clone(), crate::process::peak_kib(pid)?))).collect()
    }

    /// Stops the servers. Without this call they are stopped when the value is dropped.
    ///
    /// # Errors
    /// Returns an error if a server does not end.
    pub async fn down(mut self) -> anyhow::Result<()> {
        for name in self.names() {
            // A killed process has already ended.
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
        // A failed test does not call `down`, and the servers must not outlive it.
        for script in &self.scripts {
            self.services.wipe(script);
        }
    }
}

/// The servers of a cluster.
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
        let (port, binaries) = (free_port()?, options.binaries.clone());
        members.insert(name, Member { binary, port, arguments, binaries, child: None });
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
