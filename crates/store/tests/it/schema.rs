//! Schemas of other releases, and copies of a store.

use crate::postgres::{Database, execute};
use goconductor_saga::{Json, RulesVersion};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClusterStore, Error, START_RULES, SchemaFit, SchemaPolicy, start_rules};
use std::path::{Path, PathBuf};

/// The SQLite file of a test, in a directory of its own.
struct SqliteFile {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl SqliteFile {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        let path = folder.path().join("goconductor.db");
        Self { _folder: folder, path }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

/// Runs SQL on a file that no store has open.
fn execute_on(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).expect("the file can be opened");
    connection.execute_batch(sql).expect("the SQL succeeds");
}

/// The version that earlier releases compare with their own.
fn exact_version(path: &Path) -> i64 {
    let connection = rusqlite::Connection::open(path).expect("the file can be opened");
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("the version is a number")
}

async fn rules_of(store: &dyn ClusterStore) -> RulesVersion {
    let entry = store.config_entry(START_RULES).await.expect("the read succeeds");
    start_rules(entry.as_ref().map(|entry| &entry.value))
}

/// The version of this release: the number of its migrations.
fn newest_version(database: &str) -> i64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(database);
    let files = std::fs::read_dir(folder).expect("the directory can be read");
    i64::try_from(files.count()).expect("the number is small")
}

/// The statements of the next release: it adds a column and records the oldest version that is compatible with it.
fn next_release(version: i64, compatible_from: i64) -> String {
    format!(
        "ALTER TABLE definitions ADD COLUMN next_release TEXT;
         INSERT INTO schema_migrations VALUES ({version}, 'next', {compatible_from}, '9.9.9', 1)"
    )
}

#[tokio::test]
async fn sqlite_file_of_a_newer_release_is_used_if_it_is_compatible() {
    let file = SqliteFile::new();
    drop(SqliteStore::open(&file.path).expect("the file can be created"));
    assert_eq!(exact_version(&file.path), 7, "the release before this one accepts version 7 only");
    let next = newest_version("sqlite") + 1;
    execute_on(&file.path, &next_release(next, 7));
    let store = SqliteStore::open(&file.path).expect("a compatible file is accepted");
    store.raise_epoch("duties").await.expect("the write succeeds");
    store.check().await.expect("a compatible file is ready");
    drop(store);
    let (_, status, applied) = SqliteStore::open_any(&file.path).expect("the file can be opened");
    assert_eq!((status.fit(), status.database), (SchemaFit::Newer, next));
    assert_eq!(applied.last().map(|last| last.release.as_str()), Some("9.9.9"), "nothing was changed");
    assert_eq!(SqliteStore::migrate(&file.path, None, false).expect("there is nothing to do"), []);
    assert_eq!(exact_version(&file.path), 7);
    let incompatible =
        format!("UPDATE schema_migrations SET compatible_from = {next} WHERE version = {next}");
    execute_on(&file.path, &incompatible);
    let refused = SqliteStore::open(&file.path).expect_err("an incompatible file is refused");
    assert!(matches!(refused, Error::Schema { .. }), "{refused}");
    assert!(refused.to_string().contains("start the release that wrote it, or a newer one"), "{refused}");
}

#[tokio::test]
async fn sqlite_process_that_only_verifies_does_not_migrate() {
    let file = SqliteFile::new();
    let waits = SqliteStore::open_with(&file.path, SchemaPolicy::Verify).expect_err("there is no schema");
    assert!(waits.is_retryable(), "{waits}");
    assert!(!file.path.exists(), "no database is created");
    for (number, migration) in [
        include_str!("../../../../migrations/sqlite/0001_first.sql"),
        include_str!("../../../../migrations/sqlite/0002_processes.sql"),
        include_str!("../../../../migrations/sqlite/0003_steady.sql"),
        include_str!("../../../../migrations/sqlite/0004_locks.sql"),
        include_str!("../../../../migrations/sqlite/0005_leases.sql"),
        include_str!("../../../../migrations/sqlite/0006_agreements.sql"),
    ]
    .into_iter()
    .enumerate()
    {
        execute_on(&file.path, &format!("{migration}; PRAGMA user_version = {}", number + 1));
    }
    let waits = SqliteStore::open_with(&file.path, SchemaPolicy::Verify).expect_err("a migration is pending");
    assert!(waits.is_retryable() && waits.to_string().contains("goconductor db migrate"), "{waits}");
    assert_eq!(exact_version(&file.path), 6);
    let applied = SqliteStore::migrate(&file.path, None, false).expect("the migration succeeds");
    let expected: Vec<i64> = (7..=newest_version("sqlite")).collect();
    assert_eq!(applied.iter().map(|each| each.version).collect::<Vec<_>>(), expected);
    let store = SqliteStore::open_with(&file.path, SchemaPolicy::Verify).expect("the schema is current");
    assert_eq!(rules_of(&store).await, RulesVersion::CURRENT, "one process has no release beside it");
}

