//! One meaning per type name: a reader who searches for a type finds one.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};

use crate::problem::Problem;
use crate::rust;
use crate::tree::File;

/// Names that Rust modules use by convention, each for its module: `queue::Error`, `kafka::Settings`. `BoxFuture` is the
/// same alias in each module of conformance cases.
const IDIOMATIC: &[&str] = &[
    "BoxFuture",
    "Builder",
    "Case",
    "Entry",
    "Error",
    "ErrorKind",
    "Factory",
    "Fixture",
    "CaseResult",
    "Inner",
    "Kind",
    "Limits",
    "Problem",
    "Rejection",
    "RpcResult",
    "Settings",
    "Shared",
    "State",
];

/// Crates whose types mirror those of another: the client reads what the gateway writes, a check reads both.
const MIRRORS: &[&str] = &["client", "harness", "xtask"];

/// Returns the names that more than one type has.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test() && file.path.contains("/src/")) {
        if file.folder().is_some_and(|folder| MIRRORS.contains(&folder)) {
            continue;
        }
        let end = rust::lines_without_tests(&file.text);
        let Ok(stream) = file.text.parse::<TokenStream>() else { continue }; // reported by `sizes`
        let mut found = Vec::new();
        types(stream, &mut found);
        for (name, line) in found.into_iter().filter(|(_, line)| *line <= end) {
            places.entry(name).or_default().push(format!("{}:{line}", file.path));
        }
    }
    places
        .into_iter()
        .filter(|(name, places)| places.len() > 1 && !IDIOMATIC.contains(&name.as_str()))
        .map(|(name, places)| {
            Problem::new(
                places.first().cloned().unwrap_or_default(),
                format!("the type name {name} has {} meanings: {}", places.len(), places.join(", ")),
                "name each type after the thing that it stands for",
            )
        })
        .collect()
}

/// Adds each struct, enum, trait and alias at the level of a module, with its line.
fn types(stream: TokenStream, found: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let (TokenTree::Ident(word), Some(TokenTree::Ident(name))) = (token, tokens.get(at + 1)) else {
            continue;
        };
        if matches!(word.to_string().as_str(), "struct" | "enum" | "trait" | "type") {
            found.push((name.to_string(), name.span().start().line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        check(&files).into_iter().map(|problem| problem.what).collect()
    }

    const LANE: (&str, &str) = ("crates/queue/src/lib.rs", "pub struct Lane;\npub enum Error {}");

    #[test]
    fn second_meaning_of_a_type_name_is_reported() {
        let other = ("crates/cli/src/timeline.rs", "struct Lane {\n}\n");
        let places = "crates/cli/src/timeline.rs:1, crates/queue/src/lib.rs:1";
        assert_eq!(whats(&[other, LANE]), [format!("the type name Lane has 2 meanings: {places}")]);
    }

    #[test]
    fn conventional_names_mirrors_and_associated_types_are_accepted() {
        let files = [
            LANE,
            ("crates/store/src/error.rs", "pub enum Error {}"),
            ("crates/client/src/lib.rs", "pub struct Lane;"),
            ("crates/queue/tests/it/main.rs", "struct Lane;"),
            ("crates/store/src/lib.rs", "impl A for B { type Lane = u8; }\nfn f() { struct Lane; }"),
        ];
        assert_eq!(whats(&files), [""; 0]);
    }
}
