//! Stores workflows with a release, for the test `stored` of later releases.
//!
//! Usage: `GOCONDUCTOR_BIN=old/goconductor store-fixtures RELEASE [DATABASE-URL]`. Without a URL it stores SQLite's file.
//! With the URL of an empty PostgreSQL database it leaves the data there; dump it with
//! `pg_dump --inserts --no-owner --no-privileges` to `fixtures/RELEASE/postgres.sql`.
#![allow(clippy::print_stdout, reason = "the path of the stored data is the output of the command")]

use anyhow::Context;
use goconductor_harness::{Dev, DevOptions, Participants, stored};
use std::path::Path;
use std::time::Duration;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let release = arguments.next().context("usage: store-fixtures RELEASE [DATABASE-URL]")?;
    let database = arguments.next();
    let folder = tempfile::tempdir()?;
    let args = match &database {
        Some(url) => ["state_store.backend=postgres".to_owned(), format!("state_store.url={url}")]
            .into_iter()
            .flat_map(|setting| ["--set".to_owned(), setting])
            .collect(),
        None => Vec::new(),
    };
    let mut dev = Dev::start(folder.path(), DevOptions { args }).await?;
    stored::prepare(&dev.api, &Participants::start().await?).await?;
    // Longer than the interval in which starts and heartbeats are written.
    tokio::time::sleep(Duration::from_secs(2)).await;
    dev.kill().await?;
    if database.is_none() {
        let target = Path::new(stored::FIXTURES).join(&release).join("sqlite");
        std::fs::create_dir_all(&target)?;
        for entry in std::fs::read_dir(folder.path().join("data"))? {
            let entry = entry?;
            // The repository ignores the usual endings of database files.
            let mut name = entry.file_name();
            name.push(".stored");
            std::fs::copy(entry.path(), target.join(name))?;
        }
        println!("{}", target.display());
    }
    Ok(())
}
