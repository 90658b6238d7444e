//! What is known of a run, sorted by workflow, so that each promise can be held against it.

use super::replay::Replay;
use super::run::{Effect, Graph, History, Moment, Run, ShownEvent, Took};
use goconductor_saga::{Event, EventKind, Json, Side, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How far the clocks of a run may be apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Two times of different processes that are closer than this are in no order.
    pub tolerance: Duration,
}

impl Default for Clocks {
    /// One machine has one clock; what is written down under its time was read a moment before.
    fn default() -> Self {
        Self { tolerance: Duration::from_millis(1) }
    }
}

/// A run, sorted by workflow.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub(super) run: &'a Run,
    pub(super) cases: BTreeMap<&'a str, Case<'a>>,
    /// Workflows that were listed twice.
    pub(super) twice: BTreeSet<&'a str>,
    /// Effects of workflows that are not there.
    pub(super) strays: Vec<&'a Effect>,
    pub(super) tolerance: i64,
}

/// All that is known of one workflow.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) history: &'a History,
    pub(super) shape: Shape<'a>,
    /// In the order in which they were read; without those that can't be.
    pub(super) events: Vec<Event>,
    /// Events that can't be read, and why.
    pub(super) unread: Vec<String>,
    /// In the order of time.
    pub(super) seen: Vec<Seen<'a>>,
    /// Effects of no step or of no side.
    pub(super) odd: Vec<&'a Effect>,
    /// What the events come to.
    pub(super) after: Replay,
}

/// One request at a participant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) effect: &'a Effect,
    pub(super) step: usize,
    pub(super) side: Side,
    /// The step, with the index of its instance if it has one.
    pub(super) instance: &'a str,
}

impl Seen<'_> {
    pub(super) fn applied(&self, side: Side) -> bool {
        self.side == side && self.effect.effect == Some(Took::Applied)
    }

    /// It was undone, or that there is nothing to undo is remembered.
    pub(super) fn undone(&self) -> bool {
        self.side == Side::Compensate && matches!(self.effect.effect, Some(Took::Applied | Took::Null))
    }

    /// Steps with instances have as many effects as instances: only their keys tell them apart.
    pub(super) fn is_one_of_many(&self) -> bool {
        self.instance.contains('[')
    }
}

/// A graph with what the promises look up in it.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) graph: &'a Graph,
    names: BTreeMap<&'a str, usize>,
    pub(super) depends_on: Vec<Vec<usize>>,
    /// For each step, all that directly or indirectly wait for it.
    pub(super) downstream: Vec<BTreeSet<usize>>,
    pub(super) pivot: Option<usize>,
}

impl<'a> Shape<'a> {
    fn of(graph: &'a Graph) -> Self {
        let count = graph.nodes.len();
        let names: BTreeMap<&str, usize> =
            graph.nodes.iter().map(|node| node.name.as_str()).zip(0..).collect();
        let mut depends_on = vec![Vec::new(); count];
        let mut followers = vec![Vec::new(); count];
        for edge in &graph.edges {
            let ends = (names.get(edge.from.as_str()), names.get(edge.to.as_str()));
            if let (Some(from), Some(to)) = ends {
                if let Some(list) = depends_on.get_mut(*to) {
                    list.push(*from);
                }
                if let Some(list) = followers.get_mut(*from) {
                    list.push(*to);
                }
            }
        }
        let downstream = (0..count).map(|from| reach(from, &followers)).collect();
        let pivot = graph.nodes.iter().position(|node| node.kind == "pivot");
        Self { graph, names, depends_on, downstream, pivot }
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn name(&self, index: usize) -> &'a str {
        self.graph.nodes.get(index).map_or("a step that is not there", |node| node.name.as_str())
    }

    pub(super) fn can_be_undone(&self, index: usize) -> bool {
        self.graph.nodes.get(index).is_some_and(|node| node.compensate.is_some())
    }

    pub(super) fn below(&self, index: usize) -> impl Iterator<Item = usize> {
        self.downstream.get(index).into_iter().flatten().copied()
    }

    pub(super) fn above(&self, index: usize) -> &[usize] {
        self.depends_on.get(index).map_or(&[], Vec::as_slice)
    }
}

fn reach(from: usize, followers: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for next in followers.get(at).into_iter().flatten() {
            if found.insert(*next) {
                open.push(*next);
            }
        }
    }
    found
}