/// Creates the tables of the first release that was deployed, which accepts version 9 only.
async fn create_version_9(url: &str) {
    let migrations = [
        include_str!("../../../../migrations/postgres/0001_first.sql"),
        include_str!("../../../../migrations/postgres/0002_processes.sql"),
        include_str!("../../../../migrations/postgres/0003_steady.sql"),
        include_str!("../../../../migrations/postgres/0004_lists.sql"),
        include_str!("../../../../migrations/postgres/0005_locks.sql"),
        include_str!("../../../../migrations/postgres/0006_leases.sql"),
        include_str!("../../../../migrations/postgres/0007_agreements.sql"),
        include_str!("../../../../migrations/postgres/0008_steps.sql"),
        include_str!("../../../../migrations/postgres/0009_in_place.sql"),
    ];
    execute(url, "CREATE TABLE schema_version (version BIGINT NOT NULL)").await;
    for (number, migration) in migrations.into_iter().enumerate() {
        execute(url, &format!("{migration}; INSERT INTO schema_version VALUES ({})", number + 1)).await;
    }
}

async fn exact_version_of(url: &str) -> i64 {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the server accepts connections");
    sqlx::query_scalar("SELECT max(version) FROM schema_version")
        .fetch_one(&mut connection)
        .await
        .expect("the query succeeds")
}

#[tokio::test]
async fn earlier_release_survives_the_migrations_until_the_upgrade_is_finished() {
    Database::with("", |database| async move {
        create_version_9(&database.url).await;
        let waits = PostgresStore::connect_with(&database.url, 2, SchemaPolicy::Verify).await;
        let waits = waits.expect_err("a migration is pending");
        assert!(waits.is_retryable() && waits.to_string().contains("goconductor db migrate"), "{waits}");
        let store = PostgresStore::connect(&database.url, 2).await.expect("the migration succeeds");
        assert_eq!(exact_version_of(&database.url).await, 9, "the earlier release accepts version 9 only");
        assert_eq!(
            rules_of(&store).await,
            RulesVersion::FIRST,
            "the earlier release knows the first rules only"
        );
        store.check().await.expect("the database has the schema of this release");
        let (_, status, _) = PostgresStore::connect_any(&database.url, 2).await.expect("the server answers");
        assert_eq!((status.fit(), status.is_open_to_earlier), (SchemaFit::Current, true));
        // Other processes of this release start meanwhile.
        PostgresStore::connect(&database.url, 2).await.expect("nothing is pending");
        assert_eq!(exact_version_of(&database.url).await, 9);
        PostgresStore::migrate(&database.url, None, true).await.expect("the upgrade is finished");
        let newest = newest_version("postgres");
        assert_eq!(exact_version_of(&database.url).await, newest, "the earlier release refuses the database");
        assert_eq!(rules_of(&store).await, RulesVersion::CURRENT);
        let (_, status, _) = PostgresStore::connect_any(&database.url, 2).await.expect("the server answers");
        assert!(!status.is_open_to_earlier && status.compatible_from == newest, "{status:?}");
        PostgresStore::migrate(&database.url, None, true).await.expect("it can be finished again");
    })
    .await;
}

#[tokio::test]
async fn postgresql_database_of_a_newer_release_is_used_if_it_is_compatible() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 2).await.expect("the new database can be opened");
        assert_eq!(exact_version_of(&database.url).await, 10, "the release before this one accepts it");
        assert_eq!(rules_of(&store).await, RulesVersion::CURRENT);
        let next = newest_version("postgres") + 1;
        execute(&database.url, &next_release(next, 10)).await;
        store.check().await.expect("a compatible database is ready");
        let again =
            PostgresStore::connect(&database.url, 2).await.expect("a compatible database is accepted");
        again.raise_epoch("duties").await.expect("the write succeeds");
        PostgresStore::connect_with(&database.url, 2, SchemaPolicy::Verify).await.expect("it is accepted");
        let incompatible =
            format!("UPDATE schema_migrations SET compatible_from = {next} WHERE version = {next}");
        execute(&database.url, &incompatible).await;
        let refused = store.check().await.expect_err("an incompatible database is refused");
        assert!(refused.to_string().contains("start the release that wrote it, or a newer one"), "{refused}");
        PostgresStore::connect(&database.url, 2).await.expect_err("an incompatible database is refused");
    })
    .await;
}

#[tokio::test]
async fn database_whose_indexes_are_invalid_has_findings() {
    Database::with("", |database| async move {
        PostgresStore::connect(&database.url, 2).await.expect("the new database can be opened");
        let (reading, ..) = PostgresStore::connect_any(&database.url, 2).await.expect("the server answers");
        assert_eq!(reading.integrity().await.expect("the check succeeds"), Vec::<String>::new());
        let unchecked = "ALTER TABLE definitions ADD CONSTRAINT positive CHECK (version > 0) NOT VALID";
        execute(&database.url, unchecked).await;
        let found = reading.integrity().await.expect("the check succeeds");
        assert_eq!(found, ["constraint positive of definitions was not validated"]);
    })
    .await;
}

