//! Plans: definitions in the form that the rules use.

use super::Engine;
use crate::Error;
use goconductor_saga::{Elements, Plan, State};
use goconductor_store::DefinitionName;
use std::sync::Arc;

impl Engine {
    /// Returns the plan of a definition. `None` for `version` means the newest version.
    ///
    /// # Errors
    /// Returns [`Error::NoSuchDefinition`] if the definition or the version does not exist,
    /// [`Error::InvalidDefinition`] if the stored definition is not a valid graph, and [`Error::Store`] if the
    /// store failed.
    pub async fn plan(&self, namespace: &str, name: &str, version: Option<u32>) -> Result<Arc<Plan>, Error> {
        let version = match version {
            Some(version) => version,
            None => self.newest_version(namespace, name).await?,
        };
        if let Some(plan) = self.plans.get(namespace, name, version) {
            return Ok(plan);
        }
        // The plan of a workflow that runs elements follows from the plan that has their step.
        let plan = match Elements::parse(name) {
            Some(elements) => {
                let whole = match self.plans.get(namespace, &elements.definition, version) {
                    Some(whole) => whole,
                    None => self.stored_plan(namespace, &elements.definition, version).await?,
                };
                Arc::new(whole.of_elements(&elements).ok_or(Error::NoSuchDefinition)?)
            }
            None => self.stored_plan(namespace, name, version).await?,
        };
        self.plans.put(namespace, &plan);
        Ok(plan)
    }

    async fn stored_plan(&self, namespace: &str, name: &str, version: u32) -> Result<Arc<Plan>, Error> {
        let record = self.store.definition(namespace, name, Some(version)).await?;
        let record = record.ok_or(Error::NoSuchDefinition)?;
        let plan = Plan::new(record.definition, record.version).map_err(|source| {
            Error::InvalidDefinition { name: name.to_owned(), version: record.version, source }
        })?;
        Ok(Arc::new(plan))
    }

    /// Returns the plan for a start. `None` for `version` means the newest version.
    ///
    /// # Errors
    /// See [`Engine::plan`]. An archived definition has no plan for a start, in any version.
    pub async fn plan_to_start(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Arc<Plan>, Error> {
        let newest = self.newest_version(namespace, name).await?;
        self.plan(namespace, name, Some(version.unwrap_or(newest))).await
    }

    /// Reads the newest version for each start, because another process may have applied one in the meantime.
    /// The store batches concurrent calls into one read.
    async fn newest_version(&self, namespace: &str, name: &str) -> Result<u32, Error> {
        let name = DefinitionName { namespace: namespace.to_owned(), name: name.to_owned() };
        let found = self.store.newest(&[name]).await?;
        found.into_iter().next().flatten().ok_or(Error::NoSuchDefinition)
    }

    /// Returns the plan of a workflow.
    ///
    /// # Errors
    /// See [`Engine::plan`].
    pub async fn plan_of(&self, state: &State) -> Result<Arc<Plan>, Error> {
        self.plan(&state.namespace, &state.definition, Some(state.version)).await
    }
}
