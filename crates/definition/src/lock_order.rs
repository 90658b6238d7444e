//! The check that a definition cannot deadlock: a workflow requests its keys in ascending order.
//!
//! A lock that is held until the workflow ends is released only after every other request of the workflow was granted.
//! If each of those requests has a greater key, a chain of workflows that wait for each other has ever greater keys and
//! therefore an end. A lock that is held for its step only is released when the step ends, even while the workflow waits
//! for something else, so it does not limit the other requests. The keys of one definition are sorted when they are acquired.
//!
//! A key is a template, and its value is known only when the workflow runs. Two keys are in order for certain if their
//! literal beginnings differ.

use crate::expand::Expanded;
use crate::fields::FieldReader;
use crate::problem::LOCK_ORDER;
use crate::step::Body;
use goconductor_saga::{Join, Json, LockScope, LockSpec, Plan, Side, StepIndex, Template, TextPart};
use std::collections::BTreeSet;

/// Reports each lock that may be requested out of order.
pub(crate) fn check(reader: &mut FieldReader, expanded: &Expanded<'_, '_>, plan: &Plan) {
    if !plan.has_locks() {
        return;
    }
    let settled = settled_before(plan);
    let is_before = |first: StepIndex, then: StepIndex| {
        settled.get(then.at()).is_some_and(|before| before.contains(&first))
    };
    let definition = plan.definition();
    for (index, lock) in locks_of_steps(plan) {
        let of_definition = definition.locks.iter().map(|held| (None, held, true));
        let of_steps = locks_of_steps(plan)
            .filter(|(holder, held)| {
                held.hold == LockScope::Workflow && *holder != index && !is_before(index, *holder)
            })
            .map(|(holder, held)| (Some(holder), held, is_before(holder, index)));
        let conflict = of_definition.chain(of_steps).find(|(_, held, is_held)| {
            let is_same = *is_held && held.key == lock.key && (lock.shared || !held.shared);
            !is_same && !is_less(&held.key, &lock.key)
        });
        if let (Some((holder, held, _)), Some(parsed)) = (conflict, expanded.parsed.get(index.at())) {
            report(reader, parsed, (plan, holder, held));
        }
    }
    check_children(reader, expanded, plan, is_before);
}

/// Reports each child that runs while its parent holds a lock to the end. The child requests locks of its own, which the
/// order of the parent's keys does not cover.
fn check_children(
    reader: &mut FieldReader,
    expanded: &Expanded<'_, '_>,
    plan: &Plan,
    is_before: impl Fn(StepIndex, StepIndex) -> bool,
) {
    let held_while = |child: StepIndex| {
        !plan.definition().locks.is_empty()
            || locks_of_steps(plan)
                .any(|(holder, held)| held.hold == LockScope::Workflow && !is_before(child, holder))
    };
    for ((index, step), parsed) in (0u32..).map(StepIndex).zip(&plan.definition().steps).zip(&expanded.parsed)
    {
        if step.performed_action(Side::Execute).is_some_and(|action| action.child().is_some())
            && held_while(index)
        {
            let detail =
                format!("the child of `{}` runs while the workflow holds a lock to its end", step.name);
            let hint = "use `hold: step`, or set the lock in the definition of the child";
            reader.push(parsed.at.problem(LOCK_ORDER, detail).hint(hint));
        }
    }
}

fn locks_of_steps(plan: &Plan) -> impl Iterator<Item = (StepIndex, &LockSpec)> {
    let steps = (0u32..).map(StepIndex).zip(&plan.definition().steps);
    steps.filter_map(|(index, step)| Some((index, step.lock.as_ref()?)))
}

