//! Claims return due rows of the requested lanes, each to one caller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{OwedKey, Side, TimerKind, Timestamp};

use super::fixture::{
    Fixture, NAMESPACE, REDELIVERY, StartOptions, at, cancel, command, done, ensure, expect_eq, failed, lane,
    lanes, order, parallel, pause, refused, timers, unexpected,
};
use super::{CaseResult, Factory};
use crate::{ClaimRequest, LaneClaim, LedgerRow, RowKind};

fn keys(rows: &[LedgerRow]) -> Vec<OwedKey> {
    rows.iter().map(|row| row.key.key).collect()
}

pub(super) async fn due_only(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let options = StartOptions { now: at(10), ..StartOptions::default() };
    let mut flow = fixture.start_with(&order()?, options).await?;
    let early = fixture.store.claim(&lanes(&["stock"], at(9))).await.map_err(unexpected("claim"))?;
    expect_eq("the rows claimed before they are due", &keys(&early.rows), &Vec::new())?;
    expect_eq("the next due time", &early.next_due, &Some(at(10)))?;
    let before = fixture.row(flow.id(), command(0, Side::Execute)).await?;
    let claimed = fixture.claim(&lanes(&["stock"], at(10))).await?;
    expect_eq("the rows claimed when they are due", &claimed, &vec![before])?;
    let idle = fixture.store.claim(&lanes(&["idle"], at(10))).await.map_err(unexpected("claim"))?;
    expect_eq("the next due time of a service without rows", &idle.next_due, &None)?;
    fixture.apply(&mut flow, &failed(0, 1), at(11)).await?;
    let row = fixture.row(flow.id(), command(0, Side::Execute)).await?;
    ensure(row.due_at > at(11), || "invalid test case: a retry is due at once".to_owned())?;
    expect_eq("a retry before it is due", &fixture.claim(&lanes(&["stock"], at(11))).await?, &Vec::new())?;
    expect_eq("a retry when it is due", &fixture.claim(&lanes(&["stock"], row.due_at)).await?, &vec![row])?;
    fixture.apply(&mut flow, &super::fixture::done_at_attempt(0, 2), at(12)).await?;
    let late = at(1_000_000);
    expect_eq(
        "the rows claimed after the step has completed",
        &fixture.claim(&lanes(&["stock"], late)).await?,
        &Vec::new(),
    )
}

pub(super) async fn requested_lanes_only(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut compensating = fixture.start(&plan).await?;
    for input in [done(0), refused(1)] {
        fixture.apply(&mut compensating, &input, at(1)).await?;
    }
    let executing = fixture.start(&plan).await?;
    let foreign = fixture
        .start_with(&plan, StartOptions { namespace: "other".to_owned(), ..StartOptions::default() })
        .await?;
    let of = |lanes: Vec<LaneClaim>| ClaimRequest { lanes, ..no_lanes() };
    let rows = fixture.claim(&of(vec![lane("payments", Side::Execute), lane("sto", Side::Execute)])).await?;
    expect_eq("the rows claimed for other services", &rows, &Vec::new())?;
    let rows = fixture.claim(&timers(at(100))).await?;
    expect_eq("the rows claimed for timers", &rows, &Vec::new())?;
    let cases = [
        (lane("stock", Side::Compensate), &compensating, command(0, Side::Compensate)),
        (lane("stock", Side::Execute), &executing, command(0, Side::Execute)),
        (
            LaneClaim { namespace: "other".to_owned(), ..lane("stock", Side::Execute) },
            &foreign,
            command(0, Side::Execute),
        ),
    ];
    for (lane, flow, key) in cases {
        let what = format!("the rows claimed for {}/{}/{}", lane.namespace, lane.service, lane.side.as_str());
        let rows = fixture.claim(&of(vec![lane])).await?;
        let found: Vec<_> = rows.iter().map(|row| (row.key.id, row.key.key, row.namespace.clone())).collect();
        expect_eq(&what, &found, &vec![(flow.id(), key, flow.state.namespace.clone())])?;
    }
    Ok(())
}

fn no_lanes() -> ClaimRequest {
    lanes(&[], at(100))
}

pub(super) async fn limits(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut expected = Vec::new();
    // The rows are not written in the order in which they are due.
    for second in [5, 3, 9, 1, 7, 2, 8, 4, 6, 0] {
        let flow =
            fixture.start_with(&plan, StartOptions { now: at(second), ..StartOptions::default() }).await?;
        expected.push((at(second), flow.id()));
    }
    expected.sort();
    let mut found = Vec::new();
    for (lane_limit, limit, count) in
        [(3, 100, 3), (100, 2, 2), (0, 100, 0), (100, 0, 0), (5, 5, 5), (9, 9, 0)]
    {
        let lane = LaneClaim { limit: lane_limit, ..lane("stock", Side::Execute) };
        let request = ClaimRequest { lanes: vec![lane], limit, ..lanes(&[], at(10)) };
        let claim = fixture.store.claim(&request).await.map_err(unexpected("claim"))?;
        let what = format!("a claim with lane limit {lane_limit} and limit {limit}");
        expect_eq(&what, &claim.rows.len(), &count)?;
        found.extend(claim.rows.iter().map(|row| (row.due_at, row.key.id)));
        let left = found.len() < expected.len();
        let more = claim.next_due.is_some_and(|next| next <= at(10));
        expect_eq(&format!("{what}: whether more rows are due"), &more, &left)?;
    }
    expect_eq("the claimed rows, by due time", &found, &expected)?;
    let many = fixture.start(&parallel(4, "stock")?).await?;
    let two = ["stock", "payments"];
    let request = ClaimRequest { limit: 3, ..lanes(&two, at(10)) };
    expect_eq("the first claim from a lane of four rows", &fixture.claim(&request).await?.len(), &3)?;
    expect_eq("the second claim from a lane of four rows", &fixture.claim(&request).await?.len(), &1)?;
    fixture.check_consistency(&many).await
}

