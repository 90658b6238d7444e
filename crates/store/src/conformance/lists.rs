//! Lists and counts: the workflows that match a filter, and their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use goconductor_saga::{Input, Plan, WorkflowId};

use super::fixture::{
    Fixture, Flow, NAMESPACE, StartOptions, at, cancel, compensated, definition, done, done_with, ensure,
    expect_eq, keyed, new_id, order, parallel, pause, plan_of, refused, step, unexpected, unkeyed,
};
use super::{CaseResult, Factory};
use crate::{Comparison, Count, Field, Filter, FilterValue, ListRequest, Summary};

const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];

/// Label names and values that a database may misinterpret.
const ODD: [&str; 14] = [
    "team",
    "it's",
    "a \"b\"",
    "100%",
    "a_b",
    "a.b",
    "$.a[0]",
    "ünïcödé",
    "🏳️‍🌈",
    "\\",
    "nul\0here",
    "\u{1}0",
    "",
    "10",
];

/// Returns a request for all workflows of a namespace on one page.
pub(super) fn all(namespace: &str) -> ListRequest {
    ListRequest { namespace: namespace.to_owned(), filter: None, limit: 1000, before: None }
}

fn version(plan: &Arc<Plan>, version: u32) -> Result<Arc<Plan>, String> {
    Plan::new(plan.definition().clone(), version).map(Arc::new).map_err(|error| error.to_string())
}

/// Returns the list entry that is expected for a workflow.
fn summary(flow: &Flow, key: Option<&str>) -> Result<Summary, String> {
    let state = &flow.state;
    let error =
        state.error.as_ref().map(serde_json::to_value).transpose().map_err(|error| error.to_string())?;
    Ok(Summary {
        id: state.id,
        definition: state.definition.clone(),
        version: state.version,
        status: state.status(),
        cause: state.cause,
        seq: state.seq,
        created_at: state.created_at,
        ended_at: state.ended_at,
        labels: state.labels.clone(),
        idempotency_key: key.map(str::to_owned),
        error,
    })
}

/// Writes workflows that differ in every comparable field. Returns their expected list entries.
async fn write_varied_workflows(fixture: &Fixture) -> Result<Vec<Summary>, String> {
    let order = order()?;
    let mut named = definition("Order", vec![step("only", "stock", &[])]);
    named.labels.insert("team".to_owned(), "of the definition".to_owned());
    let terminate = Input::Terminate { actor: None, reason: "enough".to_owned() };
    let timed_out = Input::FireTimer { timer: goconductor_saga::TimerKind::Workflow };
    let scenarios: Vec<(Arc<Plan>, Vec<Input>)> = vec![
        (Arc::clone(&order), vec![]),
        (version(&order, 2)?, vec![done(0), done(1), done(2)]),
        (version(&order, 10)?, vec![done(0), refused(1)]),
        (Arc::clone(&order), vec![done(0), refused(1), compensated(0)]),
        (parallel(2, "work")?, vec![cancel()]),
        (super::fixture::plan_of(named)?, vec![pause()]),
        (Arc::clone(&order), vec![terminate]),
        (super::lifecycle::timed_out()?, vec![timed_out]),
        (Arc::clone(&order), vec![done_with(0, serde_json::json!("x"))]),
    ];
    let mut summaries = Vec::new();
    for (number, (plan, inputs)) in (0i64..).zip(scenarios) {
        let odd = ODD.iter().cycle().skip(usize::try_from(number).unwrap_or_default() * 2);
        let labels = odd
            .clone()
            .take(5)
            .zip(odd.skip(1))
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options =
            StartOptions { now: at(number * 10), labels: labels.collect(), ..StartOptions::default() };
        let (mut flow, start) = Flow::start(&plan, options)?;
        let key = (number % 3 != 0).then(|| {
            format!("key {}", number % 5)
                + ODD.get(usize::try_from(number).unwrap_or_default()).unwrap_or(&"")
        });
        fixture
            .write(vec![
                key.as_deref().map_or_else(|| unkeyed(start.clone()), |key| keyed(start.clone(), key, "d")),
            ])
            .await?;
        for (later, input) in (1..).zip(inputs) {
            fixture.apply(&mut flow, &input, at(number * 10 + later)).await?;
        }
        summaries.push(summary(&flow, key.as_deref())?);
    }
    // A workflow of another namespace, which no list may contain.
    fixture
        .start_with(&order, StartOptions { namespace: "other".to_owned(), ..StartOptions::default() })
        .await?;
    summaries.reverse();
    Ok(summaries)
}

