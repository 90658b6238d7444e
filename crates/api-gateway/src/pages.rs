//! The pages of `docs/errors`, which are part of the program.

/// A page about an error.
#[derive(Debug)]
pub struct Page {
    /// `GC1004`
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// Markdown.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));
