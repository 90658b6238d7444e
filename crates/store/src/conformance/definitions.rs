//! Definitions and services.

use std::sync::Arc;

use goconductor_saga::{Backoff, Definition, Template, Timestamp};

use super::fixture::{Fixture, NAMESPACE, at, definition, ensure, expect_eq, step, unexpected};
use super::{CaseResult, Factory};
use crate::{DefinitionName, DefinitionRecord, NewDefinition, PutDefinition, ServiceRecord, ServiceSettings};

fn named(name: &str, digest: &str) -> NewDefinition {
    let mut content = definition(name, vec![step("only", "stock", &[])]);
    content.title = Some(format!("content {digest}"));
    NewDefinition {
        namespace: NAMESPACE.to_owned(),
        definition: content,
        digest: digest.to_owned(),
        source: format!("name: {name} # {digest}"),
        source_format: "yaml".to_owned(),
        actor: None,
    }
}

async fn put(fixture: &Fixture, new: NewDefinition) -> Result<PutDefinition, String> {
    fixture.store.put_definition(new).await.map_err(unexpected("put_definition"))
}

async fn get(
    fixture: &Fixture,
    name: &str,
    version: Option<u32>,
) -> Result<Option<DefinitionRecord>, String> {
    fixture.store.definition(NAMESPACE, name, version).await.map_err(unexpected("definition"))
}

/// All fields of a definition record, for comparisons.
type DefinitionFields = (String, String, u32, String, Definition, String, String, Timestamp, Option<String>);

fn fields(record: &DefinitionRecord) -> DefinitionFields {
    let DefinitionRecord {
        namespace,
        name,
        version,
        digest,
        definition,
        source,
        source_format,
        created_at,
        actor,
    } = record.clone();
    (namespace, name, version, digest, definition, source, source_format, created_at, actor)
}

pub(super) async fn versions(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    // The third version repeats the content of the first, because only the newest version is compared.
    for (digest, version, created) in
        [("a", 1, true), ("a", 1, false), ("b", 2, true), ("b", 2, false), ("a", 3, true)]
    {
        let found = put(&fixture, named("order", digest)).await?;
        let what = format!("content {digest}");
        expect_eq(&what, &(found.record.version, found.created), &(version, created))?;
        expect_eq(&what, &found.record.definition, &named("order", digest).definition)?;
        let read = get(&fixture, "order", None).await?.ok_or("the definition was not found")?;
        expect_eq("the stored definition", &fields(&read), &fields(&found.record))?;
    }
    put(&fixture, named("alpha", "x")).await?;
    put(&fixture, named("Order", "x")).await?;
    put(&fixture, NewDefinition { namespace: "other".to_owned(), ..named("order", "z") }).await?;
    for (version, digest) in [(Some(1), "a"), (Some(2), "b"), (Some(3), "a"), (None, "a")] {
        let found = get(&fixture, "order", version).await?.map(|found| found.digest);
        expect_eq(&format!("version {version:?}"), &found.as_deref(), &Some(digest))?;
    }
    for (name, version) in
        [("order", Some(4)), ("order", Some(0)), ("order", Some(u32::MAX)), ("orde", None), ("", None)]
    {
        let found = get(&fixture, name, version).await?.is_some();
        expect_eq(
            &format!("whether the missing definition {name:?}, version {version:?}, was found"),
            &found,
            &false,
        )?;
    }
    let names = [
        ("default", "order"),
        ("other", "order"),
        ("default", "orde"),
        ("default", "Order"),
        ("default", "order"),
    ];
    let name = |(namespace, name): (&str, &str)| DefinitionName {
        namespace: if namespace == "default" { NAMESPACE } else { namespace }.to_owned(),
        name: name.to_owned(),
    };
    let newest = fixture.store.newest(&names.map(name)).await.map_err(unexpected("newest"))?;
    expect_eq("the newest versions", &newest, &vec![Some(3), Some(1), None, Some(1), Some(3)])?;
    let list = async |namespace: &str, name: Option<&str>| {
        let found = fixture.store.definitions(namespace, name).await.map_err(unexpected("definitions"))?;
        Ok::<_, String>(found.into_iter().map(|each| (each.name, each.version)).collect::<Vec<_>>())
    };
    let of = |all: &[(&str, u32)]| all.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
    expect_eq(
        "the newest version of each definition",
        &list(NAMESPACE, None).await?,
        &of(&[("Order", 1), ("alpha", 1), ("order", 3)]),
    )?;
    expect_eq(
        "all versions of one definition",
        &list(NAMESPACE, Some("order")).await?,
        &of(&[("order", 3), ("order", 2), ("order", 1)]),
    )?;
    expect_eq("the definitions of another namespace", &list("other", None).await?, &of(&[("order", 1)]))?;
    expect_eq("the definitions of an empty namespace", &list("nowhere", None).await?, &Vec::new())
}

