//! Each metric is defined once, in the `metrics` module of its crate, with a unit and a description.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};

use crate::problem::Problem;
use crate::rust;
use crate::tree::File;

/// The crate that defines how a metric is declared, and the one that installs the recorder.
const OWNERS: &[&str] = &["telemetry", "xtask"];

/// The macros of the `metrics` crate that record or describe a value without a definition.
const MACROS: &[&str] =
    &["counter", "gauge", "histogram", "describe_counter", "describe_gauge", "describe_histogram"];

/// A metric as declared.
struct Declared {
    name: String,
    description: String,
    line: usize,
}

/// Returns the metrics that are recorded without a definition, or defined without a description or twice.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_test()) {
        if file.folder().is_some_and(|folder| OWNERS.contains(&folder)) {
            continue;
        }
        let end = rust::lines_without_tests(&file.text);
        let Ok(stream) = file.text.parse::<TokenStream>() else { continue }; // reported by `sizes`
        let mut declared = Vec::new();
        let mut recorded = Vec::new();
        walk(stream, &mut declared, &mut recorded);
        for (name, line) in recorded.into_iter().filter(|(_, line)| *line <= end) {
            problems.push(Problem::new(
                format!("{}:{line}", file.path),
                format!("metrics::{name}! records a metric that has no definition"),
                "declare the metric in the crate's src/metrics.rs and use the static",
            ));
        }
        for metric in declared.into_iter().filter(|metric| metric.line <= end) {
            let place = format!("{}:{}", file.path, metric.line);
            problems.extend(declaration(file, &metric, &place));
            if let Some(first) = names.insert(metric.name.clone(), place.clone()) {
                problems.push(Problem::new(
                    place,
                    format!("the metric {} is also declared at {first}", metric.name),
                    "record both with one definition, or give one another name",
                ));
            }
        }
    }
    problems
}

fn declaration(file: &File, metric: &Declared, place: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |what: String, remedy: &str| problems.push(Problem::new(place, what, remedy));
    if !file.path.ends_with("/src/metrics.rs") {
        report(
            format!("the metric {} is declared outside src/metrics.rs", metric.name),
            "move it to the crate's src/metrics.rs, where all of its metrics are",
        );
    }
    if !metric.name.starts_with("goconductor_") {
        report(
            format!("the name of the metric {} does not begin with goconductor_", metric.name),
            "begin it with goconductor_, so that it cannot clash with another program's",
        );
    }
    if metric.description.len() < 2 || !metric.description.ends_with('.') {
        report(
            format!("the metric {} has no description", metric.name),
            "describe in one sentence, with a full stop, what it measures",
        );
    }
    problems
}

fn walk(stream: TokenStream, declared: &mut Vec<Declared>, recorded: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let bang = matches!(tokens.get(at + 1), Some(TokenTree::Punct(punct)) if punct.as_char() == '!');
        match (token, tokens.get(at + 2)) {
            (TokenTree::Ident(word), Some(TokenTree::Group(group))) if bang && word == "metrics" => {
                declarations(group.stream(), declared);
            }
            (TokenTree::Ident(word), Some(TokenTree::Group(_))) if bang => {
                let name = word.to_string();
                if MACROS.contains(&name.as_str()) {
                    recorded.push((name, word.span().start().line));
                }
            }
            _ => {}
        }
        if let TokenTree::Group(group) = token {
            walk(group.stream(), declared, recorded);
        }
    }
}

/// Reads `kind NAME("name", Unit, ["label"], "description");` and its like.
fn declarations(stream: TokenStream, declared: &mut Vec<Declared>) {
    for token in stream {
        let TokenTree::Group(group) = token else { continue };
        let line = group.span_open().start().line;
        let mut literals = group.stream().into_iter().filter_map(|token| match token {
            TokenTree::Literal(literal) => Some(literal.to_string().trim_matches('"').to_owned()),
            TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Punct(_) => None,
        });
        if let Some(name) = literals.next() {
            declared.push(Declared { name, description: literals.last().unwrap_or_default(), line });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), text: text.to_owned() };
        check(&[file]).into_iter().map(|problem| problem.what).collect()
    }

    const PATH: &str = "crates/queue/src/metrics.rs";

    #[test]
    fn complete_definition_is_accepted() {
        let text = "metrics! { counter A(\"goconductor_a_total\", Count, [\"x\"], \"Counts a.\"); }";
        assert_eq!(whats(PATH, text), [""; 0]);
    }

    #[test]
    fn metric_without_a_description_is_reported() {
        for description in ["", "Counts a"] {
            let text =
                format!("metrics! {{ counter A(\"goconductor_a\", Count, [\"x\"], \"{description}\"); }}");
            assert_eq!(whats(PATH, &text), ["the metric goconductor_a has no description"]);
        }
    }

    #[test]
    fn metric_outside_its_module_is_reported() {
        let text = "metrics! { gauge A(\"goconductor_a\", Count, [], \"A.\"); }";
        let found = whats("crates/queue/src/kafka.rs", text);
        assert_eq!(found, ["the metric goconductor_a is declared outside src/metrics.rs"]);
    }

    #[test]
    fn repeated_and_foreign_names_are_reported() {
        let text = "metrics! { gauge A(\"x_a\", Count, [], \"A.\"); gauge B(\"x_a\", Count, [], \"B.\"); }";
        let found = whats(PATH, text);
        let foreign = "the name of the metric x_a does not begin with goconductor_";
        assert_eq!(found.iter().filter(|what| *what == foreign).count(), 2, "{found:?}");
        assert!(found.iter().any(|what| what.starts_with("the metric x_a is also declared at")));
    }

    #[test]
    fn recording_without_a_definition_is_reported() {
        let text = "fn f() { metrics::counter!(\"goconductor_a\").increment(1); }";
        let found = ["metrics::counter! records a metric that has no definition"];
        assert_eq!(whats("crates/queue/src/kafka.rs", text), found);
        assert_eq!(whats("crates/telemetry/src/lib.rs", text), [""; 0]);
    }
}
