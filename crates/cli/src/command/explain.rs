//! `goconductor explain`: the pages of `docs/errors`, which are compiled into the program.

use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_api_gateway::pages::PAGES;
use serde_json::json;

/// Shows the page of a code, or lists all codes.
pub(super) fn run(code: Option<&str>, out: &Output) -> Result {
    match code {
        Some(code) => show(code, out),
        None => list(out),
    }
}

fn show(code: &str, out: &Output) -> Result {
    let wanted = code.trim().to_ascii_uppercase();
    let Some(page) = PAGES.iter().find(|page| page.code == wanted) else {
        return Err(CliError::new(Exit::NotFound, format!("unknown error code {code:?}"))
            .hint("`goconductor explain` lists all codes"));
    };
    if out.names_only() {
        out.data(page.code)?;
    } else if !out
        .structured(&json!({"code": page.code, "title": page.title, "text": page.text}).to_string())?
    {
        out.data(page.text.trim_end())?;
    }
    Ok(Exit::Success)
}

fn list(out: &Output) -> Result {
    let pages: Vec<_> = PAGES.iter().map(|page| json!({"code": page.code, "title": page.title})).collect();
    if out.structured_list(&json!({ "pages": pages }).to_string(), "pages")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for page in PAGES {
            out.data(page.code)?;
        }
        return Ok(Exit::Success);
    }
    let rows = PAGES.iter().map(|page| vec![page.code.to_owned(), page.title.to_owned()]);
    out.table(&["CODE", "ABOUT"], rows.collect())?;
    Ok(Exit::Success)
}
