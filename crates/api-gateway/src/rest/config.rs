//! The settings of the API.

use super::PageQuery;
use super::extract::{Caller, JsonBody, Path, QueryParams, RawBody, media_type};
use super::integer::Integer;
use crate::api::config::{ConfigHistoryPage, ConfigVersionView, ConfigView, NewSettings, WriteConfig};
use crate::api::{Api, header_text};
use crate::error::{ApiResult, CONFIG_INVALID, Location, MEDIA_TYPE, PARAMETER, Problem, ProblemBody};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use goconductor_definition::{Format, Limits};
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(get, put, patch))
        .routes(routes!(schema))
        .routes(routes!(history))
        .routes(routes!(version))
        .routes(routes!(rollback))
}

/// The parameters of a change.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct WriteQuery {
    /// Check the change without making it: also connect to the servers that it names (default: false)
    dry_run: Option<bool>,
    /// Reason for the change, which the history keeps
    reason: Option<String>,
}

/// A return to an earlier version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    /// Version whose settings become the newest ones. 0 for no settings.
    #[schema(value_type = u64)]
    version: Integer<u64>,
    /// Reason for the change, which the history keeps.
    reason: Option<String>,
}

/// Get the settings of the API, and which of them wait for a restart of which process
///
/// The header ETag holds the version.
#[utoipa::path(get, path = "/config", tag = "config", responses((status = 200, body = ConfigView)))]
async fn get(State(api): State<Api>) -> ApiResult<Response> {
    api.config().await.map(tagged)
}

/// Replace the settings of the API
///
/// The body has the form of the configuration file. With the header If-Match, the change is made only if the settings
/// still have that version. Without it, the last change wins.
#[utoipa::path(put, path = "/config", tag = "config",
    params(WriteQuery, ("If-Match" = Option<String>, Header, description = "Version in quotes, as in the header ETag")),
    request_body(content((serde_json::Value = "application/json"), (serde_json::Value = "application/yaml"))),
    responses((status = 200, body = ConfigView, description = "The settings were changed, or dry_run was set, or they are unchanged"),
        (status = 412, body = ProblemBody, description = "The settings have another version than that of If-Match"),
        (status = 422, body = ProblemBody, description = "The settings are invalid: every problem with its location. Or a server that they name does not respond")))]
async fn put(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<WriteQuery>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> ApiResult<Response> {
    let settings = document(&api, &headers, &body)?;
    let write = write(&headers, query)?;
    api.change_config(&context, NewSettings::Replace(settings), write).await.map(tagged)
}

/// Change some settings of the API
///
/// The body is a JSON merge patch (RFC 7396): null removes a setting or a section. The header If-Match is the same as for
/// PUT.
#[utoipa::path(patch, path = "/config", tag = "config",
    params(WriteQuery, ("If-Match" = Option<String>, Header, description = "Version in quotes, as in the header ETag")),
    request_body(content((serde_json::Value = "application/merge-patch+json"), (serde_json::Value = "application/json"))),
    responses((status = 200, body = ConfigView, description = "The settings were changed, or dry_run was set, or they are unchanged"),
        (status = 412, body = ProblemBody, description = "The settings have another version than that of If-Match"),
        (status = 422, body = ProblemBody, description = "The settings are invalid: every problem with its location. Or a server that they name does not respond")))]
async fn patch(
    State(api): State<Api>,
    Caller(context): Caller,
    QueryParams(query): QueryParams<WriteQuery>,
    headers: HeaderMap,
    JsonBody(patch): JsonBody<Value>,
) -> ApiResult<Response> {
    let write = write(&headers, query)?;
    api.change_config(&context, NewSettings::Merge(patch), write).await.map(tagged)
}

/// Get the JSON Schema of the settings
///
/// `x-apply` states when a change of a setting takes effect: `live`, `restart`, or `file-only` if the API does not change
/// it.
#[utoipa::path(get, path = "/config/schema", tag = "config",
    responses((status = 200, body = Value, content_type = "application/schema+json")))]
async fn schema() -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/schema+json")];
    (content_type, goconductor_service_kit::config::schema().to_string()).into_response()
}

/// List the versions of the settings, newest first
#[utoipa::path(get, path = "/config/history", tag = "config", params(PageQuery),
    responses((status = 200, body = ConfigHistoryPage)))]
