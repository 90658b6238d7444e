//! A group of starts and transitions: one statement, whatever the group's size.
//!
//! One statement is one transaction and one way to the database and back. Only where a workflow is in a group
//! more than once, or a row of the ledger is changed in place, it is a transaction of several.

use super::ledger::{self, Rows};
use super::rows::{load, stored};
use super::sqlstate::is_duplicate;
use super::written::{StartRow, StepRow, number};
use super::{commit, unavailable, uncertain};
use crate::{Error, NewWorkflow, Record, TransitionWrite, Write, WriteOutcome};
use goconductor_saga::WorkflowId;
use sqlx::postgres::PgArguments;
use sqlx::{Acquire, Arguments, PgConnection};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use uuid::Uuid;

/// Writes a group: when it returns, it is durable.
pub(super) async fn write(
    connection: &mut PgConnection,
    group: &[Write],
) -> Result<Vec<WriteOutcome>, Error> {
    let mut outcomes: Vec<Option<WriteOutcome>> = vec![None; group.len()];
    let rounds = rounds(group);
    match rounds.as_slice() {
        [only] if !only.members.iter().any(|member| ledger::changes_in_place(member.write())) => {
            match only.write(connection, &NEW, uncertain, &mut outcomes).await {
                // Nothing of it was done.
                Err(error) if is_duplicate(&error) => {
                    only.write(connection, &ANY, uncertain, &mut outcomes).await?
                }
                written => written?,
            };
        }
        several => {
            let mut transaction = connection.begin().await.map_err(unavailable)?;
            for round in several {
                let accepted = round.write(&mut transaction, &ANY, unavailable, &mut outcomes).await?;
                ledger::change(&mut transaction, &accepted).await?;
            }
            commit(transaction).await?;
        }
    }
    // Invariant: every member was in one round, and that gave it an outcome.
    let missing = || Error::corrupt("a batch", "a write has no outcome");
    outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
}

/// A start or a transition, with its place in the group.
struct Member<'a> {
    place: usize,
    write: &'a Write,
}

impl<'a> Member<'a> {
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

    fn record(&self) -> &'a Record {
        &self.write().record
    }

    fn id(&self) -> WorkflowId {
        self.record().id
    }

    fn key(&self) -> Option<&'a str> {
        self.start()?.idempotency_key.as_deref()
    }

    /// About as much of it goes to the server.
    fn bytes(&self) -> usize {
        let record = self.record();
        let events: usize = record.events.iter().map(|(_, event)| 64 + event.len()).sum();
        record.state.len() + events + 256 * (1 + record.ledger.len())
    }

    fn place(&self) -> i64 {
        i64::try_from(self.place).unwrap_or(i64::MAX)
    }
}

/// Members, none of which is of the same workflow as another.
#[derive(Default)]
struct Round<'a> {
    members: Vec<Member<'a>>,
}

/// The n-th member of a workflow is written in the n-th round: each is judged by what the one before it left.
/// In the ids' order, so that groups wait for one another in line.
fn rounds(group: &[Write]) -> Vec<Round<'_>> {
    let mut rounds: Vec<Round<'_>> = Vec::new();
    let mut seen: HashMap<WorkflowId, usize> = HashMap::with_capacity(group.len());
    for (place, write) in group.iter().enumerate() {
        let member = Member { place, write };
        let round = seen.entry(member.id()).or_default();
        match rounds.get_mut(*round) {
            Some(round) => round.members.push(member),
            None => rounds.push(Round { members: vec![member] }),
        }
        *round += 1;
    }
    for round in &mut rounds {
        round.members.sort_by_key(Member::id);
    }
    rounds
}

