//! The participants. They have the same trivial behaviour in process, over worker streams and over HTTP. Their responses
//! have about 200 bytes.

use crate::saga::SERVICES;
use anyhow::Context;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, extract};
use goconductor::{ActionError, Conductor, Service, embedded};
use goconductor_saga_executor::InProcess;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The capacity of a service. It is so high that it never limits the throughput.
const CAPACITY: u32 = 1024;
/// The line that announces readiness. For HTTP, the port follows.
pub(crate) const READY: &str = "ready";

/// Returns the participants for an executor in this process.
#[must_use]
pub fn in_process() -> Vec<InProcess> {
    services().map(embedded::in_process).collect()
}

/// Serves the participants over worker streams to the executors behind a gateway, until standard input is closed. With a
/// directory of `goconductor certs create`, they use TLS and the certificate of workers.
///
/// # Errors
/// Returns an error if no executor accepts them.
pub async fn serve_streams(gateway: &str, certificates: Option<&Path>) -> anyhow::Result<()> {
    let conductor = match certificates {
        None => Conductor::connect(gateway)?,
        Some(folder) => {
            Conductor::connect_with_tls(gateway, "default", crate::security::files(folder, "worker"))?
        }
    };
    let mut all = Vec::new();
    for service in services() {
        all.push(conductor.serve(service).await?);
    }
    for each in &all {
        each.connected().await?;
    }
    print_line(READY)?;
    until_stdin_closes().await?;
    for each in all {
        each.shutdown().await;
    }
    Ok(())
}

/// Serves the participants over HTTP on a free port, until standard input is closed.
///
/// # Errors
/// Returns an error if no port can be bound.
pub async fn serve_http() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind a free port")?;
    print_line(&format!("{READY} {}", listener.local_addr()?.port()))?;
    let router = Router::new().route("/{service}/{action}", post(respond));
    // Safe to cancel: the client has stopped.
    tokio::select! {
        served = axum::serve(listener, router) => Ok(served?),
        ended = until_stdin_closes() => ended,
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

fn act(action: &str, input: &Value) -> Result<Value, ActionError> {
    if is_rejected(action, input) {
        return Err(ActionError::refused("REFUSED", "the input requests it"));
    }
    Ok(output())
}

fn is_rejected(action: &str, input: &Value) -> bool {
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

async fn respond(extract::Path((_, action)): extract::Path<(String, String)>, body: Bytes) -> Response {
    static OUTPUT: OnceLock<Bytes> = OnceLock::new();
    let json = [(header::CONTENT_TYPE, "application/json")];
    let Ok(input) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if is_rejected(&action, &input) {
        let problem = json!({"code": "REFUSED", "message": "the input requests it"});
        return (StatusCode::CONFLICT, json, problem.to_string()).into_response();
    }
    (json, OUTPUT.get_or_init(|| output().to_string().into()).clone()).into_response()
}

fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Waits until the parent process closes standard input or exits.
async fn until_stdin_closes() -> anyhow::Result<()> {
    let (closed_sender, closed) = oneshot::channel::<()>();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // The parent never writes. An error means the same as the end of the input.
        drop(std::io::stdin().lock().read(&mut [0; 1]));
        drop(closed_sender);
    })?;
    drop(closed.await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::saga::Saga;

    #[test]
    fn output_has_about_200_bytes() {
        let bytes = output().to_string().len();
        assert!((180..=220).contains(&bytes), "{bytes}");
    }

    #[test]
    fn only_the_third_step_of_undo_is_rejected() {
        for action in SERVICES.iter().flat_map(|(_, actions)| actions.iter()) {
            assert_eq!(act(action, &Saga::Undo.input()).is_err(), *action == "ship", "{action}");
            assert!(act(action, &Saga::Order.input()).is_ok(), "{action}");
        }
        // A compensation gets the input nested, so it is not rejected.
        assert!(act("ship", &json!({"input": Saga::Undo.input(), "output": null})).is_ok());
    }
}
