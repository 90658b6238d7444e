//! Crates depend on lower layers only, so that one table shows the architecture.

use crate::problem::Problem;
use crate::tree::Package;

/// The folders under `crates/` by layer, lowest first. A crate may depend on crates of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["saga", "schedule", "secrets", "telemetry", "supervisor"],
    &["definition", "store", "queue", "election", "inbox", "oidc", "tls"],
    &["wire", "simulator"],
    &["service-kit", "client", "remote", "transition", "importers"],
    &["access", "queue-migration"],
    &["process"],
    &["api-gateway", "state-store", "saga-executor", "leader-elector", "sdk"],
    &["bench", "sdk-conformance"],
    &["cli"],
    &["harness", "xtask"],
];

/// Allowed edges within a layer: from, to, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("sdk", "saga-executor", "the SDK is an executor inside the participant's own process"),
    ("sdk", "api-gateway", "the SDK's tests run a gateway in their own process"),
];

/// Packages that are not named `goconductor-<folder>`, as folder and package.
const NAMES: &[(&str, &str)] = &[("sdk", "goconductor"), ("xtask", "xtask")];

/// Returns the edges that do not lead to a lower layer, the crates without a layer and the misnamed packages.
pub(crate) fn check(packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    // An example is a user's program and may depend on every public crate.
    for package in packages.iter().filter(|package| !package.manifest.starts_with("examples/")) {
        let Some((folder, layer)) = package.folder().and_then(|folder| Some((folder, layer(folder)?))) else {
            problems.push(Problem::new(
                &package.manifest,
                format!("the crate {} has no layer", package.name),
                "add it to LAYERS in crates/xtask/src/layers.rs",
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
        // A crate of the workspace without a layer is reported at its own manifest.
        None if packages.iter().any(|package| package.name == to) => return None,
        None => {
            return Some(Problem::new(
                &from.manifest,
                format!("depends by path on {to}, which is not a crate of the workspace"),
                "move it under crates/ and add it to LAYERS",
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
        "move the shared part to a lower layer, or pass it in from above as a trait object or a parameter",
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
    fn edges_to_lower_layers_are_accepted() {
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
    fn sideways_and_upward_edges_are_reported() {
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
                "api-gateway (layer 6) depends sideways on state-store (layer 6)",
            ]
        );
    }

    #[test]
    fn crate_without_a_layer_is_reported_once() {
        let tree = [package("gossip", &[]), package("cli", &["goconductor-gossip"])];
        assert_eq!(whats(&tree), ["the crate goconductor-gossip has no layer"]);
    }

    #[test]
    fn package_name_that_differs_from_its_folder_is_reported() {
        let mut store = package("store", &[]);
        store.name = "goconductor-storage".to_owned();
        assert_eq!(whats(&[store]), ["the package is named goconductor-storage"]);
    }

    #[test]
    fn path_dependency_outside_the_workspace_is_reported() {
        let tree = [package("store", &["elsewhere"])];
        assert_eq!(whats(&tree), ["depends by path on elsewhere, which is not a crate of the workspace"]);
    }
}
