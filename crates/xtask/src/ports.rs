//! A port's trait stays small enough to implement and to wrap.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::problem::Problem;
use crate::tree::File;

/// Methods of one trait, at most.
const METHODS: usize = 12;

/// Returns the traits that have too many methods.
pub(crate) fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Ok(stream) = file.text.parse::<TokenStream>() else { continue }; // reported by `sizes`
        let mut found = Vec::new();
        traits(stream, &mut found);
        for (name, line, methods) in found.into_iter().filter(|(_, _, methods)| *methods > METHODS) {
            problems.push(Problem::new(
                format!("{}:{line}", file.path),
                format!("the trait {name} has {methods} methods, more than {METHODS}"),
                "split it by caller, and make the union a supertrait",
            ));
        }
    }
    problems
}

/// Adds the name, line and number of methods of each trait.
fn traits(stream: TokenStream, found: &mut Vec<(String, usize, usize)>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Ident(word), Some(TokenTree::Ident(name))) if word == "trait" => {
                let body = tokens.iter().skip(at).find_map(|token| match token {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group),
                    TokenTree::Group(_)
                    | TokenTree::Ident(_)
                    | TokenTree::Punct(_)
                    | TokenTree::Literal(_) => None,
                });
                let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "fn");
                let methods = body.map_or(0, |body| body.stream().into_iter().filter(is_fn).count());
                found.push((name.to_string(), name.span().start().line, methods));
            }
            (TokenTree::Group(group), _) => traits(group.stream(), found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(methods: usize) -> Vec<String> {
        let body = "fn f(&self, g: fn() -> u8) -> u8 { fn inner() {} 1 }\n".repeat(methods);
        let text = format!("mod a {{\npub trait Port: Send {{\n{body}}}\n}}");
        let file = File { path: "crates/store/src/lib.rs".to_owned(), text };
        check(&[file]).into_iter().map(|problem| problem.what).collect()
    }

    #[test]
    fn trait_of_13_methods_is_reported() {
        assert_eq!(whats(12), [""; 0]);
        assert_eq!(whats(13), ["the trait Port has 13 methods, more than 12"]);
    }
}
