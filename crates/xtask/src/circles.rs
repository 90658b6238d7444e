//! Files of a crate that import one another in a circle.
//!
//! An edge leads from a file to the file that defines the name that it imports, re-exports included. A module
//! and its own ancestors belong together, so an import between them is not an edge.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::problem::Problem;
use crate::rust;
use crate::tree::File;

/// The path of a module below its crate: `["sqlite", "writer"]`; empty for the root.
type Module = Vec<String>;

/// A file as the check sees it.
struct Source<'a> {
    file: &'a File,
    module: Module,
    /// The absolute paths that the file imports.
    imports: Vec<Vec<String>>,
    /// The names that the file re-exports, each with its absolute path.
    exports: BTreeMap<String, Vec<String>>,
}

/// Returns one problem for each circle.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let mut crates: BTreeMap<&str, Vec<Source<'_>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        if let (Some(folder), Some(source)) = (file.folder(), read(file)) {
            crates.entry(folder).or_default().push(source);
        }
    }
    crates.values().flat_map(|sources| circles(sources)).collect()
}

fn read(file: &File) -> Option<Source<'_>> {
    let inner = file.path.splitn(3, '/').nth(2)?.strip_prefix("src/")?.strip_suffix(".rs")?;
    let module: Module = match inner {
        "lib" | "main" => Vec::new(),
        inner => inner.split('/').map(str::to_owned).collect(),
    };
    let end = rust::lines_without_tests(&file.text);
    let text: String = file.text.lines().take(end).flat_map(|line| [line, "\n"]).collect();
    let stream: TokenStream = text.parse().ok()?; // reported by `sizes`
    let mut source = Source { file, module, imports: Vec::new(), exports: BTreeMap::new() };
    walk(stream, &mut source);
    Some(source)
}

fn walk(stream: TokenStream, source: &mut Source<'_>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if word == "use" => {
                let end = tokens.iter().skip(at).position(is_semicolon).map_or(tokens.len(), |to| at + to);
                let exported = is_exported(tokens.get(..at).unwrap_or_default());
                let mut paths = Vec::new();
                flatten(tokens.get(at + 1..end).unwrap_or_default(), &mut Vec::new(), &mut paths);
                for path in paths {
                    import(&path, exported, source);
                }
                at = end;
            }
            TokenTree::Ident(word) if is_start(&word.to_string()) => {
                let path = path_at(&tokens, at);
                if path.len() > 1 {
                    import(&path, false, source);
                }
                at += 1;
            }
            TokenTree::Group(group) => {
                walk(group.stream(), source);
                at += 1;
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => at += 1,
        }
    }
}

fn is_start(word: &str) -> bool {
    matches!(word, "crate" | "super" | "self")
}

fn is_semicolon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == ';')
}

