//! `goconductor workflow rerun` and `goconductor workflow migrate`.

use super::identity::parse_id;
use super::operate::show;
use crate::args::{RerunArgs, WorkflowMigrateArgs};
use crate::error::{Exit, Result};
use crate::session::ServerSession;
use goconductor_client::WorkflowMigration;

/// Executes a step and its dependants again.
pub(super) async fn rerun(args: RerunArgs, session: &ServerSession) -> Result {
    let RerunArgs { id, from, keep_effects, reason } = args;
    let reply = session.client.rerun(&parse_id(&id)?, from.as_deref(), keep_effects, &reason).await?;
    show(&reply, &session.out)?;
    Ok(Exit::Success)
}

/// Migrates a workflow to another version of its definition.
pub(super) async fn migrate(args: WorkflowMigrateArgs, session: &ServerSession) -> Result {
    let WorkflowMigrateArgs { id, to_version, dry_run, reason } = args;
    let id = parse_id(&id)?;
    let reply = session.client.migrate(&id, to_version, reason.as_deref(), dry_run).await?;
    let out = &session.out;
    if out.names_only() {
        out.data(&reply.value.id)?;
    } else if !out.structured(&reply.text)? {
        out.data(&described(&reply.value))?;
    }
    Ok(Exit::Success)
}

/// Returns the migration as text: the versions, and the steps that differ.
fn described(migration: &WorkflowMigration) -> String {
    let WorkflowMigration { id, from_version, to_version, dry_run, added, removed, changed, .. } = migration;
    let verb = if *dry_run { "can follow" } else { "follows" };
    let mut lines = vec![format!("{id} {verb} version {to_version} instead of version {from_version}")];
    for (what, steps) in [("added", added), ("removed", removed), ("changed", changed)] {
        if !steps.is_empty() {
            lines.push(format!("  {what}: {}", steps.join(", ")));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_client::Status;

    #[test]
    fn migration_names_the_steps_that_differ() {
        let mut migration = WorkflowMigration {
            id: "w-1".to_owned(),
            definition: "order".to_owned(),
            status: Status::InProgress,
            from_version: 1,
            to_version: 3,
            dry_run: true,
            added: vec!["notify".to_owned(), "archive".to_owned()],
            removed: Vec::new(),
            changed: vec!["ship".to_owned()],
        };
        assert_eq!(
            described(&migration),
            "w-1 can follow version 3 instead of version 1\n  added: notify, archive\n  changed: ship"
        );
        migration.dry_run = false;
        assert!(described(&migration).starts_with("w-1 follows version 3"));
    }
}
