//! Schedules. The cases store arbitrary text as records: a store does not interpret them.

use std::sync::Arc;

use goconductor_saga::Timestamp;

use super::fixture::{Fixture, ensure, expect_eq, unexpected};
use super::{CaseResult, Factory};
use crate::StoredSchedule;

fn stored(namespace: &str, name: &str, revision: u64, next_due: Option<i64>) -> StoredSchedule {
    StoredSchedule {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        revision,
        next_due: next_due.map(Timestamp),
        record: format!("{{\"name\": \"{name}\u{0}\", \"revision\": {revision}}}"),
    }
}

async fn put(fixture: &Fixture, schedule: &StoredSchedule, replaces: Option<u64>) -> Result<bool, String> {
    fixture.store.put_schedule(schedule, replaces).await.map_err(unexpected("put_schedule"))
}

async fn read(fixture: &Fixture, namespace: &str, name: &str) -> Result<Option<StoredSchedule>, String> {
    fixture.store.schedule(namespace, name).await.map_err(unexpected("schedule"))
}

pub(super) async fn revisions(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (first, second) = (stored("a", "daily", 7, Some(-5)), stored("a", "daily", 8, None));
    expect_eq("a schedule that does not exist", &read(&fixture, "a", "daily").await?, &None)?;
    expect_eq("a replacement of no schedule", &put(&fixture, &second, Some(7)).await?, &false)?;
    expect_eq("a new schedule", &put(&fixture, &first, None).await?, &true)?;
    expect_eq("the same new schedule again", &put(&fixture, &first, None).await?, &false)?;
    expect_eq("the stored schedule", &read(&fixture, "a", "daily").await?, &Some(first))?;
    expect_eq("a replacement of another revision", &put(&fixture, &second, Some(6)).await?, &false)?;
    expect_eq("a replacement", &put(&fixture, &second, Some(7)).await?, &true)?;
    expect_eq("the same replacement again", &put(&fixture, &second, Some(7)).await?, &false)?;
    expect_eq("the schedule of another namespace", &read(&fixture, "b", "daily").await?, &None)?;
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    expect_eq("the replaced schedule", &read(&reopened, "a", "daily").await?, &Some(second))?;
    let delete = async |revision: u64| {
        let deleted = reopened.store.delete_schedule("a", "daily", revision).await;
        deleted.map_err(unexpected("delete_schedule"))
    };
    expect_eq("the deletion of another revision", &delete(7).await?, &false)?;
    expect_eq("the deletion", &delete(8).await?, &true)?;
    expect_eq("the deletion again", &delete(8).await?, &false)?;
    expect_eq("the deleted schedule", &read(&reopened, "a", "daily").await?, &None)
}

pub(super) async fn one_writer(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    ensure(put(&fixture, &stored("a", "daily", 1, None), None).await?, || {
        "the schedule was refused".to_owned()
    })?;
    for revision in 2..=4 {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..8_i64 {
            let fixture = fixture.clone();
            let schedule = stored("a", "daily", revision, Some(number));
            callers.spawn(async move {
                put(&fixture, &schedule, Some(revision - 1)).await.map(|done| done.then_some(number))
            });
        }
        let mut won = Vec::new();
        while let Some(ended) = callers.join_next().await {
            won.extend(ended.map_err(|error| error.to_string())??);
        }
        expect_eq("the number of concurrent writes of one revision that succeeded", &won.len(), &1)?;
        let due = read(&fixture, "a", "daily").await?.and_then(|stored| stored.next_due);
        expect_eq("the stored schedule", &due.map(|due| due.0), &won.first().copied())?;
    }
    Ok(())
}

pub(super) async fn listed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let all = [
        stored("a", "c", 1, Some(30)),
        stored("a", "a", 1, Some(10)),
        stored("a", "b", 1, None),
        stored("b", "a", 1, Some(20)),
    ];
    for schedule in &all {
        ensure(put(&fixture, schedule, None).await?, || format!("{schedule:?} was refused"))?;
    }
    let page = async |namespace: &str, after: Option<&str>| -> Result<Vec<String>, String> {
        let page = fixture.store.schedules(namespace, after, 2).await.map_err(unexpected("schedules"))?;
        Ok(page.into_iter().map(|schedule| schedule.name).collect())
    };
    expect_eq("the first page of schedules", &page("a", None).await?, &vec!["a".to_owned(), "b".to_owned()])?;
    expect_eq("the second page of schedules", &page("a", Some("b")).await?, &vec!["c".to_owned()])?;
    expect_eq("the schedules of another namespace", &page("b", None).await?, &vec!["a".to_owned()])?;
    let due = async |until: i64, limit: u32| -> Result<Vec<i64>, String> {
        let due = fixture.store.due_schedules(Timestamp(until), limit).await;
        let due = due.map_err(unexpected("due_schedules"))?;
        Ok(due.into_iter().filter_map(|schedule| schedule.next_due).map(|due| due.0).collect())
    };
    expect_eq("the due schedules before the first due time", &due(9, 10).await?, &Vec::new())?;
    expect_eq("the due schedules at a due time", &due(20, 10).await?, &vec![10, 20])?;
    expect_eq("the first due schedules", &due(i64::MAX, 2).await?, &vec![10, 20])?;
    expect_eq("all due schedules", &due(i64::MAX, 10).await?, &vec![10, 20, 30])?;
    let count = async |namespace: &str| {
        fixture.store.schedule_count(namespace).await.map_err(unexpected("schedule_count"))
    };
    expect_eq("the number of schedules", &count("a").await?, &3)?;
    expect_eq("the number of schedules of an empty namespace", &count("c").await?, &0)
}
