//! A group of starts and transitions: one statement for each kind of row, whatever the group's size.

use super::rows::{load, stored, stored_labels};
use super::unavailable;
use crate::json::json;
use crate::{Error, NewWorkflow, TransitionWrite, Write, WriteOutcome};
use goconductor_saga::{State, WorkflowId};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Writes a group; the caller commits.
pub(super) async fn write(
    connection: &mut PgConnection,
    group: &[Write],
) -> Result<Vec<WriteOutcome>, Error> {
    let mut outcomes: Vec<Option<WriteOutcome>> = vec![None; group.len()];
    let (mut starts, mut transitions) = (Rounds::default(), Rounds::default());
    for (place, write) in group.iter().enumerate() {
        match write {
            Write::Start(new) => starts.push(new.write.transition.id, place, new),
            Write::Transition(write) => transitions.push(write.transition.id, place, write),
        }
    }
    for round in &starts.rounds {
        write_starts(connection, round, &mut outcomes).await?;
    }
    for round in &transitions.rounds {
        write_round(connection, round, &mut outcomes).await?;
    }
    // Invariant: every member was a start or a transition, in one round, and that gave it an outcome.
    let missing =
        || Error::Corrupt { what: "a group".to_owned(), reason: "a member has no outcome".to_owned() };
    outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
}

/// Members with their places in the group. The n-th of a workflow is written in the n-th round: each is
/// judged by what the one before it left, and no round has a workflow twice.
struct Rounds<'a, T> {
    rounds: Vec<Vec<(usize, &'a T)>>,
    seen: BTreeMap<WorkflowId, usize>,
}

impl<T> Default for Rounds<'_, T> {
    fn default() -> Self {
        Self { rounds: Vec::new(), seen: BTreeMap::new() }
    }
}

impl<'a, T> Rounds<'a, T> {
    fn push(&mut self, id: WorkflowId, place: usize, member: &'a T) {
        let round = self.seen.entry(id).or_default();
        match self.rounds.get_mut(*round) {
            Some(round) => round.push((place, member)),
            None => self.rounds.push(vec![(place, member)]),
        }
        *round += 1;
    }
}

fn set(outcomes: &mut [Option<WriteOutcome>], place: usize, outcome: WriteOutcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}

async fn write_starts(
    connection: &mut PgConnection,
    starts: &[(usize, &NewWorkflow)],
    outcomes: &mut [Option<WriteOutcome>],
) -> Result<(), Error> {
    let claimed = claim_keys(connection, starts).await?;
    let (free, repeats): (Vec<_>, Vec<_>) = starts
        .iter()
        .copied()
        .partition(|(_, new)| new.idempotency_key.is_none() || claimed.contains(&new.write.transition.id.0));
    let inserted = insert_workflows(connection, &free).await?;
    let (accepted, taken): (Vec<_>, Vec<_>) =
        free.into_iter().partition(|(_, new)| inserted.contains(&new.write.transition.id.0));
    let writes: Vec<&TransitionWrite> = accepted.iter().map(|(_, new)| &new.write).collect();
    insert_events(connection, &writes).await?;
    super::ledger::apply(connection, &writes).await?;
    for (place, _) in accepted {
        set(outcomes, place, WriteOutcome::Written);
    }
    for (place, new) in repeats {
        set(outcomes, place, replayed(connection, new).await?);
    }
    give_back_keys(connection, &taken).await?;
    let taken: Vec<_> = taken.iter().map(|(place, new)| (*place, new.write.transition.id)).collect();
    set_present(connection, &taken, outcomes).await
}

