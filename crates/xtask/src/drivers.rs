//! A driver is named by the crate that owns it, and there by its module only: to change a database, a
//! broker or a web framework is to change one place.

use crate::problem::Problem;
use crate::rust;
use crate::tree::{File, Kind, Package};

/// Who may name a driver.
struct Driver {
    /// The package of the driver.
    name: &'static str,
    /// The folders under `crates/` that may name it in their `Cargo.toml`.
    owners: &'static [&'static str],
    /// Those that may name it for their tests, too.
    tests: &'static [&'static str],
    /// The modules, from the root of the workspace and without `.rs`, that may use it in an owner; all
    /// modules when there are none here.
    modules: &'static [&'static str],
}

const DRIVERS: &[Driver] = &[
    // bench: what a database takes by itself is measured without the store's adapter.
    driver("rusqlite", &["store", "bench"], &["crates/store/src/sqlite", "crates/bench/src/sqlite"]),
    driver(
        "sqlx",
        &["store", "election", "inbox", "bench", "harness"],
        &[
            "crates/store/src/postgres",
            "crates/bench/src/postgres",
            "crates/election/src/postgres",
            "crates/inbox/src",
            "crates/harness/src/bin",
        ],
    ),
    driver("cel", &["definition"], &[]),
    driver("clap", &["cli", "process"], &[]),
    driver("hyper", &["saga-executor", "remote"], &[]),
    driver("hyper-util", &["saga-executor"], &[]),
    // cli: the participants of the demo. Those for tests: what an HTTP client is tested against.
    Driver {
        tests: &["client", "saga-executor"],
        ..driver(
            "axum",
            &[
                "api-gateway",
                "state-store",
                "saga-executor",
                "leader-elector",
                "process",
                "cli",
                "harness",
                "bench",
            ],
            &[],
        )
    },
    // cli: its tests look at the server beside the client, so as not to check the one with the other.
    Driver { tests: &["cli"], ..driver("reqwest", &["client", "harness"], &[]) },
    driver("rdkafka", &["queue"], &["crates/queue/src/kafka"]),
    driver("aws-config", &["queue"], &["crates/queue/src/kinesis"]),
    driver("aws-credential-types", &["queue"], &["crates/queue/src/kinesis"]),
    driver("aws-sdk-kinesis", &["queue"], &["crates/queue/src/kinesis"]),
    driver("aws-smithy-http-client", &["queue"], &["crates/queue/src/kinesis"]),
    driver("async-nats", &["queue"], &["crates/queue/src/nats"]),
    driver("lapin", &["queue"], &["crates/queue/src/rabbitmq"]),
    driver("zookeeper-client", &["election"], &["crates/election/src/zookeeper"]),
];

const fn driver(
    name: &'static str,
    owners: &'static [&'static str],
    modules: &'static [&'static str],
) -> Driver {
    Driver { name, owners, tests: &[], modules }
}

/// The `Cargo.toml`s that name a driver of another crate.
pub(crate) fn manifests(packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    // An example is a user's program: its drivers are its own.
    for package in packages.iter().filter(|package| !package.manifest.starts_with("examples/")) {
        let folder = package.folder().unwrap_or_default();
        for dependency in &package.dependencies {
            let Some(driver) = DRIVERS.iter().find(|driver| driver.name == dependency.name) else { continue };
            let for_tests = dependency.kind == Kind::Dev && driver.tests.contains(&folder);
            if !driver.owners.contains(&folder) && !for_tests {
                problems.push(Problem::new(
                    &package.manifest,
                    format!("names the driver {}, which belongs to {}", driver.name, driver.owners.join(", ")),
                    "go through the owner's API, or change DRIVERS in crates/xtask/src/drivers.rs and say why",
                ));
            }
        }
    }
    problems
}

/// The sources that use a driver outside its module.
pub(crate) fn sources(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        let end = rust::lines_without_tests(&file.text);
        let Ok(source) = rust::scan(&file.text) else { continue }; // reported by `sizes`
        for driver in DRIVERS.iter().filter(|driver| !driver.modules.is_empty()) {
            if driver.modules.iter().any(|module| is_within(&file.path, module)) {
                continue;
            }
            let word = driver.name.replace('-', "_");
            if let Some((_, line)) = source.words.iter().find(|(found, line)| *found == word && *line <= end)
            {
                problems.push(Problem::new(
                    format!("{}:{line}", file.path),
                    format!("{word} is used outside its module"),
                    format!(
                        "only {} may use it; hand the result out in words of ours",
                        driver.modules.join(", ")
                    ),
                ));
            }
        }
    }
    problems
}

/// Whether `path` is the module `module`, or below it.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Dependency;

    fn names(folder: &str, driver: &str, kind: Kind) -> Vec<Problem> {
        manifests(&[Package {
            name: format!("goconductor-{folder}"),
            manifest: format!("crates/{folder}/Cargo.toml"),
            dependencies: vec![Dependency { name: driver.to_owned(), kind, local: false }],
        }])
    }

    fn uses(path: &str, text: &str) -> Vec<Problem> {
        sources(&[File { path: path.to_owned(), text: text.to_owned() }])
    }

    #[test]
    fn only_the_owner_names_a_driver() {
        assert_eq!(names("store", "rusqlite", Kind::Normal), []);
        assert_eq!(names("saga-executor", "rusqlite", Kind::Normal).len(), 1);
        assert_eq!(names("api-gateway", "sqlx", Kind::Dev).len(), 1);
        assert_eq!(names("client", "axum", Kind::Dev), []);
        assert_eq!(names("client", "axum", Kind::Normal).len(), 1);
    }

    #[test]
    fn only_the_module_uses_a_driver() {
        assert_eq!(uses("crates/store/src/sqlite.rs", "use rusqlite::Row;"), []);
        assert_eq!(uses("crates/store/src/sqlite/open.rs", "use rusqlite::Row;"), []);
        assert_eq!(uses("crates/store/src/lib.rs", "// rusqlite::Row\n"), []);
        assert_eq!(uses("crates/store/src/sqlite_like.rs", "use rusqlite::Row;").len(), 1);
        let found = uses("crates/store/src/error.rs", "enum E {\n Sql(sqlx::Error),\n}\n");
        assert_eq!(found[0].place, "crates/store/src/error.rs:2");
    }
}
