//! Coordination of several processes: shards of the ledger, membership and dead letters.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{Timestamp, WorkflowId};

use super::fixture::{Fixture, at, ensure, expect_eq, lanes, order, unexpected};
use super::{CaseResult, Factory};
use crate::{
    Announcement, ClaimRequest, DeadLetter, DeadLetterPosition, Member, ProcessInfo, ServedService,
    WorkflowShard,
};

pub(super) async fn shards(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut all = BTreeSet::new();
    for _ in 0..64 {
        all.insert(fixture.start(&plan).await?.id());
    }
    let mut claimed: BTreeSet<WorkflowId> = BTreeSet::new();
    for of in [4_u8] {
        for index in 0..of {
            let request = ClaimRequest {
                shard: Some(WorkflowShard { index, of }),
                limit: 100,
                ..lanes(&["stock"], at(1))
            };
            let rows = fixture.claim(&request).await?;
            let rows_of_shard: BTreeSet<WorkflowId> = rows.iter().map(|row| row.key.id).collect();
            let foreign = rows_of_shard.iter().find(|id| id.0.as_bytes()[15] % of != index);
            ensure(foreign.is_none(), || format!("a claim of shard {index} of {of} returned {foreign:?}"))?;
            claimed.extend(rows_of_shard);
        }
    }
    expect_eq("the workflows of all shards", &claimed, &all)
}

fn member(instance: &str, ttl: Duration) -> Announcement {
    let payments = ServedService {
        namespace: "default".to_owned(),
        service: "päyments\u{0}".to_owned(),
        executes: 64,
        ..ServedService::default()
    };
    Announcement {
        instance: instance.to_owned(),
        kind: "saga-executor".to_owned(),
        address: "127.0.0.1:8473".to_owned(),
        info: ProcessInfo { services: Some(vec![payments]), ..ProcessInfo::default() },
        ttl,
    }
}

pub(super) async fn members(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (long, short) = (Duration::from_secs(3600), Duration::from_millis(50));
    let announce =
        async |one: &Announcement| fixture.store.announce(one).await.map_err(unexpected("announce"));
    let members = async || fixture.store.members().await.map_err(unexpected("members"));
    expect_eq("the members of an empty store", &members().await?, &Vec::new())?;
    announce(&member("b", long)).await?;
    announce(&member("a", long)).await?;
    announce(&member("expires-soon", short)).await?;
    tokio::time::sleep(short * 2).await;
    let now = fixture.store.now().await.map_err(unexpected("now"))?;
    let found = members().await?;
    let names: Vec<&str> = found.iter().map(|each| each.announcement.instance.as_str()).collect();
    expect_eq("the live members", &names, &vec!["a", "b"])?;
    expect_eq(
        "the announcement of a member",
        &found.first().map(|each| &each.announcement),
        &Some(&member("a", long)),
    )?;
    let times = |each: &Member| each.since <= each.seen_at && each.seen_at <= now;
    ensure(found.iter().all(times), || {
        format!("the times of {found:?} are inconsistent with the current time {}", now.0)
    })?;
    let changed = Announcement { info: ProcessInfo::default(), ..member("a", long) };
    announce(&changed).await?;
    announce(&Announcement { ttl: Duration::ZERO, ..member("b", long) }).await?;
    tokio::time::sleep(Duration::from_millis(2)).await;
    let found = members().await?;
    expect_eq(
        "the announcements after an update and a departure",
        &found.iter().map(|each| &each.announcement).collect::<Vec<_>>(),
        &vec![&changed],
    )
}

fn letter(id: &str, second: i64) -> DeadLetter {
    DeadLetter {
        id: id.to_owned(),
        topic: "payments".to_owned(),
        key: "k\u{0}".to_owned(),
        payload: vec![0, 255, 10, 13, 0x80],
        reason: "the payload is not a command".to_owned(),
        at: Timestamp(second),
    }
}

pub(super) async fn dead_letters(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let put = async |letters: &[DeadLetter]| {
        fixture.store.put_dead_letters(letters).await.map_err(unexpected("put_dead_letters"))
    };
    let page = async |before: Option<DeadLetterPosition>| {
        fixture.store.dead_letters(before.as_ref(), 2).await.map_err(unexpected("dead_letters"))
    };
    let (a, b, c) = (letter("a", 1), letter("b", 2), letter("c", 2));
    expect_eq("the number of dead letters stored without input", &put(&[]).await?, &0)?;
    expect_eq("the number of new dead letters stored", &put(&[a.clone(), b.clone()]).await?, &2)?;
    expect_eq(
        "the number of dead letters stored with a duplicate",
        &put(&[b.clone(), c.clone()]).await?,
        &1,
    )?;
    expect_eq("the first page of dead letters", &page(None).await?, &vec![c.clone(), b.clone()])?;
    let position = DeadLetterPosition { at: b.at, id: b.id.clone() };
    expect_eq("the second page of dead letters", &page(Some(position)).await?, &vec![a.clone()])?;
    let one = fixture.store.dead_letter("b").await.map_err(unexpected("dead_letter"))?;
    expect_eq("a dead letter by id", &one.as_ref(), &Some(&b))?;
    let delete =
        async |id: &str| fixture.store.delete_dead_letter(id).await.map_err(unexpected("delete_dead_letter"));
    expect_eq("the deletion of a dead letter", &delete("b").await?, &true)?;
    expect_eq("the second deletion of a dead letter", &delete("b").await?, &false)?;
    let deleted = fixture.store.dead_letter("b").await.map_err(unexpected("dead_letter"))?;
    expect_eq("a deleted dead letter", &deleted, &None)?;
    expect_eq("the remaining dead letters", &page(None).await?, &vec![c, a])
}
