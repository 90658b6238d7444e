//! Definitions: apply, read, draw.

use crate::App;
use crate::error::{Answer, DEFINITION, MEDIA_TYPE, NO_DEFINITION, Place, Problem, ProblemBody};
use crate::extract::{Caller, Path, Query, Raw, media_type};
use crate::moment::rfc3339;
use crate::view::{action_name, kind_name};
use axum::Json;
use axum::http::{HeaderMap, StatusCode};
use goconductor_definition::{Checked, Format, Limits};
use goconductor_saga::{Definition, Join};
use goconductor_store::{DefinitionRecord, NewDefinition};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(graph))
        .routes(routes!(version_graph))
}

/// What applying did.
#[derive(Debug, Serialize, ToSchema)]
struct Applied {
    name: String,
    /// The newest.
    version: u32,
    /// Of its content: equal content has an equal digest, whatever its form.
    digest: String,
}

/// A definition as it is kept.
#[derive(Debug, Serialize, ToSchema)]
struct DefinitionView {
    name: String,
    version: u32,
    digest: String,
    title: Option<String>,
    description: Option<String>,
    created_at: String,
    actor: Option<String>,
    /// `yaml` or `json`
    source_format: String,
    /// The text as it was applied; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DefinitionList {
    definitions: Vec<DefinitionView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct VersionList {
    versions: Vec<DefinitionView>,
}

/// A definition as a graph: what blocks and defaults have become.
#[derive(Debug, Serialize, ToSchema)]
struct Graph {
    name: String,
    version: u32,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Node {
    name: String,
    title: Option<String>,
    /// `compensatable`, `pivot`, `retriable`
    kind: &'static str,
    action: String,
    compensate: Option<String>,
    /// `all`, `any`, `settled`
    join: &'static str,
    /// All have to be as they say, or the step is skipped.
    when: Vec<NodeCondition>,
    /// The blocks that it is written in, outermost first.
    blocks: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct NodeCondition {
    expression: String,
    holds: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Edge {
    from: String,
    to: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct ApplyQuery {
    /// Only check: nothing is written.
    dry_run: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// Apply a definition
///
/// Equal content changes nothing; changed content is the next version. Running workflows keep theirs.
#[utoipa::path(put, path = "/definitions/{name}", tag = "definitions",
    params(("name" = String, Path), ApplyQuery),
    request_body(content((String = "application/yaml"), (serde_json::Value = "application/json"))),
    responses((status = 201, body = Applied), (status = 200, body = Applied),
        (status = 422, body = ProblemBody, description = "With every problem, each with its place")))]
async fn put(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<ApplyQuery>,
    headers: HeaderMap,
    Raw(text): Raw,
) -> Answer<(StatusCode, Json<Applied>)> {
    let format = format_of(&headers)?;
    let Checked { definition, digest } = goconductor_definition::parse(&text, format, &Limits::default())
        .map_err(|problems| refused(&problems))?;
    if definition.name != name {
        let detail = format!("the definition is called {}, and the path says {name}", definition.name);
        return Err(Problem::new(DEFINITION, detail.clone()).at("/workflow", detail));
    }
    if query.dry_run == Some(true) {
        let newest = app.store().definition(&caller.namespace, &name, None).await?;
        let version = match newest {
            Some(newest) if newest.digest == digest => newest.version,
            newest => newest.map_or(0, |newest| newest.version).saturating_add(1),
        };
        return Ok((StatusCode::OK, Json(Applied { name, version, digest })));
    }
    let new = NewDefinition {
        namespace: caller.namespace,
        definition,
        digest,
        source: String::from_utf8_lossy(&text).into_owned(),
        source_format: match format {
            Format::Yaml => "yaml".to_owned(),
            Format::Json => "json".to_owned(),
        },
        actor: caller.actor,
    };
    let put = app.store().put_definition(new).await?;
    let DefinitionRecord { name, version, digest, .. } = (*put.record).clone();
    let status = if put.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Applied { name, version, digest })))
}

fn format_of(headers: &HeaderMap) -> Answer<Format> {
    let kind = media_type(headers).unwrap_or_default();
    match kind.as_str() {
        "application/json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" | "application/vnd.yaml" => {
            Ok(Format::Yaml)
        }
        _ => {
            let detail =
                format!("{kind:?} is no form of a definition: send application/yaml or application/json");
            Err(Problem::new(MEDIA_TYPE, detail))
        }
    }
}

fn refused(problems: &[goconductor_definition::Problem]) -> Problem {
    let place = |problem: &goconductor_definition::Problem| Place {
        pointer: problem.pointer.clone(),
        line: Some(problem.line),
        column: Some(problem.column),
        code: problem.code,
        detail: match &problem.hint {
            Some(hint) => format!("{}; {hint}", problem.detail),
            None => problem.detail.clone(),
        },
    };
    let detail = match problems {
        [only] => format!("line {}: {}", only.line, place(only).detail),
        several => format!("{} problems", several.len()),
    };
    Problem::new(DEFINITION, detail).with_errors(problems.iter().map(place).collect())
}

/// List the newest version of each definition
#[utoipa::path(get, path = "/definitions", tag = "definitions", responses((status = 200, body = DefinitionList)))]
async fn list(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> Answer<Json<DefinitionList>> {
    let records = app.store().definitions(&caller.namespace, None).await?;
    Ok(Json(DefinitionList { definitions: records.into_iter().map(|record| view(record, false)).collect() }))
}

/// Read the newest version of a definition
#[utoipa::path(get, path = "/definitions/{name}", tag = "definitions", params(("name" = String, Path)),
    responses((status = 200, body = DefinitionView), (status = 404, body = ProblemBody)))]
