//! Credentials are checked against a real store.

use super::*;
use crate::key::IssuedKey;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{AccessKeyEnd, AccessScope};
use http::{HeaderValue, header};
use std::sync::atomic::{AtomicI64, Ordering};

/// The time of the clock, in microseconds.
static NOW: AtomicI64 = AtomicI64::new(1_000_000);

fn clock() -> Timestamp {
    Timestamp(NOW.load(Ordering::Relaxed))
}

struct Fixture {
    store: Arc<SqliteStore>,
    control: AccessControl,
}

impl Fixture {
    fn new(config: AccessConfig) -> Self {
        let store = Arc::new(SqliteStore::ephemeral().unwrap());
        let control =
            AccessControl::start(config, Arc::clone(&store) as Arc<dyn AccessKeyStore>, clock).unwrap();
        Self { store, control }
    }

    async fn key(&self, role: &str, expires_at: Option<Timestamp>) -> IssuedKey {
        let issued = IssuedKey::generate().unwrap();
        let scope = AccessScope {
            roles: vec![role.to_owned()],
            namespaces: vec!["shop".to_owned()],
            services: Vec::new(),
        };
        let key = AccessKey {
            id: issued.id.clone(),
            name: "test".to_owned(),
            digest: issued.digest.clone(),
            scope,
            created_by: "test".to_owned(),
            created_at: clock(),
            expires_at,
            revoked_at: None,
        };
        assert!(self.store.create_access_key(&key).await.unwrap());
        issued
    }

