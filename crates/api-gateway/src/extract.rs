//! What a call brings, read with limits; whatever can't be read is a problem that says where.

use crate::App;
use crate::admission::CallPlace;
use crate::error::{MALFORMED, MEDIA_TYPE, PARAMETER, Problem, WRONG_SHAPE};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use goconductor_saga::Json;
use serde::de::DeserializeOwned;

/// Characters of a header that names something.
const HEADER: usize = 200;

/// Who calls, and where.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) namespace: String,
    pub(crate) actor: Option<String>,
    /// Its place among the calls that are carried out.
    pub(crate) place: Option<CallPlace>,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let namespace = text_header(&parts.headers, "goconductor-namespace")?.unwrap_or("default");
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&namespace.len())
            || !namespace.bytes().all(inside)
            || namespace.starts_with('-')
        {
            let detail =
                "the header GoConductor-Namespace has up to 63 lower-case letters, digits and hyphens";
            return Err(Problem::new(PARAMETER, detail));
        }
        let actor = text_header(&parts.headers, "goconductor-actor")?;
        let place = parts.extensions.get::<CallPlace>().cloned();
        Ok(Self { namespace: namespace.to_owned(), actor: actor.map(str::to_owned), place })
    }
}

/// A header's text.
pub(crate) fn text_header<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().map(str::trim).filter(|text| (1..=HEADER * 2).contains(&text.len()));
    match (text, values.next()) {
        (Some(text), None) => Ok(Some(text)),
        (Some(_), Some(_)) => Err(Problem::new(PARAMETER, format!("the header {name} is there twice"))),
        (None, _) => {
            let detail = format!("the header {name} is no text of 1 to {} characters", HEADER * 2);
            Err(Problem::new(PARAMETER, detail))
        }
    }
}

/// The parameters of a query; unknown ones are refused.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|query| Self(query.0)).map_err(|error| {
            Problem::new(PARAMETER, error.body_text().replace("Failed to deserialize query string: ", ""))
        })
    }
}

/// The variable parts of a path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(path) => Ok(Self(path.0)),
            Err(error) => {
                Err(Problem::new(PARAMETER, format!("the path can't be read: {}", error.body_text())))
            }
        }
    }
}

/// A JSON body of a known form.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if !is_json(&parts.headers) {
            return Err(Problem::new(
                MEDIA_TYPE,
                "the body is JSON: send it as Content-Type: application/json",
            ));
        }
        shape(json(&bytes, app.limits.json_depth)?).map(Self)
    }
}

/// As [`Body`]; without a body, the form's default.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        if !is_json(&parts.headers) {
            return Err(Problem::new(
                MEDIA_TYPE,
                "the body is JSON: send it as Content-Type: application/json",
            ));
        }
        shape(json(&bytes, app.limits.json_depth)?).map(Self)
    }
}

/// The bytes of a body, as they are.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

impl FromRequest<App> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        read(request.into_body()).await.map(Self)
    }
}

/// The media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

/// The bytes of a body that the guard has read already, with its limits.
async fn read(body: axum::body::Body) -> Result<Bytes, Problem> {
    let whole = axum::body::to_bytes(body, usize::MAX).await;
    whole.map_err(|_| Problem::new(MALFORMED, "the body broke off"))
}

fn json(bytes: &[u8], depth: usize) -> Result<Json, Problem> {
    let value: Json = serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!("the body is no JSON: {error}");
        Problem::new(MALFORMED, detail).at_line(error.line(), error.column(), error.to_string())
    })?;
    if is_deeper(&value, depth) {
        return Err(Problem::new(MALFORMED, format!("the body is nested deeper than {depth} levels")));
    }
    Ok(value)
}

fn is_deeper(value: &Json, depth: usize) -> bool {
    let Some(inner) = depth.checked_sub(1) else { return true };
    match value {
        Json::Array(items) => items.iter().any(|item| is_deeper(item, inner)),
        Json::Object(entries) => entries.values().any(|value| is_deeper(value, inner)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn shape<T: DeserializeOwned>(value: Json) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        let detail = error.into_inner().to_string();
        Problem::new(WRONG_SHAPE, detail.clone()).at(pointer, detail)
    })
}

/// A path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")))
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}
