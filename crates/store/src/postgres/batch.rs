//! Writes a batch of starts and transitions with one statement, for any size of the batch.
//!
//! One statement is one transaction and one round trip. A batch needs a transaction of several statements only if it
//! contains a workflow more than once, changes a ledger row in place, releases locks, reopens a workflow that had ended,
//! migrates one, or starts a child whose key does not name its parent.

use super::ledger::{self, Rows};
use super::row_encoding::{StartRow, StepRow, number};
use super::rows::{escape_nul, load};
use super::sqlstate::is_duplicate;
use super::{commit, unavailable, uncertain, workflow_locks};
use crate::{EncodedTransition, Error, NewWorkflow, TransitionWrite, Write, WriteOutcome};
use goconductor_saga::WorkflowId;
use sqlx::postgres::PgArguments;
use sqlx::{Acquire, Arguments, PgConnection};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use uuid::Uuid;

/// Writes a batch. The batch is durable when the function returns.
pub(super) async fn write(
    connection: &mut PgConnection,
    batch: &[Write],
) -> Result<Vec<WriteOutcome>, Error> {
    let mut outcomes: Vec<Option<WriteOutcome>> = vec![None; batch.len()];
    let (passes, released) = (passes(batch), workflow_locks::released(batch));
    match passes.as_slice() {
        [only] if released.is_empty() && !only.entries.iter().any(needs_transaction) => {
            match only.write(connection, &NEW, uncertain, &mut outcomes).await {
                // Nothing was written.
                Err(error) if is_duplicate(&error) => {
                    only.write(connection, &ANY, uncertain, &mut outcomes).await?
                }
                written => written?,
            };
        }
        several => {
            let mut transaction = connection.begin().await.map_err(unavailable)?;
            if !released.is_empty() {
                workflow_locks::serialize(&mut transaction, &released).await?;
            }
            for pass in several {
                migrate(&mut transaction, pass).await?;
                let applied = pass.write(&mut transaction, &ANY, unavailable, &mut outcomes).await?;
                ledger::change(&mut transaction, &applied).await?;
                reopen(&mut transaction, &applied).await?;
                keep_children(&mut transaction, pass, &applied).await?;
                workflow_locks::release(&mut transaction, &applied).await?;
            }
            commit(transaction).await?;
        }
    }
    // Invariant: every write was in one pass, which set its outcome.
    let missing = || Error::corrupt("a batch", "a write has no outcome");
    outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
}

/// Returns whether the single statement cannot write an entry.
fn needs_transaction(entry: &Entry<'_>) -> bool {
    let write = entry.write();
    write.record.reopens.is_some()
        || write.record.migrates
        || ledger::changes_in_place(write)
        || entry.start().is_some_and(|new| new.unnamed_parent().is_some())
}