    async fn authenticate(&self, token: &str) -> Result<Arc<Principal>, Rejection> {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        self.control.authenticate(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), None, None).await
    }

    /// Waits until the key is cached: the revision of its creation was read.
    async fn cached(&self, key: &IssuedKey) {
        tokio::time::sleep(POLL_INTERVAL + POLL_INTERVAL / 2).await;
        while self.control.cached(&key.id).is_none() {
            self.authenticate(key.text.expose_secret()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn revoke(&self, id: &str) {
        self.store.end_access_key(id, AccessKeyEnd::Revoked(clock())).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn valid_key_has_the_grants_of_its_scope_and_of_its_bindings() {
    let fixture = Fixture::new(AccessConfig::default());
    let key = fixture.key("viewer", None).await;
    let principal = fixture.authenticate(key.text.expose_secret()).await.unwrap();
    assert_eq!(principal.actor, format!("key:{}", key.id));
    assert!(principal.grants.allows(Permission::WorkflowsRead, "shop"));
    assert!(!principal.grants.allows(Permission::WorkflowsOperate, "shop"));
    let mut config = AccessConfig::default();
    let binding = goconductor_service_kit::config::BindingConfig {
        subjects: vec![AccessSubject::Key(key.id.clone())],
        roles: vec!["operator".to_owned()],
        namespaces: vec!["shop".to_owned()],
        services: Vec::new(),
    };
    config.bindings.insert("operators".to_owned(), binding);
    let control =
        AccessControl::start(config, Arc::clone(&fixture.store) as Arc<dyn AccessKeyStore>, clock).unwrap();
    let principal = control.check(&key.text, None).await.unwrap();
    assert!(principal.grants.allows(Permission::WorkflowsOperate, "shop"));
}

#[tokio::test]
async fn invalid_credential_is_refused() {
    let fixture = Fixture::new(AccessConfig::default());
    let key = fixture.key("admin", None).await;
    let text = key.text.expose_secret();
    let other = IssuedKey::generate().unwrap();
    let wrong_secret =
        format!("{}{}", &text[..text.len() - 64], &other.text.expose_secret()[text.len() - 64..]);
    let truncated = &text[..text.len() - 1];
    for token in [other.text.expose_secret(), &wrong_secret, truncated, "nonsense", &"a".repeat(32)] {
        let refused = fixture.authenticate(token).await;
        assert!(matches!(refused, Err(Rejection::Unknown)), "{refused:?}");
    }
    let missing = fixture.control.authenticate(&HeaderMap::new(), None, None).await;
    assert!(matches!(missing, Err(Rejection::Missing)));
}

#[tokio::test]
async fn bootstrap_key_is_an_administrator() {
    let secret = "0123456789abcdef0123456789abcdef";
    let config = AccessConfig { bootstrap_key: Some(SecretString::from(secret)), ..AccessConfig::default() };
    let fixture = Fixture::new(config);
    let principal = fixture.authenticate(secret).await.unwrap();
    assert!(principal.grants.allows_everywhere(Permission::AccessWrite));
    assert!(fixture.authenticate(&secret[1..]).await.is_err());
    assert!(!format!("{:?}", fixture.control).contains(secret));
}

#[tokio::test]
async fn revoked_key_is_refused_within_two_seconds_by_every_process() {
    let fixture = Fixture::new(AccessConfig::default());
    let key = fixture.key("viewer", None).await;
    let text = key.text.expose_secret();
    let principal = fixture.authenticate(text).await.unwrap();
    fixture.cached(&key).await;
    let control = fixture.control.clone();
    let stream = tokio::spawn(async move { control.ended(principal).await });
    fixture.revoke(&key.id).await;
    let revoked_at = Instant::now();
    while fixture.authenticate(text).await.is_ok() {
        assert!(revoked_at.elapsed() < Duration::from_secs(2), "the key is still accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(fixture.authenticate(text).await, Err(Rejection::Revoked)));
    tokio::time::timeout(Duration::from_secs(2), stream).await.expect("the stream ends").unwrap();
}

#[tokio::test]
async fn expired_key_is_refused_and_ends_its_streams() {
    let fixture = Fixture::new(AccessConfig::default());
    let soon = clock().after(Duration::from_millis(50));
    let key = fixture.key("viewer", Some(soon)).await;
    let principal = fixture.authenticate(key.text.expose_secret()).await.unwrap();
    let control = fixture.control.clone();
    let stream = tokio::spawn(async move { control.ended(principal).await });
    assert!(!stream.is_finished());
    NOW.fetch_max(soon.0, Ordering::Relaxed);
    let refused = fixture.authenticate(key.text.expose_secret()).await;
    assert!(matches!(refused, Err(Rejection::Expired)), "{refused:?}");
    tokio::time::timeout(Duration::from_secs(2), stream).await.expect("the stream ends").unwrap();
}

#[tokio::test]
async fn cached_key_needs_no_round_trip() {
    let fixture = Fixture::new(AccessConfig::default());
    let key = fixture.key("viewer", None).await;
    let text = key.text.expose_secret();
    fixture.cached(&key).await;
    let reads = fixture.control.0.reads.acquire_many(16).await.unwrap();
    fixture.authenticate(text).await.expect("no read is needed");
    drop(reads);
}

#[tokio::test]
async fn unknown_keys_neither_delay_known_keys_nor_wait() {
    let fixture = Fixture::new(AccessConfig::default());
    let key = fixture.key("viewer", None).await;
    let text = key.text.expose_secret();
    fixture.cached(&key).await;
    let unknown_reads = fixture.control.0.unknown_reads.acquire_many(16).await.unwrap();
    let strangers: Vec<_> = (0..100)
        .map(|_| {
            let (control, other) = (fixture.control.clone(), IssuedKey::generate().unwrap());
            tokio::spawn(async move { control.check(&other.text, None).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // The cache is empty, as after a change of a key.
    fixture.control.0.cache.clear();
    let known = tokio::time::timeout(Duration::from_secs(1), fixture.authenticate(text)).await;
    known.expect("a known key does not wait for unknown keys").unwrap();
    let busy = IssuedKey::generate().unwrap();
    let refused =
        tokio::time::timeout(Duration::from_millis(500), fixture.authenticate(busy.text.expose_secret()));
    let refused = refused.await.expect("an unknown key beyond the limit is refused at once");
    assert!(matches!(refused, Err(Rejection::Busy)), "{refused:?}");
    drop(unknown_reads);
    let mut busy = 0;
    for stranger in strangers {
        match stranger.await.unwrap() {
            Err(Rejection::Busy) => busy += 1,
            refused => assert!(matches!(refused, Err(Rejection::Unknown)), "{refused:?}"),
        }
    }
    assert!(busy >= 68, "{busy}");
}

#[tokio::test]
async fn certificate_counts_only_without_a_token() {
    let mut config = AccessConfig::default();
    let uri = "spiffe://shop/operator";
    let binding = goconductor_service_kit::config::BindingConfig {
        subjects: vec![AccessSubject::Certificate(uri.to_owned())],
        roles: vec!["viewer".to_owned()],
        namespaces: vec!["shop".to_owned()],
        services: Vec::new(),
    };
    config.bindings.insert("operator".to_owned(), binding);
    let fixture = Fixture::new(config);
    let peer = Peer::new(vec![uri.to_owned()], None, Some("shop"));
    let principal = fixture.control.authenticate(&HeaderMap::new(), Some(&peer), None).await.unwrap();
    assert_eq!(principal.actor, format!("cert:{uri}"));
    assert!(principal.grants.allows(Permission::WorkflowsRead, "shop"));
    for value in ["Bearer nonsense", "nonsense", "Basic", ""] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        assert!(fixture.control.authenticate(&headers, Some(&peer), None).await.is_err(), "{value}");
    }
    let nameless = Peer::new(Vec::new(), Some("operator"), Some("shop"));
    let missing = fixture.control.authenticate(&HeaderMap::new(), Some(&nameless), None).await;
    assert!(matches!(missing, Err(Rejection::Missing)));
}

#[tokio::test]
async fn session_follows_its_key() {
    let fixture = Fixture::new(AccessConfig::default());
    let key = fixture.key("viewer", None).await;
    let principal = fixture.authenticate(key.text.expose_secret()).await.unwrap();
    let identity = fixture.control.identity_of(&principal).unwrap();
    let ends_at = clock().after(Duration::from_secs(3600));
    let resumed = fixture.control.resume(&identity, ends_at).await.unwrap();
    assert_eq!((&resumed.actor, &resumed.grants), (&principal.actor, &principal.grants));
    assert_eq!(resumed.expires_at, Some(ends_at));
    let ended = fixture.control.resume(&identity, clock()).await;
    assert!(matches!(ended, Err(Rejection::Expired)), "{ended:?}");
    fixture.revoke(&key.id).await;
    tokio::time::sleep(FRESH + POLL_INTERVAL).await;
    let revoked = fixture.control.resume(&identity, ends_at).await;
    assert!(matches!(revoked, Err(Rejection::Revoked)), "{revoked:?}");
}

#[tokio::test]
async fn session_ends_with_its_key_if_that_is_earlier() {
    let fixture = Fixture::new(AccessConfig::default());
    let key_ends_at = clock().after(Duration::from_secs(60));
    let key = fixture.key("viewer", Some(key_ends_at)).await;
    let identity = crate::SessionIdentity::Key { id: key.id.clone() };
    let resumed = fixture.control.resume(&identity, clock().after(Duration::from_secs(3600))).await.unwrap();
    assert_eq!(resumed.expires_at, Some(key_ends_at));
}

#[tokio::test]
async fn session_of_the_bootstrap_key_ends_when_the_key_is_replaced() {
    let with_key = |key: &str| AccessConfig { bootstrap_key: Some(key.into()), ..AccessConfig::default() };
    let fixture = Fixture::new(with_key("the-first-bootstrap-key-0123456789"));
    let principal = fixture.authenticate("the-first-bootstrap-key-0123456789").await.unwrap();
    let identity = fixture.control.identity_of(&principal).unwrap();
    let ends_at = clock().after(Duration::from_secs(3600));
    assert!(fixture.control.resume(&identity, ends_at).await.is_ok());
    let other = Fixture::new(with_key("another-bootstrap-key-0123456789"));
    let refused = other.control.resume(&identity, ends_at).await;
    assert!(matches!(refused, Err(Rejection::Revoked)), "{refused:?}");
}

#[tokio::test]
async fn session_of_a_user_of_another_issuer_is_refused() {
    let fixture = Fixture::new(AccessConfig::default());
    let identity = crate::SessionIdentity::User {
        issuer: "https://login.example".to_owned(),
        subject: "ada".to_owned(),
        groups: vec!["admins".to_owned()],
    };
    let refused = fixture.control.resume(&identity, clock().after(Duration::from_secs(3600))).await;
    assert!(matches!(refused, Err(Rejection::Revoked)), "{refused:?}");
}
