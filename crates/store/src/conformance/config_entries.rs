//! What all processes agree on: whoever changes it knows what it was.

use std::sync::Arc;

use goconductor_saga::Json;
use serde_json::json;

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::ConfigEntry;

pub(super) async fn one_changes(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let agreed =
        async |name: &str| fixture.store.config_entry(name).await.map_err(unexpected("config_entry"));
    let agree = async |revision: u64, value: &Json| {
        fixture.store.compare_and_set("queue", revision, value).await.map_err(unexpected("compare_and_set"))
    };
    expect_eq("before anybody has describe anything", &agreed("queue").await?, &None)?;
    expect_eq("a change of what is not there", &agree(1, &json!("odd")).await?, &None)?;
    let odd =
        json!({"current": "kafka\u{0}", "n": 18_446_744_073_709_551_615_u64, "deep": [[[{"ä": null}]]]});
    let before = fixture.store.now().await.map_err(unexpected("now"))?;
    let first = agree(0, &odd).await?.ok_or("the first was refused")?;
    expect_eq("the first revision", &first.revision, &1)?;
    expect_eq("what is agreed on", &agreed("queue").await?.as_ref(), &Some(&first))?;
    expect_eq("its value", &first.value, &odd)?;
    let now = fixture.store.now().await.map_err(unexpected("now"))?;
    ensure(before <= first.since && first.since <= now, || format!("since {first:?}, at {}", now.0))?;
    expect_eq("a second first", &agree(0, &json!(2)).await?, &None)?;
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
    expect_eq("how many of 20 at once have changed it", &won.len(), &1)?;
    expect_eq("what is agreed on after them", &agreed("queue").await?.as_ref(), &won.first())?;
    expect_eq("its revision", &won.first().map(|won| won.revision), &Some(2))?;
    expect_eq("one who knows an older one", &agree(1, &odd).await?, &None)?;
    expect_eq("something else", &agreed("queues").await?, &None)
}