/// Records the parents of children whose keys do not name them, for the retention.
async fn keep_children(
    connection: &mut PgConnection,
    pass: &Pass<'_>,
    applied: &[&TransitionWrite],
) -> Result<(), Error> {
    for new in pass.entries.iter().filter_map(Entry::start) {
        let id = new.write.record.id;
        let Some(parent) = new.unnamed_parent() else { continue };
        if !applied.iter().any(|write| write.record.id == id) {
            continue;
        }
        sqlx::query("INSERT INTO kept_children (id, parent_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id.0)
            .bind(parent.0)
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    Ok(())
}

/// Changes the versions of migrated workflows, which is rare. It precedes the statement, which counts workflows that end by
/// their version. The statement applies the transition of each workflow that this changes, because it requires the same
/// `seq`.
async fn migrate(connection: &mut PgConnection, pass: &Pass<'_>) -> Result<(), Error> {
    for record in pass.entries.iter().map(Entry::record).filter(|record| record.migrates) {
        sqlx::query("UPDATE workflows SET version = $3 WHERE id = $1 AND seq = $2")
            .bind(record.id.0)
            .bind(number(record.from_seq))
            .bind(i32::try_from(record.version).unwrap_or(i32::MAX))
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    Ok(())
}

/// Corrects the counts and the lists for workflows that had ended and are reopened, which is rare.
async fn reopen(connection: &mut PgConnection, writes: &[&TransitionWrite]) -> Result<(), Error> {
    for record in writes.iter().map(|write| &write.record) {
        let Some(former) = record.reopens else { continue };
        let listed = if record.ends { record.status.as_str() } else { "OPEN" };
        sqlx::query(
            "WITH moved AS (
                 UPDATE listings SET listed = $5
                 WHERE namespace = $1 AND definition = $2 AND listed = $6 AND id = $4
             )
             INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
             VALUES ($1, $2, $3, $6, $7, -1)",
        )
        .bind(escape_nul(&record.namespace).into_owned())
        .bind(escape_nul(&record.definition).into_owned())
        .bind(i32::try_from(record.version).unwrap_or(i32::MAX))
        .bind(record.id.0)
        .bind(listed)
        .bind(former.status.as_str())
        .bind(former.cause_text())
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    }
    Ok(())
}

/// A start or a transition, with its position in the batch.
struct Entry<'a> {
    position: usize,
    write: &'a Write,
}

impl<'a> Entry<'a> {
    fn write(&self) -> &'a TransitionWrite {
        match self.write {
            Write::Start(new) => &new.write,
            Write::Transition(write) => write,
        }
    }

    fn start(&self) -> Option<&'a NewWorkflow> {
        match self.write {
            Write::Start(new) => Some(new),
            Write::Transition(_) => None,
        }
    }

    fn record(&self) -> &'a EncodedTransition {
        &self.write().record
    }

    fn id(&self) -> WorkflowId {
        self.record().id
    }

    fn key(&self) -> Option<&'a str> {
        self.start()?.idempotency_key.as_deref()
    }

    /// Returns the approximate size of the entry on the wire.
    fn bytes(&self) -> usize {
        let record = self.record();
        let events: usize = record.events.iter().map(|(_, event)| 64 + event.len()).sum();
        record.state.len() + events + 256 * (1 + record.ledger.len())
    }

    fn position(&self) -> i64 {
        i64::try_from(self.position).unwrap_or(i64::MAX)
    }
}

/// Entries of distinct workflows.
#[derive(Default)]
struct Pass<'a> {
    entries: Vec<Entry<'a>>,
}

/// Splits a batch into passes. The n-th entry of a workflow is written in the n-th pass, because it builds on the entry
/// before it. The entries of a pass are ordered by id, so that concurrent batches lock rows in the same order.
fn passes(batch: &[Write]) -> Vec<Pass<'_>> {
    let mut passes: Vec<Pass<'_>> = Vec::new();
    let mut seen: HashMap<WorkflowId, usize> = HashMap::with_capacity(batch.len());
    for (position, write) in batch.iter().enumerate() {
        let entry = Entry { position, write };
        let pass = seen.entry(entry.id()).or_default();
        match passes.get_mut(*pass) {
            Some(pass) => pass.entries.push(entry),
            None => passes.push(Pass { entries: vec![entry] }),
        }
        *pass += 1;
    }
    for pass in &mut passes {
        pass.entries.sort_by_key(Entry::id);
    }
    passes
}

/// The statement for a batch without conflicting rows. A row that exists fails the whole batch. The conflict clauses of
/// [`ANY`] cost an eighth of the server's time and are almost never needed.
static NEW: LazyLock<String> = LazyLock::new(|| statement("", "", ""));
/// The statement for a batch that may conflict with existing rows.
static ANY: LazyLock<String> = LazyLock::new(|| {
    statement(
        "AND (SELECT workflows.id FROM workflows WHERE workflows.id = new.id) IS NULL",
        "ON CONFLICT (id) DO NOTHING",
        "ON CONFLICT (workflow_id, key) DO UPDATE SET attempt = excluded.attempt,
            service = excluded.service, kind = excluded.kind, queue = excluded.queue,
            due_at = excluded.due_at, deliveries = excluded.deliveries, issued_at = excluded.issued_at",
    )
});

fn statement(unless_exists: &str, over_workflow: &str, over_row: &str) -> String {
    let statement = WRITE.replace("{unless exists}", unless_exists);
    statement.replace("{over workflow}", over_workflow).replace("{over row}", over_row)
}

