//! What all processes agree on: whoever changes it knows what it was.

use std::sync::Arc;

use goconductor_saga::Json;
use serde_json::json;

use super::bench::{Bench, ensure, same, unexpected};
use super::{Factory, Verdict};
use crate::ConfigEntry;

pub(super) async fn one_changes(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let agreed = async |name: &str| bench.store.config_entry(name).await.map_err(unexpected("agreement"));
    let agree = async |revision: u64, value: &Json| {
        bench.store.compare_and_set("queue", revision, value).await.map_err(unexpected("agree"))
    };
    same("before anybody has said anything", &agreed("queue").await?, &None)?;
    same("a change of what is not there", &agree(1, &json!("odd")).await?, &None)?;
    let odd =
        json!({"current": "kafka\u{0}", "n": 18_446_744_073_709_551_615_u64, "deep": [[[{"ä": null}]]]});
    let before = bench.store.now().await.map_err(unexpected("now"))?;
    let first = agree(0, &odd).await?.ok_or("the first was refused")?;
    same("the first revision", &first.revision, &1)?;
    same("what is agreed on", &agreed("queue").await?.as_ref(), &Some(&first))?;
    same("its value", &first.value, &odd)?;
    let now = bench.store.now().await.map_err(unexpected("now"))?;
    ensure(before <= first.since && first.since <= now, || format!("since {first:?}, at {}", now.0))?;
    same("a second first", &agree(0, &json!(2)).await?, &None)?;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let bench = bench.clone();
        callers.spawn(async move {
            bench.store.compare_and_set("queue", 1, &json!(number)).await.map_err(unexpected("agree"))
        });
    }
    let mut won: Vec<ConfigEntry> = Vec::new();
    while let Some(ended) = callers.join_next().await {
        won.extend(ended.map_err(|error| error.to_string())??);
    }
    same("how many of 20 at once have changed it", &won.len(), &1)?;
    same("what is agreed on after them", &agreed("queue").await?.as_ref(), &won.first())?;
    same("its revision", &won.first().map(|won| won.revision), &Some(2))?;
    same("one who knows an older one", &agree(1, &odd).await?, &None)?;
    same("something else", &agreed("queues").await?, &None)
}
