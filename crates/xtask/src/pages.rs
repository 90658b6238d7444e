//! Each error code has a page with its meaning and remedy, and each page has an error code.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::rust;
use crate::tree::File;

const PAGES: &str = "docs/errors/";

/// Returns the codes without a page, the pages without a code and the pages without a title.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let codes = codes(files);
    let pages: BTreeMap<&str, &File> =
        files.iter().filter_map(|file| Some((page(&file.path)?, file))).collect();
    let without_page =
        codes.iter().filter(|(code, _)| !pages.contains_key(code.as_str())).map(|(code, place)| {
            Problem::new(
                place,
                format!("the code {code} has no page"),
                format!("write {PAGES}{code}.md, with the first line `# {code}: <title>`"),
            )
        });
    let without_code = pages.iter().filter(|(code, _)| !codes.contains_key(**code)).map(|(code, page)| {
        Problem::new(
            &page.path,
            format!("no source contains the code {code}"),
            "remove the page, or use the code in the error that the page explains",
        )
    });
    let without_title =
        pages.iter().filter(|(code, page)| !is_titled(code, &page.text)).map(|(code, page)| {
            Problem::new(
                format!("{}:1", page.path),
                "the first line is not the code and the title",
                format!("write `# {code}: <title>` as the first line"),
            )
        });
    without_page.chain(without_code).chain(without_title).collect()
}

/// The code that the page at `path` explains.
fn page(path: &str) -> Option<&str> {
    let code = path.strip_prefix(PAGES)?.strip_suffix(".md")?;
    (find(code).next() == Some(code)).then_some(code)
}

fn is_titled(code: &str, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    first
        .strip_prefix("# ")
        .and_then(|rest| rest.strip_prefix(code))
        .and_then(|rest| rest.strip_prefix(": "))
        .is_some_and(|title| !title.trim().is_empty())
}

/// The codes in the literals of the sources, each with its first place.
fn codes(files: &[File]) -> BTreeMap<String, String> {
    let mut codes = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.contains("/src/") && !file.is_test()) {
        let end = rust::lines_without_tests(&file.text);
        let Ok(source) = rust::scan(&file.text) else { continue }; // reported by `sizes`
        for (literal, line) in source.literals.iter().filter(|(_, line)| *line <= end) {
            for code in find(literal) {
                codes.entry(code.to_owned()).or_insert_with(|| format!("{}:{line}", file.path));
            }
        }
    }
    codes
}

/// Each `GC` with four digits that is a whole word.
fn find(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| {
        word.len() == 6
            && word.strip_prefix("GC").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        check(&files).into_iter().map(|problem| format!("{} {}", problem.place, problem.what)).collect()
    }

    const CODE: (&str, &str) = ("crates/store/src/error.rs", "\nconst C: &str = \"GC2001: lost\";");

    #[test]
    fn code_with_a_page_is_accepted() {
        assert_eq!(whats(&[CODE, ("docs/errors/GC2001.md", "# GC2001: Lost\n")]), [""; 0]);
        assert_eq!(whats(&[("docs/errors/README.md", "# Errors\n")]), [""; 0]);
    }

    #[test]
    fn code_without_a_page_is_reported() {
        assert_eq!(whats(&[CODE]), ["crates/store/src/error.rs:2 the code GC2001 has no page"]);
    }

    #[test]
    fn codes_in_documentation_and_tests_are_ignored() {
        let text =
            "/// As \"GC9999\".\nfn f() {}\n#[cfg(test)]\nmod tests {\nconst C: &str = \"GC9998\";\n}\n";
        assert_eq!(whats(&[("crates/store/src/lib.rs", text)]), [""; 0]);
        assert_eq!(whats(&[("crates/store/tests/it/main.rs", "const C: &str = \"GC9997\";")]), [""; 0]);
    }

    #[test]
    fn page_without_a_code_is_reported() {
        assert_eq!(
            whats(&[("docs/errors/GC2002.md", "# GC2002: Gone\n")]),
            ["docs/errors/GC2002.md no source contains the code GC2002"]
        );
    }

    #[test]
    fn page_without_a_title_is_reported() {
        let found = ["docs/errors/GC2001.md:1 the first line is not the code and the title"];
        for first in ["Lost", "# GC2002: Lost", "# GC2001: ", "# GC2001 Lost"] {
            assert_eq!(whats(&[CODE, ("docs/errors/GC2001.md", first)]), found, "{first}");
        }
    }
}
