//! HTTP participants that follow a script in the workflow's input and keep an effect log.
//!
//! `input.script` maps an action to its responses: one for each request of the workflow in turn, and the last one for all
//! further requests. Responses are `ok`, `refuse` (409), `refuse-large` (409 with a body of 700 KiB), `busy` (429),
//! `retry-after:N` (503), `fail` (500), `gateway` (502), `hang` (no response), `reset` (takes effect, then breaks the
//! connection in the body), `slow:MS` (then `ok`), `garbage` (200 without JSON), `text:WORDS` (200 with plain text),
//! `stated:OUTCOME:STATUS` (with the outcome in a header) and `redirect`. Without a script the response is `ok`. A key
//! that took effect before is a duplicate. A probe without a script answers whether its key took effect.

use crate::check::{Effect, EffectKind, Fence};
use crate::effect_log::wall_clock;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A request to a participant.
#[derive(Debug, Clone)]
pub struct Call {
    /// The time since the start of the participants.
    pub at: Duration,
    /// The wall-clock time, in microseconds since 1970.
    pub wall_clock: i64,
    /// `service/action`.
    pub action: String,
    /// `Idempotency-Key`.
    pub key: String,
    /// `GoConductor-Workflow-Id`.
    pub workflow: String,
    /// `GoConductor-Step`.
    pub step: String,
    /// `GoConductor-Operation`.
    pub operation: String,
    /// `GoConductor-Attempt`.
    pub attempt: u32,
    /// `GoConductor-Deadline`.
    pub deadline: String,
    /// `traceparent`.
    pub traceparent: String,
    /// `GoConductor-Lock-Token`: the percent-encoded key and the fencing token of each lock.
    pub lock_tokens: Vec<(String, u64)>,
    /// The body.
    pub body: Value,
    /// The effect: `applied`, `duplicate`, `refused`, `null`, or an empty text.
    pub effect: &'static str,
    /// The time of the response, in microseconds since 1970, or `None` before it.
    pub answered: Option<i64>,
}

#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    counts: HashMap<String, usize>,
    applied: HashSet<String>,
}

/// All participants of a run, on one port.
#[derive(Debug, Clone)]
pub struct Participants {
    log: Arc<Mutex<Log>>,
    started: Instant,
    url: String,
    /// Whether they follow the script in the input. Otherwise they succeed.
    scripted: bool,
}

impl Participants {
    /// Starts the participants on a free port.
    ///
    /// # Errors
    /// Returns an error if no port can be bound.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_scripted(true).await
    }

    /// Starts the participants on a free port. They ignore the script and succeed.
    ///
    /// # Errors
    /// Returns an error if no port can be bound.
    pub async fn start_without_scripts() -> anyhow::Result<Self> {
        Self::start_scripted(false).await
    }

    async fn start_scripted(scripted: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let this = Self {
            log: Arc::default(),
            #[allow(clippy::disallowed_methods, reason = "the harness keeps its own time")]
            started: Instant::now(),
            url: format!("http://{}", listener.local_addr()?),
            scripted,
        };
        let router = Router::new().route("/{service}/{action}", post(answer)).with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(this)
    }

    /// The URL of a service.
    #[must_use]
    pub fn url(&self, service: &str) -> String {
        format!("{}/{service}", self.url)
    }

    /// All requests so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.log.lock().calls.clone()
    }

    /// The time since the start of the participants, as in [`Call::at`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The requests of one workflow.
    #[must_use]
    pub fn calls_of(&self, workflow: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.workflow == workflow).collect()
    }

    /// All requests so far, in the form of an effect log.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        (1..).zip(self.calls()).map(|(number, call)| call.into_effect(number)).collect()
    }

    /// Records a request. Returns its index, the number of earlier requests with the same key, and whether one of them
    /// took effect.
    fn record(&self, mut call: Call) -> (usize, usize, bool) {
        let mut log = self.log.lock();
        // Read the clock under the lock, so that the times have the order of the effects.
        call.wall_clock = wall_clock();
        // A probe has the key of the execute, and turns of its own.
        let is_probe = call.operation == "probe";
        let counted = if is_probe { format!("{}/probe", call.key) } else { call.key.clone() };
        let count = log.counts.entry(counted).or_default();
        let nth = *count;
        *count += 1;
        let script = self.script_of(&call, nth);
        let takes_effect = matches!(script.as_str(), "ok" | "reset" | "garbage" | "hang-applied")
            || ["slow:", "text:", "stated:done:"].iter().any(|prefix| script.starts_with(prefix));
        let took_effect = log.applied.contains(&call.key);
        call.effect = if is_probe {
            ""
        } else if script == "refuse" {
            "refused"
        } else if !takes_effect {
            ""
        } else if log.applied.contains(&call.key) {
            "duplicate"
        } else if call.operation == "compensate"
            && !log.applied.contains(&format!("{}/{}/execute", call.workflow, call.step))
        {
            log.applied.insert(call.key.clone());
            "null"
        } else {
            log.applied.insert(call.key.clone());
            "applied"
        };
        log.calls.push(call);
        (log.calls.len() - 1, nth, took_effect)
    }

    fn script_of(&self, call: &Call, nth: usize) -> String {
        if self.scripted { script_of(call, nth) } else { "ok".to_owned() }
    }

    fn answered(&self, place: usize) {
        let mut log = self.log.lock();
        if let Some(call) = log.calls.get_mut(place) {
            call.answered = Some(wall_clock());
        }
    }
}

