//! `call`: a request that the definition spells out.
//!
//! The object below `http` or `grpc` is the template of the request, and becomes the input of the step. Everything that an input must
//! not change is checked here and becomes part of the action: the method, the host, the names of headers, and which headers
//! are secrets.

mod grpc;

use super::Body;
use crate::fields::{At, FieldReader, Fields};
use crate::problem::{CALL, CALL_SETTING};
use crate::settings::Defaults;
use crate::template::text_template;
use goconductor_saga::{Action, Call, HttpCall, Json, NameKind, Template, TextPart};
use http::{HeaderName, HeaderValue, Uri};
use std::collections::BTreeMap;

/// The methods of calls.
pub const CALL_METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
/// The scheme of a reference to a secret.
const SECRET: &str = "secret://";
/// Maximum headers of a call.
const MAX_HEADERS: usize = 32;
/// Maximum bytes of a URL.
const MAX_URL_BYTES: usize = 2048;
/// Names of headers that the executor sets itself, or that belong to the connection.
pub const RESERVED_CALL_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Further names that the metadata of gRPC cannot have, besides [`RESERVED_CALL_HEADERS`].
const RESERVED_METADATA: &[&str] = &["content-type", "user-agent"];

impl FieldReader {
    /// Reads a step with the action `call`.
    pub(super) fn call_step<'a>(
        &mut self,
        fields: &Fields<'a>,
        call: &At<'a>,
        defaults: &Defaults,
    ) -> Option<Body<'a>> {
        if let Some(input) = fields.get("input") {
            let problem = input.problem(CALL_SETTING, "a call has no `input`: the request is spelled out");
            self.push(problem.hint("write `body` in the call"));
        }
        self.refuse_heartbeat(fields);
        let (action, request) = self.call(call);
        self.action_step(fields, action, request, defaults)
    }

    /// Reads the key `call` of a compensation. Returns the action and the template of the request.
    pub(crate) fn compensating_call<'a>(
        &mut self,
        fields: &Fields<'a>,
        call: &At<'a>,
    ) -> (Option<Action>, Option<At<'a>>) {
        for key in ["run", "input"] {
            if let Some(at) = fields.get(key) {
                let problem = at.problem(CALL_SETTING, format!("a compensation with `call` has no `{key}`"));
                self.push(problem.hint(format!("remove `{key}` or `call`")));
            }
        }
        self.refuse_heartbeat(fields);
        self.call(call)
    }

    fn refuse_heartbeat(&mut self, fields: &Fields<'_>) {
        if let Some(heartbeat) = fields.get("timeout").and_then(|at| heartbeat_of(&at)) {
            let problem = heartbeat.problem(CALL_SETTING, "a call sends no heartbeats");
            self.push(problem.hint("limit the call with `attempt`"));
        }
    }

    fn call<'a>(&mut self, at: &At<'a>) -> (Option<Action>, Option<At<'a>>) {
        let Some(fields) = self.fields(at, &["http", "grpc"]) else { return (None, None) };
        let (call, request) = match (fields.get("http"), fields.get("grpc")) {
            (None, Some(request)) => (self.grpc_call(&request).map(Call::Grpc), request),
            (Some(_), Some(grpc)) => {
                let problem = grpc.problem(CALL, "a call is one request, either `http` or `grpc`");
                self.push(problem.hint("split it into two steps"));
                return (None, None);
            }
            (Some(_) | None, None) => {
                let Some(request) = self.required(&fields, "http") else { return (None, None) };
                (self.http_call(&request).map(Call::Http), request)
            }
        };
        (call.map(|call| Action::Call(Box::new(call))), Some(request))
    }

    fn http_call(&mut self, at: &At<'_>) -> Option<HttpCall> {
        let fields = self.fields(at, &["url", "method", "headers", "body"])?;
        let method = match fields.get("method") {
            Some(at) => self.method(&at),
            None => Some("POST".to_owned()),
        };
        let url = self.required(&fields, "url").and_then(|at| self.url(&at));
        let secret_headers = match fields.get("headers") {
            Some(at) => self.call_texts(&at, CallTexts::Headers),
            None => Some(BTreeMap::new()),
        };
        if let (Some("GET"), Some(body)) = (method.as_deref(), fields.get("body")) {
            let problem = body.problem(CALL_SETTING, "a request with the method GET has no body");
            self.push(problem.hint("remove `body`, or use another method"));
        }
        let call = HttpCall { method: method?, url: url?, secret_headers: secret_headers? };
        if let (Some(url), true) =
            (fields.get("url"), is_expression(&call.url) && !call.secret_headers.is_empty())
        {
            let detail =
                "the URL is an expression and a header is a secret: an input could send the secret elsewhere";
            self.push(
                url.problem(CALL, detail).hint("write out the host, or use `secret://name` as the URL"),
            );
            return None;
        }
        Some(call)
    }

    fn method(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        if CALL_METHODS.contains(&text) {
            return Some(text.to_owned());
        }
        let detail = format!("`{text}` is not a method of a call: use one of {}", CALL_METHODS.join(", "));
        self.push(at.problem(CALL, detail));
        None
    }

    /// Reads the URL, as it is written. Its scheme and host do not depend on the input, unless it is a single expression.
    fn url(&mut self, at: &At<'_>) -> Option<String> {
        let text = self.text(at)?;
        let checked = if text.starts_with(SECRET) { check_secret(text) } else { check_url(text) };
        match checked {
            Ok(()) => Some(text.to_owned()),
            Err(detail) => {
                self.push(at.problem(CALL, detail));
                None
            }
        }
    }

    /// Reads the headers or the metadata. Returns those whose values are secrets, by their names in lower case.
    fn call_texts(&mut self, at: &At<'_>, kind: CallTexts) -> Option<BTreeMap<String, String>> {
        let (one, many) = kind.nouns();
        let Some(entries) = at.entries() else {
            self.wrong_type(at, &format!("an object of {many}"));
            return None;
        };
        let before = self.problems.len();
        if entries.len() > MAX_HEADERS {
            self.push(at.problem(CALL, format!("a call has at most {MAX_HEADERS} {many}")));
        }
        let mut secrets = BTreeMap::new();
        let mut names = Vec::new();
        for (entry, value_at) in entries {
            let header = kind.check_name(&entry.key).and_then(|name| {
                let text = value_at.node.text();
                let text = text.ok_or_else(|| format!("the value of the {one} `{name}` is not a string"))?;
                Ok((name, text, check_header_value(text)?))
            });
            match header {
                Ok((name, ..)) if names.contains(&name) => {
                    self.push(value_at.problem(CALL, format!("the {one} `{name}` occurs twice")));
                }
                Ok((name, text, is_secret)) => {
                    names.push(name.clone());
                    if is_secret {
                        secrets.insert(name, text.to_owned());
                    }
                }
                Err(detail) => self.push(value_at.problem(CALL, detail)),
            }
        }
        (self.problems.len() == before).then_some(secrets)
    }
}

