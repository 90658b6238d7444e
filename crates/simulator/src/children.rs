//! The children of a simulated workflow.
//!
//! The elements of a step with `for_each` run in simulations of their own, as in the engine. A child with a definition of
//! its own is played by the driver, like a participant: its definition is not known here, and only its outcome matters.

use crate::attempt::SimulatedAttempt;
use crate::call::{NextActivity, SimulatedCall};
use crate::engine::{ElementOwner, ElementRun, Simulation, Turn, check};
use crate::error::Error;
use goconductor_saga::{
    ChildEnd, ElementExpressions, Elements, Expressions, Failure, Input, Outcome, OwedKey, Parent, Phase,
    RollbackCause, Side, StartChild, StartWorkflow, Step, StepIndex, StepState, StepStatus, TimerKind,
    Timestamp, WorkflowId,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The service of a call that stands for a child workflow. No service can have this name.
const CHILD_SERVICE: &str = "child-";
/// Maximum elements of a list that is simulated.
const MAX_ELEMENTS: u64 = 1000;
/// How long a child may take.
const CHILD_TIME: Duration = Duration::from_secs(3600);

/// The step of a child whose row is due.
struct ChildStep {
    step: StepIndex,
    attempt: u32,
    known: Option<WorkflowId>,
    executes: bool,
    wanted: bool,
}

impl Simulation {
    /// Evaluates rules. The expressions of elements refer to the workflow that has their step.
    pub(crate) fn with_expressions<T>(&self, rules: impl FnOnce(&dyn Expressions) -> T) -> T {
        match &self.owner {
            Some(owner) => {
                rules(&ElementExpressions::new(self.expressions.as_ref(), &owner.plan, &owner.state))
            }
            None => rules(self.expressions.as_ref()),
        }
    }

    /// Returns the simulations of the elements of steps.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Simulation> {
        self.members.iter().map(|member| &*member.simulation)
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut Simulation> {
        self.members.iter_mut().map(|member| &mut *member.simulation)
    }

    /// Returns the simulation that a call of an element belongs to, and the call as it sees it.
    pub(crate) fn member_of(&mut self, call: &SimulatedCall) -> Option<(&mut Simulation, SimulatedCall)> {
        let (first, rest) = call.path.split_first()?;
        let member = self.members.iter_mut().rev().find(|member| member.step == *first)?;
        Some((&mut member.simulation, SimulatedCall { path: rest.to_vec(), ..call.clone() }))
    }

    /// Returns the member with the next event, and its time.
    pub(crate) fn first_member(&self) -> Option<(Timestamp, usize)> {
        let times = self.members.iter().enumerate();
        times.filter_map(|(position, member)| Some((member.simulation.next_at()?, position))).min()
    }

    /// Lets a member do one thing.
    pub(crate) fn member_turn(&mut self, position: usize) -> Result<Turn, Error> {
        let Some(member) = self.members.get_mut(position) else { return Ok(Turn::Went) };
        let step = member.step;
        if let Turn::Stopped(NextActivity::Call(mut call)) = member.simulation.turn()? {
            call.path.insert(0, step);
            return Ok(Turn::Stopped(NextActivity::Call(call)));
        }
        self.report_member(position)?;
        Ok(Turn::Went)
    }

    /// Acts on the row of a child. Returns the call if the driver plays the child.
    pub(crate) fn drive_child(&mut self, step: StepIndex) -> Result<Option<SimulatedCall>, Error> {
        // The row is due again when the workflow changes what it wants of the child.
        self.ledger.release(&OwedKey::Timer(TimerKind::StepChild(step)), None);
        let plan = Arc::clone(&self.plan);
        let (Some(definition), Some(state)) = (plan.step(step), self.state.step(step)) else {
            return Ok(None);
        };
        let Some(child) = definition.action.child() else { return Ok(None) };
        let is_undone = state.compensation.is_some_and(StepStatus::is_open);
        let task = ChildStep {
            step,
            attempt: state.execute.attempt(),
            known: state.child,
            executes: state.execution.is_open(),
            wanted: self.state.wants_execute(step),
        };
        if !task.executes && !is_undone {
            return Ok(None);
        }
        let part = Elements::parse(&child.workflow);
        if definition.for_each.is_some() || part.is_some() {
            self.drive_elements(&task, part)?;
            return Ok(None);
        }
        self.drive_played(&task, definition, &child.workflow)
    }

    fn drive_played(
        &mut self,
        task: &ChildStep,
        definition: &Step,
        workflow: &str,
    ) -> Result<Option<SimulatedCall>, Error> {
        let side = if task.executes { Side::Execute } else { Side::Compensate };
        let running = self.attempts.iter().position(|each| each.step == task.step && each.side == side);
        if task.executes && !task.wanted {
            if let Some(position) = running {
                self.attempts.remove(position);
            }
            let cancelled = Failure::of("CHILD_ROLLED_BACK", "the child was cancelled with its parent");
            let input = match task.known {
                Some(_) => self.child_ended(task, ChildEnd::RolledBack { failure: cancelled }),
                None => Input::WithdrawCommand { step: task.step, attempt: task.attempt },
            };
            self.submit(&input)?;
            return Ok(None);
        }
        if running.is_some() {
            return Ok(None);
        }
        if task.executes && task.known.is_none() {
            let child = nested_id(self.state.id, task.step, task.attempt);
            self.submit(&Input::ChildStarted { step: task.step, attempt: task.attempt, child })?;
        }
        let number = self.state.step(task.step).map_or(1, |state| state.progress(side).attempt());
        self.attempts.push(SimulatedAttempt::of_child(task.step, side, number, self.now, CHILD_TIME));
        let input = self.with_expressions(|expressions| {
            self.plan.command_input(&self.state, task.step, Side::Execute, expressions)
        });
        Ok(Some(SimulatedCall {
            step: task.step,
            path: Vec::new(),
            name: definition.name.clone(),
            side,
            attempt: number,
            service: CHILD_SERVICE.to_owned(),
            operation: workflow.to_owned(),
            key: self.plan.idempotency_key(self.state.known_id(), task.step, side),
            input: input.unwrap_or_default(),
            timeout: CHILD_TIME,
            is_probe: false,
        }))
    }

    fn child_ended(&self, task: &ChildStep, end: ChildEnd) -> Input {
        let child = self.state.step(task.step).and_then(|state| state.child);
        Input::ChildEnded { step: task.step, attempt: task.attempt, child, end }
    }

    /// Returns the input that ends a child that the driver plays.
    pub(crate) fn played_child_ended(&self, step: StepIndex, side: Side, outcome: Outcome) -> Input {
        let state = self.state.step(step);
        let attempt = state.map_or(1, |state| state.execute.attempt());
        let child = state.and_then(|state| state.child);
        Input::ChildEnded { step, attempt, child, end: child_end(side, outcome) }
    }

    fn drive_elements(&mut self, task: &ChildStep, part: Option<Elements>) -> Result<(), Error> {
        let same = |member: &ElementRun| match task.known {
            Some(known) => member.simulation.state().id == known,
            None => member.step == task.step && member.attempt == task.attempt,
        };
        let Some(position) = self.members.iter().position(same) else {
            return self.start_elements(task, part);
        };
        let Some(member) = self.members.get_mut(position) else { return Ok(()) };
        let phase = member.simulation.state().phase;
        let reason = Some("the parent workflow rolls back".to_owned());
        let input = match phase {
            Phase::Completed if !task.executes => {
                Some(Input::RollBack { cause: RollbackCause::Parent, actor: None, reason })
            }
            Phase::Queued | Phase::InProgress if !task.executes || !task.wanted => {
                Some(Input::Cancel { actor: None, reason })
            }
            Phase::Completed
            | Phase::Queued
            | Phase::InProgress
            | Phase::RollingBack
            | Phase::RolledBack
            | Phase::Terminated => None,
        };
        if let Some(input) = input {
            member.simulation.now = member.simulation.now.max(self.now);
            member.simulation.submit(&input)?;
        }
        self.report_member(position)
    }

    fn start_elements(&mut self, task: &ChildStep, part: Option<Elements>) -> Result<(), Error> {
        let (step, attempt) = (task.step, task.attempt);
        if !task.wanted {
            self.submit(&Input::WithdrawCommand { step, attempt })?;
            return Ok(());
        }
        let owner = self.owner.clone().unwrap_or_else(|| ElementOwner {
            plan: Arc::clone(&self.plan),
            state: Arc::new(self.state.clone()),
        });
        let of = part.as_ref().and_then(|part| owner.plan.step_named(&part.step)).unwrap_or(step);
        let started = owner.plan.start_of_elements(&owner.state, of, part, self.expressions.as_ref());
        if let Ok((elements, _)) = &started {
            check("elements of a list", elements.count().into(), MAX_ELEMENTS)?;
        }
        let started = started.map(|(elements, input)| (owner.plan.of_elements(&elements), input));
        let (plan, input) = match started {
            Ok((Some(plan), input)) => (Arc::new(plan), input),
            Ok((None, _)) => return Ok(()),
            Err(failure) => {
                let input = self.child_ended(task, ChildEnd::Refused { failure });
                self.submit(&input)?;
                return Ok(());
            }
        };
        let id = nested_id(self.state.id, step, attempt);
        let depth = self.state.parent.map_or(0, |parent| parent.depth).saturating_add(1);
        let elements_of = Some(self.state.known_id());
        let generation = self.state.step(step).map_or(0, |step| step.generation);
        let parent = Parent { id: self.state.id, step, attempt, depth, elements_of, generation };
        let begin = StartWorkflow {
            id,
            namespace: self.state.namespace.clone(),
            input,
            labels: BTreeMap::new(),
            actor: None,
            trace: None,
        };
        let child = StartChild { parent, withdrawn: false };
        let simulation = Self::start_nested(self, plan, &begin, child, owner);
        self.submit(&Input::ChildStarted { step, attempt, child: id })?;
        self.members.push(ElementRun { step, attempt, simulation: Box::new(simulation) });
        // An empty list ends at once.
        self.report_member(self.members.len().saturating_sub(1))
    }

    /// Notifies the workflow that a member has ended, if the workflow waits for it.
    fn report_member(&mut self, position: usize) -> Result<(), Error> {
        let Some(member) = self.members.get(position) else { return Ok(()) };
        let (step, attempt, child) = (member.step, member.attempt, Some(member.simulation.state().id));
        let Some(end) = ChildEnd::of(member.simulation.state()) else { return Ok(()) };
        let waits = |state: &StepState| {
            state.execution.is_open() || state.compensation.is_some_and(StepStatus::is_open)
        };
        if self.state.step(step).is_some_and(waits) {
            // The completion that is being rolled back is refused.
            self.submit(&Input::ChildEnded { step, attempt, child, end })?;
        }
        Ok(())
    }
}

/// Returns how a child ended that the driver plays.
fn child_end(side: Side, outcome: Outcome) -> ChildEnd {
    match (side, outcome) {
        (Side::Execute, Outcome::Done { output }) => ChildEnd::Completed { output: Arc::new(output) },
        (Side::Execute, Outcome::OutputRejected { failure }) => ChildEnd::OutputRejected { failure },
        (Side::Execute, Outcome::Unknown { failure, .. }) => ChildEnd::Terminated { failure, in_doubt: true },
        (
            Side::Execute,
            Outcome::Refused { failure } | Outcome::Retryable { failure, .. } | Outcome::NotSent { failure },
        ) => ChildEnd::RolledBack { failure },
        (Side::Compensate, Outcome::Done { .. }) => {
            ChildEnd::RolledBack { failure: Failure::of("CHILD_ROLLED_BACK", "the child was rolled back") }
        }
        (
            Side::Compensate,
            Outcome::Refused { failure }
            | Outcome::Retryable { failure, .. }
            | Outcome::NotSent { failure }
            | Outcome::Unknown { failure, .. }
            | Outcome::OutputRejected { failure },
        ) => ChildEnd::Refused { failure },
    }
}

/// Returns the id of the child of a step.
fn nested_id(parent: WorkflowId, step: StepIndex, attempt: u32) -> WorkflowId {
    let own = (u128::from(step.0) << 16 | u128::from(attempt)) << 1 | 1;
    // An odd factor, so that no two steps of a workflow have the same child.
    WorkflowId(Uuid::from_u128(parent.0.as_u128().wrapping_mul(0x1_0000_0000_0001).wrapping_add(own)))
}
