//! `goconductor db …` on SQLite, without a server.

use crate::restore::goconductor_db;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::path::Path;

/// The exit code of a command, with its output and its messages.
struct Ended {
    code: i32,
    text: String,
}

/// Runs a command for the database of a data directory.
async fn db(data: &Path, arguments: &[&str]) -> Ended {
    let data = data.display().to_string();
    let (code, output, errors) = goconductor_db(&[arguments, &["--data-dir", &data]].concat()).await;
    Ended { code, text: format!("{output}{errors}") }
}

impl Ended {
    fn expect(&self, code: i32, part: &str) {
        assert!(self.code == code && self.text.contains(part), "{}: {}", self.code, self.text);
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// The number of migrations of this release, which is the version of its schema.
fn newest_version() -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/sqlite");
    std::fs::read_dir(folder).unwrap().count()
}

async fn connect(data: &Path) -> SqliteConnection {
    let url = format!("sqlite://{}", data.join("goconductor.db").display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test]
async fn migration_creates_a_store_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    db(data, &["status"]).await.expect(3, "no store exists");
    let newest = newest_version();
    let pending = format!("{newest} migrations are pending; nothing was changed");
    db(data, &["migrate", "--dry-run"]).await.expect(0, &pending);
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "nothing was changed");
    for wrong in ["0".to_owned(), (newest + 1).to_string()] {
        let message = format!("schema version {wrong} does not exist");
        db(data, &["migrate", "--to", &wrong]).await.expect(2, &message);
    }
    db(data, &["migrate"]).await.expect(0, &format!("from version 0 to {newest}"));
    let again = db(data, &["migrate", "-o", "json"]).await;
    assert!(again.code == 0 && again.document()["applied"] == json!([]), "{}", again.text);
    db(data, &["migrate", "--to", "3"]).await.expect(4, "cannot be reverted");
    db(data, &["status"]).await.expect(0, "CURRENT: this release can use it");
    let status = db(data, &["status", "-o", "json"]).await.document();
    assert_eq!((&status["version"], &status["usable"]), (&json!(newest), &json!(true)), "{status:#}");
    db(data, &["migrate", "--finish"]).await.expect(0, "no migration is pending");
}

#[tokio::test]
async fn schema_of_a_newer_release_is_refused_with_its_page() {
    let folder = tempfile::tempdir().unwrap();
    db(folder.path(), &["migrate"]).await.expect(0, "");
    let mut store = connect(folder.path()).await;
    let next = newest_version() + 1;
    let row = format!("INSERT INTO schema_migrations VALUES ({next}, 'next', {next}, '9.9.9', 1)");
    sqlx::raw_sql(sqlx::AssertSqlSafe(row)).execute(&mut store).await.unwrap();
    store.close().await.unwrap();
    db(folder.path(), &["status"]).await.expect(1, "TOO_NEW");
    for command in ["migrate", "verify"] {
        db(folder.path(), &[command]).await.expect(1, "goconductor explain GC3020");
    }
}

#[tokio::test]
async fn backup_is_restored_into_an_empty_directory_only() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let backup = folder.path().join("backup.db").display().to_string();
    db(&old, &["backup", &backup]).await.expect(3, "no store exists");
    db(&old, &["migrate"]).await.expect(0, "");
    db(&old, &["backup", &backup]).await.expect(0, "backed up 0 workflows");
    db(&old, &["backup", &backup]).await.expect(4, "goconductor explain GC3022");
    db(&old, &["restore", &backup]).await.expect(4, "goconductor explain GC3023");
    db(&new, &["restore", "missing.db"]).await.expect(3, "missing.db does not exist");
    db(&new, &["restore", &backup]).await.expect(0, "restored 0 workflows");
    db(&new, &["verify"]).await.expect(0, "findings: 0");
}

#[tokio::test]
async fn damaged_store_has_findings() {
    let folder = tempfile::tempdir().unwrap();
    db(folder.path(), &["migrate"]).await.expect(0, "");
    let mut store = connect(folder.path()).await;
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_master WHERE name = 'workflows'")
        .fetch_one(&mut store)
        .await
        .unwrap();
    store.close().await.unwrap();
    let (page, path) = (usize::try_from(page).unwrap(), folder.path().join("goconductor.db"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(page - 1) * 4096..page * 4096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let found = db(folder.path(), &["verify", "-o", "json"]).await;
    assert_eq!(
        (found.code, &found.document()["findings"][0]["code"]),
        (1, &json!("GC3024")),
        "{}",
        found.text
    );
}