/// Writes what is new only: a row that is there already fails the whole group. To be prepared for one costs an
/// eighth of the server's time, and nearly none ever is.
static NEW: LazyLock<String> = LazyLock::new(|| statement("", "", ""));
/// Is prepared for everything that may be there.
static ANY: LazyLock<String> = LazyLock::new(|| {
    statement(
        "AND (SELECT workflows.id FROM workflows WHERE workflows.id = new.id) IS NULL",
        "ON CONFLICT (id) DO NOTHING",
        "ON CONFLICT (workflow_id, key) DO UPDATE SET attempt = excluded.attempt,
            service = excluded.service, kind = excluded.kind, queue = excluded.queue,
            due_at = excluded.due_at, deliveries = excluded.deliveries, issued_at = excluded.issued_at",
    )
});

fn statement(unless_there: &str, over_workflow: &str, over_row: &str) -> String {
    let statement = WRITE.replace("{unless there}", unless_there);
    statement.replace("{over workflow}", over_workflow).replace("{over row}", over_row)
}

/// Keys are claimed in their own order, so that two groups don't wait for one another; of two with one key the
/// first of the group wins. One whose id is taken has no use for a key. Workflows are updated in the ids' order, in
/// which they come. Who ends is counted. What follows is written for those that were accepted only; rows of the
/// ledger come once those are gone that they replace.
///
/// The plan is made for any number of rows, see [`super::LOOKED_UP`]. `IS TRUE` has the accepted looked up in a table
/// of hashes: a join of what is taken for one row goes through all of them for each. Of a table that many rows are in,
/// nothing is asked for that is the same for all (`listed`): those that are so would be looked at, one by one.
const WRITE: &str = "
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::workflow_row[])
    ), keyed AS (
        INSERT INTO start_keys (namespace, key, workflow_id, request_digest)
        SELECT namespace, key, id, digest FROM new
        WHERE key <> '' {unless there}
        ORDER BY namespace, key, place
        ON CONFLICT DO NOTHING RETURNING workflow_id
    ), inserted AS (
        INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
            ended_at, idempotency_key, labels, error)
        SELECT id, namespace, definition, version, status, cause, seq, state, created_at, ended_at, key,
            labels::jsonb, error
        FROM new WHERE (key = '' OR id IN (SELECT workflow_id FROM keyed)) {unless there}
        {over workflow}
        RETURNING id, namespace, definition, version, status, cause, ended_at IS NOT NULL AS ends
    ), updated AS (
        UPDATE workflows SET status = step.status, cause = step.cause, seq = step.seq, state = step.state,
            ended_at = step.ended_at, error = step.error
        FROM unnest($2::step_row[]) AS step
        WHERE workflows.id = ANY (ARRAY[step.id]) AND workflows.seq = step.from_seq
        RETURNING workflows.id, workflows.namespace, workflows.definition, workflows.version,
            workflows.status, workflows.cause, step.ends
    ), accepted AS MATERIALIZED (
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
        SELECT namespace, definition, version, status, cause, count(*) FROM accepted WHERE ends
        GROUP BY namespace, definition, version, status, cause
    ), event AS (
        INSERT INTO events (workflow_id, seq, body)
        SELECT * FROM unnest($3::uuid[], $4::bigint[], $5::text[]) AS event (id, seq, body)
        WHERE (id IN (SELECT id FROM accepted)) IS TRUE
    ), settled AS (
        DELETE FROM dispatch USING unnest($6::uuid[], $7::text[]) AS old (id, key)
        WHERE dispatch.workflow_id = ANY (ARRAY[old.id]) AND dispatch.key = old.key
            AND (old.id IN (SELECT id FROM accepted)) IS TRUE
        RETURNING 1
    ), issued AS (
        INSERT INTO dispatch (workflow_id, key, attempt, namespace, service, kind, queue, due_at, deliveries,
            issued_at)
        SELECT * FROM unnest($8::ledger_row[]) AS new
        WHERE (id IN (SELECT id FROM accepted)) IS TRUE AND (SELECT count(*) FROM settled) >= 0
        {over row}
    )
    SELECT array_agg(id) FROM accepted";

