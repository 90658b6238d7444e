//! HTTP requests as `call`.

use crate::build::Build;
use goconductor_definition::{CALL_METHODS, RESERVED_CALL_HEADERS};
use goconductor_saga::{Json, NameKind};
use serde_json::{Map, json};

/// A request whose values are templates.
#[derive(Debug, Default)]
pub(crate) struct CallRequest {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, Json)>,
    pub(crate) body: Option<Json>,
}

/// Returns the value of `call`, or `None` after a note if the request cannot be expressed.
pub(crate) fn http(build: &mut Build, path: &str, request: CallRequest) -> Option<Json> {
    let method = match request.method.to_ascii_uppercase() {
        method if method.is_empty() => "GET".to_owned(),
        method => method,
    };
    if !CALL_METHODS.contains(&method.as_str()) {
        build.refused(
            path,
            format!("the method {method} is not one of a call: use {}", CALL_METHODS.join(", ")),
        );
        return None;
    }
    if !has_literal_host(&request.url) {
        let text =
            format!("the scheme and the host of the URL `{}` are not literal: write them out", request.url);
        build.refused(path, text);
        return None;
    }
    let mut http = Map::new();
    http.insert("url".to_owned(), json!(request.url));
    http.insert("method".to_owned(), json!(method));
    let headers = headers(build, path, request.headers);
    if !headers.is_empty() {
        http.insert("headers".to_owned(), Json::Object(headers));
    }
    match request.body {
        Some(_) if method == "GET" => build.lost(path, "a call with the method GET has no body"),
        Some(body) if !body.is_null() => {
            http.insert("body".to_owned(), body);
        }
        Some(_) | None => {}
    }
    Some(json!({ "http": http }))
}

fn headers(build: &mut Build, path: &str, headers: Vec<(String, Json)>) -> Map<String, Json> {
    let mut kept = Map::new();
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let is_token = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        let is_reserved = RESERVED_CALL_HEADERS.contains(&lower.as_str())
            || lower.starts_with("goconductor-")
            || lower.starts_with("proxy-");
        if !is_token || is_reserved {
            build.lost(path, format!("the header {name} is set by the executor or is not valid"));
            continue;
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text.chars().any(char::is_control) || value.is_array() || value.is_object() {
            build.lost(path, format!("the value of the header {name} is not a text"));
            continue;
        }
        kept.insert(name, Json::String(text));
    }
    kept
}

/// The reference to a secret, if the name is one.
pub(crate) fn secret(name: &str) -> Option<String> {
    NameKind::Secret.check(name).is_ok().then(|| format!("secret://{name}"))
}

fn has_literal_host(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return crate::json::single(url).is_some();
    };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let ends = host.len() < rest.len() || !rest.contains("${");
    matches!(scheme, "http" | "https" | "secret")
        && !host.is_empty()
        && ends
        && !host.contains(['$', '@', ' ', '#'])
}
