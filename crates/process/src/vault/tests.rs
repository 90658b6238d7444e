//! Tests of the vault over a SQLite store.

use super::{ENTRY, Rotation, Vault, VaultError, VaultPayloadKeys};
use goconductor_service_kit::config::{EncryptionConfig, MasterKeySource, SecretsConfig};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClusterStore, SecretStore, Store};
use goconductor_transition::PayloadKeys;
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A store, and a file with the master keys of a process.
struct Fixture {
    store: Arc<SqliteStore>,
    folder: tempfile::TempDir,
}

fn key(number: u8) -> String {
    (0..32_u8).map(|at| format!("{:02x}", at.wrapping_mul(5).wrapping_add(number))).collect()
}

impl Fixture {
    fn new() -> Self {
        let store = SqliteStore::ephemeral().expect("the temporary directory is writable");
        Self { store: Arc::new(store), folder: tempfile::tempdir().expect("a directory can be created") }
    }

    fn file(&self, process: &str) -> PathBuf {
        self.folder.path().join(process)
    }

    fn write_keys(&self, process: &str, keys: &[u8]) {
        let lines: Vec<String> = keys.iter().map(|number| key(*number)).collect();
        std::fs::write(self.file(process), lines.join("\n")).expect("the file can be written");
    }

    async fn open_with(&self, master_key: Option<MasterKeySource>) -> Result<Option<Arc<Vault>>, VaultError> {
        let config = SecretsConfig {
            master_key,
            command_timeout: Duration::from_secs(5),
            namespace: "default".to_owned(),
        };
        Vault::open(&config, Arc::clone(&self.store) as Arc<dyn Store>).await
    }

    /// Opens the vault of a process with keys.
    async fn open(&self, process: &str, keys: &[u8]) -> Result<Arc<Vault>, VaultError> {
        self.write_keys(process, keys);
        let source = MasterKeySource::File(self.file(process));
        Ok(self.open_with(Some(source)).await?.expect("the process has a key"))
    }
}

async fn put(vault: &Vault, name: &str, value: &str) -> u32 {
    vault.put("default", name, &SecretString::from(value)).await.expect("the secret is stored").version
}

async fn get(vault: &Vault, name: &str) -> Option<(u32, String)> {
    let found = vault.get("default", name, None).await.expect("the secret can be read");
    found.map(|(version, value)| (version, value.expose_secret().to_owned()))
}

#[tokio::test]
async fn value_is_sealed_in_the_store_and_opened_by_every_process() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.open("one", &[1]).await.unwrap(), fixture.open("other", &[1]).await.unwrap());
    assert_eq!(put(&one, "token", "hunter2").await, 1);
    assert_eq!(get(&other, "token").await, Some((1, "hunter2".to_owned())));
    assert_eq!(put(&other, "token", "hunter3").await, 2);
    assert_eq!(get(&one, "token").await, Some((2, "hunter3".to_owned())));
    let first = one.get("default", "token", Some(1)).await.unwrap().unwrap();
    assert_eq!(first.1.expose_secret(), "hunter2");
    assert_eq!(get(&one, "other").await, None);
    let stored = fixture.store.secret_version("default", "token", None).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&stored.sealed).contains("hunter"));
}

#[tokio::test]
async fn concurrent_writes_get_versions_of_their_own() {
    let fixture = Fixture::new();
    let vault = fixture.open("one", &[1]).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let vault = Arc::clone(&vault);
        callers.spawn(async move { put(&vault, "token", &number.to_string()).await });
    }
    let mut versions = callers.join_all().await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn wrong_or_lost_master_key_is_reported_at_the_start() {
    let fixture = Fixture::new();
    let vault = fixture.open("one", &[1]).await.unwrap();
    put(&vault, "token", "hunter2").await;
    let wrong = fixture.open("other", &[2]).await.expect_err("the key is another one");
    assert!(matches!(&wrong, VaultError::WrongKey { .. }) && wrong.code() == Some("GC2078"), "{wrong}");
    assert!(!wrong.to_string().contains(&key(2)), "{wrong}");
    let lost = fixture.open_with(None).await.expect_err("the key is lost");
    assert!(matches!(&lost, VaultError::NoKey { .. }) && lost.is_about_configuration(), "{lost}");
    let source = MasterKeySource::File(fixture.file("missing"));
    let missing = fixture.open_with(Some(source)).await.expect_err("the file does not exist");
    assert_eq!(missing.code(), Some("GC2077"), "{missing}");
    // Without secrets, nothing is lost, and a new key may begin.
    fixture.store.delete_secret("default", "token").await.unwrap();
    assert!(fixture.open_with(None).await.unwrap().is_none());
    let vault = fixture.open("other", &[2]).await.unwrap();
    put(&vault, "token", "again").await;
    fixture.open("one", &[1]).await.expect_err("the first key is not the current one any more");
}

