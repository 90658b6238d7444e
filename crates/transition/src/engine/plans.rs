//! Definitions in the form that the rules use.

use super::Engine;
use crate::Error;
use goconductor_saga::{Plan, State};
use goconductor_store::DefinitionName;
use std::sync::Arc;

impl Engine {
    /// A definition in the form that the rules use; none for `version` means the newest.
    ///
    /// # Errors
    /// When there is none, or it can't be read.
    pub async fn plan(&self, namespace: &str, name: &str, version: Option<u32>) -> Result<Arc<Plan>, Error> {
        let version = match version {
            Some(version) => version,
            None => self.newest(namespace, name).await?,
        };
        if let Some(plan) = self.plans.get(namespace, name, version) {
            return Ok(plan);
        }
        let record = self.store.definition(namespace, name, Some(version)).await?;
        let record = record.ok_or(Error::NoSuchDefinition)?;
        let plan = Plan::new(record.definition, record.version).map_err(|error| {
            Error::Internal(format!("definition {name} version {} can't run: {error}", record.version))
        })?;
        let plan = Arc::new(plan);
        self.plans.put(namespace, &plan);
        Ok(plan)
    }

    /// Asked anew for each start, as another process may just have been given another version; but those who ask
    /// together are one read, of a number.
    async fn newest(&self, namespace: &str, name: &str) -> Result<u32, Error> {
        let name = DefinitionName { namespace: namespace.to_owned(), name: name.to_owned() };
        let found = self.store.newest(&[name]).await?;
        found.into_iter().next().flatten().ok_or(Error::NoSuchDefinition)
    }

    /// The plan of a workflow.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn plan_of(&self, state: &State) -> Result<Arc<Plan>, Error> {
        self.plan(&state.namespace, &state.definition, Some(state.version)).await
    }
}
