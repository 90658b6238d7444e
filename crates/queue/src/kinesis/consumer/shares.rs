//! Which shards a consumer takes, from what all of them hold: no process says so, and none is asked.

use super::super::lease::Lease;
use std::collections::{BTreeMap, BTreeSet};

/// What a consumer should take.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// These, which nobody has.
    Free(Vec<&'a Lease>),
    /// This one, from somebody who has more.
    Steal(&'a Lease),
    /// It has its share.
    Nothing,
}

/// What `me`, who holds `mine`, should take.
pub(super) fn wanted<'a>(leases: &'a [Lease], me: &str, mine: &BTreeSet<&str>) -> Wanted<'a> {
    let ended: BTreeSet<&str> =
        leases.iter().filter(|lease| lease.is_ended()).map(|lease| &*lease.shard).collect();
    let known: BTreeSet<&str> = leases.iter().map(|lease| &*lease.shard).collect();
    // A parent of which there is no lease any more was read long ago, or holds nothing any more.
    let may_be_read = |lease: &&Lease| {
        let is_over = |parent: &String| ended.contains(&**parent) || !known.contains(&**parent);
        !lease.is_ended() && lease.parents.iter().all(is_over)
    };
    let open: Vec<&Lease> = leases.iter().filter(may_be_read).collect();
    let mut held: BTreeMap<&str, Vec<&Lease>> = BTreeMap::new();
    held.insert(me, Vec::new());
    let mut free = Vec::new();
    for lease in &open {
        match &lease.owner {
            _ if mine.contains(&*lease.shard) => held.entry(me).or_default().push(lease),
            // Its own, and it does not know: the answer to a take was lost.
            Some(owner) if owner == me => free.push(*lease),
            Some(owner) if lease.is_held() => held.entry(owner).or_default().push(lease),
            Some(_) | None => free.push(*lease),
        }
    }
    let share = open.len().div_ceil(held.len());
    let own = held.get(me).map_or(0, Vec::len);
    if !free.is_empty() {
        free.truncate(share.saturating_sub(own));
        return if free.is_empty() { Wanted::Nothing } else { Wanted::Free(free) };
    }
    let most = held.values().max_by_key(|leases| leases.len());
    match most {
        // One less there and one more here: more even than before.
        Some(most) if most.len() >= own + 2 => {
            // Not all newcomers take the same one.
            let place = usize::try_from(super::super::names::digest(me.as_bytes()) % 1024).unwrap_or(0);
            most.get(place % most.len()).map_or(Wanted::Nothing, |lease| Wanted::Steal(lease))
        }
        Some(_) | None => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lease::{Checkpoint, Progress};
    use super::*;
    use std::time::Duration;

    /// Leases as `shard:owner`, `shard:owner!` for one that has run out, `shard<parent:` for a child, and `shard.`
    /// for one at its end.
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
            left: if owner.ends_with('!') { Duration::ZERO } else { Duration::from_secs(1) },
            progress: Progress { checkpoint, ..Progress::default() },
        }
    }

    fn said(text: &str, mine: &[&str]) -> String {
        match wanted(&leases(text), "me", &mine.iter().copied().collect()) {
            Wanted::Free(free) => free.iter().map(|lease| &*lease.shard).collect::<Vec<_>>().join(" "),
            Wanted::Steal(lease) => format!("steal from {}", lease.owner.as_deref().unwrap_or("nobody")),
            Wanted::Nothing => String::new(),
        }
    }

    #[test]
    fn shares_are_even_and_children_wait_for_their_parents() {
        for (all, mine, expected) in [
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
            // The answer to its take was lost.
            ("a:me b:you", &[], "a"),
            ("a:you b<a: c<a:", &[], ""),
            ("a. b<a: c<a:", &[], "b c"),
            // The other parent has not been read to its end.
            ("a. b:you c<b:", &[], ""),
            ("b<a: c<a:", &[], "b c"),
            ("a. b.", &[], ""),
        ] {
            assert_eq!(said(all, mine), expected, "{all}");
        }
    }
}
