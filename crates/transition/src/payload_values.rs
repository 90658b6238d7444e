//! Values that contain references to payloads.

use crate::payload_memory::LoadedPayloads;
use crate::payloads;
use goconductor_saga::{Json, PayloadRef, State, StepState, Transition};
use goconductor_store::PAYLOAD_CHUNK_BYTES;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Returns whether a state has references that expressions can name. Most have none, which costs one check of each value.
pub(crate) fn carries_payloads(state: &State) -> bool {
    is_reference(&state.input)
        || state.steps.iter().any(has_reference)
        || state.signals.last.values().any(is_reference)
}

/// A step keeps the signals of the time when it was queued, also if later ones have replaced them.
fn has_reference(step: &StepState) -> bool {
    step.output.as_ref().is_some_and(is_reference)
        || step.signals.as_ref().is_some_and(|kept| kept.values().any(is_reference))
}

fn is_reference(value: &Arc<Json>) -> bool {
    PayloadRef::of(value).is_some()
}

/// Returns the bytes of all payloads that a value refers to.
pub(crate) fn payload_bytes(value: &Json) -> u64 {
    let mut found = Vec::new();
    references(value, &mut found);
    found.iter().fold(0, |sum, reference| sum.saturating_add(reference.bytes))
}

/// Replaces a value by another one, in an event and in the state.
pub(crate) fn replace(transition: &mut Transition, event: usize, old: &Arc<Json>, new: &Arc<Json>) {
    let put = |place: &mut Arc<Json>| {
        if Arc::ptr_eq(place, old) {
            *place = Arc::clone(new);
        }
    };
    let event = transition.events.get_mut(event);
    event.and_then(|event| payloads::value_of(&mut event.kind)).into_iter().for_each(put);
    let state = &mut transition.state;
    put(&mut state.input);
    state.output.iter_mut().for_each(put);
    state.signals.last.values_mut().for_each(put);
    state.signals.kept.iter_mut().map(|kept| &mut kept.payload).for_each(put);
    for step in &mut state.steps {
        step.output.iter_mut().for_each(put);
        step.signals.iter_mut().flat_map(BTreeMap::values_mut).for_each(put);
    }
}

/// Returns whether a value takes more than `left` bytes, and reduces `left`. The size is the length of all texts, and 8 bytes for each value.
pub(crate) fn exceeds(value: &Json, left: &mut usize) -> bool {
    let own = match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) => 8,
        Json::String(text) => text.len().saturating_add(8),
        Json::Object(fields) => fields.keys().fold(8, |sum: usize, key| sum.saturating_add(key.len())),
    };
    let Some(rest) = left.checked_sub(own) else { return true };
    *left = rest;
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
        Json::Array(items) => items.iter().any(|item| exceeds(item, left)),
        Json::Object(fields) => fields.values().any(|value| exceeds(value, left)),
    }
}

pub(crate) fn references(value: &Json, found: &mut Vec<PayloadRef>) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        Json::Array(items) => items.iter().for_each(|item| references(item, found)),
        Json::Object(fields) => match PayloadRef::of(value) {
            Some(reference) => found.push(reference),
            None => fields.values().for_each(|value| references(value, found)),
        },
    }
}

pub(crate) fn insert_payloads(value: &mut Json, loaded: &LoadedPayloads) {
    if let Some(payload) = PayloadRef::of(value).and_then(|reference| loaded.shared(reference)) {
        *value = Arc::unwrap_or_clone(payload);
        return;
    }
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        Json::Array(items) => items.iter_mut().for_each(|item| insert_payloads(item, loaded)),
        Json::Object(fields) => fields.values_mut().for_each(|value| insert_payloads(value, loaded)),
    }
}

/// Splits a text into chunks of whole characters.
pub(crate) fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (chunk, more) = rest.split_at(rest.floor_char_boundary(PAYLOAD_CHUNK_BYTES));
        rest = more;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::PayloadDigest;
    use serde_json::json;

    #[test]
    fn chunks_are_bounded_and_split_no_character() {
        let text = "ä€😀".repeat(PAYLOAD_CHUNK_BYTES / 4);
        let parts: Vec<&str> = chunks(&text).collect();
        assert!(parts.len() > 2);
        assert!(parts.iter().all(|part| part.len() <= PAYLOAD_CHUNK_BYTES));
        assert_eq!(parts.concat(), text);
        assert_eq!(chunks("").count(), 0);
    }

    #[test]
    fn only_values_over_the_limit_are_large() {
        let large = |value: &Json| exceeds(value, &mut 100);
        assert!(!large(&json!({"a": [1, 2, 3], "b": "text"})));
        assert!(!large(&json!("x".repeat(92))));
        assert!(large(&json!("x".repeat(93))));
        assert!(large(&json!([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])));
        assert!(large(&json!({"k": {"l": {"m": "x".repeat(80)}}})));
    }

    #[test]
    fn signals_that_only_a_step_keeps_are_found() {
        let reference = PayloadRef { digest: PayloadDigest([3; 32]), bytes: 9 };
        let kept = BTreeMap::from([("paid".to_owned(), Arc::new(reference.to_json()))]);
        let step = StepState { signals: Some(kept), ..StepState::default() };
        assert!(has_reference(&step));
        assert!(!has_reference(&StepState::default()));
    }

    #[test]
    fn references_inside_a_value_are_replaced() {
        let reference = PayloadRef { digest: PayloadDigest([3; 32]), bytes: 9 };
        let mut value = json!({"input": reference.to_json(), "more": [reference.to_json(), 1]});
        let mut found = Vec::new();
        references(&value, &mut found);
        assert_eq!(found, vec![reference, reference]);
        let mut loaded = LoadedPayloads::default();
        loaded.insert(reference.digest, Arc::new(json!({"a": 1})));
        insert_payloads(&mut value, &loaded);
        assert_eq!(value, json!({"input": {"a": 1}, "more": [{"a": 1}, 1]}));
    }
}
