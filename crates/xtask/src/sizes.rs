//! Limits on the length of functions and files.

use crate::problem::Problem;
use crate::rust;
use crate::tree::File;

/// Lines of a function, from `fn` to the closing brace.
const FUNCTION: usize = 70;
/// Lines of a file, without the tests at its end.
const FILE: usize = 500;
/// Lines of a `main.rs`, which only starts the program.
const MAIN: usize = 30;

/// Returns the functions and files that are too long, and the files that are not Rust.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if !file.is_test() {
            problems.extend(whole(file));
        }
        match rust::scan(&file.text) {
            Ok(source) => problems.extend(source.functions.iter().filter(|f| f.lines > FUNCTION).map(|f| {
                Problem::new(
                    format!("{}:{}", file.path, f.line),
                    format!("the function {} has {} lines, more than {FUNCTION}", f.name, f.lines),
                    "move a part that has a clear name to a function",
                )
            })),
            Err(line) => problems.push(Problem::new(
                format!("{}:{line}", file.path),
                "the file is not valid Rust",
                "check for an unbalanced bracket or quote",
            )),
        }
    }
    problems
}

fn whole(file: &File) -> Option<Problem> {
    let lines = rust::lines_without_tests(&file.text);
    let main = file.path.ends_with("/src/main.rs");
    let (limit, remedy) = if main {
        (MAIN, "move everything but the start-up to lib.rs or a module, where it can be tested")
    } else {
        (FILE, "split it by topic: foo.rs and foo/part.rs")
    };
    (lines > limit).then(|| {
        Problem::new(
            &file.path,
            format!("the file has {lines} lines without tests, more than {limit}"),
            remedy,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(path: &str, text: String) -> Vec<String> {
        check(&[File { path: path.to_owned(), text }]).into_iter().map(|problem| problem.what).collect()
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "f();\n".repeat(lines - 2))
    }

    #[test]
    fn long_function_is_reported() {
        assert_eq!(whats("crates/saga/src/lib.rs", function(70)), [""; 0]);
        let found = ["the function long has 71 lines, more than 70"];
        assert_eq!(whats("crates/saga/src/lib.rs", function(71)), found);
        assert_eq!(whats("crates/saga/tests/it/main.rs", function(71)), found);
    }

    #[test]
    fn long_file_is_reported() {
        let lines = |count: usize| "// x\n".repeat(count);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(100));
        assert_eq!(whats("crates/saga/src/lib.rs", lines(500) + &tests), [""; 0]);
        assert_eq!(whats("crates/saga/tests/it/main.rs", lines(501)), [""; 0]);
        assert_eq!(
            whats("crates/saga/src/lib.rs", lines(501)),
            ["the file has 501 lines without tests, more than 500"]
        );
        assert_eq!(
            whats("crates/state-store/src/main.rs", lines(31)),
            ["the file has 31 lines without tests, more than 30"]
        );
    }

    #[test]
    fn invalid_source_is_reported() {
        assert_eq!(
            whats("crates/saga/src/lib.rs", "fn f() { (] }".to_owned()),
            ["the file is not valid Rust"]
        );
    }
}