/// A start whose id is taken has no use for the key that it has just claimed.
async fn give_back_keys(connection: &mut PgConnection, taken: &[(usize, &NewWorkflow)]) -> Result<(), Error> {
    let keyed = || taken.iter().filter_map(|(_, new)| Some((new, new.idempotency_key.as_deref()?)));
    if keyed().next().is_none() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM start_keys USING unnest($1::text[], $2::text[]) AS row (namespace, key)
         WHERE start_keys.namespace = row.namespace AND start_keys.key = row.key",
    )
    .bind(keyed().map(|(new, _)| stored(&new.write.transition.state.namespace)).collect::<Vec<_>>())
    .bind(keyed().map(|(_, key)| stored(key)).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

/// The outcomes of those who were too late.
async fn set_present(
    connection: &mut PgConnection,
    late: &[(usize, WorkflowId)],
    outcomes: &mut [Option<WriteOutcome>],
) -> Result<(), Error> {
    if late.is_empty() {
        return Ok(());
    }
    let ids: Vec<WorkflowId> = late.iter().map(|(_, id)| *id).collect();
    for ((place, _), present) in late.iter().zip(load(connection, &ids).await?) {
        let outcome = present.map_or(WriteOutcome::Missing, |present| WriteOutcome::Lost(Box::new(present)));
        set(outcomes, *place, outcome);
    }
    Ok(())
}

/// The ids of those starts whose key was free. In the keys' order, so that two groups don't wait for
/// one another.
async fn claim_keys(
    connection: &mut PgConnection,
    starts: &[(usize, &NewWorkflow)],
) -> Result<BTreeSet<Uuid>, Error> {
    let mut keyed: Vec<(String, String, Uuid, String)> = starts
        .iter()
        .filter_map(|(_, new)| {
            let key = new.idempotency_key.as_deref()?;
            let state = &new.write.transition.state;
            Some((stored(&state.namespace), stored(key), state.id.0, stored(&new.request_digest)))
        })
        .collect();
    if keyed.is_empty() {
        return Ok(BTreeSet::new());
    }
    // Of two with one key the first of the group wins.
    keyed.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
    let ids: Vec<Uuid> = keyed.iter().map(|(_, _, id, _)| *id).collect();
    let column =
        |of: fn(&(String, String, Uuid, String)) -> &String| keyed.iter().map(of).collect::<Vec<_>>();
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO start_keys (namespace, key, workflow_id, request_digest)
         SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[])
         ON CONFLICT DO NOTHING RETURNING workflow_id",
    )
    .bind(column(|(namespace, ..)| namespace))
    .bind(column(|(_, key, ..)| key))
    .bind(ids)
    .bind(column(|(.., digest)| digest))
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    Ok(claimed.into_iter().collect())
}

async fn replayed(connection: &mut PgConnection, new: &NewWorkflow) -> Result<WriteOutcome, Error> {
    let namespace = &new.write.transition.state.namespace;
    let (id, digest): (Uuid, String) = sqlx::query_as(
        "SELECT workflow_id, request_digest FROM start_keys WHERE namespace = $1 AND key = $2",
    )
    .bind(stored(namespace))
    .bind(new.idempotency_key.as_deref().map(stored))
    .fetch_one(&mut *connection)
    .await
    .map_err(unavailable)?;
    let id = WorkflowId(id);
    if digest != stored(&new.request_digest) {
        return Ok(WriteOutcome::KeyConflict(id));
    }
    let loaded = load(connection, &[id]).await?.into_iter().next().flatten();
    let loaded = loaded.ok_or_else(|| Error::Corrupt {
        what: format!("the start of {id}"),
        reason: "its key is there, but the workflow is not".to_owned(),
    })?;
    Ok(WriteOutcome::Replayed(Box::new(loaded)))
}

