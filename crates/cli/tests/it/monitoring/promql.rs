//! Reads the names in an expression of PromQL. The syntax itself is checked by `promtool`.

/// The names in an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Each metric, with the labels that its selector compares.
    pub(super) selectors: Vec<(String, Vec<String>)>,
    /// The labels after `by`, `without`, `on` and `ignoring`.
    pub(super) grouping: Vec<String>,
}

impl Query {
    pub(super) fn parse(expression: &str) -> Self {
        let tokens = tokens(expression);
        let mut query = Self::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            let next = tokens.get(at).map(String::as_str);
            if ["by", "without", "on", "ignoring"].contains(&token.as_str()) && next == Some("(") {
                let end = close(&tokens, at, ")");
                query.grouping.extend(tokens[at + 1..end].iter().filter(|token| is_name(token)).cloned());
                at = end;
            } else if is_metric(token) {
                let end = if next == Some("{") { close(&tokens, at, "}") } else { at };
                let labels = tokens[at..end].iter().filter(|token| is_name(token)).cloned();
                query.selectors.push((token.clone(), labels.collect()));
                at = end;
            }
        }
        query
    }
}

fn close(tokens: &[String], from: usize, bracket: &str) -> usize {
    let length = tokens[from..].iter().position(|token| token == bracket);
    from + length.unwrap_or_else(|| panic!("no {bracket} in {tokens:?}"))
}

fn is_metric(token: &str) -> bool {
    token == "up" || token.starts_with("goconductor_") || token.starts_with("goconductor:")
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Splits an expression into names and single characters. Texts and ranges are left out.
fn tokens(expression: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = expression.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '"' => while rest.next().is_some_and(|next| next != '"') {},
            '[' => while rest.next().is_some_and(|next| next != ']') {},
            first if first.is_ascii_alphanumeric() || first == '_' => {
                let mut name = String::from(first);
                while let Some(next) =
                    rest.next_if(|next| next.is_ascii_alphanumeric() || ['_', ':'].contains(next))
                {
                    name.push(next);
                }
                all.push(name);
            }
            first if first.is_whitespace() => {}
            first => all.push(String::from(first)),
        }
    }
    all
}

/// The labels that an annotation of an alert names: `{{ $labels.NAME }}`.
pub(super) fn template_labels(template: &str) -> Vec<String> {
    let parts = template.split("$labels.").skip(1);
    parts
        .map(|part| part.chars().take_while(|next| next.is_ascii_alphanumeric() || *next == '_').collect())
        .collect()
}

/// The labels that a legend names: `{{NAME}}`.
pub(super) fn legend_labels(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    parts.filter_map(|part| Some(part.split_once("}}")?.0.trim().to_owned())).collect()
}

#[test]
fn names_of_an_expression_are_found() {
    let query = Query::parse(
        r#"sum by (le, action) (rate(goconductor_a_bucket{outcome=~"x|y{}", job="z"}[5m])) / on (le) goconductor:b:max > 0.5"#,
    );
    let selectors = [
        ("goconductor_a_bucket".to_owned(), vec!["outcome".to_owned(), "job".to_owned()]),
        ("goconductor:b:max".to_owned(), Vec::new()),
    ];
    assert_eq!(query.selectors, selectors);
    assert_eq!(query.grouping, ["le", "action", "le"]);
    assert_eq!(legend_labels("{{ a }}: {{b}}"), ["a", "b"]);
    assert_eq!(template_labels("{{ $labels.a_b }} of {{ $value }} {{ $labels.c | title }}"), ["a_b", "c"]);
}
