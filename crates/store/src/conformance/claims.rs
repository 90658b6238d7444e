//! Claims: what is due, once, of what is served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{OwedKey, Side, TimerKind, Timestamp};

use super::bench::{
    Bench, Given, NAMESPACE, REDELIVERY, at, cancel, command, done, ensure, failed, lane, lanes, order,
    parallel, pause, refused, same, timers, unexpected,
};
use super::{Factory, Verdict};
use crate::{ClaimRequest, LaneClaim, LedgerRow, RowKind};

fn keys(rows: &[LedgerRow]) -> Vec<OwedKey> {
    rows.iter().map(|row| row.key.key).collect()
}

pub(super) async fn due_only(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let given = Given { now: at(10), ..Given::default() };
    let mut flow = bench.begin_with(&order()?, given).await?;
    let early = bench.store.claim(&lanes(&["stock"], at(9))).await.map_err(unexpected("claim"))?;
    same("what is claimed before it is due", &keys(&early.rows), &Vec::new())?;
    same("when the next is due", &early.next_due, &Some(at(10)))?;
    let before = bench.row(flow.id(), command(0, Side::Execute)).await?;
    let claimed = bench.claim(&lanes(&["stock"], at(10))).await?;
    same("what is claimed when it is due", &claimed, &vec![before])?;
    let none = bench.store.claim(&lanes(&["nobody"], at(10))).await.map_err(unexpected("claim"))?;
    same("the next of a service that is owed nothing", &none.next_due, &None)?;
    bench.news(&mut flow, &failed(0, 1), at(11)).await?;
    let row = bench.row(flow.id(), command(0, Side::Execute)).await?;
    ensure(row.due_at > at(11), || "the case itself is wrong: a retry is due at once".to_owned())?;
    same("a retry that is not due", &bench.claim(&lanes(&["stock"], at(11))).await?, &Vec::new())?;
    same("a retry that is due", &bench.claim(&lanes(&["stock"], row.due_at)).await?, &vec![row])?;
    bench.news(&mut flow, &super::bench::done_at(0, 2), at(12)).await?;
    let late = at(1_000_000);
    same("what is settled", &bench.claim(&lanes(&["stock"], late)).await?, &Vec::new())
}

pub(super) async fn served_only(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let mut undoing = bench.begin(&plan).await?;
    for input in [done(0), refused(1)] {
        bench.news(&mut undoing, &input, at(1)).await?;
    }
    let forward = bench.begin(&plan).await?;
    let elsewhere =
        bench.begin_with(&plan, Given { namespace: "other".to_owned(), ..Given::default() }).await?;
    let of = |lanes: Vec<LaneClaim>| ClaimRequest { lanes, ..lanes_of_nobody() };
    let rows = bench.claim(&of(vec![lane("payments", Side::Execute), lane("sto", Side::Execute)])).await?;
    same("the claim of others' services", &rows, &Vec::new())?;
    let rows = bench.claim(&timers(at(100))).await?;
    same("the claim of timers", &rows, &Vec::new())?;
    let cases = [
        (lane("stock", Side::Compensate), &undoing, command(0, Side::Compensate)),
        (lane("stock", Side::Execute), &forward, command(0, Side::Execute)),
        (
            LaneClaim { namespace: "other".to_owned(), ..lane("stock", Side::Execute) },
            &elsewhere,
            command(0, Side::Execute),
        ),
    ];
    for (lane, flow, key) in cases {
        let what = format!("the claim of {}/{}/{}", lane.namespace, lane.service, lane.side.as_str());
        let rows = bench.claim(&of(vec![lane])).await?;
        let found: Vec<_> = rows.iter().map(|row| (row.key.id, row.key.key, row.namespace.clone())).collect();
        same(&what, &found, &vec![(flow.id(), key, flow.state.namespace.clone())])?;
    }
    Ok(())
}

fn lanes_of_nobody() -> ClaimRequest {
    lanes(&[], at(100))
}

