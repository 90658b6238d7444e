//! A run, sorted by workflow for the checks.

use super::replay::Replay;
use super::run::{Effect, EffectKind, Graph, History, Run, ShownEvent, UtcTime};
use goconductor_saga::{Event, EventKind, Json, Side, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The maximum difference between the clocks of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Times of different processes that differ by less than this are unordered.
    pub tolerance: Duration,
}

impl Default for Clocks {
    /// One machine has one clock. A recorded time was read shortly before it was written.
    fn default() -> Self {
        Self { tolerance: Duration::from_millis(1) }
    }
}

/// A run, sorted by workflow.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub(super) run: &'a Run,
    pub(super) cases: BTreeMap<&'a str, Case<'a>>,
    /// Workflows that were listed duplicates.
    pub(super) duplicates: BTreeSet<&'a str>,
    /// Effects of unknown workflows.
    pub(super) unknown_effects: Vec<&'a Effect>,
    /// Effects of elements that no workflow ran.
    pub(super) unknown_elements: Vec<&'a Effect>,
    pub(super) tolerance: i64,
}

/// The record of one workflow.
///
/// An effect of an element of a step with `for_each` belongs to two cases: to that of the workflow that has the step, whose
/// id participants know, and to that of the workflow that ran the element, whose history has its attempts.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) history: &'a History,
    pub(super) shape: Shape<'a>,
    /// The events in the order of the history, without unreadable events.
    pub(super) events: Vec<Event>,
    /// Unreadable events with the reason.
    pub(super) unread: Vec<String>,
    /// The requests in order of time.
    pub(super) seen: Vec<Seen<'a>>,
    /// Effects of an unknown step or operation.
    pub(super) odd: Vec<&'a Effect>,
    /// The state after all events.
    pub(super) after: Replay,
}

/// One request at a participant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) effect: &'a Effect,
    pub(super) step: usize,
    pub(super) side: Side,
    /// The step, with the index of its instance if any.
    pub(super) instance: &'a str,
}

impl Seen<'_> {
    pub(super) fn applied(&self, side: Side) -> bool {
        self.side == side && self.effect.effect == Some(EffectKind::Applied)
    }

    /// Whether the effect was undone, or recorded as a compensate without an execute.
    pub(super) fn undone(&self) -> bool {
        self.side == Side::Compensate
            && matches!(self.effect.effect, Some(EffectKind::Applied | EffectKind::Null))
    }

    /// Whether the request is about an element of a step with `for_each`. Another workflow ran it, unless it is asked of
    /// the case of that workflow.
    pub(super) fn is_of_element(&self) -> bool {
        self.instance.contains('[')
    }
}

/// A graph with indexes for the checks.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) graph: &'a Graph,
    names: BTreeMap<&'a str, usize>,
    pub(super) depends_on: Vec<Vec<usize>>,
    /// The direct and indirect dependents of each step.
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
        self.graph.nodes.get(index).map_or("an unknown step", |node| node.name.as_str())
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
        let families = Families::of(run);
        let mut by_workflow: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
        let mut unknown_elements = Vec::new();
        // A probe has no effect.
        for effect in run.effects.iter().filter(|effect| effect.operation != "probe") {
            by_workflow.entry(&effect.workflow).or_default().push(effect);
            if effect.step.contains('[') {
                match families.runner_of(effect) {
                    Some(id) => by_workflow.entry(id).or_default().push(effect),
                    None => unknown_elements.push(effect),
                }
            }
        }
        let mut cases = BTreeMap::new();
        let mut duplicates = BTreeSet::new();
        for history in &run.workflows {
            let id = history.id.as_str();
            if cases.contains_key(id) {
                duplicates.insert(id);
                continue;
            }
            let effects = by_workflow.remove(id).unwrap_or_default();
            cases.insert(id, Case::new(history, effects));
        }
        let unknown_effects = by_workflow.into_values().flatten().collect();
        let tolerance = i64::try_from(clocks.tolerance.as_micros()).unwrap_or(i64::MAX);
        Self { run, cases, duplicates, unknown_effects, unknown_elements, tolerance }
    }

    /// The children of a step, as far as the run has them.
    pub(super) fn children(&self, case: &Case<'a>, index: usize) -> impl Iterator<Item = &Case<'a>> {
        let name = case.shape.name(index);
        let children = case.history.view.children.iter();
        children
            .filter(move |child| child.step.as_deref() == Some(name))
            .filter_map(|child| self.cases.get(child.id.as_str()))
    }

    /// Whether `one` certainly preceded `other`. Lines of one log are ordered by number, others by time.
    pub(super) fn before(&self, one: &Effect, other: &Effect) -> bool {
        if (&one.participant, &one.process) == (&other.participant, &other.process) {
            return one.number < other.number;
        }
        self.earlier(one.at, other.at)
    }

    /// Whether one time certainly precedes another.
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
                Err(why) => {
                    unread.push(format!("event {} ({}) cannot be read: {why}", event.seq, event.kind))
                }
            }
        }
        let mut after = Replay::of(shape.graph.nodes.len());
        for event in &events {
            after.take(event);
        }
        Self { history, shape, events, unread, seen, odd, after }
    }

    /// Calls `at` with each event and the state before it.
    pub(super) fn walk(&self, mut at: impl FnMut(&Replay, &Event)) {
        let mut replay = Replay::of(self.shape.graph.nodes.len());
        for event in &self.events {
            at(&replay, event);
            replay.take(event);
        }
    }

    /// The steps with index, name and final state.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, &'a str, &super::replay::Step)> {
        self.after.steps.iter().enumerate().map(|(index, step)| (index, self.shape.name(index), step))
    }

    /// The requests whose commands are in this history.
    pub(super) fn own(&self) -> impl Iterator<Item = &Seen<'a>> {
        let runs_elements = self.history.view.runs_elements();
        self.seen.iter().filter(move |seen| runs_elements || !seen.is_of_element())
    }

    /// The requests for one side of a step.
    pub(super) fn about(&self, index: usize, side: Side) -> impl Iterator<Item = &Seen<'a>> {
        self.seen.iter().filter(move |seen| seen.step == index && seen.side == side)
    }
}