/// The statement.
///
/// Idempotency keys are inserted in key order, so that concurrent batches cannot deadlock. Of two starts with the same
/// key, the first of the batch wins. A start whose id exists does not insert its key. Workflows are updated in the order
/// of their ids, which is the order of the input. Workflows that end are counted. Events and ledger rows are written only
/// for the writes that were applied. New ledger rows are inserted after the rows that they replace are deleted.
///
/// The plan must suit any number of rows, see [`super::INDEX_LOOKUPS`]. `IS TRUE` makes the server look up the applied
/// ids in a hash table: it would estimate a join to return one row and scan all ids for each event. The value of
/// `listed` is passed through a CTE instead of a constant: with a constant, which most rows of the table share, the
/// server would scan all rows that have it.
const WRITE: &str = "
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::workflow_row[])
    ), keyed AS (
        INSERT INTO start_keys (namespace, key, workflow_id, request_digest)
        SELECT namespace, key, id, digest FROM new
        WHERE key <> '' {unless exists}
        ORDER BY namespace, key, place
        ON CONFLICT DO NOTHING RETURNING workflow_id
    ), inserted AS (
        INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
            ended_at, idempotency_key, labels, error)
        SELECT id, namespace, definition, version, status, cause, seq, state, created_at, ended_at, key,
            labels::jsonb, error
        FROM new WHERE (key = '' OR id IN (SELECT workflow_id FROM keyed)) {unless exists}
        {over workflow}
        RETURNING id, namespace, definition, version, status, cause, ended_at IS NOT NULL AS ends
    ), updated AS (
        UPDATE workflows SET status = step.status, cause = step.cause, seq = step.seq, state = step.state,
            ended_at = step.ended_at, error = step.error
        FROM unnest($2::step_row[]) AS step
        WHERE workflows.id = ANY (ARRAY[step.id]) AND workflows.seq = step.from_seq
        RETURNING workflows.id, workflows.namespace, workflows.definition, workflows.version,
            workflows.status, workflows.cause, step.ends
    ), applied AS MATERIALIZED (
        TABLE inserted UNION ALL TABLE updated
    ), ended AS MATERIALIZED (
        SELECT *, 'OPEN' AS listed FROM updated WHERE ends
    ), listed AS (
        INSERT INTO listings (namespace, definition, listed, id)
        SELECT namespace, definition, CASE WHEN ends THEN status ELSE 'OPEN' END, id FROM inserted
    ), moved AS (
        UPDATE listings SET listed = ended.status FROM ended
        WHERE listings.namespace = ANY (ARRAY[ended.namespace]) AND listings.definition = ended.definition
            AND listings.listed = ended.listed AND listings.id = ended.id
    ), counted AS (
        INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
        SELECT namespace, definition, version, status, cause, count(*) FROM applied WHERE ends
        GROUP BY namespace, definition, version, status, cause
    ), event AS (
        INSERT INTO events (workflow_id, seq, body)
        SELECT * FROM unnest($3::uuid[], $4::bigint[], $5::text[]) AS event (id, seq, body)
        WHERE (id IN (SELECT id FROM applied)) IS TRUE
    ), settled AS (
        DELETE FROM dispatch USING unnest($6::uuid[], $7::text[]) AS old (id, key)
        WHERE dispatch.workflow_id = ANY (ARRAY[old.id]) AND dispatch.key = old.key
            AND (old.id IN (SELECT id FROM applied)) IS TRUE
        RETURNING 1
    ), issued AS (
        INSERT INTO dispatch (workflow_id, key, attempt, namespace, service, kind, queue, due_at, deliveries,
            issued_at)
        SELECT * FROM unnest($8::ledger_row[]) AS new
        WHERE (id IN (SELECT id FROM applied)) IS TRUE AND (SELECT count(*) FROM settled) >= 0
        {over row}
    )
    SELECT array_agg(id) FROM applied";