pub(super) async fn limits(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let mut expected = Vec::new();
    // The longest due is not the first that came.
    for second in [5, 3, 9, 1, 7, 2, 8, 4, 6, 0] {
        let flow = bench.begin_with(&plan, Given { now: at(second), ..Given::default() }).await?;
        expected.push((at(second), flow.id()));
    }
    expected.sort();
    let mut found = Vec::new();
    for (lane_limit, limit, count) in
        [(3, 100, 3), (100, 2, 2), (0, 100, 0), (100, 0, 0), (5, 5, 5), (9, 9, 0)]
    {
        let lane = LaneClaim { limit: lane_limit, ..lane("stock", Side::Execute) };
        let request = ClaimRequest { lanes: vec![lane], limit, ..lanes(&[], at(10)) };
        let claim = bench.store.claim(&request).await.map_err(unexpected("claim"))?;
        let what = format!("a claim of at most {lane_limit} of {limit}");
        same(&what, &claim.rows.len(), &count)?;
        found.extend(claim.rows.iter().map(|row| (row.due_at, row.key.id)));
        let left = found.len() < expected.len();
        let more = claim.next_due.is_some_and(|next| next <= at(10));
        same(&format!("{what}: whether there is more that is due"), &more, &left)?;
    }
    same("what was claimed, the longest due first", &found, &expected)?;
    let many = bench.begin(&parallel(4, "stock")?).await?;
    let two = ["stock", "payments"];
    let request = ClaimRequest { limit: 3, ..lanes(&two, at(10)) };
    same("of a lane of four", &bench.claim(&request).await?.len(), &3)?;
    same("what is left of it", &bench.claim(&request).await?.len(), &1)?;
    bench.whole(&many).await
}

