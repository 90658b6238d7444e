//! The door to GoConductor: starts workflows, and connects what takes part in them.

use crate::worker::Serving;
use crate::{Error, Handle, Service, Workflow};
use goconductor_client::{Client, StartWorkflow};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The namespace of a call that names none.
const NAMESPACE: &str = "default";
/// How long a start is repeated that the gateway refuses because too much is going on.
const PATIENCE: Duration = Duration::from_secs(60);

/// The door to GoConductor. Cheap to clone; clones share their workers.
#[derive(Debug, Clone)]
pub struct Conductor {
    client: Client,
    /// Where workers connect; none: the gateway is asked who is there.
    executors: Vec<String>,
    /// The workers of workflows that were started as closures, by service.
    serving: Arc<Mutex<BTreeMap<String, Arc<Serving>>>>,
}

/// A start of a definition that is there.
#[derive(Debug, Clone, Default)]
pub struct Start {
    start: StartWorkflow,
}

impl Start {
    /// A start of the newest version.
    #[must_use]
    pub fn of(definition: impl Into<String>) -> Self {
        Self { start: StartWorkflow { definition: definition.into(), ..StartWorkflow::default() } }
    }

    /// A start of a certain version.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.start.version = Some(version);
        self
    }

    /// What to start it with.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn input(mut self, input: impl Serialize) -> Result<Self, Error> {
        self.start.input = Some(serde_json::to_value(input)?);
        Ok(self)
    }

    /// Unique in the namespace: a repeat gives the workflow that is there. With a key a start can be
    /// repeated until there is an answer; without one it can't.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.start.idempotency_key = Some(key.into());
        self
    }

    /// To find it by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.start.labels.insert(name.into(), value.into());
        self
    }
}

impl Conductor {
    /// The GoConductor behind a gateway such as `http://127.0.0.1:8470`. Nothing is sent yet.
    ///
    /// # Errors
    /// When it is no address of a gateway.
    pub fn connect(gateway: &str) -> Result<Self, Error> {
        Self::connect_in(gateway, NAMESPACE)
    }

    /// The same, in another namespace than `default`.
    ///
    /// # Errors
    /// When it is no address of a gateway, or no namespace.
    pub fn connect_in(gateway: &str, namespace: &str) -> Result<Self, Error> {
        let client = Client::new(gateway, namespace)?;
        Ok(Self { client, executors: Vec::new(), serving: Arc::default() })
    }

    /// Has workers connect to these executors, such as `http://127.0.0.1:8472`, rather than to those that
    /// the gateway knows.
    #[must_use]
    pub fn with_executors<A: Into<String>>(mut self, executors: impl IntoIterator<Item = A>) -> Self {
        self.executors = executors.into_iter().map(Into::into).collect();
        self
    }

    /// Applies a definition's YAML; its newest version.
    ///
    /// # Errors
    /// With every problem of the definition.
    pub async fn apply(&self, name: &str, yaml: &str) -> Result<u32, Error> {
        Ok(self.client.apply_definition(name, "application/yaml", yaml, false).await?.value.version)
    }

    /// Starts a workflow whose steps are closures of this program, and carries them out for as long as this
    /// door, or a clone of it, is there.
    ///
    /// # Errors
    /// When the workflow can't be, or no executor takes its worker, or it could not be started.
    pub async fn start_workflow(&self, workflow: &Workflow, input: impl Serialize) -> Result<Handle, Error> {
        let (name, definition) = (workflow.name(), workflow.definition()?);
        let applied = self
            .client
            .apply_definition(&name, "application/json", &definition.to_string(), false)
            .await?
            .value;
        let serving = self.serve_once(workflow).await?;
        serving.connected().await?;
        let start = StartWorkflow {
            definition: name,
            version: Some(applied.version),
            input: Some(serde_json::to_value(input)?),
            ..StartWorkflow::default()
        };
        self.begin(&start).await
    }

    async fn serve_once(&self, workflow: &Workflow) -> Result<Arc<Serving>, Error> {
        let name = workflow.name();
        let known = |all: &Mutex<BTreeMap<String, Arc<Serving>>>| {
            all.lock().unwrap_or_else(PoisonError::into_inner).get(&name).map(Arc::clone)
        };
        if let Some(serving) = known(&self.serving) {
            return Ok(serving);
        }
        let serving = Arc::new(self.serve(workflow.service()).await?);
        let mut all = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(all.entry(name.clone()).or_insert(serving)))
    }

    /// Starts a workflow of a definition that is there. While the gateway says that too much is going on, it
    /// comes back when the gateway says, for up to a minute.
    ///
    /// # Errors
    /// When there is no such definition, the input does not fit, the key belongs to another start, too much is
    /// still going on, or there was no answer: then it may have been started.
    pub async fn start(&self, start: Start) -> Result<Handle, Error> {
        self.begin(&start.start).await
    }

    async fn begin(&self, start: &StartWorkflow) -> Result<Handle, Error> {
        let started = self.client.start_workflow_within(PATIENCE, start).await?.value;
        Ok(self.workflow(started.workflow.id))
    }

    /// A workflow by its id.
    #[must_use]
    pub fn workflow(&self, id: impl Into<String>) -> Handle {
        Handle { client: self.client.clone(), id: id.into() }
    }

    /// Carries out a service's actions over streams to the executors, until the answer is dropped or shut
    /// down.
    ///
    /// # Errors
    /// When the service has no name or no actions, or an executor's address is none.
    #[allow(clippy::unused_async, reason = "to be called within a runtime")]
    pub async fn serve(&self, service: Service) -> Result<Serving, Error> {
        if service.name.is_empty() || service.handlers.is_empty() {
            return Err(Error::Misuse("a service needs a name and actions".to_owned()));
        }
        Serving::begin(self.client.clone(), self.executors.clone(), service)
    }

    /// What the gateway says of itself and of all others, for who wants more than this door shows.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}
