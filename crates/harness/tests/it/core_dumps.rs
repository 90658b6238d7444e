//! Core dumps: the memory of a process that serves is in no file, although the system allows core dumps.

use goconductor_harness::{Api, free_port, goconductor};
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

const SIGABRT: i32 = 6;

/// A process that was started by a shell that allows core dumps, in a folder of its own.
struct Started {
    child: Child,
    folder: tempfile::TempDir,
}

impl Started {
    /// Starts the command `goconductor`, or another program beside it, with the text of a configuration file.
    fn new(folder: tempfile::TempDir, program: &str, config: &str, arguments: &[&str]) -> Self {
        let file = folder.path().join("goconductor.yaml");
        std::fs::write(&file, config).unwrap();
        let path = Path::new(goconductor().unwrap().as_std().get_program()).with_file_name(program);
        let arguments = arguments.iter().map(OsStr::new);
        let arguments = arguments.chain([OsStr::new("--config"), file.as_os_str()]);
        Self::begin(folder, path.as_os_str(), arguments)
    }

    fn begin<'a>(
        folder: tempfile::TempDir,
        program: &OsStr,
        arguments: impl Iterator<Item = &'a OsStr>,
    ) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GOCONDUCTOR_") {
                shell.env_remove(name);
            }
        }
        let child = shell
            .args(["-c", "ulimit -c \"$(ulimit -Hc)\"; exec \"$@\"", "server"])
            .arg(program)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Returns the soft and the hard limit of core files.
    fn limits(&self) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.pid())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        [4, 5].map(|field| line.split_whitespace().nth(field).unwrap().to_owned())
    }

    /// Returns the name of the program that the process runs.
    fn program(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/comm", self.pid())).unwrap().trim().to_owned()
    }

    async fn until(&mut self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        for _ in 0..3000 {
            let status = self.child.try_wait().unwrap();
            assert_eq!(status, None, "the process ended before {what}: {}", self.log());
            if holds(&*self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not true in time: {what}: {}", self.log());
    }

    async fn aborted(mut self) -> (ExitStatus, tempfile::TempDir) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-ABRT", &pid]).status().await.unwrap().success());
        (self.child.wait().await.unwrap(), self.folder)
    }
}

/// Returns whether a folder contains a file that the system names like a core dump.
fn has_core_file(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().starts_with("core"))
}

/// Starts a `goconductor dev` with a master key and further settings, and waits until it is ready.
async fn server(settings: &str) -> (Started, Api) {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("master.key");
    let mut command = goconductor().unwrap();
    command.args(["secret", "generate-key", "--to-file"]).arg(&key);
    assert!(command.output().await.unwrap().status.success());
    let config = format!("secrets: {{ master_key: \"file://{}\" }}\n{settings}", key.display());
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let arguments = ["dev", "--data-dir", "data", "--listen", &listen];
    let mut server = Started::new(folder, "goconductor", &config, &arguments);
    let api = Api::new(format!("http://{listen}"));
    server.until("the server is ready", async |_: &Started| api.is_ready().await).await;
    (server, api)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_server_leaves_no_core_file() {
    // The system may write no core files at all. Then the limit of the process is still checked.
    let sleep = [OsStr::new("60")];
    let mut control = Started::begin(tempfile::tempdir().unwrap(), OsStr::new("sleep"), sleep.into_iter());
    control.until("the shell becomes the program", async |this: &Started| this.program() == "sleep").await;
    let (status, _folder) = control.aborted().await;
    assert_eq!(status.signal(), Some(SIGABRT));
    if !status.core_dumped() {
        eprintln!("the system wrote no core dump of a process that allows it");
    }
    let (server, api) = server("").await;
    let set = api.send("PUT", "/secrets/plain", Some(json!({"value": "kx3-dumped-8812"}))).await.unwrap();
    assert_eq!(set.0, 200, "{}", set.1);
    let [soft, hard] = server.limits();
    assert_eq!(soft, "0");
    // A process whose limit is raised later is still not dumpable.
    let mut raise = Command::new("prlimit");
    raise.args([format!("--pid={}", server.pid()), format!("--core={hard}:")]);
    assert!(raise.status().await.unwrap().success());
    assert_eq!(server.limits(), [hard.clone(), hard]);
    let (status, folder) = server.aborted().await;
    assert_eq!((status.signal(), status.core_dumped()), (Some(SIGABRT), false));
    assert!(!has_core_file(folder.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setting_allows_core_dumps_and_is_logged() {
    let (server, _) = server("process: { core_dumps: true }\n").await;
    let [soft, hard] = server.limits();
    assert_eq!(soft, hard);
    assert!(server.log().contains("core dumps of the process are allowed"), "{}", server.log());
}

/// A configuration whose servers do not answer. A process waits for them.
const UNREACHABLE: &str = "
state_store: { backend: postgres, url: \"postgres://orders@127.0.0.1:9/orders\", endpoints: [\"http://127.0.0.1:9\"] }
queue: { backend: nats, nats: { servers: [\"127.0.0.1:9\"] } }
election: { backend: postgres, url: \"postgres://orders@127.0.0.1:9/orders\", electors: [\"http://127.0.0.1:9\"] }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_disables_core_dumps_without_a_master_key() {
    for program in ["api-gateway", "leader-elector", "saga-executor", "state-store"] {
        let listen = format!("127.0.0.1:{}", free_port().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let mut started = Started::new(folder, program, UNREACHABLE, &["--listen", &listen]);
        let health = format!("http://{listen}/healthz");
        started.until("the process serves", async |_: &Started| reqwest::get(&health).await.is_ok()).await;
        assert_eq!(started.limits()[0], "0", "{program}");
    }
}