#[tokio::test]
async fn command_and_variable_are_sources_of_keys() {
    let fixture = Fixture::new();
    let command =
        |script: String| Some(MasterKeySource::Command(vec!["sh".to_owned(), "-c".to_owned(), script]));
    let vault = fixture.open_with(command(format!("echo {}", key(1)))).await.unwrap().unwrap();
    put(&vault, "token", "hunter2").await;
    for (script, part) in [
        ("exit 3".to_owned(), "the command failed"),
        ("echo hunter2".to_owned(), "line 1"),
        (format!("echo {}; exit 1", key(1)), "the command failed"),
        (String::new(), "no key"),
    ] {
        let error = fixture.open_with(command(script)).await.expect_err("the command is of no use");
        assert!(error.to_string().contains(part) && !error.to_string().contains("hunter2"), "{error}");
    }
    let variable = MasterKeySource::Env("GOCONDUCTOR_NO_SUCH_VARIABLE".to_owned());
    let error = fixture.open_with(Some(variable)).await.expect_err("the variable is not set");
    assert!(error.to_string().contains("not set"), "{error}");
    let credential = MasterKeySource::Systemd("master-key".to_owned());
    let error = fixture.open_with(Some(credential)).await.expect_err("the test is not a unit");
    assert!(error.to_string().contains("CREDENTIALS_DIRECTORY"), "{error}");
}

#[tokio::test]
async fn rotation_needs_no_restart_and_can_be_resumed() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.open("one", &[1]).await.unwrap(), fixture.open("other", &[1]).await.unwrap());
    for number in 0..5 {
        put(&one, &format!("token-{number}"), &format!("value-{number}")).await;
    }
    let first = one.rotate().await.unwrap();
    assert!(!first.changed && first.pending == 0, "{first:?}");
    // The first process gets the new key, but the other one has only the first key.
    fixture.write_keys("one", &[2, 1]);
    let rotated = one.rotate().await.unwrap();
    assert!(matches!(&rotated, Rotation { changed: true, pending: 5, .. }), "{rotated:?}");
    assert!(matches!(
        other.put("default", "new", &SecretString::from("x")).await,
        Err(VaultError::WrongKey { .. })
    ));
    assert_eq!(get(&other, "token-0").await, Some((1, "value-0".to_owned())));
    fixture.write_keys("other", &[1, 2]);
    assert_eq!(put(&other, "new", "sealed with the current key").await, 1);
    // Both processes wrap the data keys at the same time. Each key is wrapped once.
    let (by_one, by_other) = tokio::join!(one.rewrap_all(), other.rewrap_all());
    assert_eq!(by_one.unwrap() + by_other.unwrap(), 5);
    assert_eq!(one.rotate().await.unwrap().pending, 0);
    fixture.open("late", &[1]).await.expect_err("the first key is not enough any more");
    let after = fixture.open("late", &[2]).await.unwrap();
    assert_eq!(get(&after, "token-4").await, Some((1, "value-4".to_owned())));
    assert_eq!(get(&after, "new").await, Some((1, "sealed with the current key".to_owned())));
    let entry = fixture.store.config_entry(ENTRY).await.unwrap().unwrap();
    assert_eq!(entry.value["current"], rotated.key_id.as_str());
}

#[tokio::test]
async fn earlier_key_is_required_until_all_data_keys_are_wrapped_again() {
    let fixture = Fixture::new();
    let vault = fixture.open("one", &[1]).await.unwrap();
    put(&vault, "token", "hunter2").await;
    fixture.write_keys("one", &[2, 1]);
    vault.rotate().await.unwrap();
    let early = fixture.open("two", &[2]).await.expect_err("a data key is wrapped with the first key");
    assert!(matches!(early, VaultError::WrongKey { .. }), "{early}");
    fixture.write_keys("one", &[3]);
    let refused = vault.rotate().await.expect_err("the earlier keys were removed");
    assert!(matches!(refused, VaultError::WrongKey { .. }), "{refused}");
    fixture.open("two", &[2, 1]).await.unwrap().rewrap_all().await.unwrap();
    fixture.open("two", &[2]).await.unwrap();
}

#[tokio::test]
async fn changed_value_is_not_opened() {
    let fixture = Fixture::new();
    let vault = fixture.open("one", &[1]).await.unwrap();
    put(&vault, "token", "hunter2").await;
    let mut stored = fixture.store.secret_version("default", "token", None).await.unwrap().unwrap();
    stored.position.name = "stolen".to_owned();
    fixture.store.put_secret(&stored, 0).await.unwrap().expect("the row is stored");
    let corrupt = vault.get("default", "stolen", None).await.expect_err("it belongs to another secret");
    assert_eq!(corrupt.code(), Some("GC2079"), "{corrupt}");
}

#[tokio::test]
async fn payload_keys_rotate_and_earlier_ones_stay_readable() {
    let fixture = Fixture::new();
    let vault = fixture.open("one", &[1]).await.unwrap();
    let config = EncryptionConfig { namespaces: ["shop".to_owned()].into(), ..EncryptionConfig::default() };
    let keys = VaultPayloadKeys::new(Arc::clone(&vault), config.clone());
    assert!(keys.seals("shop") && !keys.seals("default"));
    let first = keys.current("shop").await.unwrap();
    let sealed = first.seal("place", "text", [7; 24]);
    assert_eq!(vault.create_payload_key("shop").await.unwrap().version, first.version() + 1);
    let other = VaultPayloadKeys::new(Arc::clone(&vault), config);
    assert_eq!(other.current("shop").await.unwrap().version(), first.version() + 1);
    let earlier = other.version("shop", first.version()).await.unwrap();
    assert_eq!(earlier.open("place", &sealed).unwrap(), "text");
    other.version("shop", 9).await.expect_err("the version does not exist");
    assert_eq!(get(&vault, "shop").await, None, "the keys are not secrets of the users");
}
