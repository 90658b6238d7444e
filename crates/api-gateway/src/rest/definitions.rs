//! Definitions: apply, read, and read as a graph.

use super::extract::{Caller, OptionalJsonBody, Path, QueryParams, RawBody, media_type};
use super::integer::Integer;
use crate::api::Api;
use crate::api::definitions::{
    AppliedDefinition, ApplyDefinition, DefinitionList, DefinitionView, VersionList, parse_version,
};
use crate::api::graph::Graph;
use crate::api::simulate::{SimulateDefinition, SimulationView};
use crate::error::{ApiResult, MEDIA_TYPE, Problem, ProblemBody};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use goconductor_definition::Format;
use serde::Deserialize;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put, delete))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(graph))
        .routes(routes!(version_graph))
        .routes(routes!(simulate))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ApplyQuery {
    /// Check the definition without storing it (default: false)
    dry_run: Option<bool>,
}

/// A request to simulate a definition.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SimulateBody {
    /// Version of the definition (default: the newest)
    #[schema(value_type = Option<u32>)]
    version: Option<Integer<u32>>,
    /// Definition to simulate instead of an applied version, as an object or as a text in YAML
    definition: Option<serde_json::Value>,
    /// Input of the workflow (default: generated from the input schema)
    input: Option<serde_json::Value>,
    /// Outputs by the names of the steps (default: generated from the expressions of the definition)
    outputs: Option<BTreeMap<String, serde_json::Value>>,
    /// Step whose fault is simulated in detail, such as `charge` or `charge=unknown`. The faults are `refused` (the
    /// default), `unknown`, `timeout` and `compensation`. Without it, every step is simulated with every fault.
    fail: Option<String>,
}

/// Apply a definition
///
/// Equal content changes nothing. Changed content becomes the next version. Running workflows keep the version they
/// started with.
#[utoipa::path(put, path = "/definitions/{name}", tag = "definitions",
    params(("name" = String, Path), ApplyQuery),
    request_body(content((String = "application/yaml"), (serde_json::Value = "application/json"))),
    responses((status = 201, body = AppliedDefinition, description = "A new version was created"),
        (status = 200, body = AppliedDefinition, description = "The content is unchanged, or dry_run was set"),
        (status = 409, body = ProblemBody, description = "The key `schedule` does not replace a schedule that was created through the API"),
        (status = 422, body = ProblemBody, description = "The definition is invalid: every problem with its location. Or its name is not that of the path")))]
async fn put(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    QueryParams(query): QueryParams<ApplyQuery>,
    headers: HeaderMap,
    RawBody(source): RawBody,
) -> ApiResult<(StatusCode, Json<AppliedDefinition>)> {
    let format = format_of(&headers)?;
    let apply = ApplyDefinition { name, format, source, dry_run: query.dry_run == Some(true) };
    let applied = api.apply_definition(&context, apply).await?;
    let status = if applied.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(applied)))
}

/// List the newest version of each definition
#[utoipa::path(get, path = "/definitions", tag = "definitions", responses((status = 200, body = DefinitionList)))]
async fn list(State(api): State<Api>, Caller(context): Caller) -> ApiResult<Json<DefinitionList>> {
    api.list_definitions(&context).await.map(Json)
}

/// Get the newest version of a definition
#[utoipa::path(get, path = "/definitions/{name}", tag = "definitions", params(("name" = String, Path)),
    responses((status = 200, body = DefinitionView), (status = 404, body = ProblemBody)))]
async fn get(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Json<DefinitionView>> {
    api.definition(&context, &name, None).await.map(Json)
}

/// Archive a definition
///
/// New starts are refused, and running workflows continue. The versions can still be read by their numbers. Applying the
/// definition again restores it.
#[utoipa::path(delete, path = "/definitions/{name}", tag = "definitions", params(("name" = String, Path)),
    responses((status = 204, description = "The definition was archived"), (status = 404, body = ProblemBody)))]
async fn delete(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    api.delete_definition(&context, &name).await.map(|_| StatusCode::NO_CONTENT)
}

/// List the versions of a definition, newest first
#[utoipa::path(get, path = "/definitions/{name}/versions", tag = "definitions", params(("name" = String, Path)),
    responses((status = 200, body = VersionList), (status = 404, body = ProblemBody)))]
async fn versions(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Json<VersionList>> {
    api.list_versions(&context, &name).await.map(Json)
}

/// Get a version of a definition
#[utoipa::path(get, path = "/definitions/{name}/versions/{version}", tag = "definitions",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = DefinitionView), (status = 404, body = ProblemBody)))]
async fn version(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((name, version)): Path<(String, String)>,
) -> ApiResult<Json<DefinitionView>> {
    let version = parse_version(&name, &version)?;
    api.definition(&context, &name, Some(version)).await.map(Json)
}

/// Get the graph of the newest version of a definition
#[utoipa::path(get, path = "/definitions/{name}/graph", tag = "definitions", params(("name" = String, Path)),
    responses((status = 200, body = Graph), (status = 404, body = ProblemBody)))]
async fn graph(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
) -> ApiResult<Json<Graph>> {
    api.definition_graph(&context, &name, None).await.map(Json)
}

/// Get the graph of a version of a definition
#[utoipa::path(get, path = "/definitions/{name}/versions/{version}/graph", tag = "definitions",
    params(("name" = String, Path), ("version" = u32, Path)),
    responses((status = 200, body = Graph), (status = 404, body = ProblemBody)))]
async fn version_graph(
    State(api): State<Api>,
    Caller(context): Caller,
    Path((name, version)): Path<(String, String)>,
) -> ApiResult<Json<Graph>> {
    let version = parse_version(&name, &version)?;
    api.definition_graph(&context, &name, Some(version)).await.map(Json)
}

/// Simulate a definition
///
/// Runs a workflow in memory for each step and each fault: a refusal, an unknown outcome, a timeout, and a compensation
/// that fails. Returns the order of the steps and compensations, and the effects that remain. No participant is called,
/// and nothing is stored.
#[utoipa::path(post, path = "/definitions/{name}/simulate", tag = "definitions", params(("name" = String, Path)),
    request_body = SimulateBody,
    responses((status = 200, body = SimulationView), (status = 404, body = ProblemBody),
        (status = 422, body = ProblemBody, description = "The definition or the input is invalid, or the simulation is not possible or too large"),
        (status = 429, body = ProblemBody, description = "Too many definitions and inputs are being checked: retry after Retry-After")))]
async fn simulate(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(name): Path<String>,
    OptionalJsonBody(body): OptionalJsonBody<SimulateBody>,
) -> ApiResult<Json<SimulationView>> {
    let simulate = SimulateDefinition {
        name,
        version: body.version.map(|Integer(version)| version),
        definition: body.definition,
        input: body.input,
        outputs: body.outputs.unwrap_or_default(),
        fail: body.fail,
    };
    api.simulate_definition(&context, simulate).await.map(Json)
}

fn format_of(headers: &HeaderMap) -> ApiResult<Format> {
    let media_type = media_type(headers).unwrap_or_default();
    match media_type.as_str() {
        "application/json" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" | "application/vnd.yaml" => {
            Ok(Format::Yaml)
        }
        _ => {
            let detail = format!(
                "unsupported Content-Type {media_type:?} for a definition: use application/yaml or application/json"
            );
            Err(Problem::new(MEDIA_TYPE, detail))
        }
    }
}