/// The workflows that ran elements, by the workflow that has the step and by the element.
struct Families<'a> {
    runners: BTreeMap<(&'a str, &'a str), Vec<&'a History>>,
}

impl<'a> Families<'a> {
    fn of(run: &'a Run) -> Self {
        let by_id: BTreeMap<&str, &History> =
            run.workflows.iter().map(|history| (history.id.as_str(), history)).collect();
        let mut runners: BTreeMap<(&str, &str), Vec<&History>> = BTreeMap::new();
        for history in run.workflows.iter().filter(|history| history.view.runs_elements()) {
            let Some(owner) = owner(history, &by_id) else { continue };
            for step in &history.view.steps {
                runners.entry((owner, &step.name)).or_default().push(history);
            }
        }
        for of_element in runners.values_mut() {
            of_element.sort_by_key(|history| history.view.created_at);
        }
        Self { runners }
    }

    /// The workflow that ran the element. An operator can let a step run again, in another workflow. The last one that
    /// existed at the time of the effect ran it.
    fn runner_of(&self, effect: &'a Effect) -> Option<&'a str> {
        let runners = self.runners.get(&(effect.workflow.as_str(), effect.step.as_str()))?;
        let existed = |history: &&&History| history.view.created_at.0 <= effect.at;
        runners.iter().rfind(existed).or(runners.first()).map(|history| history.id.as_str())
    }
}

/// The workflow whose step has the elements that a workflow runs.
fn owner<'a>(history: &'a History, by_id: &BTreeMap<&'a str, &'a History>) -> Option<&'a str> {
    let mut at = history;
    // A branch starts the leaves, which run the elements.
    for _ in 0..=2 {
        let parent = at.view.parent.as_ref()?;
        match by_id.get(parent.id.as_str()) {
            Some(above) if above.view.runs_elements() => at = *above,
            Some(_) | None => return Some(&parent.id),
        }
    }
    None
}

fn see<'a>(shape: &Shape<'_>, effect: &'a Effect) -> Option<Seen<'a>> {
    let side = match effect.operation.as_str() {
        "execute" => Side::Execute,
        "compensate" => Side::Compensate,
        _ => return None,
    };
    let base = |text: &'a str| text.split('[').next().unwrap_or_default();
    let name = base(&effect.step);
    let rest = effect.key.strip_prefix(effect.workflow.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let instance = rest
        .and_then(|rest| rest.strip_suffix(effect.operation.as_str())?.strip_suffix('/'))
        .filter(|instance| base(instance) == name)
        .unwrap_or(&effect.step);
    // A workflow that runs elements has a step for each.
    let step = shape.index(&effect.step).or_else(|| shape.index(name))?;
    Some(Seen { effect, step, side, instance })
}

/// The fields of an event that contain times.
const TIMES: [&str; 6] = ["started_at", "deadline", "doubt_until", "retry_at", "due_at", "until"];

/// Converts an event of the API to an event of the engine, with the index of the step and numeric times.
fn read(shape: &Shape<'_>, shown: &ShownEvent) -> Result<Event, String> {
    let mut fields = match &shown.detail {
        Json::Object(fields) => fields.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            return Err("its detail is not an object".to_owned());
        }
    };
    for name in TIMES {
        if let Some(value) = fields.get_mut(name)
            && let Some(time) = value.as_str().and_then(UtcTime::parse)
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
    Ok(Event {
        seq: shown.seq,
        time: Timestamp(shown.time.0),
        actor: shown.actor.clone(),
        sealed: None,
        kind,
    })
}
