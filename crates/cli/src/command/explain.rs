//! `goconductor explain`: the pages of `docs/errors`, which are part of the program.

use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use goconductor_api_gateway::pages::PAGES;
use serde_json::json;

/// Shows a code's page, or lists all.
pub(super) fn run(code: Option<&str>, out: &Output) -> Result {
    match code {
        Some(code) => show(code, out),
        None => list(out),
    }
}

fn show(code: &str, out: &Output) -> Result {
    let wanted = code.trim().to_ascii_uppercase();
    let Some(page) = PAGES.iter().find(|page| page.code == wanted) else {
        return Err(CliError::new(Exit::NotFound, format!("no error has the code {code}"))
            .hint("`goconductor explain` lists all codes"));
    };
    if out.names_only() {
        out.data(page.code)?;
    } else if !out
        .structured(&json!({"code": page.code, "title": page.title, "text": page.text}).to_string())?
    {
        out.data(page.text.trim_end())?;
    }
    Ok(Exit::Done)
}

fn list(out: &Output) -> Result {
    let pages: Vec<_> = PAGES.iter().map(|page| json!({"code": page.code, "title": page.title})).collect();
    if out.structured_list(&json!({ "pages": pages }).to_string(), "pages")? {
        return Ok(Exit::Done);
    }
    if out.names_only() {
        for page in PAGES {
            out.data(page.code)?;
        }
        return Ok(Exit::Done);
    }
    let rows = PAGES.iter().map(|page| vec![page.code.to_owned(), page.title.to_owned()]);
    out.table(&["CODE", "ABOUT"], rows.collect())?;
    Ok(Exit::Done)
}
