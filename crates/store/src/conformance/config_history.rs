//! The dynamic settings: versions that are added once, and their history.

use std::sync::Arc;

use goconductor_saga::Json;
use serde_json::json;

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::{ClusterStore, ConfigChange, ConfigHistory, ConfigVersion};

fn change(id: &str, settings: Json) -> ConfigChange {
    ConfigChange {
        id: id.to_owned(),
        settings,
        digest: format!("digest of {id}"),
        actor: Some(format!("actor\u{0} {id}")),
        reason: Some("größer".to_owned()),
    }
}

fn numbers(versions: &[ConfigVersion]) -> Vec<u64> {
    versions.iter().map(|version| version.version).collect()
}

/// Versions are numbered from 1, keep what was written, and are listed newest first, also after the store was reopened.
pub(super) async fn is_kept(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    {
        let store: &dyn ClusterStore = &*fixture.store;
        let history = ConfigHistory::of(store);
        expect_eq(
            "the newest version at first",
            &history.newest().await.map_err(unexpected("newest"))?,
            &None,
        )?;
        for number in 0..3_u64 {
            let change = change(&format!("c{number}"), json!({"limits": {"page_size": number}}));
            let added = history.append(number, &change).await.map_err(unexpected("append"))?;
            let added = added.ok_or("a version was refused although no other writer exists")?;
            expect_eq("the number of an added version", &added.version, &(number + 1))?;
            expect_eq("the change of an added version", &added.change, &change)?;
        }
    }
    let store = factory.reopen(fixture.store).await?;
    let store: &dyn ClusterStore = &*store;
    let history = ConfigHistory::of(store);
    let newest = history.newest().await.map_err(unexpected("newest"))?.ok_or("no version is the newest")?;
    expect_eq("the newest version", &newest.version, &3)?;
    expect_eq("its change", &newest.change, &change("c2", json!({"limits": {"page_size": 2}})))?;
    let all = history.before(4, 10).await.map_err(unexpected("before"))?;
    expect_eq("the history", &numbers(&all), &vec![3, 2, 1])?;
    ensure(all.is_sorted_by(|one, other| one.time >= other.time), || "the times do not rise".to_owned())?;
    let page = history.before(3, 1).await.map_err(unexpected("before"))?;
    expect_eq("a page of the history", &numbers(&page), &vec![2])?;
    let none = history.newest_after(3).await.map_err(unexpected("newest_after"))?;
    expect_eq("what is newer than the newest version", &none, &None)?;
    let newer = history.newest_after(1).await.map_err(unexpected("newest_after"))?;
    expect_eq("what is newer than the first version", &newer.map(|newer| newer.version), &Some(3))?;
    expect_eq(
        "a version that does not exist",
        &history.version(9).await.map_err(unexpected("version"))?,
        &None,
    )
}

/// Of many writers that know the same version, one adds the next.
pub(super) async fn has_one_writer(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let fixture = fixture.clone();
        writers.spawn(async move {
            let change = change(&format!("w{number}"), json!({"number": number}));
            ConfigHistory::of(&*fixture.store).append(0, &change).await.map_err(unexpected("append"))
        });
    }
    let mut won: Vec<ConfigVersion> = Vec::new();
    while let Some(ended) = writers.join_next().await {
        won.extend(ended.map_err(|error| error.to_string())??);
    }
    expect_eq("the number of 20 concurrent writers that added version 1", &won.len(), &1)?;
    let newest = ConfigHistory::of(&*fixture.store).newest().await.map_err(unexpected("newest"))?;
    expect_eq("the newest version", &newest.as_ref(), &won.first())
}

/// A version whose writer stopped before it noted the version is found, and another writer cannot replace it.
pub(super) async fn survives_its_writer(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let history = ConfigHistory::of(&*fixture.store);
    history.append(0, &change("a", json!({}))).await.map_err(unexpected("append"))?;
    let unnoted = change("b", json!({"limits": {"page_size": 7}}));
    let value = serde_json::to_value(&unnoted).map_err(|error| error.to_string())?;
    fixture.store.compare_and_set("config/2", 0, &value).await.map_err(unexpected("compare_and_set"))?;
    let newest = history.newest().await.map_err(unexpected("newest"))?;
    expect_eq("the newest version", &newest.map(|newest| newest.change), &Some(unnoted))?;
    let refused = history.append(1, &change("c", json!({}))).await.map_err(unexpected("append"))?;
    expect_eq("a second version 2", &refused, &None)?;
    let added = history.append(2, &change("d", json!({}))).await.map_err(unexpected("append"))?;
    expect_eq("the version after it", &added.map(|added| added.version), &Some(3))?;
    let newest = history.newest().await.map_err(unexpected("newest"))?;
    expect_eq("the newest version at last", &newest.map(|newest| newest.version), &Some(3))
}
