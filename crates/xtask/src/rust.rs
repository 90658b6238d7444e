//! Facts about a Rust source, read from its tokens. Comments and the contents of strings are not mistaken for
//! code, and syntax that is newer than this tool causes no error.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The facts of one source.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Each identifier and keyword with its line.
    pub(crate) words: Vec<(String, usize)>,
    /// Each literal, as written, with its line. Documentation is excluded.
    pub(crate) literals: Vec<(String, usize)>,
    pub(crate) functions: Vec<Function>,
    /// The declared modules with their lines.
    pub(crate) modules: Vec<(String, usize)>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line of `fn`.
    pub(crate) line: usize,
    /// From `fn` to the closing brace.
    pub(crate) lines: usize,
}

/// Reads a source.
///
/// # Errors
/// Returns the first line that is not Rust.
pub(crate) fn scan(text: &str) -> Result<Source, usize> {
    let stream: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| error.span().start().line)?;
    let mut source = Source::default();
    walk(stream, &mut source);
    Ok(source)
}

/// The number of lines before the tests at the end of a file: a `mod … {` under `#[cfg(test)]`.
pub(crate) fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.iter().enumerate().position(|(at, line)| {
        *line == "#[cfg(test)]"
            && lines
                .iter()
                .skip(at + 1)
                .find(|next| !next.starts_with("#["))
                .is_some_and(|next| next.contains("mod ") && next.ends_with('{'))
    });
    tests.unwrap_or(lines.len())
}

fn walk(stream: TokenStream, source: &mut Source) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut attribute = false;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                if !(attribute && is_documentation(group)) {
                    walk(group.stream(), source);
                }
            }
            TokenTree::Ident(ident) => {
                let word = ident.to_string();
                let line = ident.span().start().line;
                match (word.as_str(), tokens.get(at + 1)) {
                    ("fn", Some(TokenTree::Ident(name))) => {
                        let rest = tokens.get(at + 2..).unwrap_or_default();
                        source.functions.extend(function(name.to_string(), line, rest));
                    }
                    ("mod", Some(TokenTree::Ident(name))) => source.modules.push((name.to_string(), line)),
                    _ => {}
                }
                source.words.push((word, line));
            }
            TokenTree::Literal(literal) => {
                source.literals.push((literal.to_string(), literal.span().start().line));
            }
            TokenTree::Punct(_) => {}
        }
        attribute = matches!(token, TokenTree::Punct(punct) if matches!(punct.as_char(), '#' | '!'));
    }
}

fn is_documentation(group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket
        && matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(ident)) if ident == "doc")
}

/// The function whose parameters begin `rest`, or `None` if it has no body.
fn function(name: String, line: usize, rest: &[TokenTree]) -> Option<Function> {
    for token in rest {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let lines = group.span_close().end().line.saturating_sub(line) + 1;
                return Some(Function { name, line, lines });
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(_) | TokenTree::Ident(_) | TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_each_function_is_measured() {
        let source = scan(
            "trait T { fn none(&self); }\n\
             /// fn in_documentation() {}\n\
             impl T { fn one(&self) -> [u8; 3] { [0; 3] }\n\
             async fn three<F: Fn(fn(u8) -> u8)>(f: F) where F: Copy {\n let s = \"}\";\n } }\n",
        )
        .unwrap();
        let found: Vec<_> = source.functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
        assert_eq!(found, [("one", 3, 1), ("three", 4, 3)]);
    }

    #[test]
    fn comments_and_documentation_are_ignored() {
        let source =
            scan("//! std\n/// std and \"GC9999\"\nfn f() { /* std */ let _ = \"GC0001\"; }").unwrap();
        assert!(source.words.iter().all(|(word, _)| word != "std"));
        assert_eq!(source.literals, [("\"GC0001\"".to_owned(), 3)]);
    }

    #[test]
    fn error_is_the_line_that_is_not_rust() {
        assert_eq!(scan("fn f() {\n}\n}\n").unwrap_err(), 3);
    }

    #[test]
    fn tests_at_the_end_are_not_counted() {
        assert_eq!(lines_without_tests("a\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\nb\n}\n"), 1);
        assert_eq!(lines_without_tests("#[cfg(test)]\nmod tests;\nfn f() {}\n"), 3);
        assert_eq!(lines_without_tests("#[cfg(test)]\nuse a;\nfn f() {}\n"), 3);
    }
}