impl<'a> Evidence<'a> {
    /// Sorts a run by workflow.
    #[must_use]
    pub fn new(run: &'a Run, clocks: Clocks) -> Self {
        let mut by_workflow: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
        for effect in &run.effects {
            by_workflow.entry(&effect.workflow).or_default().push(effect);
        }
        let mut cases = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for history in &run.workflows {
            let id = history.id.as_str();
            if cases.contains_key(id) {
                twice.insert(id);
                continue;
            }
            let effects = by_workflow.remove(id).unwrap_or_default();
            cases.insert(id, Case::new(history, effects));
        }
        let strays = by_workflow.into_values().flatten().collect();
        let tolerance = i64::try_from(clocks.tolerance.as_micros()).unwrap_or(i64::MAX);
        Self { run, cases, twice, strays, tolerance }
    }

    /// Whether one request certainly came before another: by the log that both are in, else by the clock.
    pub(super) fn before(&self, one: &Effect, other: &Effect) -> bool {
        if (&one.participant, &one.process) == (&other.participant, &other.process) {
            return one.number < other.number;
        }
        self.earlier(one.at, other.at)
    }

    /// Whether one time is certainly before another.
    pub(super) fn earlier(&self, one: i64, other: i64) -> bool {
        one.saturating_add(self.tolerance) < other
    }
}

impl<'a> Case<'a> {
    fn new(history: &'a History, mut effects: Vec<&'a Effect>) -> Self {
        let shape = Shape::of(&history.graph);
        effects.sort_by_key(|effect| (effect.at, &effect.participant, &effect.process, effect.number));
        let (mut seen, mut odd) = (Vec::new(), Vec::new());
        for effect in effects {
            match see(&shape, effect) {
                Some(one) => seen.push(one),
                None => odd.push(effect),
            }
        }
        let (mut events, mut unread) = (Vec::new(), Vec::new());
        for event in &history.events {
            match read(&shape, event) {
                Ok(event) => events.push(event),
                Err(why) => unread.push(format!("event {} ({}) can't be read: {why}", event.seq, event.kind)),
            }
        }
        let mut after = Replay::of(shape.graph.nodes.len());
        for event in &events {
            after.take(event);
        }
        Self { history, shape, events, unread, seen, odd, after }
    }

    /// Goes along the history: each event, and what the ones before it had come to.
    pub(super) fn walk(&self, mut at: impl FnMut(&Replay, &Event)) {
        let mut replay = Replay::of(self.shape.graph.nodes.len());
        for event in &self.events {
            at(&replay, event);
            replay.take(event);
        }
    }

    /// The steps by number and name, with what the whole history comes to.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, &'a str, &super::replay::Step)> {
        self.after.steps.iter().enumerate().map(|(index, step)| (index, self.shape.name(index), step))
    }

    /// Requests about one side of a step.
    pub(super) fn about(&self, index: usize, side: Side) -> impl Iterator<Item = &Seen<'a>> {
        self.seen.iter().filter(move |seen| seen.step == index && seen.side == side)
    }
}

fn see<'a>(shape: &Shape<'_>, effect: &'a Effect) -> Option<Seen<'a>> {
    let side = match effect.operation.as_str() {
        "execute" => Side::Execute,
        "compensate" => Side::Compensate,
        _ => return None,
    };
    let name = effect.step.split('[').next().unwrap_or_default();
    let rest = effect.key.strip_prefix(effect.workflow.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let instance = rest
        .and_then(|rest| rest.strip_suffix(effect.operation.as_str())?.strip_suffix('/'))
        .filter(|instance| instance.split('[').next() == Some(name))
        .unwrap_or(&effect.step);
    Some(Seen { effect, step: shape.index(name)?, side, instance })
}

/// Fields of an event that are times.
const TIMES: [&str; 5] = ["started_at", "deadline", "doubt_until", "retry_at", "due_at"];

/// The event that the API shows as this one: steps by number, times as numbers.
fn read(shape: &Shape<'_>, shown: &ShownEvent) -> Result<Event, String> {
    let mut fields = match &shown.detail {
        Json::Object(fields) => fields.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            return Err("its detail is no object".to_owned());
        }
    };
    for name in TIMES {
        if let Some(value) = fields.get_mut(name)
            && let Some(time) = value.as_str().and_then(Moment::parse)
        {
            *value = Json::from(time.0);
        }
    }
    if let Some(name) = &shown.step {
        let index = shape.index(name).ok_or_else(|| format!("the definition has no step {name}"))?;
        fields.insert("step".to_owned(), Json::from(index));
    }
    if let Some(attempt) = shown.attempt {
        fields.insert("attempt".to_owned(), Json::from(attempt));
    }
    fields.insert("type".to_owned(), Json::from(shown.kind.as_str()));
    let kind: EventKind = serde_json::from_value(Json::Object(fields)).map_err(|error| error.to_string())?;
    Ok(Event { seq: shown.seq, time: Timestamp(shown.time.0), actor: shown.actor.clone(), kind })
}
