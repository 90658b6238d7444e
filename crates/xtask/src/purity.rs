//! `saga` does no IO and has no access to time, randomness or hash order, so that its decisions can be replayed,
//! enumerated and simulated.

use crate::problem::Problem;
use crate::rust;
use crate::tree::{File, Kind, Package};

const FOLDER: &str = "saga";

/// The dependencies that `saga` may have. Its tests may have more.
const ALLOWED: &[&str] = &["serde", "serde_json", "thiserror", "uuid"];

/// Words that would bring IO, time, randomness, hash order or a scheduler into `saga`.
const FORBIDDEN: &[&str] = &[
    "std",
    "tokio",
    "async",
    "await",
    "SystemTime",
    "Instant",
    "HashMap",
    "HashSet",
    "rand",
    "new_v4",
    "now_v7",
];

/// Returns the impure parts of `saga`.
pub(crate) fn check(packages: &[Package], files: &[File]) -> Vec<Problem> {
    let mut problems = dependencies(packages);
    let root = format!("crates/{FOLDER}/src/lib.rs");
    for file in files.iter().filter(|file| file.folder() == Some(FOLDER) && file.is_rust()) {
        if file.path == root && !file.text.lines().any(|line| line == "#![no_std]") {
            problems.push(Problem::new(
                &root,
                "saga is not #![no_std]",
                "restore #![no_std], which keeps files, sockets and clocks out",
            ));
        }
        if !file.is_test() {
            problems.extend(words(file));
        }
    }
    problems
}

fn dependencies(packages: &[Package]) -> Vec<Problem> {
    let core = packages.iter().filter(|package| package.folder() == Some(FOLDER));
    core.flat_map(|package| {
        let foreign = package.dependencies.iter().filter(|dependency| {
            dependency.kind != Kind::Dev && !ALLOWED.contains(&dependency.name.as_str())
        });
        foreign.map(|dependency| {
            Problem::new(
                &package.manifest,
                format!("saga depends on {}", dependency.name),
                format!("it may depend on {} only; pass in everything else as a trait", ALLOWED.join(", ")),
            )
        })
    })
    .collect()
}

fn words(file: &File) -> Vec<Problem> {
    let end = rust::lines_without_tests(&file.text);
    let Ok(source) = rust::scan(&file.text) else { return Vec::new() }; // reported by `sizes`
    let code = source.words.iter().filter(|(_, line)| *line <= end);
    code.filter(|(word, _)| FORBIDDEN.contains(&word.as_str()))
        .map(|(word, line)| {
            Problem::new(
                format!("{}:{line}", file.path),
                format!("saga uses {word}"),
                "take time and randomness as parameters, use ordered maps, and leave IO to the crates above",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Dependency;

    fn saga(dependency: &str, kind: Kind) -> Package {
        Package {
            name: "goconductor-saga".to_owned(),
            manifest: "crates/saga/Cargo.toml".to_owned(),
            dependencies: vec![Dependency { name: dependency.to_owned(), kind, local: false }],
        }
    }

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn dependency_on_a_runtime_is_reported() {
        assert_eq!(check(&[saga("serde", Kind::Normal)], &[]), []);
        assert_eq!(check(&[saga("proptest", Kind::Dev)], &[]), []);
        assert_eq!(check(&[saga("tokio", Kind::Normal)], &[])[0].what, "saga depends on tokio");
        assert_eq!(check(&[saga("cc", Kind::Build)], &[]).len(), 1);
    }

    #[test]
    fn use_of_time_or_the_standard_library_is_reported() {
        let text = "/// As std's HashMap.\nfn f() {}\nuse std::time::Instant;\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n";
        let found = check(&[], &[file("crates/saga/src/state.rs", text)]);
        let whats: Vec<_> = found.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(whats, ["saga uses std", "saga uses Instant"]);
        assert_eq!(found[0].place, "crates/saga/src/state.rs:3");
        assert_eq!(check(&[], &[file("crates/saga/tests/it/main.rs", text)]), []);
        assert_eq!(check(&[], &[file("crates/store/src/lib.rs", text)]), []);
    }

    #[test]
    fn missing_no_std_is_reported() {
        assert_eq!(check(&[], &[file("crates/saga/src/lib.rs", "#![no_std]\n")]), []);
        assert_eq!(check(&[], &[file("crates/saga/src/lib.rs", "// #![no_std]\n")]).len(), 1);
    }
}
