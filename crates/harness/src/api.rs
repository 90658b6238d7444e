//! A REST client for tests. It does not use the product's own client, so that the client is not tested by itself.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// The delay before a request is repeated that had a retryable error.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The REST API of one server.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
}

impl Api {
    /// Creates a client for the given base address.
    #[must_use]
    pub fn new(base: String) -> Self {
        Self { http: reqwest::Client::new(), base }
    }

    /// Creates a client that uses an HTTP client, such as one with a certificate.
    #[must_use]
    pub fn with_client(base: String, http: reqwest::Client) -> Self {
        Self { http, base }
    }

    /// The HTTP client.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The base address.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether `/readyz` reports readiness.
    pub async fn is_ready(&self) -> bool {
        self.http
            .get(format!("{}/readyz", self.base))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    /// Sends a request and returns status and body.
    ///
    /// # Errors
    /// Returns an error without a response.
    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let method: reqwest::Method = method.parse().context("method")?;
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Reads a resource that must exist.
    ///
    /// # Errors
    /// Returns an error unless the status is 200.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        match self.send("GET", path, None).await? {
            (200, body) => Ok(body),
            (status, body) => bail!("GET {path}: {status} {body}"),
        }
    }

    /// Applies a definition in YAML.
    ///
    /// # Errors
    /// Returns an error if the definition is refused.
    pub async fn apply(&self, name: &str, yaml: &str) -> anyhow::Result<()> {
        let request = self
            .http
            .put(format!("{}/api/v1/definitions/{name}", self.base))
            .header("content-type", "application/yaml")
            .body(yaml.to_owned());
        let answer = request.send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!("PUT {name}: {status} {}", answer.text().await?);
        }
        Ok(())
    }

    /// Registers the URL of a service.
    ///
    /// # Errors
    /// Returns an error if the call is refused.
    pub async fn serve(&self, name: &str, url: &str) -> anyhow::Result<()> {
        match self.send("PUT", &format!("/services/{name}"), Some(json!({"http": {"url": url}}))).await? {
            (200, _) => Ok(()),
            (status, body) => bail!("PUT service {name}: {status} {body}"),
        }
    }

    /// Starts a workflow and returns its id.
    ///
    /// # Errors
    /// Returns an error if the start is refused or has no response.
    pub async fn start(&self, definition: &str, input: Value, key: Option<&str>) -> anyhow::Result<String> {
        let body = json!({"definition": definition, "input": input, "idempotency_key": key});
        match self.send("POST", "/workflows", Some(body)).await? {
            (200 | 201, body) => Ok(body.get("id").and_then(Value::as_str).context("no id")?.to_owned()),
            (status, body) => bail!("start: {status} {body}"),
        }
    }

    /// Waits for the end of a workflow and returns its result. Repeats a request that has a retryable error.
    ///
    /// # Errors
    /// Returns an error if the workflow does not end within the time.
    pub async fn ended(&self, id: &str, within: Duration) -> anyhow::Result<Value> {
        let wait = async {
            loop {
                let (status, body) =
                    self.send("GET", &format!("/workflows/{id}/result?wait=10s"), None).await?;
                match status {
                    200 => return Ok(body),
                    202 => {}
                    // A client repeats the request: a server or its database may just be away.
                    503 if body.get("retryable") == Some(&json!(true)) => {
                        tokio::time::sleep(RETRY_DELAY).await
                    }
                    other => bail!("result: {other} {body}"),
                }
            }
        };
        match tokio::time::timeout(within, wait).await {
            Ok(result) => result,
            Err(_) => {
                bail!("{id} did not end within {within:?}: {}", self.get(&format!("/workflows/{id}")).await?)
            }
        }
    }
}