pub(super) async fn unchanged(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut content = super::lifecycle::timed()?.definition().clone();
    content.description = Some("it's \"quoted\" \\ 100% _ \u{1F600} \0 \u{1}".to_owned());
    content.labels.insert("nul\0".to_owned(), "\u{1}0".to_owned());
    content.input = Some(serde_json::json!({"type": "object", "const": 0.1, "maximum": u64::MAX}));
    content.output = Some(Template::Value(serde_json::json!([1e-7, 123_456_789.123_456_79, null])));
    for step in &mut content.steps {
        step.retry.backoff = Backoff::Exponential { factor: 1.1 };
        step.retry.jitter = 0.3;
    }
    let new = NewDefinition {
        definition: content,
        source: "name: \"timed\\0\" # \0 \u{1}1 ünï\r\n".repeat(5_000),
        source_format: "json".to_owned(),
        actor: Some("o'neil\0".to_owned()),
        ..named("timed", "a digest")
    };
    let put = put(&fixture, new.clone()).await?;
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    let read = get(&reopened, "timed", Some(1)).await?.ok_or("the definition was not found")?;
    expect_eq("the definition after reopening", &fields(&read), &fields(&put.record))?;
    let now = reopened.store.now().await.map_err(unexpected("now"))?;
    ensure(read.created_at <= now && read.created_at > Timestamp(0), || {
        format!("the creation time {} is not between 0 and {}", read.created_at.0, now.0)
    })?;
    let NewDefinition { namespace, definition, digest, source, source_format, actor } = new;
    let expected =
        (namespace, "timed".to_owned(), 1, digest, definition, source, source_format, read.created_at, actor);
    expect_eq("the definition, compared with the input", &fields(&read), &expected)
}

pub(super) async fn concurrent(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for (name, contents, created) in [("equal", 1, 1), ("different", 20, 20)] {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (fixture, new) = (fixture.clone(), named(name, &(number % contents).to_string()));
            callers.spawn(async move { put(&fixture, new).await });
        }
        let (mut versions, mut new) = (Vec::new(), 0);
        while let Some(ended) = callers.join_next().await {
            let put = ended.map_err(|error| error.to_string())??;
            versions.push(put.record.version);
            new += u32::from(put.created);
        }
        versions.sort_unstable();
        versions.dedup();
        expect_eq(&format!("the number of new versions with {name} content"), &new, &created)?;
        expect_eq(&format!("the versions with {name} content"), &versions, &(1..=created).collect())?;
    }
    Ok(())
}

pub(super) async fn services(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let service = |namespace: &str, name: &str, port: u32, second: i64| ServiceRecord {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        settings: ServiceSettings::http(format!("http://127.0.0.1:{port}/\0")),
        updated_at: at(second),
    };
    expect_eq(
        "the services of an empty store",
        &fixture.store.services().await.map_err(unexpected("services"))?,
        &Vec::new(),
    )?;
    let (old, new) = (service("default", "stock", 1, 1), service("default", "stock", 2, 2));
    let (other, early) = (service("other", "stock", 3, 3), service("default", "Payments", 4, 4));
    for record in [&other, &old, &early, &new] {
        fixture.store.put_service(record.clone()).await.map_err(unexpected("put_service"))?;
    }
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    let found = reopened.store.services().await.map_err(unexpected("services"))?;
    expect_eq("the services, by name", &found, &vec![early, new, other])
}

