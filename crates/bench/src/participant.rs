//! The participants: trivial, and the same in the server's process, over streams and over HTTP. What they
//! answer has about 200 bytes.

use crate::saga::SERVICES;
use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use goconductor::{Conductor, Failure, Service, embedded};
use goconductor_saga_executor::InProcess;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::sync::OnceLock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Tasks of a service at once: never what limits.
const CAPACITY: u32 = 1024;
/// What is said once the participants are there; over HTTP their port follows.
pub(crate) const READY: &str = "ready";

/// The services' participants for an executor in this process.
#[must_use]
pub fn in_process() -> Vec<InProcess> {
    services().map(embedded::in_process).collect()
}

/// Carries the services out over streams to the executors behind a gateway, until standard input ends.
///
/// # Errors
/// When no executor takes them.
pub async fn serve_streams(gateway: &str) -> anyhow::Result<()> {
    let conductor = Conductor::connect(gateway)?;
    let mut all = Vec::new();
    for service in services() {
        all.push(conductor.serve(service).await?);
    }
    for each in &all {
        each.connected().await?;
    }
    say(READY)?;
    until_orphaned().await?;
    for each in all {
        each.shutdown().await;
    }
    Ok(())
}

/// Serves them over HTTP on a free port, until standard input ends.
///
/// # Errors
/// When no port can be bound.
pub async fn serve_http() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
    say(&format!("{READY} {}", listener.local_addr()?.port()))?;
    let router = Router::new().route("/{service}/{action}", post(answer));
    // Safe to cancel: nobody asks any more.
    tokio::select! {
        served = axum::serve(listener, router) => Ok(served?),
        ended = until_orphaned() => ended,
    }
}

fn services() -> impl Iterator<Item = Service> {
    SERVICES.iter().map(|(name, actions)| {
        let service = Service::new(*name).capacity(CAPACITY);
        actions.iter().fold(service, |service, action| {
            service.action(*action, move |_, input: Value| async move { act(action, &input) })
        })
    })
}

fn act(action: &str, input: &Value) -> Result<Value, Failure> {
    if is_refused(action, input) {
        return Err(Failure::refused("REFUSED", "it was told to"));
    }
    Ok(output())
}

fn is_refused(action: &str, input: &Value) -> bool {
    input.get("refuse").and_then(Value::as_str) == Some(action)
}

pub(crate) fn output() -> Value {
    json!({
        "done": true,
        "reference": "7f3c1c52-5f0e-4b1e-9a37-0d1f0a6c2b11",
        "at": "2026-01-01T12:00:00.000Z",
        "place": {"name": "Zürich 4", "shelf": "B-17"},
        "lines": [{"sku": "book-1", "quantity": 1}, {"sku": "pen", "quantity": 3}],
    })
}

async fn answer(Path((_, action)): Path<(String, String)>, body: Bytes) -> Response {
    static OUTPUT: OnceLock<Bytes> = OnceLock::new();
    let json = [(header::CONTENT_TYPE, "application/json")];
    let Ok(input) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if is_refused(&action, &input) {
        let problem = json!({"code": "REFUSED", "message": "it was told to"});
        return (StatusCode::CONFLICT, json, problem.to_string()).into_response();
    }
    (json, OUTPUT.get_or_init(|| output().to_string().into()).clone()).into_response()
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Until whoever started this closes its standard input, or is gone.
async fn until_orphaned() -> anyhow::Result<()> {
    let (tell, told) = oneshot::channel::<()>();
    std::thread::Builder::new().name("orphaned".to_owned()).spawn(move || {
        // Nothing is ever written there; an error is an end as well.
        drop(std::io::stdin().lock().read(&mut [0; 1]));
        drop(tell);
    })?;
    drop(told.await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Saga;

    #[test]
    fn an_output_has_about_200_bytes() {
        let bytes = output().to_string().len();
        assert!((180..=220).contains(&bytes), "{bytes}");
    }

    #[test]
    fn only_the_third_step_of_an_undo_is_refused() {
        for action in SERVICES.iter().flat_map(|(_, actions)| actions.iter()) {
            assert_eq!(act(action, &Saga::Undo.input()).is_err(), *action == "ship", "{action}");
            assert!(act(action, &Saga::Order.input()).is_ok(), "{action}");
        }
        // What a compensation is given is beside the output: it refuses nothing.
        assert!(act("ship", &json!({"input": Saga::Undo.input(), "output": null})).is_ok());
    }
}