async fn history(
    State(api): State<Api>,
    QueryParams(query): QueryParams<PageQuery>,
) -> ApiResult<Json<ConfigHistoryPage>> {
    api.list_config_versions(&query.into()).await.map(Json)
}

/// Get a version of the settings
#[utoipa::path(get, path = "/config/history/{version}", tag = "config", params(("version" = u64, Path)),
    responses((status = 200, body = ConfigVersionView), (status = 404, body = ProblemBody)))]
async fn version(State(api): State<Api>, Path(version): Path<String>) -> ApiResult<Json<ConfigVersionView>> {
    let number = version.parse().map_err(|_| invalid_version(&version))?;
    api.config_version(number).await.map(Json)
}

/// Return to the settings of an earlier version
///
/// The settings become a new version. They are checked like any other change.
#[utoipa::path(post, path = "/config/rollback", tag = "config", request_body = RollbackBody,
    params(("If-Match" = Option<String>, Header, description = "Version in quotes, as in the header ETag")),
    responses((status = 200, body = ConfigView), (status = 404, body = ProblemBody),
        (status = 412, body = ProblemBody, description = "The settings have another version than that of If-Match"),
        (status = 422, body = ProblemBody, description = "The settings are no longer valid, or a server that they name does not respond")))]
async fn rollback(
    State(api): State<Api>,
    Caller(context): Caller,
    headers: HeaderMap,
    JsonBody(RollbackBody { version, reason }): JsonBody<RollbackBody>,
) -> ApiResult<Response> {
    let write = WriteConfig { if_version: if_match(&headers)?, dry_run: false, reason };
    api.change_config(&context, NewSettings::Restore(version.0), write).await.map(tagged)
}

/// Returns a response with the version as its entity tag.
fn tagged(view: ConfigView) -> Response {
    ([(header::ETAG, format!("\"{}\"", view.version))], Json(view)).into_response()
}

fn write(headers: &HeaderMap, query: WriteQuery) -> ApiResult<WriteConfig> {
    let WriteQuery { dry_run, reason } = query;
    Ok(WriteConfig { if_version: if_match(headers)?, dry_run: dry_run == Some(true), reason })
}

/// Returns the version of the header If-Match. `*` is any version.
pub(super) fn if_match(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    let Some(text) = header_text(headers, "if-match")?.filter(|text| *text != "*") else { return Ok(None) };
    let version = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let version = version.and_then(|version| version.parse().ok());
    version.map(Some).ok_or_else(|| {
        let detail = "invalid header if-match: send the header ETag of a response, such as \"7\", or *";
        Problem::new(PARAMETER, detail)
    })
}

fn invalid_version(text: &str) -> Problem {
    Problem::new(PARAMETER, format!("invalid version {text:?}: it must be an integer of at least 0"))
}

/// Parses the body of a replacement by its content type.
fn document(api: &Api, headers: &HeaderMap, body: &[u8]) -> ApiResult<Value> {
    let format = match media_type(headers).as_deref() {
        Some("application/yaml" | "application/x-yaml" | "text/yaml") => Format::Yaml,
        Some(media_type) if media_type == "application/json" || media_type.ends_with("+json") => Format::Json,
        Some(_) | None => {
            let detail = "the configuration must be JSON or YAML: send it with Content-Type: application/json or \
                          application/yaml";
            return Err(Problem::new(MEDIA_TYPE, detail));
        }
    };
    if format == Format::Json {
        let value = goconductor_saga::parse_json(body)
            .map_err(|error| Problem::invalid_json("the body", "", &error))?;
        api.check_depth(&value, 0)?;
        return Ok(value);
    }
    goconductor_definition::document(body, format, &Limits::default()).map_err(|problem| {
        let location = Location {
            pointer: problem.pointer.clone(),
            line: Some(problem.line),
            column: Some(problem.column),
            code: CONFIG_INVALID.code,
            detail: problem.detail.clone(),
        };
        Problem::new(CONFIG_INVALID, problem.detail).with_errors(vec![location])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn if_match_is_a_version_in_quotes() {
        for (text, version) in
            [("\"7\"", Some(Some(7))), ("*", Some(None)), ("7", None), ("W/\"7\"", None), ("\"x\"", None)]
        {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, HeaderValue::from_static(text))]);
            assert_eq!(if_match(&headers).ok(), version, "{text}");
        }
        assert_eq!(if_match(&HeaderMap::new()).ok(), Some(None));
    }
}
