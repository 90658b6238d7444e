//! Vague names, unfinished code, and paths of a single machine.

use crate::problem::Problem;
use crate::rust;
use crate::tree::File;

/// This file contains the words that it forbids.
const OWN: &str = "crates/xtask/src/words.rs";

/// A crate or module with such a name collects unrelated code.
const VAGUE: &[&str] =
    &["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc", "types"];

/// Marks of unfinished code.
const UNFINISHED: &[&str] = &["TODO", "FIXME", "todo!(", "unimplemented!(", "#[ignore"];

/// Prefixes of paths that exist only on some machines.
const MACHINE: &[&str] = &["/work/", "/root/"];

/// Returns the crates and modules with a vague name, and each `mod.rs`.
pub(crate) fn names(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if file.path.ends_with("/mod.rs") {
            problems.push(Problem::new(
                &file.path,
                "the module is a mod.rs",
                "rename it after its module: foo.rs next to foo/",
            ));
        }
        for part in file.path.trim_end_matches(".rs").split('/').skip(1).filter(|part| is_vague(part)) {
            problems.push(vague(&file.path, part));
        }
        let Ok(source) = rust::scan(&file.text) else { continue }; // reported by `sizes`
        for (name, line) in source.modules.iter().filter(|(name, _)| is_vague(name)) {
            problems.push(vague(&format!("{}:{line}", file.path), name));
        }
    }
    problems
}

fn is_vague(name: &str) -> bool {
    name.split(['_', '-']).any(|part| VAGUE.contains(&part))
}

fn vague(place: &str, name: &str) -> Problem {
    Problem::new(
        place,
        format!("the name {name} is vague"),
        "name it after its topic, and move unrelated code elsewhere",
    )
}

/// Returns the unfinished code in sources and scripts.
pub(crate) fn unfinished(files: &[File]) -> Vec<Problem> {
    let searched = files.iter().filter(|file| {
        file.path != OWN
            && (file.is_rust() || file.path.starts_with("scripts/") || file.path.starts_with(".ci/"))
    });
    find(searched, UNFINISHED, |word| {
        Problem::new(
            "",
            format!("the code contains {word}"),
            "finish it, or open an issue and describe the present behaviour here",
        )
    })
}

/// Returns the paths of a single machine in all files.
pub(crate) fn paths(files: &[File]) -> Vec<Problem> {
    find(files.iter().filter(|file| file.path != OWN), MACHINE, |path| {
        Problem::new(
            "",
            format!("{path} is a path of a single machine"),
            "write a path from the root of the checkout, or read it from a setting",
        )
    })
}

fn find<'a>(
    files: impl Iterator<Item = &'a File>,
    words: &[&str],
    problem: impl Fn(&str) -> Problem,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        for (line, text) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| stands_alone(text, word)) {
                problems.push(Problem { place: format!("{}:{}", file.path, line + 1), ..problem(word) });
            }
        }
    }
    problems
}

/// Whether `text` contains `word` as a whole word that does not continue another word or path.
fn stands_alone(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let begins = !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '}' | '~' | '-'));
        let ends = !word.ends_with(is_word) || !after.is_some_and(is_word);
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> [File; 1] {
        [File { path: path.to_owned(), text: text.to_owned() }]
    }

    fn lines(problems: &[Problem]) -> Vec<&str> {
        problems.iter().map(|problem| problem.what.as_str()).collect()
    }

    #[test]
    fn vague_names_are_reported() {
        for path in
            ["crates/common/src/lib.rs", "crates/saga/src/string_utils.rs", "crates/saga/src/util/a.rs"]
        {
            assert_eq!(names(&file(path, "")).len(), 1, "{path}");
        }
        let found = names(&file("crates/saga/src/lib.rs", "mod graph;\nmod types { }\n"));
        assert_eq!(found[0].place, "crates/saga/src/lib.rs:2");
        assert_eq!(lines(&names(&file("crates/saga/src/graph/mod.rs", ""))), ["the module is a mod.rs"]);
        assert_eq!(names(&file("crates/saga/src/common_ancestors.rs", "")).len(), 1);
        assert_eq!(names(&file("crates/saga/src/utilisation.rs", "mod managed;")), []);
    }

    #[test]
    fn unfinished_code_is_reported() {
        let text = "// TODO: later\nfn f() { todo!() }\n#[ignore = \"slow\"]\nunimplemented!(); // FIXME\n";
        let found = unfinished(&file("crates/saga/src/lib.rs", text));
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(unfinished(&file("scripts/test", "# FIXME\n")).len(), 1);
        assert_eq!(unfinished(&file("crates/saga/src/lib.rs", "mod todo_list; // TODOS, #[ignored]\n")), []);
        assert_eq!(unfinished(&file("docs/style.md", "no TODO\n")), []);
    }

    #[test]
    fn paths_of_a_single_machine_are_reported() {
        for text in ["cd /work/main", "\"/root/.cargo\"", "a=/work/x"] {
            assert_eq!(paths(&file("docs/x.md", text)).len(), 1, "{text}");
        }
        for text in ["https://example.org/work/list", "$HOME/work/x", "../root/x", "${DIR}/work/x"] {
            assert_eq!(paths(&file("docs/x.md", text)), [], "{text}");
        }
    }
}