fn report(
    reader: &mut FieldReader,
    parsed: &crate::step::ParsedStep<'_>,
    (plan, holder, held): (&Plan, Option<StepIndex>, &LockSpec),
) {
    let at = match &parsed.body {
        Body::Step(single) => single.lock.as_ref().map_or(&parsed.at, |lock| &lock.at),
        Body::Block(_) | Body::Broken => &parsed.at,
    };
    let of = match holder.and_then(|holder| plan.step(holder)) {
        Some(step) => format!("of `{}`", step.name),
        None => "of the definition".to_owned(),
    };
    let detail = format!(
        "`{}` can request its lock while the workflow holds `{}` {of} to its end, and the key of `{}` is not certainly \
         the greater one",
        parsed.name,
        shown(&held.key),
        parsed.name
    );
    let hint = "acquire both in the `lock` of the definition, which sorts them, or let the keys begin with texts that \
                sort in the order of the requests, such as `1/` and `2/`";
    reader.push(at.problem(LOCK_ORDER, detail).hint(hint));
}

/// Returns, for each step, the steps that have certainly settled before it begins.
fn settled_before(plan: &Plan) -> Vec<BTreeSet<StepIndex>> {
    let mut all: Vec<BTreeSet<StepIndex>> = vec![BTreeSet::new(); plan.definition().steps.len()];
    for index in plan.topological() {
        let Some(step) = plan.step(*index) else { continue };
        let mut before: Option<BTreeSet<StepIndex>> = None;
        for dependency in &step.depends_on {
            let mut with = all.get(dependency.at()).cloned().unwrap_or_default();
            with.insert(*dependency);
            before = Some(match (before, step.join) {
                (None, Join::All | Join::Any | Join::Settled) => with,
                // The first dependency that completes starts the step, so only what all have in common is certain.
                (Some(before), Join::Any) => before.intersection(&with).copied().collect(),
                (Some(before), Join::All | Join::Settled) => before.union(&with).copied().collect(),
            });
        }
        if let Some(slot) = all.get_mut(index.at()) {
            *slot = before.unwrap_or_default();
        }
    }
    all
}

/// Returns whether every value of the first key is less than every value of the second.
fn is_less(first: &Template, second: &Template) -> bool {
    let ((first, is_exact), (second, _)) = (beginning(first), beginning(second));
    let differs = first.bytes().zip(second.bytes()).find(|(a, b)| a != b);
    differs.map_or(is_exact && first.len() < second.len(), |(a, b)| a < b)
}

/// Returns the literal text with which every value of a key begins, and whether it is the whole key.
fn beginning(key: &Template) -> (&str, bool) {
    match key {
        Template::Value(Json::String(text)) => (text, true),
        Template::Text(parts) => match parts.first() {
            Some(TextPart::Literal(text)) => (text, false),
            Some(TextPart::Expression(_)) | None => ("", false),
        },
        Template::Value(_) | Template::Expression(_) | Template::List(_) | Template::Map(_) => ("", false),
    }
}

/// Returns the key as in the text of the definition.
fn shown(key: &Template) -> String {
    match key {
        Template::Value(Json::String(text)) => text.clone(),
        Template::Expression(expression) => format!("${{{expression}}}"),
        Template::Text(parts) => parts
            .iter()
            .map(|part| match part {
                TextPart::Literal(text) => text.clone(),
                TextPart::Expression(expression) => format!("${{{expression}}}"),
            })
            .collect(),
        Template::Value(_) | Template::List(_) | Template::Map(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_less;
    use crate::template::text_template;

    #[test]
    fn keys_are_in_order_if_their_literal_beginnings_differ() {
        let cases = [
            ("a", "b", true),
            ("b", "a", false),
            ("a", "a", false),
            ("a", "ab", true),
            ("ab", "a", false),
            ("a/${input.x}", "b/${input.y}", true),
            ("b/${input.x}", "a/${input.y}", false),
            ("a/${input.x}", "a/${input.y}", false),
            // The value of the first key may be longer or shorter than the second.
            ("a${input.x}", "ab", false),
            ("a", "a${input.x}", false),
            ("a", "ab${input.x}", true),
            ("${input.x}", "z", false),
            ("a", "${input.x}", false),
        ];
        for (first, second, expected) in cases {
            let (a, b) = (text_template(first).unwrap(), text_template(second).unwrap());
            assert_eq!(is_less(&a, &b), expected, "{first} < {second}");
        }
    }
}
