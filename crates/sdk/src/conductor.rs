//! The client of GoConductor: it starts workflows and connects services.

use crate::error::Error;
use crate::handle::Handle;
use crate::service::Service;
use crate::start::Start;
use crate::worker::ServiceHandle;
use crate::workflow::Workflow;
use goconductor_client::{AppliedDefinition, Client, StartWorkflow};
use goconductor_tls::{ClientTls, PeerRole, TlsFiles};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The default namespace.
const NAMESPACE: &str = "default";
/// A start is retried for this long while the gateway is overloaded.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of GoConductor. Cheap to clone; clones share the workers of [`start_workflow`](Self::start_workflow).
#[derive(Debug, Clone)]
pub struct Conductor {
    client: Client,
    /// The executors that workers connect to; empty to discover them through the gateway.
    executors: Vec<String>,
    /// The workers of workflows whose steps are closures, by service.
    workers: Arc<Mutex<BTreeMap<String, Arc<ServiceHandle>>>>,
    /// The task that follows the files of TLS.
    following: Option<Arc<AbortOnDrop>>,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Conductor {
    /// Creates a client of the gateway at a URL such as `http://127.0.0.1:8470`, in the namespace `default`. Sends
    /// no request.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the URL is invalid.
    pub fn connect(gateway: &str) -> Result<Self, Error> {
        Self::connect_in(gateway, NAMESPACE)
    }

    /// Creates a client like [`connect`](Self::connect), in another namespace.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the URL or the namespace is invalid.
    pub fn connect_in(gateway: &str, namespace: &str) -> Result<Self, Error> {
        Ok(Self::of(Client::new(gateway, namespace)?))
    }

    /// Creates a client like [`connect_in`](Self::connect_in) of a gateway such as `https://gateway.example:8470`, with the
    /// authorities that signed its certificate, and the certificate of this program. Workers connect to executors with the
    /// same files. Changed files are used for new connections. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] if a file cannot be used, and [`Error::Call`] if the URL or the namespace is invalid.
    pub fn connect_with_tls(gateway: &str, namespace: &str, files: TlsFiles) -> Result<Self, Error> {
        let tls = ClientTls::load(files, "tls", PeerRole::ApiGateway)
            .map_err(|error| Error::Misuse(error.to_string()))?;
        let client = Client::with_tls(gateway, namespace, Some(tls.clone()))?;
        let following = tokio::spawn(tls.identity().clone().follow());
        let mut conductor = Self::of(client);
        conductor.following = Some(Arc::new(AbortOnDrop(following)));
        Ok(conductor)
    }

    fn of(client: Client) -> Self {
        Self { client, executors: Vec::new(), workers: Arc::default(), following: None }
    }

    /// Sends an access key, or a token of the identity provider, with each request and with each worker's stream.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if a header cannot contain the token.
    pub fn with_token(mut self, token: &str) -> Result<Self, Error> {
        self.client = self.client.with_token(token)?;
        Ok(self)
    }

    /// Sets the executors that workers connect to, such as `http://127.0.0.1:8472` (default: all executors that the
    /// gateway lists).
    #[must_use]
    pub fn with_executors<A: Into<String>>(mut self, executors: impl IntoIterator<Item = A>) -> Self {
        self.executors = executors.into_iter().map(Into::into).collect();
        self
    }

    /// Applies a definition in YAML. Returns its newest version.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the definition is invalid, with every problem and its position, or if the gateway
    /// cannot be reached.
    pub async fn apply(&self, name: &str, yaml: &str) -> Result<u32, Error> {
        Ok(self.apply_definition(name, yaml).await?.version)
    }

    /// Applies a definition like [`apply`](Self::apply). Also returns whether the call created the version, and warnings
    /// about parts of the definition that are probably mistakes.
    ///
    /// # Errors
    /// Returns the errors of [`apply`](Self::apply).
    pub async fn apply_definition(&self, name: &str, yaml: &str) -> Result<AppliedDefinition, Error> {
        Ok(self.client.apply_definition(name, "application/yaml", yaml, false).await?.value)
    }

    /// Applies and starts a workflow whose steps are closures. Its steps run in this program while this client or a
    /// clone of it exists.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] if the workflow is incomplete, [`Error::NoExecutor`] if no executor accepts its
    /// worker within 30 seconds, and [`Error::Call`] if the gateway refuses the workflow or cannot be reached.
    pub async fn start_workflow(&self, workflow: &Workflow, input: impl Serialize) -> Result<Handle, Error> {
        let (name, definition) = (workflow.name(), workflow.definition()?);
        let applied = self
            .client
            .apply_definition(&name, "application/json", &definition.to_string(), false)
            .await?
            .value;
        let worker = self.serve_once(workflow).await?;
        worker.connected().await?;
        let request = StartWorkflow {
            definition: name,
            version: Some(applied.version),
            input: Some(serde_json::to_value(input)?),
            ..StartWorkflow::default()
        };
        self.send_start(&request).await
    }

    /// Starts a workflow of an applied definition. While the gateway is overloaded, the start is retried after the
    /// delay that the gateway requests, for up to a minute.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the definition does not exist, the input does not match its schema, the idempotency
    /// key belongs to a different start, the gateway is still overloaded, or the response was lost. A start whose
    /// response was lost may have taken effect; use [`Start::idempotency_key`] to retry it.
    pub async fn start(&self, start: Start) -> Result<Handle, Error> {
        self.send_start(&start.request).await
    }

    /// Returns a handle to a workflow with this id. Sends no request.
    #[must_use]
    pub fn workflow(&self, id: impl Into<String>) -> Handle {
        Handle { client: self.client.clone(), id: id.into(), replayed: false }
    }

    /// Connects a service to the executors as a worker, until the returned handle is dropped or shut down.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] if the service has no actions, if its name or the name of an action is invalid, or if
    /// an executor's address is invalid.
    #[allow(clippy::unused_async, reason = "it spawns a task, so the caller must be inside a runtime")]
    pub async fn serve(&self, service: Service) -> Result<ServiceHandle, Error> {
        service.check()?;
        ServiceHandle::start(self.client.clone(), self.executors.clone(), service)
    }

    /// Returns the client of the REST API, for calls that this type does not offer.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn send_start(&self, request: &StartWorkflow) -> Result<Handle, Error> {
        let started = self.client.start_workflow_within(START_TIMEOUT, request).await?.value;
        Ok(Handle { replayed: started.replayed, ..self.workflow(started.workflow.id) })
    }

    /// Returns the worker of a workflow, and starts it on the first call.
    async fn serve_once(&self, workflow: &Workflow) -> Result<Arc<ServiceHandle>, Error> {
        let name = workflow.name();
        let existing = self.workers.lock().get(&name).map(Arc::clone);
        if let Some(worker) = existing {
            return Ok(worker);
        }
        let worker = Arc::new(self.serve(workflow.service()).await?);
        Ok(Arc::clone(self.workers.lock().entry(name).or_insert(worker)))
    }
}
