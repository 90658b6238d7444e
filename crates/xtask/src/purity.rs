//! `saga` does no IO and knows no time, chance or hash order: what it decides can be replayed, enumerated
//! and simulated.

use crate::problem::Problem;
use crate::rust;
use crate::tree::{File, Kind, Package};

const FOLDER: &str = "saga";

/// What the core may depend on; tests may depend on more.
const ALLOWED: &[&str] = &["serde", "serde_json", "thiserror", "uuid"];

/// Words that would bring IO, time, chance, hash order or another's schedule into the core.
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

/// The ways in which the core is not pure.
pub(crate) fn check(packages: &[Package], files: &[File]) -> Vec<Problem> {
    let mut problems = dependencies(packages);
    let root = format!("crates/{FOLDER}/src/lib.rs");
    for file in files.iter().filter(|file| file.folder() == Some(FOLDER) && file.is_rust()) {
        if file.path == root && !file.text.lines().any(|line| line == "#![no_std]") {
            problems.push(Problem::new(
                &root,
                "the core is not #![no_std]",
                "put #![no_std] back: it keeps files, sockets and clocks out",
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
                format!("the core depends on {}", dependency.name),
                format!("it may know {} only; hand in the rest through a trait", ALLOWED.join(", ")),
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
                format!("the core uses {word}"),
                "time and chance are parameters, maps are ordered, IO belongs to a crate above",
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
    fn the_core_may_not_depend_on_a_runtime() {
        assert_eq!(check(&[saga("serde", Kind::Normal)], &[]), []);
        assert_eq!(check(&[saga("proptest", Kind::Dev)], &[]), []);
        assert_eq!(check(&[saga("tokio", Kind::Normal)], &[])[0].what, "the core depends on tokio");
        assert_eq!(check(&[saga("cc", Kind::Build)], &[]).len(), 1);
    }

    #[test]
    fn the_core_may_not_use_time_or_the_standard_library() {
        let text = "/// As std's HashMap.\nfn f() {}\nuse std::time::Instant;\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n";
        let found = check(&[], &[file("crates/saga/src/state.rs", text)]);
        let whats: Vec<_> = found.iter().map(|problem| problem.what.as_str()).collect();
        assert_eq!(whats, ["the core uses std", "the core uses Instant"]);
        assert_eq!(found[0].place, "crates/saga/src/state.rs:3");
        assert_eq!(check(&[], &[file("crates/saga/tests/it/main.rs", text)]), []);
        assert_eq!(check(&[], &[file("crates/store/src/lib.rs", text)]), []);
    }

    #[test]
    fn the_core_has_no_standard_library() {
        assert_eq!(check(&[], &[file("crates/saga/src/lib.rs", "#![no_std]\n")]), []);
        assert_eq!(check(&[], &[file("crates/saga/src/lib.rs", "// #![no_std]\n")]).len(), 1);
    }
}
