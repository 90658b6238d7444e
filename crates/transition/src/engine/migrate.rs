//! The migration of a running workflow to another version of its definition.
//!
//! A migration is committed like every transition: on the condition that the `seq` of the workflow is unchanged. It is not
//! queued with the pending inputs of the workflow, because those are decided by one plan.

use super::apply::MAX_CONFLICT_RETRIES;
use super::references::PayloadOwner;
use super::{Engine, UNKNOWN_TO_EARLIER};
use crate::{Error, clock};
use goconductor_saga::{
    Expressions, MigrateWorkflow, MigrationChanges, Refusal, RulesVersion, State, WorkflowId, migrate,
};
use std::sync::Arc;

/// A workflow that was migrated, or that could be.
#[derive(Debug, Clone)]
pub struct Migrated {
    /// The version that the workflow followed before.
    pub from: u32,
    /// The differences of the versions.
    pub changes: MigrationChanges,
    /// The state of the workflow: after the migration, or as it is if nothing was changed.
    pub state: Arc<State>,
}

impl Engine {
    /// Migrates a workflow to another version of its definition. With `dry_run`, only checks whether that is possible.
    ///
    /// # Errors
    /// Returns [`Error::NoSuchWorkflow`] if the workflow does not exist, [`Error::NoSuchDefinition`] if the version does
    /// not exist, [`Error::Refused`] if the workflow cannot follow it, [`Error::Contention`] if every commit met a
    /// conflict, and [`Error::Store`] if the store failed.
    pub async fn migrate(
        &self,
        id: WorkflowId,
        version: u32,
        request: MigrateWorkflow,
        dry_run: bool,
    ) -> Result<Migrated, Error> {
        if *self.start_rules.lock() < RulesVersion::CURRENT {
            return Err(Refusal::Conflict(UNKNOWN_TO_EARLIER.to_owned()).into());
        }
        let mut before = Arc::new(self.load(id).await?.state);
        for _ in 0..MAX_CONFLICT_RETRIES {
            let old = self.plan_of(&before).await?;
            let new = self.plan(&before.namespace, &before.definition, Some(version)).await?;
            let (from, changes) = (before.version, MigrationChanges::between(&old, &new));
            let now = clock::now();
            let rules = {
                let (before, request) = (Arc::clone(&before), request.clone());
                move |expressions: &dyn Expressions| migrate(&old, &new, expressions, &before, &request, now)
            };
            let transition = self.run_rules(PayloadOwner::of(&before), rules).await??;
            if dry_run {
                return Ok(Migrated { from, changes, state: before });
            }
            let prepared = self.prepare(transition, now).await?;
            match self.commit(prepared, &[]).await? {
                Ok(state) => return Ok(Migrated { from, changes, state }),
                Err(current) => before = current,
            }
        }
        Err(Error::Contention(MAX_CONFLICT_RETRIES))
    }
}
