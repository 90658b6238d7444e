//! The state of the process, and its requests.

use crate::calls;
use crate::participant::ParticipantDatabase;
use crate::protocol::{RunnerRequest, ServeRequest, write};
use crate::script::{Gates, ScriptRunner};
use anyhow::Context as _;
use goconductor::{Conductor, Context, Service, ServiceHandle};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The state of the driver.
#[derive(Debug, Default)]
struct ConformanceDriver {
    gates: Arc<Gates>,
    worker: Mutex<Option<ServiceHandle>>,
    database: Mutex<Option<ParticipantDatabase>>,
}

/// Handles the requests of the runner until standard input ends.
///
/// # Errors
/// Returns the error of standard input.
pub(crate) fn run(runtime: &Runtime) -> anyhow::Result<()> {
    let driver = Arc::new(ConformanceDriver::default());
    for line in std::io::stdin().lines() {
        let (driver, line) = (Arc::clone(&driver), line.context("failed to read a request")?);
        drop(runtime.spawn(async move { driver.respond(&line).await }));
    }
    Ok(())
}

impl ConformanceDriver {
    async fn respond(&self, line: &str) {
        let request: Value = serde_json::from_str(line).unwrap_or_default();
        let id = request.get("id").cloned();
        let result = match serde_json::from_value(request).context("malformed request") {
            Ok(request) => self.handle(request).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(result) => write(&json!({"id": id, "result": result})),
            Err(error) => write(&json!({"id": id, "error": calls::error(&error)})),
        }
    }

    async fn handle(&self, request: RunnerRequest) -> anyhow::Result<Value> {
        Ok(match request {
            RunnerRequest::Hello => {
                json!({"sdk": "rust", "capabilities": ["inbox", "client", "drops_expired"]})
            }
            RunnerRequest::Serve(request) => {
                self.serve(request).await?;
                json!({})
            }
            RunnerRequest::Drain => {
                let worker = self.worker.lock().take().context("the driver has no worker to drain")?;
                worker.shutdown().await;
                json!({})
            }
            RunnerRequest::Release { gate } => {
                self.gates.open(&gate);
                json!({})
            }
            RunnerRequest::Effects => {
                let database = self.database.lock().clone().context("the driver has no database yet")?;
                json!({"effects": database.effects().await?})
            }
            RunnerRequest::Client(request) => calls::call(request).await?,
        })
    }

    /// Connects the service with the actions of the scenario.
    async fn serve(&self, request: ServeRequest) -> anyhow::Result<()> {
        let database = ParticipantDatabase::open(&request.database, request.broken).await?;
        *self.database.lock() = Some(database.clone());
        let gates = Arc::clone(&self.gates);
        let runner = Arc::new(ScriptRunner { gates, database, defect: request.broken, quiet: request.quiet });
        let mut service = Service::new(request.service).capacity(request.capacity).version("1.0.0");
        for (action, limit) in request.limits.unwrap_or_default() {
            service = service.max_in_flight(action, limit);
        }
        for (action, scripts) in request.actions {
            let (runner, scripts) = (Arc::clone(&runner), Arc::new(scripts));
            service = service.action(action, move |context: Context, input: Value| {
                let (runner, scripts) = (Arc::clone(&runner), Arc::clone(&scripts));
                async move { runner.attempt(&scripts, &context, input).await }
            });
        }
        let conductor = Conductor::connect_in(&request.gateway, &request.namespace)?
            .with_executors(request.executors.unwrap_or_default());
        let worker = conductor.serve(service).await?;
        worker.connected().await?;
        *self.worker.lock() = Some(worker);
        Ok(())
    }
}
