//! A run under construction. It is correct at first and can be changed to contain an error.

use super::life::{Call, Life};
use super::noise::Noise;
use super::shown;
use goconductor_harness::check::{Doctor, Effect, EffectKind, Fence, LedgerRow, Run, Start, UtcTime, digest};
use goconductor_saga::{Event, EventKind, Plan, Side, State, StepIndex, Timestamp, WorkflowId, evolve};
use serde_json::json;

/// The start time of the first workflow of a run.
const BEGUN: i64 = 1_760_000_000_000_000;

#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) cases: Vec<Case>,
    pub(crate) run: Run,
}

/// A workflow of a run.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) plan: Plan,
    pub(crate) events: Vec<Event>,
    pub(crate) key: Option<String>,
}

impl Draft {
    /// Creates a run that meets every guarantee.
    pub(crate) fn right(seed: u64) -> Self {
        let mut noise = Noise(seed ^ 0x5eed);
        let replicas = if noise.once_in(4) { 2 } else { 1 };
        let mut draft = Self { cases: Vec::new(), run: Run::default() };
        let mut rows = Vec::new();
        for number in 0..1 + noise.below(3) {
            let id = WorkflowId(format!("0199c000-0000-7000-8000-{number:012}").parse().unwrap());
            let (definition, input) = (format!("w{number}"), json!({"order": number, "seed": seed}));
            let begun = BEGUN + noise.micros(2000);
            let life = Life::live(noise.next(), id, &definition, &input, begun);
            let key = (!noise.once_in(4)).then(|| format!("order-{number}"));
            let calls = life.calls.iter().map(|call| effect(&life, id, replicas, call));
            draft.run.effects.extend(calls);
            rows.extend(life.rows().into_iter().map(|row| LedgerRow { workflow: id.to_string(), key: row }));
            draft.run.starts.push(Start {
                key: key.clone(),
                definition,
                input: digest(&input),
                // The response to some starts is lost.
                acknowledged: (!noise.once_in(5)).then(|| id.to_string()),
                at: UtcTime(begun - noise.micros(10)),
            });
            let case = Case { plan: life.plan, events: life.events, key };
            draft.run.workflows.push(shown::history(&case.plan, &case.events, case.key.clone()));
            draft.cases.push(case);
        }
        if noise.once_in(3) {
            // A start without a response that started nothing.
            draft.run.starts.push(Start {
                key: noise.once_in(2).then(|| "lost".to_owned()),
                definition: "w0".to_owned(),
                input: digest(&json!(null)),
                acknowledged: None,
                at: UtcTime(BEGUN),
            });
        }
        let checked = u64::try_from(draft.cases.len()).unwrap();
        draft.run.doctor = Some(Doctor { checked, ..Doctor::default() });
        draft.run.ledger = Some(rows);
        draft.relog();
        draft
    }

    /// Updates the view of a workflow from its events.
    pub(crate) fn show(&mut self, at: usize) {
        let case = &mut self.cases[at];
        for (event, seq) in case.events.iter_mut().zip(1..) {
            event.seq = seq;
        }
        self.run.workflows[at] = shown::history(&case.plan, &case.events, case.key.clone());
    }

    /// Numbers the lines of the effect logs by time.
    pub(crate) fn relog(&mut self) {
        let effects = &mut self.run.effects;
        effects.sort_by(|one, other| (&one.process, one.at).cmp(&(&other.process, other.at)));
        let mut last = (String::new(), 0);
        for effect in effects {
            last = if last.0 == effect.process { (last.0, last.1 + 1) } else { (effect.process.clone(), 1) };
            effect.number = last.1;
        }
    }

    pub(crate) fn id(&self, at: usize) -> String {
        self.run.workflows[at].id.clone()
    }

    pub(crate) fn status(&self, at: usize) -> &str {
        &self.run.workflows[at].view.status
    }

    /// A workflow that meets a condition.
    pub(crate) fn one(&self, noise: &mut Noise, holds: impl Fn(&Self, usize) -> bool) -> Option<usize> {
        let those: Vec<usize> = (0..self.cases.len()).filter(|at| holds(self, *at)).collect();
        noise.pick(&those).copied()
    }

