//! The assignment of shards to consumers. Each consumer decides from the list of all leases; there is no coordinator.

use super::super::lease::Lease;
use super::super::names::digest;
use std::collections::{BTreeMap, BTreeSet};

/// The leases that a consumer has to acquire next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assignment<'a> {
    /// These leases, which have no owner.
    Acquire(Vec<&'a Lease>),
    /// This lease, from the consumer with the most leases.
    Steal(&'a Lease),
    /// None: the consumer has its share.
    Balanced,
}

/// Returns the leases that the consumer `me`, which owns `owned`, has to acquire next.
pub(super) fn next_assignment<'a>(leases: &'a [Lease], me: &str, owned: &BTreeSet<&str>) -> Assignment<'a> {
    let finished: BTreeSet<&str> =
        leases.iter().filter(|lease| lease.is_finished()).map(|lease| &*lease.shard).collect();
    let known: BTreeSet<&str> = leases.iter().map(|lease| &*lease.shard).collect();
    // A parent without a lease was finished long ago, or all its records have expired.
    let is_readable = |lease: &&Lease| {
        let is_done = |parent: &String| finished.contains(&**parent) || !known.contains(&**parent);
        !lease.is_finished() && lease.parents.iter().all(is_done)
    };
    let readable: Vec<&Lease> = leases.iter().filter(is_readable).collect();
    let mut by_owner: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    by_owner.insert(me, Vec::new());
    let mut free = Vec::new();
    for lease in &readable {
        match &lease.owner {
            _ if owned.contains(&*lease.shard) => by_owner.entry(me).or_default().push(lease),
            // The response to the acquisition was lost.
            Some(owner) if owner == me => free.push(*lease),
            Some(owner) if lease.is_owned() => by_owner.entry(owner).or_default().push(lease),
            Some(_) | None => free.push(*lease),
        }
    }
    let share = readable.len().div_ceil(by_owner.len());
    let own = by_owner.get(me).map_or(0, Vec::len);
    if !free.is_empty() {
        free.truncate(share.saturating_sub(own));
        return if free.is_empty() { Assignment::Balanced } else { Assignment::Acquire(free) };
    }
    let most = by_owner.values().max_by_key(|leases| leases.len());
    match most {
        // Stealing one lease makes the distribution more even.
        Some(most) if most.len() >= own + 2 => {
            // The index depends on the consumer, so that new consumers do not steal the same lease.
            let index = usize::try_from(digest(me.as_bytes()) % 1024).unwrap_or(0);
            most.get(index % most.len()).map_or(Assignment::Balanced, |lease| Assignment::Steal(lease))
        }
        Some(_) | None => Assignment::Balanced,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lease::{Checkpoint, ShardProgress};
    use super::*;
    use std::time::Duration;

    /// Parses leases: `shard:owner`, `shard:owner!` for an expired lease, `shard<parent:` for a child shard, and `shard.`
    /// for a finished shard.
    fn leases(text: &str) -> Vec<Lease> {
        text.split(' ').filter(|each| !each.is_empty()).map(lease).collect()
    }

    fn lease(text: &str) -> Lease {
        let (shard, owner) = text.split_once(':').unwrap_or((text.trim_end_matches('.'), ""));
        let (shard, parent) = shard.split_once('<').unwrap_or((shard, ""));
        let checkpoint = if text.ends_with('.') { Checkpoint::End } else { Checkpoint::Horizon };
        Lease {
            shard: shard.to_owned(),
            parents: Some(parent.to_owned()).into_iter().filter(|parent| !parent.is_empty()).collect(),
            owner: Some(owner.trim_end_matches('!').to_owned()).filter(|owner| !owner.is_empty()),
            counter: 1,
            remaining: if owner.ends_with('!') { Duration::ZERO } else { Duration::from_secs(1) },
            progress: ShardProgress { checkpoint, ..ShardProgress::default() },
        }
    }

    fn assignment(text: &str, owned: &[&str]) -> String {
        match next_assignment(&leases(text), "me", &owned.iter().copied().collect()) {
            Assignment::Acquire(free) => free.iter().map(|lease| &*lease.shard).collect::<Vec<_>>().join(" "),
            Assignment::Steal(lease) => format!("steal from {}", lease.owner.as_deref().unwrap_or("-")),
            Assignment::Balanced => String::new(),
        }
    }

    #[test]
    fn shards_are_shared_evenly_and_children_wait_for_their_parents() {
        for (all, owned, expected) in [
            ("", &[][..], ""),
            ("a: b: c:", &[], "a b c"),
            ("a:me b: c:you d:you", &["a"], "b"),
            ("a:me b:me c: d:you", &["a", "b"], ""),
            ("a:you! b:you! c:you!", &[], "a b c"),
            ("a:you b:you c:you d:you", &[], "steal from you"),
            ("a:me b:you c:you d:you", &["a"], "steal from you"),
            ("a:me b:you c:you", &["a"], ""),
            ("a:me b:you c:you d:he e:he f:he", &["a"], "steal from he"),
            ("a:me b:you", &["a"], ""),
            // The response to the acquisition was lost.
            ("a:me b:you", &[], "a"),
            ("a:you b<a: c<a:", &[], ""),
            ("a. b<a: c<a:", &[], "b c"),
            // The second parent is not finished.
            ("a. b:you c<b:", &[], ""),
            ("b<a: c<a:", &[], "b c"),
            ("a. b.", &[], ""),
        ] {
            assert_eq!(assignment(all, owned), expected, "{all}");
        }
    }
}