/// Whether the tokens before a `use` end in `pub` or `pub(…)`.
fn is_exported(before: &[TokenTree]) -> bool {
    let last = match before {
        [.., last, TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis => last,
        [.., last] => last,
        [] => return false,
    };
    matches!(last, TokenTree::Ident(word) if word == "pub")
}

/// The path `a::b::c` that begins at `at`.
fn path_at(tokens: &[TokenTree], at: usize) -> Vec<String> {
    let mut path = Vec::new();
    let mut rest = tokens.get(at..).unwrap_or_default();
    while let [TokenTree::Ident(word), after @ ..] = rest {
        path.push(word.to_string());
        match after {
            [TokenTree::Punct(a), TokenTree::Punct(b), next @ ..]
                if a.as_char() == ':' && b.as_char() == ':' =>
            {
                rest = next;
            }
            _ => break,
        }
    }
    path
}

/// Adds every path of a `use` tree to `paths`; a renamed name keeps its original.
fn flatten(tokens: &[TokenTree], prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let depth = prefix.len();
    let mut renamed = false;
    for token in tokens {
        match token {
            TokenTree::Ident(word) if word == "as" => renamed = true,
            TokenTree::Ident(word) => {
                if !renamed {
                    prefix.push(word.to_string());
                }
            }
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
                for part in inner.split(comma).filter(|part| !part.is_empty()) {
                    flatten(part, prefix, paths);
                }
                prefix.truncate(depth);
                return;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    if prefix.len() > depth {
        paths.push(prefix.clone());
    }
    prefix.truncate(depth);
}

/// Records the path, made absolute. A path without `crate`, `super` or `self` begins at a child module or at
/// another crate; the latter resolves to nothing later.
fn import(path: &[String], exported: bool, source: &mut Source<'_>) {
    let mut absolute = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        _ => source.module.clone(),
    };
    for (at, word) in path.iter().enumerate() {
        match word.as_str() {
            "crate" if at == 0 => {}
            "self" => {}
            "super" => {
                absolute.pop();
            }
            _ => absolute.push(word.clone()),
        }
    }
    if exported && let Some(name) = absolute.last() {
        source.exports.insert(name.clone(), absolute.clone());
    }
    source.imports.push(absolute);
}

/// The module that defines what `path` names; `None` if it is not of this crate.
fn resolve(path: &[String], sources: &BTreeMap<&[String], &Source<'_>>) -> Option<Module> {
    let mut path = path.to_vec();
    // A chain of re-exports is short; the limit ends one that leads back to itself.
    for _ in 0..8 {
        let (module, name) = (0..=path.len()).rev().find_map(|length| {
            let module = path.get(..length)?;
            sources.contains_key(module).then(|| (module.to_vec(), path.get(length).cloned()))
        })?;
        let target = name.and_then(|name| sources.get(module.as_slice())?.exports.get(&name));
        match target {
            Some(target) if *target != path => path = target.clone(),
            _ => return Some(module),
        }
    }
    None
}

fn circles(sources: &[Source<'_>]) -> Vec<Problem> {
    let by_module: BTreeMap<&[String], &Source<'_>> =
        sources.iter().map(|source| (source.module.as_slice(), source)).collect();
    let mut edges: BTreeMap<&[String], BTreeSet<Module>> = BTreeMap::new();
    for source in sources {
        for target in source.imports.iter().filter_map(|path| resolve(path, &by_module)) {
            if !source.module.starts_with(&target) && !target.starts_with(&source.module) {
                edges.entry(&source.module).or_default().insert(target);
            }
        }
    }
    let reached: BTreeMap<&[String], BTreeSet<&[String]>> =
        edges.keys().map(|from| (*from, reachable(from, &edges))).collect();
    let mut reported: BTreeSet<&[String]> = BTreeSet::new();
    let mut problems = Vec::new();
    for (from, targets) in &reached {
        if !targets.contains(from) || reported.contains(from) {
            continue;
        }
        let circle: Vec<&[String]> = targets
            .iter()
            .copied()
            .filter(|to| reached.get(to).is_some_and(|back| back.contains(from)))
            .collect();
        let paths: Vec<&str> =
            circle.iter().filter_map(|module| by_module.get(module)).map(|s| s.file.path.as_str()).collect();
        problems.push(Problem::new(
            paths.first().copied().unwrap_or_default(),
            format!("files import one another in a circle: {}", paths.join(", ")),
            "move the shared part to a file that imports neither of them",
        ));
        reported.extend(circle);
    }
    problems
}

fn reachable<'a>(
    from: &[String],
    edges: &'a BTreeMap<&'a [String], BTreeSet<Module>>,
) -> BTreeSet<&'a [String]> {
    let mut found: BTreeSet<&[String]> = BTreeSet::new();
    let mut open: Vec<&[String]> = edges.get(from).into_iter().flatten().map(Vec::as_slice).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(edges.get(next).into_iter().flatten().map(Vec::as_slice));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File { path: format!("crates/x/src/{path}"), text: (*text).to_owned() })
            .collect();
        check(&files).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn siblings_that_import_one_another_are_reported_once() {
        let found = whats(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::{self, B};"),
            ("b.rs", "fn f() -> super::a::A { g() }"),
        ]);
        assert_eq!(found, ["files import one another in a circle: crates/x/src/a.rs, crates/x/src/b.rs"]);
    }

    #[test]
    fn circle_through_a_re_export_is_reported() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;\npub use a::A;"),
            ("a.rs", "use crate::b::B;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::A;"),
        ];
        assert_eq!(whats(&files).len(), 1);
    }

    #[test]
    fn parent_and_child_are_not_a_circle() {
        let files = [
            ("lib.rs", "mod a;\nuse a::A;\npub struct Root;"),
            ("a.rs", "mod b;\nuse b::B;\nuse crate::Root;"),
            ("a/b.rs", "use super::A;\nuse crate::Root;"),
        ];
        assert_eq!(whats(&files), [""; 0]);
    }

    #[test]
    fn imports_of_tests_and_other_crates_are_not_edges() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use std::fmt::{self as f, Debug};\nuse crate::b::B;"),
            ("b.rs", "use a::A;\n#[cfg(test)]\nmod tests {\nuse crate::a::A;\n}\n"),
        ];
        assert_eq!(whats(&files), [""; 0]);
    }
}