/// The ids of those that were free.
async fn insert_workflows(
    connection: &mut PgConnection,
    starts: &[(usize, &NewWorkflow)],
) -> Result<BTreeSet<Uuid>, Error> {
    if starts.is_empty() {
        return Ok(BTreeSet::new());
    }
    let states = || starts.iter().map(|(_, new)| &new.write.transition.state);
    let texts = |of: fn(&State) -> String| states().map(of).collect::<Vec<String>>();
    let keys: Vec<String> = starts
        .iter()
        .map(|(_, new)| new.idempotency_key.as_deref().map(stored).unwrap_or_default())
        .collect();
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
             ended_at, idempotency_key, labels, error)
         SELECT id, namespace, definition, version, status, cause, seq, state, created_at, ended_at,
             idempotency_key, labels::jsonb, error
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::bigint[],
             $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[])
             AS row (id, namespace, definition, version, status, cause, seq, state, created_at, ended_at,
             idempotency_key, labels, error)
         ON CONFLICT (id) DO NOTHING RETURNING id",
    )
    .bind(states().map(|state| state.id.0).collect::<Vec<_>>())
    .bind(texts(|state| stored(&state.namespace)))
    .bind(texts(|state| stored(&state.definition)))
    .bind(states().map(|state| i32::try_from(state.version).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(texts(|state| state.status().as_str().to_owned()))
    .bind(texts(cause))
    .bind(states().map(seq).collect::<Vec<_>>())
    .bind(states().map(|state| json("a state", state)).collect::<Result<Vec<_>, _>>()?)
    .bind(states().map(|state| state.created_at.0).collect::<Vec<_>>())
    .bind(states().map(|state| state.ended_at.map(|at| at.0)).collect::<Vec<_>>())
    .bind(keys)
    .bind(states().map(|state| stored_labels(&state.labels)).collect::<Result<Vec<_>, _>>()?)
    .bind(states().map(error_text).collect::<Result<Vec<_>, _>>()?)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    Ok(inserted.into_iter().collect())
}

fn cause(state: &State) -> String {
    state.cause.map_or("", |cause| cause.as_str()).to_owned()
}

fn seq(state: &State) -> i64 {
    i64::try_from(state.seq).unwrap_or(i64::MAX)
}

fn error_text(state: &State) -> Result<Option<String>, Error> {
    state.error.as_ref().map(|error| json("an error", error)).transpose()
}

async fn write_round(
    connection: &mut PgConnection,
    round: &[(usize, &TransitionWrite)],
    outcomes: &mut [Option<WriteOutcome>],
) -> Result<(), Error> {
    let written: BTreeSet<Uuid> = update_workflows(connection, round).await?.into_iter().collect();
    let (won, lost): (Vec<_>, Vec<_>) =
        round.iter().partition(|(_, write)| written.contains(&write.transition.id.0));
    let writes: Vec<&TransitionWrite> = won.iter().map(|(_, write)| *write).collect();
    insert_events(connection, &writes).await?;
    super::ledger::apply(connection, &writes).await?;
    for (place, _) in won {
        set(outcomes, place, WriteOutcome::Written);
    }
    let lost: Vec<_> = lost.iter().map(|(place, write)| (*place, write.transition.id)).collect();
    set_present(connection, &lost, outcomes).await
}

/// The ids of those workflows that were still at the `seq` that their transition was computed from.
async fn update_workflows(
    connection: &mut PgConnection,
    round: &[(usize, &TransitionWrite)],
) -> Result<Vec<Uuid>, Error> {
    let states = || round.iter().map(|(_, write)| &write.transition.state);
    let texts = |of: fn(&State) -> String| states().map(of).collect::<Vec<String>>();
    let from: Vec<i64> =
        round.iter().map(|(_, write)| i64::try_from(write.transition.from_seq).unwrap_or(i64::MAX)).collect();
    // Locked in the ids' order first, so that two groups don't wait for one another.
    sqlx::query_scalar(
        "WITH locked AS (
             SELECT id, seq FROM workflows WHERE id = ANY ($1) ORDER BY id FOR UPDATE
         )
         UPDATE workflows SET status = row.status, cause = row.cause, seq = row.seq, state = row.state,
             ended_at = row.ended_at, error = row.error
         FROM locked JOIN unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[],
             $7::bigint[], $8::text[])
             AS row (id, from_seq, status, cause, seq, state, ended_at, error)
             ON row.id = locked.id AND row.from_seq = locked.seq
         WHERE workflows.id = locked.id
         RETURNING workflows.id",
    )
    .bind(states().map(|state| state.id.0).collect::<Vec<_>>())
    .bind(from)
    .bind(texts(|state| state.status().as_str().to_owned()))
    .bind(texts(cause))
    .bind(states().map(seq).collect::<Vec<_>>())
    .bind(states().map(|state| json("a state", state)).collect::<Result<Vec<_>, _>>()?)
    .bind(states().map(|state| state.ended_at.map(|at| at.0)).collect::<Vec<_>>())
    .bind(states().map(error_text).collect::<Result<Vec<_>, _>>()?)
    .fetch_all(connection)
    .await
    .map_err(unavailable)
}

async fn insert_events(connection: &mut PgConnection, writes: &[&TransitionWrite]) -> Result<(), Error> {
    let (mut ids, mut numbers, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
    for write in writes {
        for event in &write.transition.events {
            ids.push(write.transition.id.0);
            numbers.push(i64::try_from(event.seq).unwrap_or(i64::MAX));
            bodies.push(json("an event", event)?);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO events (workflow_id, seq, body)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[])",
    )
    .bind(ids)
    .bind(numbers)
    .bind(bodies)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}
