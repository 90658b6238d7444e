//! The pages of `docs/errors`. They are embedded in the program.

/// A page about an error code.
#[derive(Debug)]
pub struct ErrorPage {
    /// Error code, such as `GC1004`.
    pub code: &'static str,
    /// Title of the page.
    pub title: &'static str,
    /// Text of the page, as Markdown.
    pub text: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));
