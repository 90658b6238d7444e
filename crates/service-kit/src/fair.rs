//! Places of which there are only so many, shared fairly by name: who asks for much waits behind himself,
//! not in front of others.
//!
//! As long as there are free places everybody takes as many as he likes. Once there are none, those who wait
//! are served by turns, one of each name; and each name has a line of its own that is only so long, so that
//! what waits is bounded, too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How many places there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All of them.
    pub places: usize,
    /// Of one name at once.
    pub each: usize,
    /// Who of one name may wait for a place.
    pub waiting_each: usize,
}

/// Places, shared fairly by name. Cheap to clone; clones share the places.
#[derive(Debug, Clone)]
pub struct FairPlaces {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    names: HashMap<String, Name>,
    /// The names that have somebody waiting, in the order of their turns.
    turns: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Name {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place. It is free again once this is dropped.
#[derive(Debug)]
pub struct Place {
    /// None: it was never taken.
    shared: Option<Arc<Shared>>,
    name: String,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// As many of this name wait as may.
    #[error("too many wait already")]
    LineIsFull,
    /// None became free in time.
    #[error("no place became free in time")]
    TimedOut,
}

impl FairPlaces {
    /// So many places, all free.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared { limits, state: Mutex::default() }) }
    }

    /// A place, if one is free that nobody waits for.
    #[must_use]
    pub fn try_take(&self, name: &str) -> Option<Place> {
        let mut state = self.shared.lock();
        self.shared.take(&mut state, name)
    }

    /// A place; waits for one, for so long at most. Cancel-safe: who goes away leaves the line.
    ///
    /// # Errors
    /// When there is none.
    pub async fn take(&self, name: &str, patience: Duration) -> Result<Place, NoPlace> {
        let given = match self.stand_in_line(name)? {
            Ok(place) => return Ok(place),
            Err(given) => given,
        };
        match tokio::time::timeout(patience, given).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(NoPlace::TimedOut),
        }
    }

    /// A place and, as far as nobody waits for them, up to `most` in all. Waits for the first as long as it
    /// takes. Cancel-safe.
    ///
    /// # Errors
    /// When too many wait already.
    pub async fn take_some(&self, name: &str, most: usize) -> Result<Vec<Place>, NoPlace> {
        let first = match self.stand_in_line(name)? {
            Ok(place) => place,
            Err(given) => given.await.map_err(|_| NoPlace::TimedOut)?,
        };
        let mut places = vec![first];
        let mut state = self.shared.lock();
        while places.len() < most
            && let Some(place) = self.shared.take(&mut state, name)
        {
            places.push(place);
        }
        Ok(places)
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.shared.lock().taken
    }

    /// A place, or where it will be given.
    fn stand_in_line(&self, name: &str) -> Result<Result<Place, oneshot::Receiver<Place>>, NoPlace> {
        let mut state = self.shared.lock();
        if let Some(place) = self.shared.take(&mut state, name) {
            return Ok(Ok(place));
        }
        let waiting_each = self.shared.limits.waiting_each;
        if waiting_each == 0 {
            return Err(NoPlace::LineIsFull);
        }
        let State { names, turns, .. } = &mut *state;
        let entry = names.entry(name.to_owned()).or_default();
        if entry.waiting.len() >= waiting_each {
            // Who went away is still in the line.
            entry.waiting.retain(|waiting| !waiting.is_closed());
        }
        if entry.waiting.len() >= waiting_each {
            return Err(NoPlace::LineIsFull);
        }
        if entry.waiting.is_empty() && !turns.iter().any(|each| each == name) {
            turns.push_back(name.to_owned());
        }
        let (give, given) = oneshot::channel();
        entry.waiting.push_back(give);
        Ok(Err(given))
    }
}

impl Shared {
    /// A panic elsewhere can't leave the state half changed: nothing else runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, unless there is none, or somebody waits who could have it.
    fn take(self: &Arc<Self>, state: &mut State, name: &str) -> Option<Place> {
        let Limits { places, each, .. } = self.limits;
        let mine = state.names.get(name);
        let ahead = mine.is_some_and(|mine| !mine.waiting.is_empty());
        // With places free, others wait only for places of their own name.
        if state.taken >= places || ahead || mine.is_some_and(|mine| mine.taken >= each) {
            return None;
        }
        state.taken += 1;
        match state.names.get_mut(name) {
            Some(mine) => mine.taken += 1,
            None => drop(state.names.insert(name.to_owned(), Name { taken: 1, ..Name::default() })),
        }
        Some(Place { shared: Some(Arc::clone(self)), name: name.to_owned() })
    }