/// The named texts that a request carries besides its body.
#[derive(Debug, Clone, Copy)]
enum CallTexts {
    /// The headers of HTTP.
    Headers,
    /// The metadata of gRPC.
    Metadata,
}

impl CallTexts {
    /// Returns the nouns of messages, for one and for several.
    fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Self::Headers => ("header", "headers"),
            Self::Metadata => ("metadata entry", "metadata entries"),
        }
    }

    /// Checks a name. Returns it in lower case.
    fn check_name(self, text: &str) -> Result<String, String> {
        let name = check_header_name(text)?;
        let is_reserved = name.starts_with("grpc-") || RESERVED_METADATA.contains(&name.as_str());
        match self {
            Self::Metadata if is_reserved => Err(format!(
                "the metadata entry `{name}` is set by the executor or belongs to the connection"
            )),
            Self::Metadata if name.ends_with("-bin") => {
                Err(format!("the metadata entry `{name}` is binary, and a call can send only text"))
            }
            Self::Headers | Self::Metadata => Ok(name),
        }
    }
}

/// Returns the template of a command's input: the request without what is part of the action.
pub(crate) fn request_of(action: &Action, template: Template) -> Template {
    let Some(Call::Grpc(_)) = action.call() else { return template };
    match template {
        Template::Value(Json::Object(mut fields)) => {
            fields.remove(grpc::DESCRIPTOR_SET);
            Template::Value(Json::Object(fields))
        }
        Template::Map(mut fields) => {
            fields.remove(grpc::DESCRIPTOR_SET);
            Template::Map(fields)
        }
        template @ (Template::Value(_) | Template::Expression(_) | Template::Text(_) | Template::List(_)) => {
            template
        }
    }
}

/// Returns the heartbeat of a timeout in its long form.
fn heartbeat_of<'a>(timeout: &At<'a>) -> Option<At<'a>> {
    let entries = timeout.entries()?;
    entries.into_iter().find(|(entry, _)| entry.key == "heartbeat").map(|(_, at)| at)
}

/// Checks the name of a header. Returns it in lower case.
fn check_header_name(text: &str) -> Result<String, String> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        return Err(format!("`{text}` is not the name of a header"));
    };
    let name = name.as_str();
    if RESERVED_CALL_HEADERS.contains(&name) || name.starts_with("goconductor-") || name.starts_with("proxy-")
    {
        return Err(format!("the header `{name}` is set by the executor or belongs to the connection"));
    }
    Ok(name.to_owned())
}