pub(super) async fn two_claimers(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = parallel(20, "work")?;
    for _ in 0..20 {
        bench.begin(&plan).await?;
    }
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bench = bench.clone();
        claimers.spawn(async move {
            let (mut all, mut empty) = (Vec::new(), 0);
            // One who finds nothing may have found only what others were about to claim.
            while empty < 3 {
                let rows = bench.claim(&ClaimRequest { limit: 7, ..lanes(&["work"], at(1)) }).await?;
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
    ensure(twice.is_empty(), || format!("claimed more than once: {} rows of 400", twice.len()))?;
    same("how many of 400 were claimed", &times.len(), &400)
}

pub(super) async fn redelivery(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let flow = bench.begin(&order()?).await?;
    let key = command(0, Side::Execute);
    let (mut now, mut last) = (at(0), Duration::ZERO);
    for deliveries in 0..9 {
        let claimed = bench.claim(&lanes(&["stock"], now)).await?;
        let counts: Vec<u32> = claimed.iter().map(|row| row.deliveries).collect();
        same("how often it was delivered before", &counts, &vec![deliveries])?;
        let row = bench.row(flow.id(), key).await?;
        same("how often it was delivered", &row.deliveries, &(deliveries + 1))?;
        same("when it was last issued", &row.issued_at, &now)?;
        let pause = row.due_at.since(now);
        if deliveries == 0 {
            same("the first redelivery", &pause, &REDELIVERY)?;
        }
        ensure(pause >= last, || {
            format!("delivery {deliveries} is due again after {pause:?}, not {last:?}")
        })?;
        ensure(pause <= REDELIVERY * 64, || format!("redelivery after {pause:?}"))?;
        let early = Timestamp(row.due_at.0 - 1);
        same("before it is due again", &bench.claim(&lanes(&["stock"], early)).await?, &Vec::new())?;
        (now, last) = (row.due_at, pause);
    }
    ensure(last > REDELIVERY, || format!("after nine deliveries it is still due after {last:?}"))
}

pub(super) async fn still_waits(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let delivered = bench.begin(&plan).await?;
    same("the first delivery", &bench.claim(&lanes(&["stock"], at(0))).await?.len(), &1)?;
    let fresh = bench.begin(&plan).await?;
    let waiting = |since: Timestamp, now: Timestamp| {
        let lane = LaneClaim { waiting_since: Some(since), ..lane("stock", Side::Execute) };
        ClaimRequest { lanes: vec![lane], ..lanes(&[], now) }
    };
    let ids = |rows: Vec<LedgerRow>| rows.iter().map(|row| row.key.id).collect::<Vec<_>>();
    let found = ids(bench.claim(&waiting(at(0), at(100))).await?);
    same("while the first still waits in the queue", &found, &vec![fresh.id()])?;
    let found = ids(bench.claim(&waiting(at(1), at(100))).await?);
    same("once the queue has been taken further", &found, &vec![delivered.id()])
}

pub(super) async fn held(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (mut fresh, mut delivered) = (bench.begin(&plan).await?, bench.begin(&plan).await?);
    let first = ClaimRequest { limit: 2, ..lanes(&["stock"], at(0)) };
    same("the first delivery", &bench.claim(&first).await?.len(), &2)?;
    bench
        .store
        .release(&[bench.row(fresh.id(), command(0, Side::Execute)).await?.key])
        .await
        .map_err(unexpected("release"))?;
    let everything = |now| ClaimRequest { timers: true, ..lanes(&["stock", "payments", "shipping"], now) };
    for flow in [&mut fresh, &mut delivered] {
        bench.news(flow, &pause(), at(1)).await?;
        bench.whole(flow).await?;
    }
    for now in [at(1), at(1_000_000), Timestamp(i64::MAX)] {
        same("what is held", &bench.claim(&everything(now)).await?, &Vec::new())?;
    }
    let next = bench.store.claim(&everything(at(2))).await.map_err(unexpected("claim"))?.next_due;
    same("when what is held is due", &next, &None)?;
    for (flow, deliveries) in [(&mut fresh, 0), (&mut delivered, 1)] {
        bench.news(flow, &super::bench::resume(), at(2)).await?;
        let rows = bench.claim(&everything(at(3))).await?;
        let found: Vec<_> = rows.iter().map(|row| (row.key.id, row.deliveries)).collect();
        same("once it goes on", &found, &vec![(flow.id(), deliveries)])?;
    }
    Ok(())
}

pub(super) async fn withdrawn(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let mut flow = bench.begin(&parallel(2, "work")?).await?;
    let one = ClaimRequest { limit: 1, ..lanes(&["work"], at(0)) };
    let sent = bench.claim(&one).await?.first().map(|row| row.key).ok_or("nothing was claimed")?;
    bench.news(&mut flow, &cancel(), at(1)).await?;
    bench.whole(&flow).await?;
    let found = |rows: Vec<LedgerRow>| {
        rows.iter().map(|row| (row.key == sent, row.kind, row.deliveries)).collect::<Vec<_>>()
    };
    let unsent = vec![(false, RowKind::Withdraw, 0)];
    same("of the service, at once", &found(bench.claim(&lanes(&["work"], at(1))).await?), &Vec::new())?;
    same("without service, at once", &found(bench.claim(&timers(at(1))).await?), &unsent)?;
    same("without service, at once again", &found(bench.claim(&timers(at(1))).await?), &Vec::new())?;
    same("without service, later", &found(bench.claim(&timers(at(1).after(REDELIVERY))).await?), &unsent)?;
    let again = vec![(true, RowKind::Withdraw, 1)];
    same("of the service, later", &found(bench.claim(&lanes(&["work"], at(5))).await?), &again)?;
    // Its one delivery is taken back: it was never sent, and is no service's any more.
    for _ in 0..2 {
        bench.store.release(&[sent]).await.map_err(unexpected("release"))?;
    }
    same(
        "of the service, taken back",
        &found(bench.claim(&lanes(&["work"], at(1_000))).await?),
        &Vec::new(),
    )?;
    let request = ClaimRequest { limit: 1, ..timers(at(6)) };
    same(
        "without service, taken back",
        &found(bench.claim(&request).await?),
        &vec![(true, RowKind::Withdraw, 0)],
    )
}

pub(super) async fn of_timers(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let flow = bench.begin(&super::course::timed()?).await?;
    let queue = OwedKey::Timer(TimerKind::StepQueue(goconductor_saga::StepIndex(0)));
    let total = OwedKey::Timer(TimerKind::StepTotal(goconductor_saga::StepIndex(0)));
    let workflow = OwedKey::Timer(TimerKind::Workflow);
    let claim = bench.store.claim(&timers(at(19))).await.map_err(unexpected("claim"))?;
    same("timers before they are due", &keys(&claim.rows), &Vec::new())?;
    same("when the first is due", &claim.next_due, &Some(at(20)))?;
    let services = ClaimRequest { limit: 1, ..lanes(&["stock"], at(1_000)) };
    same("a service's claim", &keys(&bench.claim(&services).await?), &vec![command(0, Side::Execute)])?;
    let rows = bench.claim(&timers(at(20))).await?;
    same("the first timer", &keys(&rows), &vec![queue])?;
    let service = rows.first().and_then(|row| row.service.clone());
    same("the service of a timer", &service, &None)?;
    same("a timer that is claimed", &keys(&bench.claim(&timers(at(20))).await?), &Vec::new())?;
    let row = bench.row(flow.id(), queue).await?;
    same("how often a timer was delivered", &row.deliveries, &0)?;
    same("when a timer is due again", &row.due_at, &at(20).after(REDELIVERY))?;
    let all = bench.claim(&timers(at(600))).await?;
    same("timers, the longest due first", &keys(&all), &vec![queue, total, workflow])?;
    same("the namespace of a timer", &all.first().map(|row| row.namespace.as_str()), &Some(NAMESPACE))
}