pub(super) async fn concurrent(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = parallel(20, "work")?;
    for _ in 0..20 {
        fixture.start(&plan).await?;
    }
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let fixture = fixture.clone();
        claimers.spawn(async move {
            let (mut all, mut empty) = (Vec::new(), 0);
            // An empty result may mean that concurrent claims had locked the remaining rows.
            while empty < 3 {
                let rows = fixture.claim(&ClaimRequest { limit: 7, ..lanes(&["work"], at(1)) }).await?;
                empty = if rows.is_empty() { empty + 1 } else { 0 };
                all.extend(rows);
            }
            Ok::<_, String>(all)
        });
    }
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    while let Some(ended) = claimers.join_next().await {
        for row in ended.map_err(|error| error.to_string())?? {
            *times.entry(row.key).or_default() += 1;
        }
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    ensure(twice.is_empty(), || format!("{} of 400 rows were claimed more than once", twice.len()))?;
    expect_eq("the number of claimed rows", &times.len(), &400)
}

pub(super) async fn redelivery(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let flow = fixture.start(&order()?).await?;
    let key = command(0, Side::Execute);
    let (mut now, mut last) = (at(0), Duration::ZERO);
    for deliveries in 0..9 {
        let claimed = fixture.claim(&lanes(&["stock"], now)).await?;
        let counts: Vec<u32> = claimed.iter().map(|row| row.deliveries).collect();
        expect_eq("the deliveries before the claim", &counts, &vec![deliveries])?;
        let row = fixture.row(flow.id(), key).await?;
        expect_eq("the deliveries after the claim", &row.deliveries, &(deliveries + 1))?;
        expect_eq("the issue time after the claim", &row.issued_at, &now)?;
        let delay = row.due_at.since(now);
        if deliveries == 0 {
            expect_eq("the delay of the first redelivery", &delay, &REDELIVERY)?;
        }
        ensure(delay >= last, || {
            format!("the redelivery delay fell from {last:?} to {delay:?} after {deliveries} deliveries")
        })?;
        ensure(delay <= REDELIVERY * 64, || format!("the redelivery delay is {delay:?}"))?;
        let early = Timestamp(row.due_at.0 - 1);
        expect_eq(
            "the rows claimed before the redelivery is due",
            &fixture.claim(&lanes(&["stock"], early)).await?,
            &Vec::new(),
        )?;
        (now, last) = (row.due_at, delay);
    }
    ensure(last > REDELIVERY, || format!("the redelivery delay is still {last:?} after nine deliveries"))
}

pub(super) async fn still_queued(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let delivered = fixture.start(&plan).await?;
    expect_eq(
        "the number of rows of the first claim",
        &fixture.claim(&lanes(&["stock"], at(0))).await?.len(),
        &1,
    )?;
    let fresh = fixture.start(&plan).await?;
    let waiting = |since: Timestamp, now: Timestamp| {
        let lane = LaneClaim { waiting_since: Some(since), ..lane("stock", Side::Execute) };
        ClaimRequest { lanes: vec![lane], ..lanes(&[], now) }
    };
    let ids = |rows: Vec<LedgerRow>| rows.iter().map(|row| row.key.id).collect::<Vec<_>>();
    let found = ids(fixture.claim(&waiting(at(0), at(100))).await?);
    expect_eq("the rows claimed while the first command is still queued", &found, &vec![fresh.id()])?;
    let found = ids(fixture.claim(&waiting(at(1), at(100))).await?);
    expect_eq("the rows claimed after the first command has left the queue", &found, &vec![delivered.id()])
}