impl<'a> Round<'a> {
    /// The members that were accepted, by one of the two statements. `failed` says what a driver's error means.
    async fn write(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
        failed: fn(sqlx::Error) -> Error,
        outcomes: &mut [Option<WriteOutcome>],
    ) -> Result<Vec<&'a TransitionWrite>, Error> {
        let accepted = self.accepted(connection, statement, failed).await?;
        let mut writes = Vec::with_capacity(accepted.len());
        let mut late = Vec::new();
        for member in &self.members {
            if accepted.contains(&member.id().0) {
                set(outcomes, member.place, WriteOutcome::Written);
                writes.push(member.write());
            } else if let (Some(new), Some(key)) = (member.start(), member.key())
                && let Some(outcome) = replayed(connection, new, key).await?
            {
                set(outcomes, member.place, outcome);
            } else {
                late.push(member);
            }
        }
        if late.is_empty() {
            return Ok(writes);
        }
        let ids: Vec<WorkflowId> = late.iter().map(|member| member.id()).collect();
        for (member, present) in late.iter().zip(load(connection, &ids).await?) {
            let lost = |present| WriteOutcome::Lost(Box::new(present));
            set(outcomes, member.place, present.map_or(WriteOutcome::Missing, lost));
        }
        Ok(writes)
    }

    async fn accepted(
        &self,
        connection: &mut PgConnection,
        statement: &'static str,
        failed: fn(sqlx::Error) -> Error,
    ) -> Result<HashSet<Uuid>, Error> {
        let (mut starts, mut steps) = (Vec::new(), Vec::new());
        for member in &self.members {
            match member.start() {
                Some(new) => starts.push(StartRow::of(member.place(), new)?),
                None => steps.push(StepRow(member.record())),
            }
        }
        let events = Events::of(self.members.iter().map(Member::record));
        let Rows { settled_ids, settled_keys, issued } = Rows::of(self.members.iter().map(Member::write));
        let mut arguments = PgArguments::default();
        // Some MiB, which are copied each time that there is not enough room.
        arguments.reserve(8, self.members.iter().map(Member::bytes).sum());
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
        // In one row, as each costs both sides about as much as one that has them all; and all answers are waited
        // for, as that row comes before the commit.
        let answers: Vec<Option<Vec<Uuid>>> =
            sqlx::query_scalar_with(statement, arguments).fetch_all(connection).await.map_err(failed)?;
        Ok(answers.into_iter().flatten().flatten().collect())
    }
}

fn set(outcomes: &mut [Option<WriteOutcome>], place: usize, outcome: WriteOutcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

/// Events, column by column.
#[derive(Default)]
struct Events<'a> {
    ids: Vec<Uuid>,
    numbers: Vec<i64>,
    bodies: Vec<&'a str>,
}

impl<'a> Events<'a> {
    fn of(records: impl Iterator<Item = &'a Record>) -> Self {
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

/// What the start is that has its key; none: nobody has it.
async fn replayed(
    connection: &mut PgConnection,
    new: &NewWorkflow,
    key: &str,
) -> Result<Option<WriteOutcome>, Error> {
    let found: Option<(Uuid, String)> = sqlx::query_as(
        "SELECT workflow_id, request_digest FROM start_keys WHERE namespace = $1 AND key = $2",
    )
    .bind(stored(&new.write.record.namespace))
    .bind(stored(key))
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    let Some((id, digest)) = found else { return Ok(None) };
    let id = WorkflowId(id);
    if digest != stored(&new.request_digest) {
        return Ok(Some(WriteOutcome::KeyConflict(id)));
    }
    let loaded = load(connection, &[id]).await?.into_iter().next().flatten();
    let loaded = loaded.ok_or_else(|| {
        Error::corrupt(format!("the start of {id}"), "its idempotency key exists, but its workflow does not")
    })?;
    Ok(Some(WriteOutcome::Replayed(Box::new(loaded))))
}
