//! Separate servers of a test, started by the project's scripts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Servers of one test. They are removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct TestServers {
    script: &'static str,
    folder: tempfile::TempDir,
    exports: BTreeMap<String, String>,
}

impl TestServers {
    pub(crate) async fn start(
        script: &'static str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut this = Self { script, folder, exports: BTreeMap::new() };
        let mut command = this.command(arguments);
        let output = command.envs(environment.iter().copied()).output().await.unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let exported = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        this.exports =
            exported.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect();
        this
    }

    /// A variable that the script exports.
    pub(crate) fn exported(&self, name: &str) -> String {
        self.exports.get(name).unwrap_or_else(|| panic!("{} does not export {name}", self.script)).clone()
    }

    pub(crate) async fn call(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {said}", self.script);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(script(self.script));
        command.args(arguments).env("GOCONDUCTOR_SERVICES", self.folder.path().join("s"));
        if let Some(cache) = std::env::var_os("GOCONDUCTOR_TEST_CACHE") {
            command.env("GOCONDUCTOR_CACHE", cache);
        }
        command
    }
}

impl Drop for TestServers {
    fn drop(&mut self) {
        let wiped = std::process::Command::new(script(self.script))
            .arg("wipe")
            .env("GOCONDUCTOR_SERVICES", self.folder.path().join("s"))
            .status();
        drop(wiped);
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services").join(name)
}