pub(super) async fn archived(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let name = |name: &str| DefinitionName { namespace: NAMESPACE.to_owned(), name: name.to_owned() };
    for (name, digest) in [("order", "a"), ("order", "b"), ("other", "a")] {
        put(&fixture, named(name, digest)).await?;
    }
    put(&fixture, NewDefinition { namespace: "other".to_owned(), ..named("order", "a") }).await?;
    let archive = async |fixture: &Fixture, each: &str| {
        fixture.store.archive_definition(&name(each)).await.map_err(unexpected("archive_definition"))
    };
    expect_eq("whether an unknown definition was archived", &archive(&fixture, "unknown").await?, &false)?;
    expect_eq("whether the definition was archived", &archive(&fixture, "order").await?, &true)?;
    let fixture = Fixture { store: factory.reopen(fixture.store).await? };
    expect_eq("whether it was archived again", &archive(&fixture, "order").await?, &false)?;
    let newest = async |fixture: &Fixture| {
        fixture.store.newest(&[name("order"), name("other")]).await.map_err(unexpected("newest"))
    };
    expect_eq("the newest versions while archived", &newest(&fixture).await?, &vec![None, Some(1)])?;
    let found = get(&fixture, "order", None).await?.is_some();
    expect_eq("whether the newest version is returned while archived", &found, &false)?;
    for version in [1, 2] {
        let found = get(&fixture, "order", Some(version)).await?.map(|found| found.version);
        expect_eq("a version by its number while archived", &found, &Some(version))?;
    }
    let list = async |fixture: &Fixture, name: Option<&str>| {
        let found = fixture.store.definitions(NAMESPACE, name).await.map_err(unexpected("definitions"))?;
        Ok::<_, String>(found.into_iter().map(|each| (each.name, each.version)).collect::<Vec<_>>())
    };
    let (order, other) = ("order".to_owned(), "other".to_owned());
    expect_eq("the list while archived", &list(&fixture, None).await?, &vec![(other.clone(), 1)])?;
    let versions = vec![(order.clone(), 2), (order.clone(), 1)];
    expect_eq("the versions while archived", &list(&fixture, Some("order")).await?, &versions)?;
    let in_other_namespace = fixture.store.definition("other", "order", None).await;
    let found = in_other_namespace.map_err(unexpected("definition"))?.is_some();
    expect_eq("whether another namespace keeps its definition", &found, &true)?;
    let restored = put(&fixture, named("order", "b")).await?;
    let outcome = (restored.record.version, restored.created);
    expect_eq("the version that equal content restores", &outcome, &(2, false))?;
    expect_eq("the newest versions after that", &newest(&fixture).await?, &vec![Some(2), Some(1)])?;
    archive(&fixture, "order").await?;
    let changed = put(&fixture, named("order", "c")).await?;
    let outcome = (changed.record.version, changed.created);
    expect_eq("the version of changed content", &outcome, &(3, true))?;
    expect_eq("the list after that", &list(&fixture, None).await?, &vec![(order, 3), (other, 1)])
}

pub(super) async fn deleted_service(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let service = |namespace: &str, name: &str| ServiceRecord {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        settings: ServiceSettings::http("http://127.0.0.1:1"),
        updated_at: at(1),
    };
    let (kept, other) = (service("default", "payments"), service("other", "stock"));
    for record in [&kept, &other, &service("default", "stock")] {
        fixture.store.put_service(record.clone()).await.map_err(unexpected("put_service"))?;
    }
    let delete = async |fixture: &Fixture, name: &str| {
        fixture.store.delete_service("default", name).await.map_err(unexpected("delete_service"))
    };
    expect_eq("whether an unknown service was deleted", &delete(&fixture, "unknown").await?, &false)?;
    expect_eq("whether the service was deleted", &delete(&fixture, "stock").await?, &true)?;
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    expect_eq("whether it was deleted again", &delete(&reopened, "stock").await?, &false)?;
    let found = reopened.store.services().await.map_err(unexpected("services"))?;
    expect_eq("the services after the deletion", &found, &vec![kept, other])
}