impl<'a> Pass<'a> {
    /// Writes the pass with one of the two statements, sets the outcomes and returns the writes that were applied.
    /// `failed` maps an error of the driver.
    async fn write(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
        failed: fn(sqlx::Error) -> Error,
        outcomes: &mut [Option<WriteOutcome>],
    ) -> Result<Vec<&'a TransitionWrite>, Error> {
        let applied = self.apply(connection, statement, failed).await?;
        let mut writes = Vec::with_capacity(applied.len());
        let mut conflicting = Vec::new();
        for entry in &self.entries {
            if applied.contains(&entry.id().0) {
                set(outcomes, entry.position, WriteOutcome::Written);
                writes.push(entry.write());
            } else if let (Some(new), Some(key)) = (entry.start(), entry.key())
                && let Some(outcome) = replayed(connection, new, key).await?
            {
                set(outcomes, entry.position, outcome);
            } else {
                conflicting.push(entry);
            }
        }
        if conflicting.is_empty() {
            return Ok(writes);
        }
        let ids: Vec<WorkflowId> = conflicting.iter().map(|entry| entry.id()).collect();
        for (entry, present) in conflicting.iter().zip(load(connection, &ids).await?) {
            let lost = |present| WriteOutcome::Lost(Box::new(present));
            set(outcomes, entry.position, present.map_or(WriteOutcome::Missing, lost));
        }
        Ok(writes)
    }

    /// Executes the statement and returns the ids of the workflows to which it applied a write.
    async fn apply(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
        failed: fn(sqlx::Error) -> Error,
    ) -> Result<HashSet<Uuid>, Error> {
        let (mut starts, mut steps) = (Vec::new(), Vec::new());
        for entry in &self.entries {
            match entry.start() {
                Some(new) => starts.push(StartRow::of(entry.position(), new)?),
                None => steps.push(StepRow(entry.record())),
            }
        }
        let events = Events::of(self.entries.iter().map(Entry::record));
        let Rows { settled_ids, settled_keys, issued } = Rows::of(self.entries.iter().map(Entry::write));
        let mut arguments = PgArguments::default();
        // The arguments have some MiB. Without the reservation, the buffer would be copied each time it grows.
        arguments.reserve(8, self.entries.iter().map(Entry::bytes).sum());
        let bind = || {
            arguments.add(starts)?;
            arguments.add(steps)?;
            arguments.add(events.ids)?;
            arguments.add(events.numbers)?;
            arguments.add(events.bodies)?;
            arguments.add(settled_ids)?;
            arguments.add(settled_keys)?;
            arguments.add(issued)
        };
        bind().map_err(|error| failed(sqlx::Error::Encode(error)))?;
        // The statement returns all ids in one row, because each row costs both sides about as much as this one. All of
        // the response is awaited, because the row arrives before the commit.
        let ids: Vec<Option<Vec<Uuid>>> =
            sqlx::query_scalar_with(statement, arguments).fetch_all(connection).await.map_err(failed)?;
        Ok(ids.into_iter().flatten().flatten().collect())
    }
}

fn set(outcomes: &mut [Option<WriteOutcome>], position: usize, outcome: WriteOutcome) {
    if let Some(slot) = outcomes.get_mut(position) {
        *slot = Some(outcome);
    }
}

/// The columns of the events.
#[derive(Default)]
struct Events<'a> {
    ids: Vec<Uuid>,
    numbers: Vec<i64>,
    bodies: Vec<&'a str>,
}

impl<'a> Events<'a> {
    fn of(records: impl Iterator<Item = &'a EncodedTransition>) -> Self {
        let mut all = Self::default();
        for record in records {
            for (seq, event) in &record.events {
                all.ids.push(record.id.0);
                all.numbers.push(number(*seq));
                all.bodies.push(event);
            }
        }
        all
    }
}

/// Returns the outcome for a start whose idempotency key exists, or `None` if the key does not exist.
async fn replayed(
    connection: &mut PgConnection,
    new: &NewWorkflow,
    key: &str,
) -> Result<Option<WriteOutcome>, Error> {
    let found: Option<(Uuid, String)> = sqlx::query_as(
        "SELECT workflow_id, request_digest FROM start_keys WHERE namespace = $1 AND key = $2",
    )
    .bind(escape_nul(&new.write.record.namespace))
    .bind(escape_nul(key))
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    let Some((id, digest)) = found else { return Ok(None) };
    let id = WorkflowId(id);
    if digest != escape_nul(&new.request_digest) {
        return Ok(Some(WriteOutcome::KeyConflict(id)));
    }
    let loaded = load(connection, &[id]).await?.into_iter().next().flatten();
    let loaded = loaded.ok_or_else(|| {
        Error::corrupt(format!("the start of {id}"), "its idempotency key exists, but its workflow does not")
    })?;
    Ok(Some(WriteOutcome::Replayed(Box::new(loaded))))
}
