//! Crates depend downwards only, so that the architecture can be read from one table.

use crate::problem::Problem;
use crate::tree::Package;

/// The folders under `crates/`, from the bottom up. A crate may depend on those of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["saga", "telemetry"],
    &["definition", "store", "queue", "election", "secrets", "inbox"],
    &["wire"],
    &["service-kit", "client", "remote", "transition"],
    &["process"],
    &["api-gateway", "state-store", "saga-executor", "leader-elector", "sdk"],
    &["bench"],
    &["cli"],
    &["harness", "simulation", "xtask"],
];

/// Edges that do not go down and are right all the same: from, to, and why.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("sdk", "saga-executor", "the SDK is an executor inside the participant's own process")];

/// Packages that are not named `goconductor-<folder>`: folder, and package.
const NAMES: &[(&str, &str)] = &[("sdk", "goconductor"), ("xtask", "xtask")];

/// The edges that do not go down, the crates without a layer, and the packages with another's name.
pub(crate) fn check(packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    // An example stands above everything: what it may name is what a user may.
    for package in packages.iter().filter(|package| !package.manifest.starts_with("examples/")) {
        let Some((folder, layer)) = package.folder().and_then(|folder| Some((folder, layer(folder)?))) else {
            problems.push(Problem::new(
                &package.manifest,
                format!("the crate {} stands in no layer", package.name),
                "say in which layer it stands: LAYERS in crates/xtask/src/layers.rs",
            ));
            continue;
        };
        problems.extend(name(package, folder));
        for dependency in package.dependencies.iter().filter(|dependency| dependency.local) {
            problems.extend(edge(package, folder, layer, &dependency.name, packages));
        }
    }
    problems
}

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

fn name(package: &Package, folder: &str) -> Option<Problem> {
    let exception = NAMES.iter().find(|(of, _)| *of == folder);
    let wanted = exception.map_or_else(|| format!("goconductor-{folder}"), |(_, name)| (*name).to_owned());
    (package.name != wanted).then(|| {
        Problem::new(
            &package.manifest,
            format!("the package is named {}", package.name),
            format!("name it {wanted}, after its folder"),
        )
    })
}

fn edge(from: &Package, folder: &str, layer_of: usize, to: &str, packages: &[Package]) -> Option<Problem> {
    let target = packages.iter().find(|package| package.name == to).and_then(Package::folder);
    let (target, below) = match target.and_then(|target| Some((target, layer(target)?))) {
        Some(known) => known,
        // One of the workspace is reported as a crate without a layer, at its own place.
        None if packages.iter().any(|package| package.name == to) => return None,
        None => {
            return Some(Problem::new(
                &from.manifest,
                format!("depends by path on {to}, which is no crate of the workspace"),
                "move it under crates/ and say in which layer it stands",
            ));
        }
    };
    if below < layer_of || EXCEPTIONS.iter().any(|(from, to, _)| (*from, *to) == (folder, target)) {
        return None;
    }
    let direction = if below == layer_of { "sideways" } else { "upwards" };
    Some(Problem::new(
        &from.manifest,
        format!("{folder} (layer {layer_of}) depends {direction} on {target} (layer {below})"),
        "move what both need a layer down, or hand it in from above through a trait or a parameter",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Dependency, Kind};

    fn package(folder: &str, dependencies: &[&str]) -> Package {
        let name = NAMES
            .iter()
            .find(|(of, _)| *of == folder)
            .map_or_else(|| format!("goconductor-{folder}"), |(_, name)| (*name).to_owned());
        let dependencies = dependencies
            .iter()
            .map(|name| Dependency { name: (*name).to_owned(), kind: Kind::Dev, local: true })
            .collect();
        Package { name, manifest: format!("crates/{folder}/Cargo.toml"), dependencies }
    }

    fn whats(packages: &[Package]) -> Vec<String> {
        check(packages).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn edges_down_are_right() {
        let tree = [
            package("saga", &[]),
            package("store", &["goconductor-saga"]),
            package("transition", &["goconductor-store", "goconductor-saga"]),
            package("saga-executor", &["goconductor-transition"]),
            package("sdk", &["goconductor-saga-executor"]),
            package("xtask", &[]),
        ];
        assert_eq!(whats(&tree), [""; 0]);
    }

    #[test]
    fn edges_sideways_and_upwards_are_found() {
        let tree = [
            package("saga", &["goconductor-queue"]),
            package("queue", &[]),
            package("store", &["goconductor-queue"]),
            package("api-gateway", &["goconductor-state-store"]),
            package("state-store", &[]),
        ];
        assert_eq!(
            whats(&tree),
            [
                "saga (layer 0) depends upwards on queue (layer 1)",
                "store (layer 1) depends sideways on queue (layer 1)",
                "api-gateway (layer 5) depends sideways on state-store (layer 5)",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_layer_is_found_once() {
        let tree = [package("gossip", &[]), package("cli", &["goconductor-gossip"])];
        assert_eq!(whats(&tree), ["the crate goconductor-gossip stands in no layer"]);
    }

    #[test]
    fn a_name_beside_the_folder_is_found() {
        let mut store = package("store", &[]);
        store.name = "goconductor-storage".to_owned();
        assert_eq!(whats(&[store]), ["the package is named goconductor-storage"]);
    }

    #[test]
    fn a_path_out_of_the_workspace_is_found() {
        let tree = [package("store", &["elsewhere"])];
        assert_eq!(whats(&tree), ["depends by path on elsewhere, which is no crate of the workspace"]);
    }
}