fn error_code(of: &Summary) -> String {
    let code = of.error.as_ref().and_then(|error| error.get("code")).and_then(|code| code.as_str());
    code.unwrap_or_default().to_owned()
}

async fn list_all(fixture: &Fixture, filter: Option<Filter>) -> Result<Vec<Summary>, String> {
    let request = ListRequest { filter, ..all(NAMESPACE) };
    let page = fixture.store.list(&request).await.map_err(unexpected("list"))?;
    expect_eq("whether there are more pages", &page.more, &false)?;
    Ok(page.workflows)
}

/// Returns comparisons of every field with values that occur, values in between, and values of another type.
fn comparisons(summaries: &[Summary]) -> Vec<Filter> {
    let mut values: Vec<(Field, FilterValue)> = Vec::new();
    let text = |text: &str| FilterValue::Text(text.to_owned());
    for each in summaries {
        values.push((Field::Id, text(&each.id.to_string())));
        values.push((Field::Status, text(each.status.as_str())));
        values.push((Field::Definition, text(&each.definition)));
        values.push((Field::RunsElements, text(&each.definition.ends_with(']').to_string())));
        values.push((Field::Version, FilterValue::Number(i64::from(each.version))));
        values.push((Field::Cause, text(each.cause.map_or("", |cause| cause.as_str()))));
        values.push((Field::IdempotencyKey, text(each.idempotency_key.as_deref().unwrap_or_default())));
        values.push((Field::ErrorCode, text(&error_code(each))));
        values.push((Field::CreatedAt, FilterValue::Time(each.created_at)));
        values.extend(each.ended_at.map(|at| (Field::EndedAt, FilterValue::Time(at))));
    }
    for name in ODD.iter().chain(&["no such label", "tea"]) {
        for value in ODD.iter().chain(&["of the definition", "9", "zz"]) {
            values.push((Field::Label((*name).to_owned()), text(value)));
        }
    }
    let others = [
        Field::Id,
        Field::Status,
        Field::Version,
        Field::CreatedAt,
        Field::EndedAt,
        Field::Label("10".to_owned()),
    ];
    for field in others {
        for value in [text("no such"), text("1"), FilterValue::Number(10), FilterValue::Time(at(15))] {
            values.push((field.clone(), value));
        }
    }
    let mut filters = Vec::new();
    for (field, value) in values {
        let each = COMPARISONS.iter().map(|by| Filter::Compare(field.clone(), *by, value.clone()));
        filters.extend(each.filter(|filter| !filters.contains(filter)).collect::<Vec<_>>());
    }
    filters
}

async fn expect_matches(fixture: &Fixture, summaries: &[Summary], filter: &Filter) -> CaseResult {
    let found: Vec<WorkflowId> =
        list_all(fixture, Some(filter.clone())).await?.iter().map(|each| each.id).collect();
    let expected = summaries.iter().filter(|each| filter.matches(each)).map(|each| each.id).collect();
    expect_eq(&format!("{filter:?}"), &found, &expected)
}

pub(super) async fn compared_by_every_field(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let summaries = write_varied_workflows(&fixture).await?;
    expect_eq("the list without a filter", &list_all(&fixture, None).await?, &summaries)?;
    for filter in comparisons(&summaries) {
        expect_matches(&fixture, &summaries, &filter).await?;
    }
    Ok(())
}

