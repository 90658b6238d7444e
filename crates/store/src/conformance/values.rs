//! Values are returned unchanged: every character and every number, at any size and depth.

use std::collections::BTreeMap;
use std::sync::Arc;

use goconductor_saga::{Failure, Input, Json, Outcome, Side, State};
use serde_json::json;

use super::fixture::{
    Fixture, Flow, StartOptions, at, compensated, definition, describe, done_with, ensure, expect_eq, keyed,
    lane, lanes, order, plan_of, refused, report, step, unexpected,
};
use super::{CaseResult, Factory};
use crate::{ClaimRequest, Comparison, Field, Filter, FilterValue, LaneClaim, ListRequest, Write};

/// Texts that a database may reject, truncate, fold or misinterpret.
const TEXTS: &[&str] = &[
    "\0",
    "\0\0",
    "a\0b",
    "\u{1}",
    "\u{1}0",
    "\u{1}1",
    "\u{1}\0\u{1}",
    "\\u0000",
    "\\0",
    "'",
    "''",
    "\"",
    "\\",
    "`",
    "%",
    "_",
    "$1",
    "?1",
    ":a",
    "--",
    ";",
    "{}",
    "null",
    "\r\n\t",
    " ",
    "  a  ",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{7f}",
    "\u{80}",
    "\u{feff}",
    "\u{fffd}",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{e000}",
    "\u{d7ff}",
    "\u{202e}abc",
    "\u{2028}",
    "🏳️‍🌈",
    "ß",
    "ẞ",
    "İ",
    "i",
];

/// Writes a workflow with a value in every place that users can set, and reads it back.
async fn round_trip(fixture: &Fixture, value: &Json, text: &str) -> CaseResult {
    let labels =
        BTreeMap::from([("plain".to_owned(), text.to_owned()), (text.to_owned(), "plain".to_owned())]);
    let options = StartOptions { input: value.clone(), labels, ..StartOptions::default() };
    let mut flow = fixture.start_with(&order()?, options).await?;
    let failure = Failure { code: text.to_owned(), message: text.to_owned(), detail: Some(value.clone()) };
    let retryable = Outcome::Retryable { failure: failure.clone(), not_before: None };
    let inputs = [
        report(0, Side::Execute, 1, retryable),
        report(0, Side::Execute, 2, Outcome::Done { output: value.clone() }),
        Input::Pause { actor: Some(text.to_owned()), reason: Some(text.to_owned()) },
        Input::Resume { actor: Some(text.to_owned()), reason: Some(text.to_owned()) },
        report(1, Side::Execute, 1, Outcome::Refused { failure }),
        compensated(0),
    ];
    for input in inputs {
        fixture.apply(&mut flow, &input, at(1)).await?;
        fixture.check_consistency(&flow).await?;
    }
    let loaded = fixture.load(flow.id()).await?.ok_or("the workflow was not found")?;
    let as_text = |state: &State| serde_json::to_string(state).map_err(|error| error.to_string());
    expect_eq("the encoded state", &as_text(&loaded.state)?, &as_text(&flow.state)?)?;
    let by_label = |name: &str, value: &str| {
        Filter::Compare(Field::Label(name.to_owned()), Comparison::Equal, FilterValue::Text(value.to_owned()))
    };
    let filter = Some(Filter::All(vec![by_label("plain", text), by_label(text, "plain")]));
    let page = fixture.store.list(&ListRequest { filter, ..super::lists::all(&flow.state.namespace) }).await;
    let page = page.map_err(unexpected("list"))?;
    let shown = page.workflows.first().map(|each| (each.id, each.labels.clone(), each.error.clone()));
    let error =
        flow.state.error.as_ref().map(serde_json::to_value).transpose().map_err(|error| error.to_string())?;
    expect_eq("the list entry", &shown, &Some((flow.id(), flow.state.labels.clone(), error)))
}

pub(super) async fn texts(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for text in TEXTS {
        round_trip(&fixture, &json!({"value": text, *text: [text]}), text)
            .await
            .map_err(|found| format!("{text:?}: {found}"))?;
    }
    Ok(())
}

pub(super) async fn keys(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let long = "\u{10ffff}".repeat(200);
    let mut started = Vec::new();
    for key in TEXTS.iter().copied().chain([long.as_str()]) {
        let (flow, start) = Flow::start(&plan, StartOptions::default())?;
        let outcome = describe(&fixture.outcome(keyed(start, key, key)).await?);
        expect_eq(&format!("a start with the key {key:?}"), &outcome, &"written".to_owned())?;
        started.push((key, flow));
    }
    for (key, flow) in started {
        let (_, again) = Flow::start(&plan, StartOptions::default())?;
        let outcome = describe(&fixture.outcome(keyed(again, key, key)).await?);
        expect_eq(
            &format!("a duplicate start with the key {key:?}"),
            &outcome,
            &format!("replayed {} at {}", flow.id(), flow.state.seq),
        )?;
        let filter = Some(Filter::Compare(
            Field::IdempotencyKey,
            Comparison::Equal,
            FilterValue::Text(key.to_owned()),
        ));
        let page = fixture.store.list(&ListRequest { filter, ..super::lists::all("default") }).await;
        let page = page.map_err(unexpected("list"))?;
        let found: Vec<_> =
            page.workflows.iter().map(|each| (each.id, each.idempotency_key.as_deref())).collect();
        expect_eq(&format!("the workflows with the key {key:?}"), &found, &vec![(flow.id(), Some(key))])?;
    }
    Ok(())
}