impl Call {
    fn into_effect(self, number: u64) -> Effect {
        Effect {
            participant: "participants".to_owned(),
            process: "participants".to_owned(),
            number,
            at: self.wall_clock,
            workflow: self.workflow,
            step: self.step,
            operation: self.operation,
            key: self.key,
            attempt: self.attempt,
            effect: match self.effect {
                "applied" => Some(EffectKind::Applied),
                "duplicate" => Some(EffectKind::Duplicate),
                "refused" => Some(EffectKind::Refused),
                "null" => Some(EffectKind::Null),
                _ => None,
            },
            fence: self.lock_tokens.into_iter().next().map(|(lock, token)| Fence { lock, token }),
            answered: self.answered,
        }
    }
}

fn script_of(call: &Call, nth: usize) -> String {
    let input = if call.operation == "compensate" { call.body.get("input") } else { Some(&call.body) };
    let action = call.action.split('/').next_back().unwrap_or_default();
    let script = input.and_then(|input| input.get("script")).and_then(|script| script.get(action));
    let turn = match script {
        Some(Value::Array(turns)) => turns.get(nth).or_else(|| turns.last()).and_then(Value::as_str),
        Some(Value::String(turn)) => Some(turn.as_str()),
        Some(_) | None => None,
    };
    turn.unwrap_or("ok").to_owned()
}

async fn answer(
    State(participants): State<Participants>,
    Path((service, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let call = Call {
        at: participants.started.elapsed(),
        wall_clock: 0,
        action: format!("{service}/{action}"),
        key: header("idempotency-key"),
        workflow: header("goconductor-workflow-id"),
        step: header("goconductor-step"),
        operation: header("goconductor-operation"),
        attempt: header("goconductor-attempt").parse().unwrap_or(0),
        deadline: header("goconductor-deadline"),
        traceparent: header("traceparent"),
        lock_tokens: headers.get_all("goconductor-lock-token").iter().filter_map(lock_token).collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        effect: "",
        answered: None,
    };
    let output = json!({"action": action, "attempt": call.attempt, "step": call.step});
    let step = call.clone();
    let (place, nth, took_effect) = participants.record(call);
    // The participant finishes its work even if the caller disconnects.
    let playing = tokio::spawn(async move {
        let script = participants.script_of(&step, nth);
        let response = if step.operation == "probe" && script == "ok" {
            let outcome = if took_effect { "done" } else { "not_done" };
            axum::Json(json!({"outcome": outcome, "output": output})).into_response()
        } else {
            play(&script, output).await
        };
        participants.answered(place);
        response
    });
    playing.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

fn lock_token(value: &axum::http::HeaderValue) -> Option<(String, u64)> {
    let (key, token) = value.to_str().ok()?.split_once('=')?;
    Some((key.to_owned(), token.parse().ok()?))
}

async fn play(script: &str, output: Value) -> Response {
    let problem = |status: StatusCode, code: &str| {
        (status, axum::Json(json!({"code": code, "message": format!("scripted response {code}")})))
            .into_response()
    };
    if let Some(wait) = script.strip_prefix("slow:") {
        tokio::time::sleep(Duration::from_millis(wait.parse().unwrap_or(0))).await;
        return axum::Json(output).into_response();
    }
    if let Some(seconds) = script.strip_prefix("retry-after:") {
        let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "BUSY");
        if let Ok(value) = seconds.parse() {
            response.headers_mut().insert("retry-after", value);
        }
        return response;
    }
    if let Some(text) = script.strip_prefix("text:") {
        return text.to_owned().into_response();
    }
    if let Some((outcome, status)) = script.strip_prefix("stated:").and_then(|stated| stated.split_once(':'))
    {
        let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok());
        let header = [("goconductor-outcome", outcome.to_owned())];
        return (status.unwrap_or(StatusCode::OK), header, axum::Json(output)).into_response();
    }
    match script {
        "refuse" => problem(StatusCode::CONFLICT, "REFUSED"),
        "refuse-large" => {
            let body = json!({"attachment": "x".repeat(700 << 10), "code": "REFUSED", "message": "sold out"});
            (StatusCode::CONFLICT, axum::Json(body)).into_response()
        }
        "busy" => problem(StatusCode::TOO_MANY_REQUESTS, "BUSY"),
        "gateway" => problem(StatusCode::BAD_GATEWAY, "UPSTREAM"),
        "fail" => problem(StatusCode::INTERNAL_SERVER_ERROR, "BROKEN"),
        "redirect" => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        "garbage" => axum::response::Html("<p>not JSON</p>").into_response(),
        "hang" | "hang-applied" => {
            futures::future::pending::<()>().await;
            StatusCode::OK.into_response()
        }
        // The body is truncated, so the connection is closed in the middle of the response.
        "reset" => {
            let broken = futures::stream::iter([
                Ok(Bytes::from_static(b"{\"ok\":")),
                Err(std::io::Error::other("scripted failure")),
            ]);
            // The head of the response is sent before the body is truncated.
            let broken = broken.then(async |part| {
                tokio::time::sleep(Duration::from_millis(20)).await;
                part
            });
            Body::from_stream(broken).into_response()
        }
        _ => axum::Json(output).into_response(),
    }
}
