//! The effects of the faults on writes and requests.

use std::sync::Arc;

use goconductor_saga::{Due, EventKind, Json, LedgerChange, OwedKey, Side, StepIndex, Transition};
use goconductor_store::{
    ClaimRequest, Comparison, EncodedTransition, Field, Filter, FilterValue, TransitionWrite, Write,
};

use super::Fault;

pub(super) fn write(fault: Fault, mut write: Write) -> Write {
    match &mut write {
        Write::Start(new) => {
            if fault == Fault::DropsIdempotencyKeys {
                new.idempotency_key = None;
            }
            if fault == Fault::IgnoresDigests {
                new.request_digest.clear();
            }
            if fault == Fault::StripsNul {
                new.idempotency_key = new.idempotency_key.as_ref().map(|key| key.replace('\0', ""));
            }
            transition_write(fault, &mut new.write);
        }
        Write::Transition(write) => transition_write(fault, write),
    }
    write
}

fn transition_write(fault: Fault, write: &mut TransitionWrite) {
    if fault == Fault::DropsPublishes {
        write.publishes.clear();
    }
    let transition = &mut write.record.transition().expect("the record can be decoded");
    transition.ledger.retain(|change| !drops_change(fault, change));
    if fault == Fault::DropsEvents && transition.events.len() > 2 {
        transition.events.remove(1);
    }
    values(fault, transition);
    write.record = Arc::new(EncodedTransition::of(transition).expect("the transition can be encoded"));
}

fn drops_change(fault: Fault, change: &LedgerChange) -> bool {
    let (settles, key, due) = match change {
        LedgerChange::Settle(key) => (true, *key, None),
        LedgerChange::Issue(row) | LedgerChange::Change(row) => (false, row.key, Some(row.due)),
    };
    match fault {
        Fault::DropsLedgerRows => !settles,
        Fault::DropsCommands => matches!(key, OwedKey::Command(StepIndex(2), _)),
        Fault::DropsCompensations => matches!(key, OwedKey::Command(_, Side::Compensate)),
        Fault::DropsTimers => matches!(key, OwedKey::Timer(_)),
        Fault::KeepsSettledRows => settles,
        Fault::NeverHolds => due == Some(Due::Held),
        Fault::NeverWithdraws => due == Some(Due::Withdraw),
        _ => false,
    }
}

fn values(fault: Fault, transition: &mut Transition) {
    match fault {
        Fault::StripsNul => {
            for value in transition.state.labels.values_mut() {
                *value = value.replace('\0', "");
            }
        }
        Fault::DropsParents => transition.state.parent = None,
        Fault::TruncatesPayloads | Fault::RoundsNumbers => {
            value(fault, Arc::make_mut(&mut transition.state.input));
            for event in &mut transition.events {
                if let EventKind::WorkflowStarted { input, .. } = &mut event.kind {
                    value(fault, Arc::make_mut(input));
                }
            }
        }
        _ => {}
    }
}

fn value(fault: Fault, json: &mut Json) {
    match json {
        Json::String(text) if fault == Fault::TruncatesPayloads && text.len() > 1 << 16 => {
            *text = text.chars().take(1 << 14).collect();
        }
        Json::Number(number) if fault == Fault::RoundsNumbers => *json = serde_json::json!(number.as_f64()),
        Json::Array(items) => items.iter_mut().for_each(|item| value(fault, item)),
        Json::Object(fields) => fields.values_mut().for_each(|field| value(fault, field)),
        _ => {}
    }
}

/// Returns the transition as if it had been computed from the state at `seq`.
pub(super) fn rebased(write: &TransitionWrite, seq: u64) -> TransitionWrite {
    let mut transition = write.record.transition().expect("the record can be decoded");
    transition.from_seq = seq;
    transition.state.seq = seq;
    for event in &mut transition.events {
        transition.state.seq += 1;
        event.seq = transition.state.seq;
    }
    TransitionWrite {
        record: Arc::new(EncodedTransition::of(&transition).expect("the transition can be encoded")),
        ..write.clone()
    }
}

pub(super) fn claim(fault: Fault, request: &ClaimRequest) -> ClaimRequest {
    let mut request = request.clone();
    match fault {
        Fault::ClaimsRowsBeforeDue => request.now = request.now.after(std::time::Duration::from_secs(3600)),
        Fault::IgnoresSides => {
            let mut others = request.lanes.clone();
            for lane in &mut others {
                lane.side = if lane.side == Side::Execute { Side::Compensate } else { Side::Execute };
            }
            request.lanes.extend(others);
        }
        Fault::IgnoresLimits => {
            request.limit = 1000;
            request.lanes.iter_mut().for_each(|lane| lane.limit = 1000);
        }
        Fault::IgnoresQueuedMessages => request.lanes.iter_mut().for_each(|lane| lane.waiting_since = None),
        Fault::IgnoresFences => request.fence = None,
        Fault::IgnoresShards => request.shard = None,
        Fault::NeverClaimsTimers => request.timers = false,
        Fault::NeverRedelivers => request.redelivery = std::time::Duration::from_secs(1 << 30),
        _ => {}
    }
    request
}

pub(super) fn filter(fault: Fault, filter: &Filter) -> Filter {
    let all = |parts: &[Filter]| parts.iter().map(|part| self::filter(fault, part)).collect();
    match filter {
        Filter::Any(parts) if fault == Fault::TreatsAnyAsAll => Filter::All(all(parts)),
        Filter::All(parts) => Filter::All(all(parts)),
        Filter::Any(parts) => Filter::Any(all(parts)),
        Filter::Not(part) => Filter::Not(Box::new(self::filter(fault, part))),
        Filter::Compare(field, Comparison::LessOrEqual, value) if fault == Fault::TreatsLessOrEqualAsLess => {
            Filter::Compare(field.clone(), Comparison::Less, value.clone())
        }
        Filter::Compare(Field::RunsElements, ..) if fault == Fault::ListsElements => Filter::All(Vec::new()),
        same @ Filter::Compare(..) => same.clone(),
    }
}

/// Returns whether a filter selects the completed workflows.
pub(super) fn is_for_completed(filter: Option<&Filter>) -> bool {
    let completed = FilterValue::Text("COMPLETED".to_owned());
    filter == Some(&Filter::Compare(Field::Status, Comparison::Equal, completed))
}
