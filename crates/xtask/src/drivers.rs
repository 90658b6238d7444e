//! Only the crate that owns a driver depends on it, and only one module of that crate uses it. A database, a
//! broker or a web framework can then be replaced in one place.

use crate::problem::Problem;
use crate::rust;
use crate::tree::{File, Kind, Package};

/// The crates and modules that may use a driver.
struct Driver {
    /// The package name of the driver.
    name: &'static str,
    /// The folders under `crates/` whose `Cargo.toml` may list it.
    owners: &'static [&'static str],
    /// Further folders whose `Cargo.toml` may list it as a dev-dependency.
    tests: &'static [&'static str],
    /// The modules of the owners that may use it, as paths from the root of the workspace without `.rs`.
    /// An empty list allows all modules.
    modules: &'static [&'static str],
}

const DRIVERS: &[Driver] = &[
    // bench: the limit of a database is measured without the store's adapter.
    driver("rusqlite", &["store", "bench"], &["crates/store/src/sqlite", "crates/bench/src/limit/sqlite"]),
    // sdk-conformance: the database of a participant.
    driver(
        "sqlx",
        &["store", "election", "inbox", "bench", "harness", "sdk-conformance"],
        &[
            "crates/store/src/postgres",
            "crates/bench/src/postgres",
            "crates/bench/src/limit/postgres",
            "crates/election/src/postgres",
            "crates/inbox/src",
            "crates/harness/src/bin",
            "crates/sdk-conformance/src/participant",
        ],
    ),
    driver("cel", &["definition"], &[]),
    driver("clap", &["cli", "process"], &[]),
    // process: the server of `axum` cannot close silent connections and does not report when a response was sent.
    driver(
        "hyper",
        &["saga-executor", "remote", "process"],
        &["crates/saga-executor/src", "crates/remote/src", "crates/process/src/serve"],
    ),
    // service-kit: the exporter of telemetry. oidc: the keys of an issuer.
    driver(
        "hyper-util",
        &["saga-executor", "process", "service-kit", "oidc", "tls"],
        &[
            "crates/saga-executor/src",
            "crates/process/src/serve",
            "crates/service-kit/src/telemetry/otlp",
            "crates/oidc/src/fetch",
            "crates/tls/src/connector",
        ],
    ),
    // cli: the participants of the demo. The tests run servers for an HTTP client.
    Driver {
        tests: &["client", "oidc", "saga-executor"],
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
    // cli: its tests read the server directly, so that the client is not checked by itself.
    Driver { tests: &["cli"], ..driver("reqwest", &["client", "harness"], &[]) },
    driver("etcd-client", &["election"], &["crates/election/src/etcd"]),
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

/// Returns the `Cargo.toml` files that list a driver of another crate.
pub(crate) fn manifests(packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    // An example is a user's program and chooses its own drivers.
    for package in packages.iter().filter(|package| !package.manifest.starts_with("examples/")) {
        let folder = package.folder().unwrap_or_default();
        for dependency in &package.dependencies {
            let Some(driver) = DRIVERS.iter().find(|driver| driver.name == dependency.name) else { continue };
            let for_tests = dependency.kind == Kind::Dev && driver.tests.contains(&folder);
            if !driver.owners.contains(&folder) && !for_tests {
                problems.push(Problem::new(
                    &package.manifest,
                    format!("depends on the driver {}, which belongs to {}", driver.name, driver.owners.join(", ")),
                    "use the owner's API, or change DRIVERS in crates/xtask/src/drivers.rs and state the reason",
                ));
            }
        }
    }
    problems
}

/// Returns the sources that use a driver outside its module.
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
                    format!("only {} may use it; return our own types from there", driver.modules.join(", ")),
                ));
            }
        }
    }
    problems
}

/// Whether `path` is the module `module` or one of its descendants.
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
    fn dependency_on_a_foreign_driver_is_reported() {
        assert_eq!(names("store", "rusqlite", Kind::Normal), []);
        assert_eq!(names("saga-executor", "rusqlite", Kind::Normal).len(), 1);
        assert_eq!(names("api-gateway", "sqlx", Kind::Dev).len(), 1);
        assert_eq!(names("client", "axum", Kind::Dev), []);
        assert_eq!(names("client", "axum", Kind::Normal).len(), 1);
    }

    #[test]
    fn use_outside_the_module_is_reported() {
        assert_eq!(uses("crates/store/src/sqlite.rs", "use rusqlite::Row;"), []);
        assert_eq!(uses("crates/store/src/sqlite/open.rs", "use rusqlite::Row;"), []);
        assert_eq!(uses("crates/store/src/lib.rs", "// rusqlite::Row\n"), []);
        assert_eq!(uses("crates/store/src/sqlite_like.rs", "use rusqlite::Row;").len(), 1);
        let found = uses("crates/store/src/error.rs", "enum E {\n Sql(sqlx::Error),\n}\n");
        assert_eq!(found[0].place, "crates/store/src/error.rs:2");
    }
}