#[tokio::test]
async fn backup_of_a_store_in_use_is_a_store_of_its_own() {
    let file = SqliteFile::new();
    let (backup, restored) = (file.beside("backup.db"), file.beside("deep/down/goconductor.db"));
    let store = SqliteStore::open(&file.path).expect("the file can be created");
    store.compare_and_set("queue", 0, &Json::from("kafka")).await.expect("the write succeeds");
    let copied = SqliteStore::backup(&file.path, &backup).expect("the backup succeeds");
    assert_eq!((copied.schema, copied.workflows), (newest_version("sqlite"), 0));
    store.compare_and_set("queue", 1, &Json::from("nats")).await.expect("the write succeeds");
    let refused = SqliteStore::backup(&file.path, &backup).expect_err("nothing is overwritten").to_string();
    assert!(refused.contains("backup.db exists"), "{refused}");
    SqliteStore::restore(&backup, &restored).expect("the restoration succeeds");
    let entry = SqliteStore::open(&restored).expect("the store can be opened").config_entry("queue").await;
    let entry = entry.expect("the read succeeds").expect("the entry exists");
    assert_eq!(entry.value, Json::from("kafka"), "the backup has the state of its time");
    let left: Vec<_> = std::fs::read_dir(file.path.parent().expect("a file has a directory"))
        .expect("the directory can be read")
        .map(|entry| entry.expect("the entry can be read").file_name())
        .filter(|name| name.to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn backup_is_restored_only_where_no_store_is_or_was() {
    let file = SqliteFile::new();
    let backup = file.beside("backup.db");
    drop(SqliteStore::open(&file.path).expect("the file can be created"));
    SqliteStore::backup(&file.path, &backup).expect("the backup succeeds");
    let before = std::fs::read(&file.path).expect("the file can be read");
    let refused = SqliteStore::restore(&backup, &file.path).expect_err("a store is there").to_string();
    assert!(refused.contains("goconductor.db exists"), "{refused}");
    assert_eq!(std::fs::read(&file.path).expect("the file can be read"), before);
    // The backup opened the store read-only, which leaves an index and an empty log.
    for name in ["goconductor.db", "goconductor.db-shm", "goconductor.db-wal"] {
        drop(std::fs::remove_file(file.beside(name)));
    }
    let refused = SqliteStore::restore(&backup, &file.path).expect_err("a store was there").to_string();
    assert!(refused.contains("shows that a store was created there"), "{refused}");
    std::fs::remove_file(file.beside("goconductor.lock")).expect("the file can be removed");
    SqliteStore::restore(&backup, &file.path).expect("nothing shows that a store was there");
    std::fs::remove_file(&file.path).expect("the file can be removed");
    let refused =
        SqliteStore::restore(&backup, &file.path).expect_err("the restoration left a note").to_string();
    assert!(refused.contains("shows that a store was created there"), "{refused}");
}

fn first_page_of_workflows(path: &Path) -> usize {
    let connection = rusqlite::Connection::open(path).expect("the file can be opened");
    let sql = "SELECT rootpage FROM sqlite_master WHERE name = 'workflows'";
    let page: i64 = connection.query_row(sql, [], |row| row.get(0)).expect("the table exists");
    usize::try_from(page).expect("a page has a positive number")
}

#[tokio::test]
async fn damaged_or_foreign_file_is_neither_copied_nor_restored() {
    let file = SqliteFile::new();
    let (target, other) = (file.beside("copy.db"), file.beside("other.db"));
    let missing = SqliteStore::backup(&file.path, &target).expect_err("there is no store").to_string();
    assert!(missing.contains("does not exist"), "{missing}");
    std::fs::write(&other, "not a database, but long enough to be one").expect("the file can be written");
    let foreign = SqliteStore::restore(&other, &file.path).expect_err("it is no database").to_string();
    assert!(foreign.contains("is not a SQLite database"), "{foreign}");
    drop(SqliteStore::open(&file.path).expect("the file can be created"));
    let page = first_page_of_workflows(&file.path);
    let mut bytes = std::fs::read(&file.path).expect("the file can be read");
    bytes[(page - 1) * 4096..page * 4096].fill(0xa5);
    std::fs::write(&file.path, &bytes).expect("the file can be written");
    let (reading, ..) = SqliteStore::open_any(&file.path).unwrap_or_else(|error| panic!("{error}"));
    assert!(!reading.integrity().await.expect("the check succeeds").is_empty());
    SqliteStore::backup(&file.path, &target).expect_err("the damage is noticed");
    assert!(!target.exists(), "no damaged copy is left");
}