    /// An event that meets a condition, as indexes of its workflow and of the event.
    pub(crate) fn event(
        &self,
        noise: &mut Noise,
        holds: impl Fn(&Case, usize, &EventKind) -> bool,
    ) -> Option<(usize, usize)> {
        let mut those = Vec::new();
        for (at, case) in self.cases.iter().enumerate() {
            let events = case.events.iter().enumerate();
            those.extend(
                events.filter(|(nth, event)| holds(case, *nth, &event.kind)).map(|(nth, _)| (at, nth)),
            );
        }
        noise.pick(&those).copied()
    }

    /// The index of an effect that meets a condition.
    pub(crate) fn line(
        &self,
        noise: &mut Noise,
        holds: impl Fn(&Self, usize, &Effect) -> bool,
    ) -> Option<usize> {
        let case = |effect: &Effect| {
            self.run.workflows.iter().position(|workflow| workflow.id == effect.workflow).unwrap()
        };
        let lines = self.run.effects.iter().enumerate();
        let those: Vec<usize> =
            lines.filter(|(_, effect)| holds(self, case(effect), effect)).map(|(at, _)| at).collect();
        noise.pick(&those).copied()
    }

    /// The effects of one side of a step.
    pub(crate) fn lines(&self, at: usize, step: StepIndex, side: Side) -> Vec<usize> {
        let (id, name) = (self.id(at), self.cases[at].name(step).to_owned());
        let lines = self.run.effects.iter().enumerate();
        lines
            .filter(|(_, line)| line.workflow == id && line.step == name && line.operation == side.as_str())
            .map(|(at, _)| at)
            .collect()
    }
}

impl Case {
    pub(crate) fn name(&self, step: StepIndex) -> &str {
        &self.plan.step(step).unwrap().name
    }

    /// The state before an event.
    pub(crate) fn before(&self, nth: usize) -> Option<State> {
        self.events[..nth].iter().fold(None, evolve)
    }

    pub(crate) fn state(&self) -> State {
        self.before(self.events.len()).unwrap()
    }

    /// Inserts an event with the time of the previous one.
    pub(crate) fn insert(&mut self, nth: usize, kind: EventKind) {
        let time = self.events[nth - 1].time;
        self.events.insert(nth, Event { seq: 0, time, actor: None, sealed: None, kind });
    }

    /// Moves an event to an earlier index, with the time of the event before it.
    pub(crate) fn bring_forward(&mut self, from: usize, to: usize) {
        let mut event = self.events.remove(from);
        event.time = Timestamp(self.events[to - 1].time.0);
        self.events.insert(to, event);
    }

    /// Whether no operator supplied an outcome of a step.
    pub(crate) fn is_by_itself(&self, step: StepIndex) -> bool {
        !self.events.iter().any(|event| {
            event.kind.step() == Some(step)
                && match &event.kind {
                    EventKind::StepSkipped { why, .. } => why == "OPERATOR",
                    EventKind::StepCompleted { reason, .. }
                    | EventKind::StepFailed { reason, .. }
                    | EventKind::StepCompensated { reason, .. } => reason.is_some(),
                    EventKind::CompensationSkipped { .. } => true,
                    _ => false,
                }
        })
    }

    pub(crate) fn step_of(&self, effect: &Effect) -> StepIndex {
        self.plan.step_named(&effect.step).unwrap()
    }
}

fn effect(life: &Life, id: WorkflowId, replicas: u32, call: &Call) -> Effect {
    let name = life.plan.step(call.step).unwrap().name.clone();
    Effect {
        participant: name.clone(),
        process: format!("{name}-{}", call.attempt % replicas),
        number: 0,
        at: call.at,
        workflow: id.to_string(),
        operation: call.side.as_str().to_owned(),
        key: life.plan.idempotency_key(id, call.step, call.side),
        step: name,
        attempt: call.attempt,
        effect: call.effect,
        // A lock of this workflow, held from its start to its end.
        fence: (call.effect == Some(EffectKind::Applied))
            .then(|| Fence { lock: format!("account/{id}"), token: 7 }),
        answered: None,
    }
}
