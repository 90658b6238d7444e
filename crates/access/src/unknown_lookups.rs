//! Limits of the lookups of ids that were not valid before.
//!
//! An unauthenticated caller can send any number of random ids, and each needs a read of the store. Such lookups are refused beyond a
//! limit for each network, and beyond one for all networks, instead of waiting in a queue without end.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;

/// Maximum number of ids of one network that are looked up at once. Clients behind one proxy present their keys together
/// after a restart of the gateway.
const MAX_IDS_PER_NETWORK: usize = 32;
/// Maximum number of ids that are looked up at once. At 16 concurrent reads, it bounds the wait of a new key to the time
/// of 16 reads.
const MAX_IDS: usize = 256;
/// Maximum number of requests that wait for the lookup of one id.
const MAX_REQUESTS_PER_ID: usize = 1024;

/// The lookups in progress.
#[derive(Debug, Default)]
pub(crate) struct UnknownLookups(Mutex<InProgress>);

#[derive(Debug, Default)]
struct InProgress {
    ids: usize,
    /// The number of requests by network and id.
    networks: HashMap<Option<IpAddr>, HashMap<String, usize>>,
}

/// A lookup in progress. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct UnknownLookup<'l> {
    lookups: &'l UnknownLookups,
    network: Option<IpAddr>,
    id: &'l str,
}

impl UnknownLookups {
    /// Begins the lookup of an id for a network. Returns `None` if too many are in progress. Requests with the same id
    /// count once.
    pub(crate) fn begin<'l>(&'l self, network: Option<IpAddr>, id: &'l str) -> Option<UnknownLookup<'l>> {
        let mut in_progress = self.0.lock();
        let InProgress { ids, networks } = &mut *in_progress;
        let of_network = networks.get(&network);
        let requests = of_network.and_then(|of_network| of_network.get(id)).copied().unwrap_or(0);
        let has_room = match requests {
            0 => *ids < MAX_IDS && of_network.map_or(0, HashMap::len) < MAX_IDS_PER_NETWORK,
            requests => requests < MAX_REQUESTS_PER_ID,
        };
        if !has_room {
            return None;
        }
        if requests == 0 {
            *ids += 1;
        }
        networks.entry(network).or_default().insert(id.to_owned(), requests + 1);
        Some(UnknownLookup { lookups: self, network, id })
    }
}

impl Drop for UnknownLookup<'_> {
    fn drop(&mut self) {
        let mut in_progress = self.lookups.0.lock();
        let InProgress { ids, networks } = &mut *in_progress;
        let Some(of_network) = networks.get_mut(&self.network) else { return };
        let Some(requests) = of_network.get_mut(self.id) else { return };
        *requests -= 1;
        if *requests > 0 {
            return;
        }
        of_network.remove(self.id);
        *ids -= 1;
        if of_network.is_empty() {
            networks.remove(&self.network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_all_networks_are_limited() {
        let lookups = UnknownLookups::default();
        let ids: Vec<String> = (0..MAX_IDS_PER_NETWORK + 1).map(|number| number.to_string()).collect();
        let network = |number: usize| Some(IpAddr::from([192, 0, 2, u8::try_from(number).unwrap()]));
        let mut begun = Vec::new();
        for number in 0..MAX_IDS / MAX_IDS_PER_NETWORK {
            for id in &ids[..MAX_IDS_PER_NETWORK] {
                begun.push(lookups.begin(network(number), id).expect("the network has room"));
            }
            assert!(lookups.begin(network(number), &ids[MAX_IDS_PER_NETWORK]).is_none());
            begun.push(lookups.begin(network(number), &ids[0]).expect("the id is looked up already"));
        }
        assert!(lookups.begin(network(200), &ids[0]).is_none(), "all networks together have no room");
        begun.clear();
        assert!(lookups.begin(network(200), &ids[0]).is_some());
        assert!(lookups.0.lock().networks.is_empty());
        assert_eq!(lookups.0.lock().ids, 0);
    }

    #[test]
    fn requests_with_one_id_are_limited() {
        let lookups = UnknownLookups::default();
        let begun: Vec<_> =
            (0..MAX_REQUESTS_PER_ID).map(|_| lookups.begin(None, "a").expect("there is room")).collect();
        assert!(lookups.begin(None, "a").is_none());
        assert!(lookups.begin(None, "b").is_some());
        drop(begun);
        assert!(lookups.begin(None, "a").is_some());
    }
}
