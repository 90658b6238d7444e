//! Habit words: phrases that make a reader translate. Their number may fall and must not rise.
//!
//! `CONTRIBUTING.md` shows what to write instead.

use crate::problem::Problem;
use crate::tree::File;

/// This file lists the words.
const OWN: &str = "crates/xtask/src/habits.rs";

/// A phrase, and how often all files together may contain it. Lower a number when it falls.
const LIMITS: &[(&str, usize)] = &[
    ("whoever", 0),
    ("whomever", 0),
    ("nobody", 0),
    ("somebody", 0),
    ("in the place of", 0),
    ("for ever", 0),
    ("be it", 0),
    ("a look", 0),
];

/// Sentences that begin with "What" and are no question, in all files together.
const HEADLESS: usize = 0;

/// Endings of the files that contain prose.
const ENDINGS: &[&str] = &[
    ".md", ".rs", ".proto", ".sql", ".sh", ".yaml", ".yml", ".toml", ".html", ".json", ".go", ".ts", ".tsx",
    ".js", ".css", ".py", ".pyi", ".java", ".xml", ".tpl", ".tmpl",
];

/// Returns the phrases that occur more often than they may, with each place.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let prose: Vec<&File> = files.iter().filter(|file| is_prose(file)).collect();
    let mut problems = Vec::new();
    for (phrase, limit) in LIMITS {
        let places: Vec<String> = prose.iter().flat_map(|file| places(file, phrase)).collect();
        problems.extend(excess(&format!("the phrase \"{phrase}\""), *limit, &places));
    }
    let headless: Vec<String> = prose.iter().flat_map(|file| headless(file)).collect();
    problems.extend(excess("a sentence that begins with \"What\" and is no question", HEADLESS, &headless));
    problems
}

fn is_prose(file: &File) -> bool {
    let named = |ending: &&str| file.path.ends_with(*ending);
    let script = file.path.starts_with("scripts/") || file.path.starts_with(".ci/");
    file.path != OWN && (script || ENDINGS.iter().any(named))
}

fn excess(what: &str, limit: usize, places: &[String]) -> Option<Problem> {
    let first = places.first()?;
    (places.len() > limit).then(|| {
        Problem::new(
            first,
            format!("{what} occurs {} times, more than {limit}: {}", places.len(), places.join(", ")),
            "name the subject and use the field's noun; CONTRIBUTING.md has examples",
        )
    })
}

fn places(file: &File, phrase: &str) -> Vec<String> {
    let found = |text: &str| occurrences(&text.to_lowercase(), phrase);
    let mut places = Vec::new();
    for (line, text) in file.text.lines().enumerate() {
        for _ in 0..found(text) {
            places.push(format!("{}:{}", file.path, line + 1));
        }
    }
    places
}

/// How often `phrase` stands in `text` as whole words.
fn occurrences(text: &str, phrase: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase)
        .filter(|(at, _)| {
            let before = text.get(..*at).and_then(|before| before.chars().next_back());
            let after = text.get(at + phrase.len()..).and_then(|after| after.chars().next());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
        .count()
}

/// The places of sentences that begin with "What" and do not end in a question mark.
fn headless(file: &File) -> Vec<String> {
    let mut places = Vec::new();
    let lines: Vec<&str> = file.text.lines().map(prose_of).collect();
    for (at, line) in lines.iter().enumerate() {
        for (start, _) in line.match_indices("What ") {
            let before = line.get(..start).unwrap_or_default().trim_end_matches(['"', '*', '_', '`', '(']);
            let continues = before.is_empty() && at > 0 && {
                let previous = lines.get(at - 1).copied().unwrap_or_default();
                !previous.is_empty()
                    && !previous.ends_with(['.', '!', '?', ':', '|', ';', '{', '}', ')', ','])
            };
            let begins = before.is_empty()
                || before.ends_with([' ', '|']) && {
                    let trimmed = before.trim_end();
                    trimmed.is_empty() || trimmed.ends_with(['.', '!', '?', '|', '-', '#', ':'])
                };
            if begins && !continues && !is_question(&lines, at, start) {
                places.push(format!("{}:{}", file.path, at + 1));
            }
        }
    }
    places
}

/// The text of a line without the marker of a comment.
fn prose_of(line: &str) -> &str {
    let line = line.trim();
    for marker in ["//!", "///", "//", "#", "--", "*", "|", "-"] {
        if let Some(rest) = line.strip_prefix(marker) {
            return rest.trim();
        }
    }
    line.trim_start_matches(['"', '\''])
}

/// Whether the sentence that begins at `start` of line `at` ends in a question mark.
fn is_question(lines: &[&str], at: usize, start: usize) -> bool {
    let first = lines.get(at).and_then(|line| line.get(start..)).unwrap_or_default();
    let rest = lines.iter().skip(at + 1).take_while(|line| !line.is_empty()).copied();
    for line in std::iter::once(first).chain(rest) {
        if let Some(end) = line.find(['.', '?', '!', '|', '"']) {
            return line.get(end..).is_some_and(|end| end.starts_with('?'));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn habit_word_is_reported_with_its_place() {
        let text = "fn f() {}\n// Whoever holds it, holds it.\n";
        let found = ["the phrase \"whoever\" occurs 1 times, more than 0: crates/saga/src/lib.rs:2"];
        assert_eq!(whats("crates/saga/src/lib.rs", text), found);
        assert_eq!(whats("docs/x.md", "It lasts for ever.").len(), 1);
        assert_eq!(whats("scripts/test", "# nobody").len(), 1);
    }

    #[test]
    fn words_that_contain_a_habit_word_are_accepted() {
        assert_eq!(whats("docs/x.md", "A lookup may be iterated. Forever. nobody_else"), [""; 0]);
        assert_eq!(whats("Cargo.lock", "nobody"), [""; 0]);
    }

    #[test]
    fn headless_sentence_is_reported_and_question_is_not() {
        for text in
            ["What waits is listed.", "A. What waits\nis listed.", "/// What waits.", "| a | What waits |"]
        {
            assert_eq!(whats("docs/x.md", text).len(), 1, "{text}");
        }
        for text in
            ["What waits?", "/// What is it that\n/// waits?", "That is What it says.", "So\nWhat it is."]
        {
            assert_eq!(whats("docs/x.md", text), [""; 0], "{text}");
        }
    }
}