pub(super) async fn combined(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let summaries = write_varied_workflows(&fixture).await?;
    let parts: Vec<Filter> = comparisons(&summaries).into_iter().step_by(61).collect();
    let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
    let mut filters = vec![
        Filter::All(Vec::new()),
        Filter::Any(Vec::new()),
        Filter::Not(Box::new(Filter::Any(Vec::new()))),
        Filter::Any(parts.clone()),
        Filter::All(parts.iter().map(not).collect()),
    ];
    for (left, right) in parts.iter().zip(parts.iter().skip(1)) {
        filters.push(not(left));
        filters.push(Filter::Any(vec![left.clone(), right.clone()]));
        filters.push(Filter::All(vec![left.clone(), not(right)]));
        filters.push(not(&Filter::All(vec![not(left), Filter::Any(vec![not(right), left.clone()])])));
    }
    let mut deep =
        Filter::Compare(Field::Status, Comparison::Equal, FilterValue::Text("COMPLETED".to_owned()));
    for _ in 0..33 {
        deep = Filter::Not(Box::new(Filter::All(vec![deep])));
    }
    filters.push(deep);
    for filter in filters {
        expect_matches(&fixture, &summaries, &filter).await?;
    }
    Ok(())
}

pub(super) async fn paged(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut ids = BTreeSet::new();
    for number in 0..25 {
        let labels = BTreeMap::from([("parity".to_owned(), (number % 2).to_string())]);
        ids.insert(fixture.start_with(&plan, StartOptions { labels, ..StartOptions::default() }).await?.id());
        fixture
            .start_with(&plan, StartOptions { namespace: "other".to_owned(), ..StartOptions::default() })
            .await?;
    }
    let newest: Vec<WorkflowId> = ids.iter().rev().copied().collect();
    let odd = Filter::Compare(
        Field::Label("parity".to_owned()),
        Comparison::Equal,
        FilterValue::Text("1".to_owned()),
    );
    let odds: Vec<WorkflowId> = ids.iter().skip(1).step_by(2).rev().copied().collect();
    let above = Filter::Compare(
        Field::Label("parity".to_owned()),
        Comparison::Greater,
        FilterValue::Text("0".to_owned()),
    );
    let paused = Filter::Compare(Field::Status, Comparison::Equal, FilterValue::Text("PAUSED".to_owned()));
    for (filter, expected, sizes) in [
        (None, newest.clone(), vec![10, 10, 5]),
        (Some(Filter::Any(vec![paused, odd.clone()])), odds.clone(), vec![10, 2]),
        (Some(above), odds.clone(), vec![10, 2]),
        (Some(odd), odds, vec![10, 2]),
        (Some(Filter::All(Vec::new())), newest, vec![10, 10, 5]),
    ] {
        let (mut found, mut before) = (Vec::new(), None);
        for (number, size) in (1..).zip(&sizes) {
            let request = ListRequest { filter: filter.clone(), limit: 10, before, ..all(NAMESPACE) };
            let page = fixture.store.list(&request).await.map_err(unexpected("list"))?;
            expect_eq(&format!("the number of workflows on page {number}"), &page.workflows.len(), size)?;
            expect_eq(
                &format!("whether there are more pages after page {number}"),
                &page.more,
                &(number < sizes.len()),
            )?;
            before = page.workflows.last().map(|each| each.id);
            found.extend(page.workflows.iter().map(|each| each.id));
        }
        expect_eq("the pages, newest first", &found, &expected)?;
    }
    let exact = ListRequest { limit: 25, ..all(NAMESPACE) };
    let page = fixture.store.list(&exact).await.map_err(unexpected("list"))?;
    expect_eq(
        "a page whose limit equals the number of workflows",
        &(page.workflows.len(), page.more),
        &(25, false),
    )?;
    let none = ListRequest { before: ids.first().copied(), ..all(NAMESPACE) };
    let page = fixture.store.list(&none).await.map_err(unexpected("list"))?;
    expect_eq("a page before the oldest workflow", &(page.workflows.len(), page.more), &(0, false))?;
    let later = ListRequest { before: Some(new_id()), limit: 1, ..all(NAMESPACE) };
    let page = fixture.store.list(&later).await.map_err(unexpected("list"))?;
    let first = page.workflows.first().map(|each| each.id);
    ensure(first == ids.last().copied() && page.more, || {
        format!("a page of size 1 starts with {first:?}, more: {}", page.more)
    })
}