pub(super) async fn names(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for text in TEXTS {
        let plan = plan_of(definition(text, vec![step(text, text, &[])]))?;
        let options = StartOptions { namespace: (*text).to_owned(), ..StartOptions::default() };
        let flow = fixture.start_with(&plan, options).await?;
        fixture.check_consistency(&flow).await.map_err(|found| format!("in namespace {text:?}: {found}"))?;
        let page = fixture.store.list(&super::lists::all(text)).await.map_err(unexpected("list"))?;
        let found: Vec<_> = page.workflows.iter().map(|each| (each.id, each.definition.as_str())).collect();
        expect_eq(&format!("the list of namespace {text:?}"), &found, &vec![(flow.id(), *text)])?;
        let lane = LaneClaim { namespace: (*text).to_owned(), ..lane(text, Side::Execute) };
        let rows = fixture.claim(&ClaimRequest { lanes: vec![lane], ..lanes(&[], at(1)) }).await?;
        let found: Vec<_> = rows.iter().map(|row| (row.key.id, row.service.as_deref())).collect();
        expect_eq(
            &format!("the rows claimed in namespace {text:?}"),
            &found,
            &vec![(flow.id(), Some(*text))],
        )?;
        let absent = fixture.store.definition(text, text, None).await.map_err(unexpected("definition"))?;
        ensure(absent.is_none(), || format!("a definition {text:?} was found but never stored"))?;
        fixture.store.raise_epoch(text).await.map_err(unexpected("raise_epoch"))?;
    }
    Ok(())
}

pub(super) async fn slashes(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let lanes_of = [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c"), ("a", "b%2Fc"), ("a%252Fb", "c")];
    let mut started = Vec::new();
    for (namespace, service) in lanes_of {
        let plan = plan_of(definition("one", vec![step("only", service, &[])]))?;
        let options = StartOptions { namespace: namespace.to_owned(), ..StartOptions::default() };
        started.push(fixture.start_with(&plan, options).await?);
    }
    let backlog = fixture.store.backlog(at(1)).await.map_err(unexpected("backlog"))?;
    expect_eq(
        "the number of lanes that differ only in the position of a slash",
        &backlog.len(),
        &started.len(),
    )?;
    for ((namespace, service), flow) in lanes_of.into_iter().zip(started) {
        let lane = LaneClaim { namespace: namespace.to_owned(), ..lane(service, Side::Execute) };
        let rows = fixture.claim(&ClaimRequest { lanes: vec![lane], ..lanes(&[], at(1)) }).await?;
        let found: Vec<_> = rows.iter().map(|row| row.key.id).collect();
        expect_eq(&format!("the rows claimed for {service} in {namespace}"), &found, &vec![flow.id()])?;
    }
    Ok(())
}

pub(super) async fn large(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    // The text is neither compressible nor ASCII.
    let mut seed = 7_u32;
    let mut text = String::new();
    while text.len() < 1 << 20 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend(char::from_u32((seed >> 12) % 0xd000));
    }
    round_trip(&fixture, &json!({"payload": text}), "large").await
}

pub(super) async fn numbers(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut all = vec![
        json!(u64::MAX),
        json!(i64::MIN),
        json!(i64::MAX),
        json!((1_u64 << 53) + 1),
        json!(0),
        json!(-0.0),
        json!(0.1),
        json!(f64::MAX),
        json!(f64::MIN),
        json!(f64::MIN_POSITIVE),
        json!(5e-324),
        json!(1e23),
        json!(1.0),
        json!(2.225_073_858_507_201e-308),
        json!(9_007_199_254_740_993.0_f64),
        json!(1e16),
        json!(1e-7),
    ];
    let mut seed = 1_u64;
    while all.len() < 2_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let float = f64::from_bits(seed ^ (seed >> 29));
        if float.is_finite() {
            all.push(json!(float));
        }
    }
    round_trip(&fixture, &json!(all), "numbers").await
}

pub(super) async fn deep(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for depth in [100, 127, 200] {
        let (mut list, mut object) = (json!(1), json!(1));
        for _ in 0..depth {
            list = json!([list]);
            object = json!({"a": object});
        }
        for value in [list, object] {
            let found = round_trip(&fixture, &value, &format!("depth {depth}")).await;
            found.map_err(|found| format!("a value of depth {depth}: {found}"))?;
        }
    }
    let mut flow = fixture.start(&order()?).await?;
    for input in [done_with(0, json!([[[]]])), refused(1)] {
        let (next, write) = flow.next(&input, at(1))?;
        fixture.write(vec![Write::Transition(write)]).await?;
        flow = next;
    }
    fixture.check_consistency(&flow).await
}