/// Checks the value of a header. Returns whether it is a reference to a secret.
fn check_header_value(text: &str) -> Result<bool, String> {
    if text.starts_with(SECRET) {
        return check_secret(text).map(|()| true);
    }
    if text.contains(SECRET) {
        return Err(format!("a secret is the whole value of a header: write only `{SECRET}name`"));
    }
    // A template that is not valid is reported with the expressions.
    match text_template(text) {
        Ok(Template::Value(Json::String(value))) if HeaderValue::from_str(&value).is_err() => {
            Err("the value of a header must not contain control characters".to_owned())
        }
        Ok(_) | Err(_) => Ok(false),
    }
}

/// Checks a reference to a secret: the scheme, a name and optionally a version.
fn check_secret(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix(SECRET).unwrap_or(text);
    let (name, version) = match rest.split_once("?version=") {
        Some((name, version)) => (name, Some(version)),
        None => (rest, None),
    };
    let is_version = |version: &str| {
        version.bytes().all(|byte| byte.is_ascii_digit())
            && version.parse::<u32>().is_ok_and(|number| number > 0)
    };
    if NameKind::Secret.check(name).is_err() || !version.is_none_or(is_version) {
        return Err(format!(
            "`{text}` is not a reference to a secret: write `{SECRET}name` or `{SECRET}name?version=1`, without \
             expressions"
        ));
    }
    Ok(())
}

/// Checks a URL that may contain expressions.
fn check_url(text: &str) -> Result<(), String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("the URL has more than {MAX_URL_BYTES} bytes"));
    }
    if text.contains(SECRET) {
        return Err(format!("a secret is the whole URL: write only `{SECRET}name`"));
    }
    match text_template(text) {
        Ok(Template::Value(Json::String(url))) => check_literal(&url),
        Ok(Template::Text(parts)) => {
            let Some(TextPart::Literal(prefix)) = parts.first() else {
                return Err(host_is_not_literal());
            };
            let authority = prefix.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
            if !authority.contains(['/', '?']) {
                return Err(host_is_not_literal());
            }
            check_literal(prefix)
        }
        // A single expression is the whole URL. It is checked when it is evaluated. A template that is not valid is
        // reported with the expressions.
        Ok(Template::Expression(_) | Template::Value(_) | Template::List(_) | Template::Map(_)) | Err(_) => {
            Ok(())
        }
    }
}

/// Returns whether a URL is a single expression.
fn is_expression(url: &str) -> bool {
    matches!(text_template(url), Ok(Template::Expression(_)))
}

fn host_is_not_literal() -> String {
    "the scheme or the host of the URL contains an expression: an input could send the request elsewhere; write them out, \
     with a `/` after the host, or make the whole URL one expression"
        .to_owned()
}

fn check_literal(url: &str) -> Result<(), String> {
    let Ok(uri) = url.parse::<Uri>() else {
        return Err(format!("`{url}` is not a URL"));
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("the scheme of the URL must be http or https".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("the URL has no host".to_owned());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("the URL contains credentials: use a header with a secret".to_owned());
    }
    if url.contains('#') {
        return Err("the URL has a fragment, which is never sent".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_has_a_literal_host() {
        for url in [
            "https://api.example/charges",
            "http://127.0.0.1:9101",
            "https://api.example/charges/${ input.id }?full=${ input.full }",
            "https://api.example?id=${ input.id }",
            "${ input.callback }",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for (url, reason) in [
            ("ftp://api.example/", "scheme"),
            ("api.example/charges", "not a URL"),
            ("/charges", "scheme"),
            ("https://user:pw@api.example/", "credentials"),
            ("https://api.example/#a", "fragment"),
            ("https://${ input.host }/charges", "host of the URL"),
            ("https://api.example${ input.path }", "host of the URL"),
            ("${ input.base }/charges", "host of the URL"),
            ("https://api.example/secret://a", "whole URL"),
        ] {
            let detail = check_url(url).expect_err(url);
            assert!(detail.contains(reason), "{url}: {detail}");
        }
    }

    #[test]
    fn header_is_a_name_and_a_text_or_a_secret() {
        for name in ["Authorization", "x-api-key", "Accept", "content-type"] {
            assert_eq!(check_header_name(name), Ok(name.to_ascii_lowercase()));
        }
        for name in
            ["", "a b", "Host", "Idempotency-Key", "GoConductor-Step", "Proxy-Authorization", "traceparent"]
        {
            assert!(check_header_name(name).is_err(), "{name}");
        }
        for (value, is_secret) in
            [("a", false), ("${ input.a }", false), ("secret://a", true), ("secret://a?version=3", true)]
        {
            assert_eq!(check_header_value(value), Ok(is_secret), "{value}");
        }
        for value in
            ["Bearer secret://a", "secret://", "secret://${ input.a }", "secret://a?version=0", "a\nb"]
        {
            assert!(check_header_value(value).is_err(), "{value}");
        }
    }
}