async fn get(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Answer<Json<DefinitionView>> {
    Ok(Json(view(record(&app, &caller, &name, None).await?, true)))
}

/// List every version of a definition, newest first
#[utoipa::path(get, path = "/definitions/{name}/versions", tag = "definitions", params(("name" = String, Path)),
    responses((status = 200, body = VersionList), (status = 404, body = ProblemBody)))]
async fn versions(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Answer<Json<VersionList>> {
    let records = app.store().definitions(&caller.namespace, Some(&name)).await?;
    if records.is_empty() {
        return Err(missing(&name, None));
    }
    Ok(Json(VersionList { versions: records.into_iter().map(|record| view(record, false)).collect() }))
}

/// Read a version of a definition
#[utoipa::path(get, path = "/definitions/{name}/versions/{version}", tag = "definitions",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = DefinitionView), (status = 404, body = ProblemBody)))]
async fn version(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Answer<Json<DefinitionView>> {
    Ok(Json(view(record(&app, &caller, &name, Some(&version)).await?, true)))
}

/// Read the newest version of a definition as a graph
#[utoipa::path(get, path = "/definitions/{name}/graph", tag = "definitions", params(("name" = String, Path)),
    responses((status = 200, body = Graph), (status = 404, body = ProblemBody)))]
async fn graph(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Answer<Json<Graph>> {
    Ok(Json(graph_of(&record(&app, &caller, &name, None).await?)))
}

/// Read a version of a definition as a graph
#[utoipa::path(get, path = "/definitions/{name}/versions/{version}/graph", tag = "definitions",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = Graph), (status = 404, body = ProblemBody)))]
async fn version_graph(
    axum::extract::State(app): axum::extract::State<App>,
    caller: Caller,
    Path((name, version)): Path<(String, String)>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Answer<Json<Graph>> {
    Ok(Json(graph_of(&record(&app, &caller, &name, Some(&version)).await?)))
}

async fn record(app: &App, caller: &Caller, name: &str, version: Option<&str>) -> Answer<DefinitionRecord> {
    // What is no number is the version of nothing.
    let number = version.map(|version| version.parse::<u32>().map_err(|_| missing(name, Some(version))));
    let found = app.store().definition(&caller.namespace, name, number.transpose()?).await?;
    found.ok_or_else(|| missing(name, version))
}

fn missing(name: &str, version: Option<&str>) -> Problem {
    let which = version.map(|version| format!(" in version {version}")).unwrap_or_default();
    Problem::new(NO_DEFINITION, format!("there is no definition {name}{which} in this namespace"))
}

fn view(record: DefinitionRecord, whole: bool) -> DefinitionView {
    DefinitionView {
        name: record.name,
        version: record.version,
        digest: record.digest,
        title: record.definition.title,
        description: record.definition.description,
        created_at: rfc3339(record.created_at),
        actor: record.actor,
        source_format: record.source_format,
        source: whole.then_some(record.source),
    }
}

fn graph_of(record: &DefinitionRecord) -> Graph {
    let Definition { name, steps, .. } = &record.definition;
    let nodes = steps.iter().map(|step| Node {
        name: step.name.clone(),
        title: step.title.clone(),
        kind: kind_name(step.kind),
        action: action_name(&step.action),
        compensate: step.compensate.as_ref().map(|undo| action_name(&undo.action)),
        join: match step.join {
            Join::All => "all",
            Join::Any => "any",
            Join::Settled => "settled",
        },
        when: step
            .when
            .iter()
            .map(|condition| NodeCondition {
                expression: condition.expression.clone(),
                holds: condition.holds,
            })
            .collect(),
        blocks: step.blocks.clone(),
    });
    let edges = steps.iter().flat_map(|step| {
        let from = step.depends_on.iter().filter_map(|index| steps.get(index.at()));
        from.map(|from| Edge { from: from.name.clone(), to: step.name.clone() })
    });
    Graph { name: name.clone(), version: record.version, nodes: nodes.collect(), edges: edges.collect() }
}
