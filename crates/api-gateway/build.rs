//! Embeds the error pages in the program: one table entry for each `docs/errors/GC*.md`.
#![allow(clippy::print_stdout, reason = "a build script prints its instructions to cargo")]

use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let pages = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut files: Vec<_> = Vec::new();
    for entry in fs::read_dir(&pages)? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("GC") && path.extension().is_some_and(|extension| extension == "md") {
            files.push((name, path.canonicalize()?));
        }
    }
    files.sort();
    let mut table = String::from("/// All pages, ordered by code.\npub static PAGES: &[ErrorPage] = &[\n");
    for (code, path) in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path)?;
        let heading = text.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        let title = heading.strip_prefix(&code).unwrap_or(heading).trim_start_matches([':', ' ', '—', '-']);
        writeln!(table, "ErrorPage {{ code: {code:?}, title: {title:?}, text: include_str!({path:?}) }},")?;
    }
    table.push_str("];\n");
    // The console is embedded by a macro, which does not see that files are added or removed.
    println!("cargo::rerun-if-changed=console");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("pages.rs"), table)?;
    Ok(())
}
