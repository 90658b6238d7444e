//! Extractors. Each applies the limits of the API, and its rejection is a [`Problem`] with a location.

use super::guard::permit_of;
use super::object::JsonObject;
use super::shape::described;
use crate::access::Authorised;
use crate::api::{Api, CallContext};
use crate::error::{ApiResult, MALFORMED, MEDIA_TYPE, PARAMETER, Problem, WRONG_SHAPE, token};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use goconductor_saga::{Json, parse_json, without_utf8_mark};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroize;

/// The caller of a request and its namespace.
#[derive(Debug)]
pub(super) struct Caller(pub(super) CallContext);

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> ApiResult<Self> {
        let authorised = parts.extensions.get::<Authorised>();
        api.check_gate(authorised)?;
        CallContext::new(&parts.headers, authorised, permit_of(&parts.extensions)).map(Self)
    }
}

/// The parameters of a query. Unknown parameters are refused.
#[derive(Debug)]
pub(super) struct QueryParams<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> ApiResult<Self> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|error| Problem::new(PARAMETER, described(&error.body_text())))
    }
}

/// The parameters of a path.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> ApiResult<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, api).await {
            Ok(path) => Ok(Self(path.0)),
            Err(error) => Err(Problem::new(PARAMETER, format!("malformed path: {}", error.body_text()))),
        }
    }
}

/// A JSON body.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if !is_json(&parts.headers) {
            return Err(not_json());
        }
        shape(json(api, &bytes)?, &bytes).map(Self)
    }
}

/// A JSON body, or the default of `T` if the body is empty or `null`.
#[derive(Debug)]
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if without_utf8_mark(&bytes).iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        if !is_json(&parts.headers) {
            return Err(not_json());
        }
        let value = json(api, &bytes)?;
        if value.is_null() {
            return Ok(Self(T::default()));
        }
        shape(value, &bytes).map(Self)
    }
}

/// A body of any JSON value. An empty body is `null`.
#[derive(Debug)]
pub(super) struct AnyJsonBody(pub(super) Json);

impl FromRequest<Api> for AnyJsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        if without_utf8_mark(&bytes).iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Json::Null));
        }
        if !is_json(&parts.headers) {
            return Err(not_json());
        }
        json(api, &bytes).map(Self)
    }
}

/// A body `{"value": …}` with the value of a secret. No message about it repeats a part of it, and the buffer is
/// overwritten if no other part of the process refers to it.
#[derive(Debug)]
pub(super) struct SecretBody(pub(super) SecretString);

impl FromRequest<Api> for SecretBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let bytes = read(body).await?;
        let value = if is_json(&parts.headers) { secret_value(&bytes) } else { Err(not_json()) };
        if let Ok(mut bytes) = bytes.try_into_mut() {
            let all: &mut [u8] = &mut bytes;
            all.zeroize();
        }
        value.map(Self)
    }
}

/// Reads the value without an intermediate tree, whose copies of the value would stay in memory.
fn secret_value(bytes: &[u8]) -> ApiResult<SecretString> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SecretFields {
        value: SecretString,
    }
    let read: Result<JsonObject<SecretFields>, _> = serde_json::from_slice(without_utf8_mark(bytes));
    read.map(|body| body.0.value).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            let detail = "expected an object with one field, `value`, which is a string";
            Problem::new(WRONG_SHAPE, detail).at("/value", detail)
        }
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => {
            let at = format!("line {} column {}", error.line(), error.column());
            Problem::new(MALFORMED, format!("the body is not valid JSON at {at}"))
        }
    })
}

/// The bytes of a body.
#[derive(Debug)]
pub(super) struct RawBody(pub(super) Bytes);

impl FromRequest<Api> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> ApiResult<Self> {
        read(request.into_body()).await.map(Self)
    }
}

/// Returns the media type of a body, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn not_json() -> Problem {
    Problem::new(MEDIA_TYPE, "the body must be JSON: send it with Content-Type: application/json")
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers)
        .is_some_and(|media_type| media_type == "application/json" || media_type.ends_with("+json"))
}

/// Returns the bytes of a body. The middleware has already read it and has checked its size.
async fn read(body: axum::body::Body) -> ApiResult<Bytes> {
    let whole = axum::body::to_bytes(body, usize::MAX).await;
    whole.map_err(|_| Problem::new(MALFORMED, "the connection was closed before the end of the body"))
}

fn json(api: &Api, bytes: &[u8]) -> ApiResult<Json> {
    let value = parse_json(bytes).map_err(|error| Problem::invalid_json("the body", "", &error))?;
    api.check_depth(&value, 0)?;
    Ok(value)
}

/// Reads the value of a text. The path of a violation is only tracked if there is one, because it costs more than the
/// reading.
fn shape<T: DeserializeOwned>(value: Json, text: &[u8]) -> ApiResult<T> {
    if let Ok(object) = JsonObject::<T>::deserialize(value) {
        return Ok(object.0);
    }
    let value = parse_json(text).map_err(|error| Problem::invalid_json("the body", "", &error))?;
    let read: Result<JsonObject<T>, _> = serde_path_to_error::deserialize(value);
    read.map(|object| object.0).map_err(|error| {
        let pointer = pointer(error.path());
        let detail = described(&error.into_inner().to_string());
        Problem::new(WRONG_SHAPE, detail.clone()).at(pointer, detail)
    })
}

/// Formats a path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", token(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}
