//! A group of starts and transitions: one statement, whatever the group's size.
//!
//! One statement is one transaction and one way to the database and back. Only where a workflow is in a group
//! more than once, or a row of the ledger is changed in place, it is a transaction of several.

use super::ledger::{self, Rows};
use super::rows::{load, stored, stored_labels};
use super::{commit, unavailable, uncertain};
use crate::{Error, NewWorkflow, Record, TransitionWrite, Write, WriteOutcome};
use goconductor_saga::WorkflowId;
use sqlx::{Acquire, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
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
            only.write(connection, uncertain, &mut outcomes).await?;
        }
        several => {
            let mut transaction = connection.begin().await.map_err(unavailable)?;
            for round in several {
                let accepted = round.write(&mut transaction, unavailable, &mut outcomes).await?;
                ledger::change(&mut transaction, &accepted).await?;
            }
            commit(transaction).await?;
        }
    }
    // Invariant: every member was in one round, and that gave it an outcome.
    let missing =
        || Error::Corrupt { what: "a group".to_owned(), reason: "a member has no outcome".to_owned() };
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
    let mut seen: BTreeMap<WorkflowId, usize> = BTreeMap::new();
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

/// Keys are claimed in their own order, so that two groups don't wait for one another; of two with one key the
/// first of the group wins. One whose id is taken has no use for a key. Workflows are updated in the ids' order, in
/// which they come. Who ends is counted. What follows is written for those that were accepted only.
const WRITE: &str = "
    WITH row AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::int[],
            $7::text[], $8::text[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::text[],
            $14::text[], $15::text[], $16::text[], $32::bool[])
            AS row (id, place, from_seq, namespace, definition, version, status, cause, seq, state, created_at,
            ended_at, key, digest, labels, error, ends)
    ), keyed AS (
        INSERT INTO start_keys (namespace, key, workflow_id, request_digest)
        SELECT namespace, key, id, digest FROM row
        WHERE key <> '' AND NOT EXISTS (SELECT FROM workflows WHERE workflows.id = row.id)
        ORDER BY namespace, key, place
        ON CONFLICT DO NOTHING RETURNING workflow_id
    ), inserted AS (
        INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
            ended_at, idempotency_key, labels, error)
        SELECT id, namespace, definition, version, status, cause, seq, state, created_at, ended_at, key,
            labels::jsonb, error
        FROM row WHERE from_seq = 0 AND (key = '' OR id IN (SELECT workflow_id FROM keyed))
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    ), updated AS (
        UPDATE workflows SET status = row.status, cause = row.cause, seq = row.seq, state = row.state,
            ended_at = row.ended_at, error = row.error
        FROM row WHERE workflows.id = row.id AND workflows.seq = row.from_seq AND row.from_seq > 0
        RETURNING workflows.id
    ), accepted AS MATERIALIZED (
        SELECT id FROM inserted UNION ALL SELECT id FROM updated
    ), counted AS (
        INSERT INTO ended_counts (namespace, definition, version, status, cause, count)
        SELECT namespace, definition, version, status, cause, count(*)
        FROM row WHERE ends AND id IN (SELECT id FROM accepted)
        GROUP BY namespace, definition, version, status, cause
    ), event AS (
        INSERT INTO events (workflow_id, seq, body)
        SELECT * FROM unnest($17::uuid[], $18::bigint[], $19::text[]) AS event (id, seq, body)
        WHERE id IN (SELECT id FROM accepted)
    ), settled AS (
        DELETE FROM dispatch USING unnest($20::uuid[], $21::text[]) AS old (id, key)
        WHERE dispatch.workflow_id = old.id AND dispatch.key = old.key
            AND old.id IN (SELECT id FROM accepted)
    ), issued AS (
        INSERT INTO dispatch (workflow_id, key, attempt, namespace, service, kind, queue, due_at, deliveries,
            issued_at)
        SELECT * FROM unnest($22::uuid[], $23::text[], $24::bigint[], $25::text[], $26::text[], $27::text[],
            $28::text[], $29::bigint[], $30::bigint[], $31::bigint[])
            AS new (id, key, attempt, namespace, service, kind, queue, due_at, deliveries, issued_at)
        WHERE id IN (SELECT id FROM accepted)
        ON CONFLICT (workflow_id, key) DO UPDATE SET attempt = excluded.attempt,
            service = excluded.service, kind = excluded.kind, queue = excluded.queue,
            due_at = excluded.due_at, deliveries = excluded.deliveries, issued_at = excluded.issued_at
    )
    SELECT id FROM accepted";

