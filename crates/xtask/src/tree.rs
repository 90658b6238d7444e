//! The files of the checkout as text, and the packages of the workspace.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A file with its path from the root of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The folder under `crates/` that contains the file.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split_once('/').map(|(folder, _)| folder)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.starts_with("crates/") && self.path.ends_with(".rs")
    }

    /// Whether the whole file is compiled only for tests or benchmarks.
    pub(crate) fn is_test(&self) -> bool {
        let below = self.path.splitn(3, '/').nth(2).unwrap_or_default();
        below.starts_with("tests/") || below.starts_with("benches/") || below.ends_with("/tests.rs")
    }
}

/// A package of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The path of its `Cargo.toml` from the root of the workspace.
    pub(crate) manifest: String,
    pub(crate) dependencies: Vec<Dependency>,
}

impl Package {
    /// The folder under `crates/` that contains the package, if any.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.manifest.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")
    }
}

/// A dependency in a `Cargo.toml`.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Whether it is a path dependency.
    pub(crate) local: bool,
}

/// The table of a `Cargo.toml` that lists a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

/// Reads all text files that are committed or would be with `git add`.
pub(crate) fn files(root: &Path) -> Result<Vec<File>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output();
    let paths = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout)?.split_terminator('\0').map(str::to_owned).collect()
        }
        Ok(_) | Err(_) => walk(root)?, // an unpacked archive is not a git checkout
    };
    let mut files = Vec::new();
    for path in paths {
        // A deleted file and a binary file have no text.
        if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
            files.push(File { path, text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                if ![".git", "target", "node_modules"].iter().any(|skipped| name == *skipped) {
                    folders.push(entry.path());
                }
            } else if let Some(path) = entry.path().strip_prefix(root)?.to_str() {
                found.push(path.to_owned());
            }
        }
    }
    Ok(found)
}

/// Reads the packages of the workspace with `cargo metadata`.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("failed to run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    parse(&String::from_utf8(output.stdout)?)
}

/// Parses the output of `cargo metadata`.
pub(crate) fn parse(metadata: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let root = text(&metadata, "workspace_root")?;
    let packages =
        metadata.get("packages").and_then(Value::as_array).context("cargo metadata printed no packages")?;
    packages.iter().map(|value| package(value, root)).collect()
}

fn package(value: &Value, root: &str) -> Result<Package> {
    let manifest = text(value, "manifest_path")?;
    let manifest = manifest.strip_prefix(root).unwrap_or(manifest).trim_start_matches('/');
    let dependencies = value
        .get("dependencies")
        .and_then(Value::as_array)
        .context("cargo metadata printed a package without dependencies")?;
    Ok(Package {
        name: text(value, "name")?.to_owned(),
        manifest: manifest.to_owned(),
        dependencies: dependencies.iter().map(dependency).collect::<Result<_>>()?,
    })
}

fn dependency(value: &Value) -> Result<Dependency> {
    let kind = match value.get("kind").and_then(Value::as_str) {
        None => Kind::Normal,
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        Some(other) => bail!("cargo metadata printed an unknown kind of dependency: {other}"),
    };
    let local = value.get("path").is_some_and(Value::is_string);
    Ok(Dependency { name: text(value, "name")?.to_owned(), kind, local })
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value.get(key).and_then(Value::as_str).with_context(|| format!("cargo metadata printed no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_dependencies_are_parsed() {
        let packages = parse(
            r#"{"workspace_root": "/x", "packages": [{"name": "goconductor-store",
                "manifest_path": "/x/crates/store/Cargo.toml", "dependencies": [
                {"name": "goconductor-saga", "path": "/x/crates/saga", "kind": null},
                {"name": "tempfile", "kind": "dev"}]}]}"#,
        )
        .unwrap();
        assert_eq!(packages[0].folder(), Some("store"));
        assert!(packages[0].dependencies[0].local);
        assert_eq!(packages[0].dependencies[1].kind, Kind::Dev);
    }

    #[test]
    fn test_files_are_distinguished_from_code() {
        let is_test = |path: &str| File { path: path.to_owned(), text: String::new() }.is_test();
        assert!(is_test("crates/saga/tests/it/main.rs"));
        assert!(is_test("crates/saga/benches/decide.rs"));
        assert!(is_test("crates/saga/src/decide/tests.rs"));
        assert!(!is_test("crates/saga/src/tests_of_nothing.rs"));
        assert!(!is_test("crates/tests/src/lib.rs"));
    }
}
