//! The source of a definition: a file, or a version on the server.

use super::show::source_of;
use crate::error::Result;
use crate::session::ServerSession;
use crate::source::DefinitionSource;
use std::path::Path;

/// Reads a definition. `what` is a file if it exists, is `-`, or looks like a path. Otherwise it is the name of a
/// definition on the server, as `NAME` or `NAME@VERSION`.
pub(super) async fn of(
    what: &str,
    version: Option<u32>,
    session: impl FnOnce() -> Result<ServerSession>,
) -> Result<DefinitionSource> {
    if is_file(what) {
        return DefinitionSource::read(Path::new(what));
    }
    let (name, of_name) = named(what);
    stored(&session()?, name, version.or(of_name)).await
}

/// Reads a version from the server, or the newest one.
pub(super) async fn stored(
    session: &ServerSession,
    name: &str,
    version: Option<u32>,
) -> Result<DefinitionSource> {
    let reply = session.client.definition(name, version).await?;
    let json = reply.value.source_format.as_deref() == Some("json");
    let path = format!("{name} version {}", reply.value.version);
    Ok(DefinitionSource { path, text: source_of(&reply.value)?.to_owned(), json })
}

/// Returns whether an argument is a file and not the name of a definition, which has neither dots nor slashes.
pub(super) fn is_file(what: &str) -> bool {
    what == "-" || what.contains(['/', '.', std::path::MAIN_SEPARATOR]) || Path::new(what).is_file()
}

/// Splits `NAME@VERSION`.
pub(super) fn named(what: &str) -> (&str, Option<u32>) {
    match what.split_once('@').map(|(name, version)| (name, version.parse())) {
        Some((name, Ok(version))) => (name, Some(version)),
        Some((_, Err(_))) | None => (what, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_are_distinguished() {
        for (what, expected) in [
            ("order", false),
            ("order@3", false),
            ("-", true),
            ("a.yaml", true),
            ("./order", true),
            ("a/b", true),
        ] {
            assert_eq!(is_file(what), expected, "{what}");
        }
        assert_eq!(named("order@3"), ("order", Some(3)));
        assert_eq!(named("order"), ("order", None));
        assert_eq!(named("order@x"), ("order@x", None));
    }
}