impl<'a> Round<'a> {
    /// The members that were accepted. `failed` says what a driver's error means.
    async fn write(
        &self,
        connection: &mut PgConnection,
        failed: fn(sqlx::Error) -> Error,
        outcomes: &mut [Option<WriteOutcome>],
    ) -> Result<Vec<&'a TransitionWrite>, Error> {
        let accepted = self.accepted(connection, failed).await?;
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
        failed: fn(sqlx::Error) -> Error,
    ) -> Result<BTreeSet<Uuid>, Error> {
        let records = || self.members.iter().map(Member::record);
        let texts = |of: fn(&Record) -> String| records().map(of).collect::<Vec<String>>();
        let numbers = |of: fn(&Member<'_>) -> i64| self.members.iter().map(of).collect::<Vec<i64>>();
        let starts = |of: fn(&Member<'_>) -> Option<String>| {
            self.members.iter().map(|member| of(member).unwrap_or_default()).collect::<Vec<String>>()
        };
        let events = Events::of(records());
        let Rows { settled_ids, settled_keys, issued } = Rows::of(self.members.iter().map(Member::write));
        let accepted: Vec<Uuid> = sqlx::query_scalar(WRITE)
            .bind(records().map(|record| record.id.0).collect::<Vec<_>>())
            .bind(numbers(|member| i64::try_from(member.place).unwrap_or(i64::MAX)))
            .bind(numbers(|member| number(member.record().from_seq)))
            .bind(texts(|record| stored(&record.namespace)))
            .bind(texts(|record| stored(&record.definition)))
            .bind(
                records().map(|record| i32::try_from(record.version).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
            )
            .bind(records().map(|record| record.status.as_str()).collect::<Vec<_>>())
            .bind(records().map(|record| record.cause.map_or("", |cause| cause.as_str())).collect::<Vec<_>>())
            .bind(numbers(|member| number(member.record().seq)))
            .bind(records().map(|record| &*record.state).collect::<Vec<&str>>())
            .bind(numbers(|member| member.record().created_at.0))
            .bind(records().map(|record| record.ended_at.map(|at| at.0)).collect::<Vec<_>>())
            .bind(starts(|member| member.key().map(stored)))
            .bind(starts(|member| member.start().map(|new| stored(&new.request_digest))))
            .bind(self.members.iter().map(labels).collect::<Result<Vec<_>, _>>()?)
            .bind(records().map(|record| record.error.as_deref()).collect::<Vec<_>>())
            .bind(events.ids)
            .bind(events.numbers)
            .bind(events.bodies)
            .bind(settled_ids)
            .bind(settled_keys)
            .bind(issued.ids)
            .bind(issued.keys)
            .bind(issued.attempts)
            .bind(issued.namespaces)
            .bind(issued.services)
            .bind(issued.kinds)
            .bind(issued.queues)
            .bind(issued.dues)
            .bind(issued.deliveries)
            .bind(issued.issued)
            .bind(records().map(|record| record.ends).collect::<Vec<_>>())
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        Ok(accepted.into_iter().collect())
    }
}

fn set(outcomes: &mut [Option<WriteOutcome>], place: usize, outcome: WriteOutcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

fn number(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// A transition changes no labels.
fn labels(member: &Member<'_>) -> Result<String, Error> {
    member.start().map_or_else(|| Ok("{}".to_owned()), |_| stored_labels(&member.record().labels))
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
    let loaded = loaded.ok_or_else(|| Error::Corrupt {
        what: format!("the start of {id}"),
        reason: "its key is there, but the workflow is not".to_owned(),
    })?;
    Ok(Some(WriteOutcome::Replayed(Box::new(loaded))))
}