    /// Gives free places to those who wait, by turns.
    fn give(self: &Arc<Self>, state: &mut State) {
        let Limits { places, each, .. } = self.limits;
        let mut passed = 0;
        while state.taken < places && passed < state.turns.len() {
            let Some(name) = state.turns.pop_front() else { return };
            let Some(entry) = state.names.get_mut(&name) else { continue };
            if entry.taken >= each {
                state.turns.push_back(name);
                passed += 1;
                continue;
            }
            let mut place = Place { shared: Some(Arc::clone(self)), name: name.clone() };
            let given = loop {
                let Some(waiting) = entry.waiting.pop_front() else {
                    // It was never taken: to give it back would ask for the lock that is held.
                    place.shared = None;
                    break false;
                };
                match waiting.send(place) {
                    Ok(()) => break true,
                    Err(back) => place = back,
                }
            };
            if given {
                entry.taken += 1;
                state.taken += 1;
                passed = 0;
            }
            if !entry.waiting.is_empty() {
                state.turns.push_back(name);
            } else if entry.taken == 0 {
                state.names.remove(&name);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.lock();
        state.taken -= 1;
        if let Some(mine) = state.names.get_mut(&self.name) {
            mine.taken -= 1;
            if mine.taken == 0 && mine.waiting.is_empty() {
                state.names.remove(&self.name);
            }
        }
        shared.give(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    fn places(places: usize, each: usize, waiting_each: usize) -> FairPlaces {
        FairPlaces::new(Limits { places, each, waiting_each })
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_bounded_in_length_and_time() {
        let places = places(1, 1, 2);
        let held = places.take("greedy", SOON).await.unwrap();
        let begun = tokio::time::Instant::now();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let places = places.clone();
                tokio::spawn(async move { places.take("greedy", SOON).await.map(drop) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(places.take("greedy", SOON).await.map(drop), Err(NoPlace::LineIsFull));
        assert_eq!(begun.elapsed(), Duration::ZERO, "refused at once");
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(NoPlace::TimedOut));
        }
        assert_eq!(begun.elapsed(), SOON);
        // Those who went away leave room in the line, and no trace when the place is free again.
        let next = tokio::spawn({
            let places = places.clone();
            async move { places.take("greedy", SOON).await.map(drop) }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(next.await.unwrap(), Ok(()));
        assert_eq!(places.taken(), 0);
        assert!(places.shared.lock().names.is_empty() && places.shared.lock().turns.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn names_take_turns_however_much_one_asks_for() {
        let places = places(2, 2, 1000);
        let held = places.take_some("greedy", 10).await.unwrap();
        assert_eq!(held.len(), 2);
        let (order, mut ordered) = tokio::sync::mpsc::unbounded_channel();
        for name in std::iter::repeat_n("greedy", 100).chain(["modest", "modest", "third"]) {
            let (places, order) = (places.clone(), order.clone());
            tokio::spawn(async move {
                let place = places.take(name, Duration::from_secs(60)).await.unwrap();
                order.send(name).unwrap();
                tokio::time::sleep(SOON).await;
                drop(place);
            });
            tokio::task::yield_now().await;
        }
        assert!(places.try_take("fourth").is_none(), "nobody overtakes who waits");
        drop(held);
        drop(order);
        let mut all = Vec::new();
        while let Some(name) = ordered.recv().await {
            all.push(name);
        }
        assert_eq!(all.len(), 103);
        let place = |name: &str| all.iter().rposition(|each| *each == name).unwrap();
        assert!(place("third") < 4 && place("modest") < 6, "{:?}", &all[..8]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_name_has_no_more_than_its_own() {
        let places = places(4, 3, 0);
        let held: Vec<_> = (0..3).map(|_| places.try_take("greedy").unwrap()).collect();
        assert!(places.try_take("greedy").is_none());
        assert_eq!(places.take("greedy", SOON).await.map(drop), Err(NoPlace::LineIsFull));
        assert!(places.try_take("modest").is_some(), "the last is for others");
        drop(held);
        assert!(places.try_take("greedy").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_all_of_its_own_holds_up_nobody() {
        let places = places(2, 1, 10);
        let held = places.try_take("greedy").unwrap();
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take("greedy", Duration::from_secs(9)).await.map(drop) }
        });
        tokio::task::yield_now().await;
        let modest = places.try_take("modest").unwrap();
        drop(modest);
        assert!(!waiting.is_finished());
        drop(held);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
