//! An HTTP participant that sometimes dies between its commit and its answer. Its effect log is its database.
//!
//!     mortal PORT FOLDER
//!
//! A step whose name is `refuse` in the input is refused. A probe answers whether its key took effect.
use anyhow::Context;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use goconductor_harness::check::{Effect, EffectKind};
use goconductor_harness::{EffectLog, Request};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// One of this many commits gets no answer.
const DEATH: u64 = 12;

struct Mortal {
    log: EffectLog,
    /// The effect of each key, of those that had one.
    done: Mutex<BTreeMap<String, EffectKind>>,
    /// The number of commits, from another one in each process.
    commits: Mutex<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().context("no port")?.parse()?;
    let folder = arguments.next().context("no folder")?;
    let (log, effects) = EffectLog::open(Path::new(&folder), "mortal", "mortal")?;
    let done = effects.into_iter().filter_map(taken).collect();
    let commits = Mutex::new(u64::from(std::process::id()));
    let mortal = Arc::new(Mortal { log, done: Mutex::new(done), commits });
    let router = Router::new().fallback(answer).with_state(mortal);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

/// The key of a request that took effect, or that must not take effect any more.
fn taken(effect: Effect) -> Option<(String, EffectKind)> {
    match effect.effect {
        Some(kind @ (EffectKind::Applied | EffectKind::Null)) => Some((effect.key, kind)),
        Some(EffectKind::Duplicate | EffectKind::Refused) | None => None,
    }
}

async fn answer(State(mortal): State<Arc<Mortal>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = header("idempotency-key").to_owned();
    if header("goconductor-operation") == "probe" {
        let took_effect = mortal.done.lock().contains_key(&key);
        return Json(json!({"outcome": if took_effect { "done" } else { "not_done" }})).into_response();
    }
    let input: Value = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request {
        workflow: header("goconductor-workflow-id").to_owned(),
        step: header("goconductor-step").to_owned(),
        operation: header("goconductor-operation").to_owned(),
        key,
        attempt: header("goconductor-attempt").parse().unwrap_or(0),
        fence: None,
    };
    match mortal.commit(request, &input) {
        Ok(EffectKind::Refused) => {
            (StatusCode::CONFLICT, Json(json!({"code": "REFUSED", "message": "as asked"}))).into_response()
        }
        Ok(EffectKind::Applied | EffectKind::Duplicate | EffectKind::Null) => {
            Json(json!({"done": true})).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Mortal {
    /// Decides and records the effect of a request. Ends the process after some commits, so that the caller gets no
    /// answer.
    fn commit(&self, request: Request, input: &Value) -> anyhow::Result<EffectKind> {
        let mut done = self.done.lock();
        let effect = effect(&done, &request, input);
        let key = request.key.clone();
        self.log.append(request, Some(effect))?;
        if matches!(effect, EffectKind::Applied | EffectKind::Null) {
            done.insert(key, effect);
            let mut commits = self.commits.lock();
            *commits = commits.wrapping_add(1);
            if commits.is_multiple_of(DEATH) {
                std::process::abort();
            }
        }
        Ok(effect)
    }
}

fn effect(done: &BTreeMap<String, EffectKind>, request: &Request, input: &Value) -> EffectKind {
    let Request { workflow, step, operation, key, .. } = request;
    let of = |side: &str| done.get(&format!("{workflow}/{step}/{side}"));
    if done.contains_key(key) {
        return EffectKind::Duplicate;
    }
    if operation == "compensate" {
        return if of("execute").is_some() { EffectKind::Applied } else { EffectKind::Null };
    }
    let is_refused = input.get("refuse").and_then(Value::as_str) == Some(step);
    if is_refused || of("compensate").is_some() { EffectKind::Refused } else { EffectKind::Applied }
}
