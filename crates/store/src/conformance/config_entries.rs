//! Configuration entries, which all processes share. They change only by compare-and-set.

use std::sync::Arc;

use goconductor_saga::Json;
use serde_json::json;

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::ConfigEntry;

pub(super) async fn one_changes(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let read = async |name: &str| fixture.store.config_entry(name).await.map_err(unexpected("config_entry"));
    let set = async |revision: u64, value: &Json| {
        fixture.store.compare_and_set("queue", revision, value).await.map_err(unexpected("compare_and_set"))
    };
    expect_eq("an entry before the first write", &read("queue").await?, &None)?;
    expect_eq("an update of a missing entry", &set(1, &json!("odd")).await?, &None)?;
    let unusual =
        json!({"current": "kafka\u{0}", "n": 18_446_744_073_709_551_615_u64, "deep": [[[{"ä": null}]]]});
    let before = fixture.store.now().await.map_err(unexpected("now"))?;
    let first = set(0, &unusual).await?.ok_or("the first write was refused")?;
    expect_eq("the first revision", &first.revision, &1)?;
    expect_eq("the stored entry", &read("queue").await?.as_ref(), &Some(&first))?;
    expect_eq("the value of the entry", &first.value, &unusual)?;
    let now = fixture.store.now().await.map_err(unexpected("now"))?;
    ensure(before <= first.since && first.since <= now, || {
        format!("the time of {first:?} is not between {} and {}", before.0, now.0)
    })?;
    expect_eq("a second write with revision 0", &set(0, &json!(2)).await?, &None)?;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let fixture = fixture.clone();
        callers.spawn(async move {
            fixture
                .store
                .compare_and_set("queue", 1, &json!(number))
                .await
                .map_err(unexpected("compare_and_set"))
        });
    }
    let mut won: Vec<ConfigEntry> = Vec::new();
    while let Some(ended) = callers.join_next().await {
        won.extend(ended.map_err(|error| error.to_string())??);
    }
    expect_eq("the number of 20 concurrent updates that succeeded", &won.len(), &1)?;
    expect_eq("the entry after the concurrent updates", &read("queue").await?.as_ref(), &won.first())?;
    expect_eq("the revision after the concurrent updates", &won.first().map(|won| won.revision), &Some(2))?;
    expect_eq("an update with a stale revision", &set(1, &unusual).await?, &None)?;
    expect_eq("an entry with another name", &read("queues").await?, &None)
}
