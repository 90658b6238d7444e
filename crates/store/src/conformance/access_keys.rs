//! Access keys: they are stored unchanged, end at their earliest end, and each change raises the revision.

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{AccessKey, AccessKeyEnd, AccessScope};
use goconductor_saga::Timestamp;
use std::sync::Arc;

fn key(id: &str) -> AccessKey {
    AccessKey {
        id: id.to_owned(),
        name: "ci \u{0} ä".to_owned(),
        digest: vec![0, 255, 7],
        scope: AccessScope {
            roles: vec!["developer".to_owned(), "operator".to_owned()],
            namespaces: vec!["*".to_owned()],
            services: vec!["payments".to_owned()],
        },
        created_by: "user:ada".to_owned(),
        created_at: Timestamp(1_700_000_000_000_001),
        expires_at: None,
        revoked_at: None,
    }
}

async fn create(fixture: &Fixture, key: &AccessKey) -> Result<bool, String> {
    fixture.store.create_access_key(key).await.map_err(unexpected("create_access_key"))
}

async fn end(fixture: &Fixture, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, String> {
    fixture.store.end_access_key(id, end).await.map_err(unexpected("end_access_key"))
}

async fn revision(fixture: &Fixture) -> Result<u64, String> {
    fixture.store.access_revision().await.map_err(unexpected("access_revision"))
}

pub(super) async fn unchanged(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let get = async |id: &str| fixture.store.access_key(id).await.map_err(unexpected("access_key"));
    expect_eq("a key before it is created", &get("a1").await?, &None)?;
    let first = key("a1");
    ensure(create(&fixture, &first).await?, || "a new key was not stored".to_owned())?;
    expect_eq("the stored key", &get("a1").await?.as_ref(), &Some(&first))?;
    let other = AccessKey { digest: vec![1], ..first.clone() };
    ensure(!create(&fixture, &other).await?, || "a second key with the same id was stored".to_owned())?;
    expect_eq("the key after a second one with its id", &get("a1").await?.as_ref(), &Some(&first))?;
    let expiring = AccessKey { expires_at: Some(Timestamp(5)), ..key("B2") };
    let unscoped = AccessKey { scope: AccessScope::default(), ..key("a2") };
    for each in [&expiring, &unscoped] {
        create(&fixture, each).await?;
    }
    let page = async |after: Option<&str>, limit| {
        fixture.store.access_keys(after, limit).await.map_err(unexpected("access_keys"))
    };
    expect_eq("the first page", &page(None, 2).await?, &vec![expiring, first])?;
    expect_eq("the second page", &page(Some("a1"), 2).await?, &vec![unscoped])?;
    let reopened = factory.reopen(fixture.store).await?;
    let kept = reopened.access_keys(None, 10).await.map_err(unexpected("access_keys"))?;
    expect_eq("the number of keys after reopening", &kept.len(), &3)
}

pub(super) async fn ended(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let created = key("a1");
    create(&fixture, &created).await?;
    create(&fixture, &key("a2")).await?;
    let expires = async |at| end(&fixture, "a1", AccessKeyEnd::Expires(Timestamp(at))).await;
    let expiring = |at| Some(AccessKey { expires_at: Some(Timestamp(at)), ..created.clone() });
    expect_eq("a key that expires", &expires(50).await?, &expiring(50))?;
    expect_eq("a later expiry", &expires(60).await?, &expiring(50))?;
    expect_eq("an earlier expiry", &expires(40).await?, &expiring(40))?;
    let revoked =
        AccessKey { expires_at: Some(Timestamp(40)), revoked_at: Some(Timestamp(30)), ..created.clone() };
    for at in [30, 35] {
        let found = end(&fixture, "a1", AccessKeyEnd::Revoked(Timestamp(at))).await?;
        expect_eq("a revoked key", &found.as_ref(), &Some(&revoked))?;
    }
    let stored = fixture.store.access_key("a1").await.map_err(unexpected("access_key"))?;
    expect_eq("the stored key", &stored.as_ref(), &Some(&revoked))?;
    let other = fixture.store.access_key("a2").await.map_err(unexpected("access_key"))?;
    expect_eq("another key", &other, &Some(key("a2")))?;
    let missing = end(&fixture, "a3", AccessKeyEnd::Revoked(Timestamp(1))).await?;
    expect_eq("the end of a key that does not exist", &missing, &None)
}

pub(super) async fn revisions(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut last = revision(&fixture).await?;
    let mut rises = async |what: &str| {
        let now = revision(&fixture).await?;
        ensure(now > last, || format!("the revision did not rise with {what}: {last}, then {now}"))?;
        last = now;
        Ok::<(), String>(())
    };
    create(&fixture, &key("a1")).await?;
    rises("a new key").await?;
    end(&fixture, "a1", AccessKeyEnd::Expires(Timestamp(5))).await?;
    rises("an expiry").await?;
    end(&fixture, "a1", AccessKeyEnd::Revoked(Timestamp(4))).await?;
    rises("a revocation").await?;
    let before = revision(&fixture).await?;
    fixture.store.access_key("a1").await.map_err(unexpected("access_key"))?;
    expect_eq("the revision after a read", &revision(&fixture).await?, &before)
}
