//! Secrets. The cases store arbitrary bytes: a store does not open them.

use std::sync::Arc;

use goconductor_saga::Timestamp;

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{SecretHead, SecretPosition, SecretVersion, WrappedDataKey};

fn position(namespace: &str, name: &str, version: u32) -> SecretPosition {
    SecretPosition { namespace: namespace.to_owned(), name: name.to_owned(), version }
}

fn sealed(namespace: &str, name: &str, version: u32, key_id: &str) -> SecretVersion {
    SecretVersion {
        position: position(namespace, name, version),
        key: WrappedDataKey { key_id: key_id.to_owned(), wrapped: vec![0, 255, 1, 0x80] },
        sealed: format!("{namespace}\u{0}{name} {version}").into_bytes(),
        created_at: Timestamp(0),
    }
}

async fn put(fixture: &Fixture, version: &SecretVersion, keep: u32) -> Result<Option<SecretHead>, String> {
    fixture.store.put_secret(version, keep).await.map_err(unexpected("put_secret"))
}

async fn put_all(fixture: &Fixture, versions: &[SecretVersion]) -> CaseResult {
    for version in versions {
        ensure(put(fixture, version, 0).await?.is_some(), || format!("{version:?} was refused"))?;
    }
    Ok(())
}

async fn read(fixture: &Fixture, name: &str, version: Option<u32>) -> Result<Option<(u32, Vec<u8>)>, String> {
    let read = fixture.store.secret_version("a", name, version).await;
    let read = read.map_err(unexpected("secret_version"))?;
    Ok(read.map(|version| (version.position.version, version.sealed)))
}

pub(super) async fn versions(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let one = |version: u32| sealed("a", "token", version, "k1");
    let value = |version: u32| Some((version, one(version).sealed));
    let before = fixture.store.now().await.map_err(unexpected("now"))?;
    expect_eq("a version without its predecessor", &put(&fixture, &one(2), 0).await?, &None)?;
    expect_eq("a secret that does not exist", &read(&fixture, "token", None).await?, &None)?;
    let first = put(&fixture, &one(1), 0).await?.ok_or("the first version was refused")?;
    expect_eq("the first version", &(first.version, first.is_deleted), &(1, false))?;
    ensure(before <= first.created_at && first.created_at == first.updated_at, || {
        format!("the times of {first:?} are not those of its creation")
    })?;
    expect_eq("the same version again", &put(&fixture, &one(1), 0).await?, &None)?;
    for version in 2..=4 {
        let head = put(&fixture, &one(version), 3).await?.ok_or("the next version was refused")?;
        expect_eq("the newest version", &head.version, &version)?;
        expect_eq("the time of creation", &head.created_at, &first.created_at)?;
    }
    expect_eq("the newest version", &read(&fixture, "token", None).await?, &value(4))?;
    expect_eq("an earlier version", &read(&fixture, "token", Some(2)).await?, &value(2))?;
    expect_eq("a version that was not kept", &read(&fixture, "token", Some(1)).await?, &None)?;
    let delete =
        async || fixture.store.delete_secret("a", "token").await.map_err(unexpected("delete_secret"));
    expect_eq("the deletion of a secret", &delete().await?, &true)?;
    expect_eq("the second deletion", &delete().await?, &false)?;
    expect_eq("a deleted secret", &read(&fixture, "token", None).await?, &None)?;
    expect_eq("a version of a deleted secret", &read(&fixture, "token", Some(4)).await?, &None)?;
    expect_eq("a version that was used before a deletion", &put(&fixture, &one(1), 0).await?, &None)?;
    let head = fixture.store.secret_head("a", "token").await.map_err(unexpected("secret_head"))?;
    expect_eq("the deleted secret", &head.map(|head| (head.version, head.is_deleted)), &Some((4, true)))?;
    let again = put(&fixture, &one(5), 0).await?.ok_or("the version after a deletion was refused")?;
    expect_eq("the secret after a deletion", &(again.version, again.is_deleted), &(5, false))?;
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    expect_eq(
        "the secret after the store was opened again",
        &read(&reopened, "token", None).await?,
        &value(5),
    )
}