pub(super) async fn counted(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let summaries = write_varied_workflows(&fixture).await?;
    let ended_only = Filter::Compare(Field::EndedAt, Comparison::Greater, FilterValue::Time(at(0)));
    let label = |name: &str, value: &str| {
        let value = FilterValue::Text(value.to_owned());
        Filter::Compare(Field::Label(name.to_owned()), Comparison::Equal, value)
    };
    // The labels of several workflows, with and without an error.
    let labelled =
        Filter::Any(ODD.iter().zip(ODD.iter().skip(1)).map(|(name, value)| label(name, value)).collect());
    let value = |by: &Field, of: &Summary| match by {
        Field::Definition => of.definition.clone(),
        Field::Version => of.version.to_string(),
        Field::Cause => of.cause.map_or("", |cause| cause.as_str()).to_owned(),
        _ => of.status.as_str().to_owned(),
    };
    for by in [Field::Status, Field::Definition, Field::Version, Field::Cause] {
        for filter in [None, Some(&ended_only), Some(&labelled), Some(&Filter::Any(Vec::new()))] {
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            for each in summaries.iter().filter(|each| filter.is_none_or(|filter| filter.matches(each))) {
                *expected.entry(value(&by, each)).or_default() += 1;
            }
            let expected: Vec<Count> =
                expected.into_iter().map(|(value, count)| Count { by: by.clone(), value, count }).collect();
            let found =
                fixture.store.counts(NAMESPACE, by.clone(), filter).await.map_err(unexpected("counts"))?;
            expect_eq(&format!("the counts by {by:?}"), &found, &expected)?;
        }
    }
    for filter in [None, Some(&ended_only), Some(&labelled)] {
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let failed = summaries.iter().filter(|each| each.error.is_some());
        for each in failed.filter(|each| filter.is_none_or(|filter| filter.matches(each))) {
            *expected.entry(error_code(each)).or_default() += 1;
        }
        let by = Field::ErrorCode;
        let expected: Vec<Count> =
            expected.into_iter().map(|(value, count)| Count { by: by.clone(), value, count }).collect();
        let found = fixture.store.counts(NAMESPACE, by, filter).await.map_err(unexpected("counts"))?;
        expect_eq("the counts by error code", &found, &expected)?;
    }
    let empty = fixture.store.counts("nowhere", Field::Status, None).await.map_err(unexpected("counts"))?;
    expect_eq("the counts of an empty namespace", &empty, &Vec::new())
}

/// Workflows that run elements of a step are neither listed nor counted, if the filter excludes them.
pub(super) async fn without_elements(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut seen = Vec::new();
    for name in ["order", "order/pick[0..100]", "orders", "order/pick[100..200]"] {
        let plan = plan_of(definition(name, vec![step("only", "stock", &[])]))?;
        let mut ended = fixture.start(&plan).await?;
        fixture.apply(&mut ended, &done(0), at(1)).await?;
        let open = fixture.start(&plan).await?;
        if !name.ends_with(']') {
            seen.extend([ended.id(), open.id()]);
        }
    }
    seen.sort_unstable_by(|left, right| right.cmp(left));
    let filter = Filter::without_elements();
    for (filter, expected) in [
        (filter.clone(), vec![("COMPLETED", 2), ("IN_PROGRESS", 0), ("QUEUED", 2)]),
        (
            Filter::All(vec![Filter::open(), filter]),
            vec![("COMPLETED", 0), ("IN_PROGRESS", 0), ("QUEUED", 2)],
        ),
    ] {
        let expected: Vec<(String, u64)> = expected
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| (status.to_owned(), count))
            .collect();
        let counts = fixture.store.counts(NAMESPACE, Field::Status, Some(&filter)).await;
        let counts: Vec<(String, u64)> = counts
            .map_err(unexpected("counts"))?
            .into_iter()
            .map(|count| (count.value, count.count))
            .collect();
        expect_eq("the counts", &counts, &expected)?;
    }
    let request = ListRequest { filter: Some(Filter::without_elements()), ..all(NAMESPACE) };
    let page = fixture.store.list(&request).await.map_err(unexpected("list"))?;
    let listed: Vec<_> = page.workflows.iter().map(|found| found.id).collect();
    expect_eq("the listed workflows", &listed, &seen)?;
    let named = Filter::All(vec![Filter::without_elements(), Filter::open()]);
    let request = ListRequest { filter: Some(named), limit: 1, ..all(NAMESPACE) };
    let page = fixture.store.list(&request).await.map_err(unexpected("list"))?;
    expect_eq("the size of a page", &page.workflows.len(), &1)
}
