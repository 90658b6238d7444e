//! A group of starts and transitions: one statement for each kind of row, whatever the group's size.

use super::rows::{json, load};
use super::unavailable;
use crate::{Error, Loaded, NewWorkflow, TransitionWrite, Write, WriteOutcome};
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
    let mut starts: Vec<(usize, &NewWorkflow)> = Vec::new();
    // The n-th transition of a workflow is written in the n-th round: each is judged by what the one
    // before it left.
    let mut rounds: Vec<Vec<(usize, &TransitionWrite)>> = Vec::new();
    let mut seen: BTreeMap<WorkflowId, usize> = BTreeMap::new();
    for (place, write) in group.iter().enumerate() {
        match write {
            Write::Start(new) => starts.push((place, new)),
            Write::Transition(write) => {
                let round = seen.entry(write.transition.id).or_default();
                if rounds.len() <= *round {
                    rounds.push(Vec::new());
                }
                if let Some(round) = rounds.get_mut(*round) {
                    round.push((place, write));
                }
                *round += 1;
            }
        }
    }
    if !starts.is_empty() {
        write_starts(connection, &starts, &mut outcomes).await?;
    }
    for round in &rounds {
        write_round(connection, round, &mut outcomes).await?;
    }
    // Invariant: every member was a start or in one round, and each of those gives it an outcome.
    let missing =
        || Error::Corrupt { what: "a group".to_owned(), reason: "a member has no outcome".to_owned() };
    outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
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
    let accepted: Vec<_> = starts
        .iter()
        .filter(|(_, new)| new.idempotency_key.is_none() || claimed.contains(&new.write.transition.id.0))
        .collect();
    insert_workflows(connection, &accepted).await?;
    let writes: Vec<&TransitionWrite> = accepted.iter().map(|(_, new)| &new.write).collect();
    insert_events(connection, &writes).await?;
    super::ledger::apply(connection, &writes).await?;
    for (place, _) in &accepted {
        set(outcomes, *place, WriteOutcome::Written);
    }
    for (place, new) in starts {
        if accepted.iter().all(|(written, _)| written != place) {
            set(outcomes, *place, replayed(connection, new).await?);
        }
    }
    Ok(())
}

/// The ids of those starts whose key was free. In the keys' order, so that two groups don't wait for
/// one another.
async fn claim_keys(
    connection: &mut PgConnection,
    starts: &[(usize, &NewWorkflow)],
) -> Result<BTreeSet<Uuid>, Error> {
    let mut keyed: Vec<(&str, &str, Uuid, &str)> = starts
        .iter()
        .filter_map(|(_, new)| {
            let key = new.idempotency_key.as_deref()?;
            let state = &new.write.transition.state;
            Some((state.namespace.as_str(), key, state.id.0, new.request_digest.as_str()))
        })
        .collect();
    if keyed.is_empty() {
        return Ok(BTreeSet::new());
    }
    keyed.sort_by_key(|(namespace, key, ..)| (*namespace, *key));
    let column = |of: fn(&(&str, &str, Uuid, &str)) -> String| keyed.iter().map(of).collect::<Vec<String>>();
    let ids: Vec<Uuid> = keyed.iter().map(|(_, _, id, _)| *id).collect();
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO start_keys (namespace, key, workflow_id, request_digest)
         SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[])
         ON CONFLICT DO NOTHING RETURNING workflow_id",
    )
    .bind(column(|(namespace, ..)| (*namespace).to_owned()))
    .bind(column(|(_, key, ..)| (*key).to_owned()))
    .bind(ids)
    .bind(column(|(.., digest)| (*digest).to_owned()))
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
    .bind(namespace)
    .bind(new.idempotency_key.as_deref().unwrap_or_default())
    .fetch_one(&mut *connection)
    .await
    .map_err(unavailable)?;
    let id = WorkflowId(id);
    if digest != new.request_digest {
        return Ok(WriteOutcome::KeyConflict(id));
    }
    let loaded = load(connection, &[id]).await?.into_iter().next().flatten();
    let loaded = loaded.ok_or_else(|| Error::Corrupt {
        what: format!("the start of {id}"),
        reason: "its key is there, but the workflow is not".to_owned(),
    })?;
    Ok(WriteOutcome::Replayed(Box::new(loaded)))
}

async fn insert_workflows(
    connection: &mut PgConnection,
    starts: &[&(usize, &NewWorkflow)],
) -> Result<(), Error> {
    if starts.is_empty() {
        return Ok(());
    }
    let states = || starts.iter().map(|(_, new)| &new.write.transition.state);
    let texts = |of: fn(&State) -> String| states().map(of).collect::<Vec<String>>();
    let keys: Vec<String> =
        starts.iter().map(|(_, new)| new.idempotency_key.clone().unwrap_or_default()).collect();
    sqlx::query(
        "INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
             ended_at, idempotency_key, labels, error)
         SELECT id, namespace, definition, version, status, cause, seq, state, created_at, ended_at,
             idempotency_key, labels::jsonb, error
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], $7::bigint[],
             $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[])
             AS row (id, namespace, definition, version, status, cause, seq, state, created_at, ended_at,
             idempotency_key, labels, error)",
    )
    .bind(states().map(|state| state.id.0).collect::<Vec<_>>())
    .bind(texts(|state| state.namespace.clone()))
    .bind(texts(|state| state.definition.clone()))
    .bind(states().map(|state| i32::try_from(state.version).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(texts(|state| state.status().as_str().to_owned()))
    .bind(texts(cause))
    .bind(states().map(seq).collect::<Vec<_>>())
    .bind(states().map(|state| json("a state", state)).collect::<Result<Vec<_>, _>>()?)
    .bind(states().map(|state| state.created_at.0).collect::<Vec<_>>())
    .bind(states().map(|state| state.ended_at.map(|at| at.0)).collect::<Vec<_>>())
    .bind(keys)
    .bind(states().map(|state| json("labels", &state.labels)).collect::<Result<Vec<_>, _>>()?)
    .bind(states().map(error_text).collect::<Result<Vec<_>, _>>()?)
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
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
    if lost.is_empty() {
        return Ok(());
    }
    let ids: Vec<WorkflowId> = lost.iter().map(|(_, write)| write.transition.id).collect();
    let present: Vec<Option<Loaded>> = load(connection, &ids).await?;
    for ((place, _), present) in lost.into_iter().zip(present) {
        let outcome = present.map_or(WriteOutcome::Missing, |present| WriteOutcome::Lost(Box::new(present)));
        set(outcomes, place, outcome);
    }
    Ok(())
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