pub(super) async fn one_version(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for version in 1..=3 {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..8_u8 {
            let fixture = fixture.clone();
            let secret = SecretVersion { sealed: vec![number], ..sealed("a", "token", version, "k1") };
            callers.spawn(async move { put(&fixture, &secret, 0).await.map(|head| head.map(|_| number)) });
        }
        let mut won = Vec::new();
        while let Some(ended) = callers.join_next().await {
            won.extend(ended.map_err(|error| error.to_string())??);
        }
        expect_eq("the number of concurrent writes of one version that succeeded", &won.len(), &1)?;
        expect_eq("the stored version", &read(&fixture, "token", None).await?, &Some((version, won)))?;
    }
    Ok(())
}

pub(super) async fn listed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let page = async |namespace: &str, after: Option<&str>| -> Result<Vec<String>, String> {
        let page = fixture.store.secrets(namespace, after, 2).await.map_err(unexpected("secrets"))?;
        Ok(page.into_iter().map(|head| head.name).collect())
    };
    for (namespace, name) in [("a", "c"), ("a", "B"), ("a", "a-1"), ("a", "a_1"), ("b", "other")] {
        put_all(&fixture, &[sealed(namespace, name, 1, "k1")]).await?;
    }
    let deleted = fixture.store.delete_secret("a", "a_1").await.map_err(unexpected("delete_secret"))?;
    ensure(deleted, || "a secret was not deleted".to_owned())?;
    expect_eq("the first page of secrets", &page("a", None).await?, &vec!["B".to_owned(), "a-1".to_owned()])?;
    expect_eq("the second page of secrets", &page("a", Some("a-1")).await?, &vec!["c".to_owned()])?;
    expect_eq("the secrets of another namespace", &page("b", None).await?, &vec!["other".to_owned()])?;
    let elsewhere =
        fixture.store.secret_version("b", "c", None).await.map_err(unexpected("secret_version"))?;
    expect_eq("a secret of another namespace", &elsewhere, &None)
}

pub(super) async fn rewrapped(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let all = [
        sealed("a", "one", 1, "k1"),
        sealed("a", "one", 2, "k1"),
        sealed("a", "two", 1, "k2"),
        sealed("b", "one", 1, "k1"),
    ];
    put_all(&fixture, &all).await?;
    let others = async |after: Option<&SecretPosition>| -> Result<Vec<SecretPosition>, String> {
        let page = fixture.store.secrets_of_other_keys("k2", after, 2).await;
        let page = page.map_err(unexpected("secrets_of_other_keys"))?;
        Ok(page.into_iter().map(|version| version.position).collect())
    };
    let first = vec![position("a", "one", 1), position("a", "one", 2)];
    expect_eq("the first page of secrets of other keys", &others(None).await?, &first)?;
    let second = vec![position("b", "one", 1)];
    expect_eq("the second page of secrets of other keys", &others(first.last()).await?, &second)?;
    let key = WrappedDataKey { key_id: "k2".to_owned(), wrapped: vec![9, 8, 7] };
    let rewrap = async |at: &SecretPosition, from: &str| {
        fixture.store.rewrap_secret(at, from, &key).await.map_err(unexpected("rewrap_secret"))
    };
    let at = position("a", "one", 2);
    expect_eq("a data key that is wrapped with another key", &rewrap(&at, "k3").await?, &false)?;
    expect_eq("a data key of the expected master key", &rewrap(&at, "k1").await?, &true)?;
    expect_eq("the same data key again", &rewrap(&at, "k1").await?, &false)?;
    let read =
        fixture.store.secret_version("a", "one", Some(2)).await.map_err(unexpected("secret_version"))?;
    let read = read.ok_or("the version was not found")?;
    expect_eq("the wrapped data key", &read.key, &key)?;
    expect_eq("the value", &read.sealed, &sealed("a", "one", 2, "k1").sealed)?;
    expect_eq("the rest", &others(None).await?, &vec![position("a", "one", 1), position("b", "one", 1)])
}