pub(super) async fn held(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (mut fresh, mut delivered) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let first = ClaimRequest { limit: 2, ..lanes(&["stock"], at(0)) };
    expect_eq("the number of rows of the first claim", &fixture.claim(&first).await?.len(), &2)?;
    fixture
        .store
        .release(&[fixture.row(fresh.id(), command(0, Side::Execute)).await?.key])
        .await
        .map_err(unexpected("release"))?;
    let everything = |now| ClaimRequest { timers: true, ..lanes(&["stock", "payments", "shipping"], now) };
    for flow in [&mut fresh, &mut delivered] {
        fixture.apply(flow, &pause(), at(1)).await?;
        fixture.check_consistency(flow).await?;
    }
    for now in [at(1), at(1_000_000), Timestamp(i64::MAX)] {
        expect_eq(
            "the rows claimed while the workflows are paused",
            &fixture.claim(&everything(now)).await?,
            &Vec::new(),
        )?;
    }
    let next = fixture.store.claim(&everything(at(2))).await.map_err(unexpected("claim"))?.next_due;
    expect_eq("the next due time while the workflows are paused", &next, &None)?;
    for (flow, deliveries) in [(&mut fresh, 0), (&mut delivered, 1)] {
        fixture.apply(flow, &super::fixture::resume(), at(2)).await?;
        let rows = fixture.claim(&everything(at(3))).await?;
        let found: Vec<_> = rows.iter().map(|row| (row.key.id, row.deliveries)).collect();
        expect_eq("the rows claimed after the workflow has resumed", &found, &vec![(flow.id(), deliveries)])?;
    }
    Ok(())
}

pub(super) async fn withdrawn(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&parallel(2, "work")?).await?;
    let one = ClaimRequest { limit: 1, ..lanes(&["work"], at(0)) };
    let sent = fixture.claim(&one).await?.first().map(|row| row.key).ok_or("no row was claimed")?;
    fixture.apply(&mut flow, &cancel(), at(1)).await?;
    fixture.check_consistency(&flow).await?;
    let found = |rows: Vec<LedgerRow>| {
        rows.iter().map(|row| (row.key == sent, row.kind, row.deliveries)).collect::<Vec<_>>()
    };
    let unsent = vec![(false, RowKind::Withdraw, 0)];
    expect_eq(
        "the rows claimed for the service at once",
        &found(fixture.claim(&lanes(&["work"], at(1))).await?),
        &Vec::new(),
    )?;
    expect_eq("the withdrawals claimed at once", &found(fixture.claim(&timers(at(1))).await?), &unsent)?;
    expect_eq(
        "the withdrawals claimed at once a second time",
        &found(fixture.claim(&timers(at(1))).await?),
        &Vec::new(),
    )?;
    expect_eq(
        "the withdrawals claimed later",
        &found(fixture.claim(&timers(at(1).after(REDELIVERY))).await?),
        &unsent,
    )?;
    let again = vec![(true, RowKind::Withdraw, 1)];
    expect_eq(
        "the rows claimed for the service later",
        &found(fixture.claim(&lanes(&["work"], at(5))).await?),
        &again,
    )?;
    // After the release, the command counts as never sent, so it belongs to no service's lane.
    for _ in 0..2 {
        fixture.store.release(&[sent]).await.map_err(unexpected("release"))?;
    }
    expect_eq(
        "the rows claimed for the service after the release",
        &found(fixture.claim(&lanes(&["work"], at(1_000))).await?),
        &Vec::new(),
    )?;
    let request = ClaimRequest { limit: 1, ..timers(at(6)) };
    expect_eq(
        "the withdrawals claimed after the release",
        &found(fixture.claim(&request).await?),
        &vec![(true, RowKind::Withdraw, 0)],
    )
}

pub(super) async fn due_timers(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let flow = fixture.start(&super::lifecycle::timed()?).await?;
    let queue = OwedKey::Timer(TimerKind::StepQueue(goconductor_saga::StepIndex(0)));
    let total = OwedKey::Timer(TimerKind::StepTotal(goconductor_saga::StepIndex(0)));
    let workflow = OwedKey::Timer(TimerKind::Workflow);
    let claim = fixture.store.claim(&timers(at(19))).await.map_err(unexpected("claim"))?;
    expect_eq("the timers claimed before they are due", &keys(&claim.rows), &Vec::new())?;
    expect_eq("the next due time of a timer", &claim.next_due, &Some(at(20)))?;
    let services = ClaimRequest { limit: 1, ..lanes(&["stock"], at(1_000)) };
    expect_eq(
        "the rows claimed for a service",
        &keys(&fixture.claim(&services).await?),
        &vec![command(0, Side::Execute)],
    )?;
    let rows = fixture.claim(&timers(at(20))).await?;
    expect_eq("the first due timer", &keys(&rows), &vec![queue])?;
    let service = rows.first().and_then(|row| row.service.clone());
    expect_eq("the service of a timer", &service, &None)?;
    expect_eq(
        "the timers claimed again at once",
        &keys(&fixture.claim(&timers(at(20))).await?),
        &Vec::new(),
    )?;
    let row = fixture.row(flow.id(), queue).await?;
    expect_eq("the deliveries of a timer", &row.deliveries, &0)?;
    expect_eq("the due time of a claimed timer", &row.due_at, &at(20).after(REDELIVERY))?;
    let all = fixture.claim(&timers(at(600))).await?;
    expect_eq("the timers, by due time", &keys(&all), &vec![queue, total, workflow])?;
    expect_eq("the namespace of a timer", &all.first().map(|row| row.namespace.as_str()), &Some(NAMESPACE))
}
