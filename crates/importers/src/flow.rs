//! From transitions between states to sequences and alternatives.
//!
//! The end of an alternative is the nearest state that all its branches reach. A state that only some of the branches
//! share is repeated in each of them.

use crate::ImportProblem;

/// Maximum nesting depth of alternatives, as in definitions.
const MAX_DEPTH: usize = 15;
/// Maximum number of states after repetition.
const MAX_STATES: usize = 1000;

/// The states that follow a state. `None` is the end.
#[derive(Debug, Clone)]
pub(crate) enum StateTransition {
    To(Option<usize>),
    Choice(Vec<Option<usize>>),
    /// The state fails the workflow.
    Stop,
}

impl StateTransition {
    fn targets_mut(&mut self) -> &mut [Option<usize>] {
        match self {
            Self::To(target) => std::slice::from_mut(target),
            Self::Choice(targets) => targets,
            Self::Stop => &mut [],
        }
    }

    fn targets(&self) -> &[Option<usize>] {
        match self {
            Self::To(target) => std::slice::from_ref(target),
            Self::Choice(targets) => targets,
            Self::Stop => &[],
        }
    }
}

/// A state in a sequence, with the sequences of its branches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) state: usize,
    pub(crate) branches: Vec<Vec<Block>>,
}

/// A structured flow.
#[derive(Debug)]
pub(crate) struct StructuredFlow {
    pub(crate) blocks: Vec<Block>,
    /// The number of states, repeated ones included.
    pub(crate) states: usize,
    /// Transitions that lead back to an earlier state, and were removed.
    pub(crate) loops: Vec<(usize, usize)>,
}

/// Structures states, from the first one.
pub(crate) fn structure(
    mut next: Vec<StateTransition>,
    start: usize,
) -> Result<StructuredFlow, ImportProblem> {
    let (order, loops) = remove_loops(&mut next, start);
    let mut shape = Shape { joins: joins(&next, &order), next, states: 0 };
    let blocks = shape.sequence(Some(start), None, 0)?;
    Ok(StructuredFlow { blocks, loops, states: shape.states })
}

/// Removes the transitions to a state that is not finished. Returns the states in post-order.
fn remove_loops(next: &mut [StateTransition], start: usize) -> (Vec<usize>, Vec<(usize, usize)>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; next.len()];
    let (mut order, mut loops, mut stack) = (Vec::new(), Vec::new(), vec![(start, 0_usize)]);
    if let Some(mark) = marks.get_mut(start) {
        *mark = Mark::Open;
    }
    while let Some((state, at)) = stack.pop() {
        let Some(targets) = next.get_mut(state).map(StateTransition::targets_mut) else { continue };
        let Some(target) = targets.get_mut(at) else {
            marks.get_mut(state).into_iter().for_each(|mark| *mark = Mark::Done);
            order.push(state);
            continue;
        };
        stack.push((state, at + 1));
        let Some(to) = *target else { continue };
        match marks.get(to).copied() {
            Some(Mark::New) => {
                marks.get_mut(to).into_iter().for_each(|mark| *mark = Mark::Open);
                stack.push((to, 0));
            }
            Some(Mark::Open) => {
                loops.push((state, to));
                *target = None;
            }
            Some(Mark::Done) => {}
            None => *target = None,
        }
    }
    (order, loops)
}

/// Returns the nearest state that all ways from a state reach, or `None` for the end. Ways that fail do not count.
fn joins(next: &[StateTransition], order: &[usize]) -> Vec<Option<usize>> {
    let mut joins: Vec<Option<usize>> = vec![None; next.len()];
    let mut depths = vec![0_usize; next.len()];
    let mut fails = vec![false; next.len()];
    for &state in order {
        let failing =
            |target: &Option<usize>| target.is_some_and(|to| fails.get(to).copied().unwrap_or_default());
        let all = next.get(state).map_or(&[][..], StateTransition::targets);
        let targets: Vec<Option<usize>> = all.iter().filter(|target| !failing(target)).copied().collect();
        let mut join = targets.first().copied().flatten();
        for &target in targets.iter().skip(1) {
            join = common(join, target, &joins, &depths);
        }
        let is_failing = targets.is_empty();
        fails.get_mut(state).into_iter().for_each(|each| *each = is_failing);
        let depth = join.and_then(|join| depths.get(join)).map_or(1, |depth| depth + 1);
        depths.get_mut(state).into_iter().for_each(|each| *each = depth);
        joins.get_mut(state).into_iter().for_each(|each| *each = join);
    }
    joins
}

fn common(
    mut a: Option<usize>,
    mut b: Option<usize>,
    joins: &[Option<usize>],
    depths: &[usize],
) -> Option<usize> {
    let depth = |state: usize| depths.get(state).copied().unwrap_or_default();
    let up = |state: usize| joins.get(state).copied().flatten();
    while a != b {
        let (left, right) = (a?, b?);
        if depth(left) >= depth(right) {
            a = up(left);
        } else {
            b = up(right);
        }
    }
    a
}

struct Shape {
    next: Vec<StateTransition>,
    joins: Vec<Option<usize>>,
    states: usize,
}

impl Shape {
    fn sequence(
        &mut self,
        from: Option<usize>,
        stop: Option<usize>,
        depth: usize,
    ) -> Result<Vec<Block>, ImportProblem> {
        if depth > MAX_DEPTH {
            let text =
                format!("alternatives are nested more than {MAX_DEPTH} levels deep: split the workflow up");
            return Err(ImportProblem::new("", text));
        }
        let mut blocks = Vec::new();
        let mut current = from;
        while let Some(state) = current.filter(|_| current != stop) {
            self.states += 1;
            if self.states > MAX_STATES {
                let text =
                    format!("the branches repeat more than {MAX_STATES} states: split the workflow up");
                return Err(ImportProblem::new("", text));
            }
            let (branches, following) = match self.next.get(state).cloned() {
                Some(StateTransition::Choice(targets)) => {
                    let join = self.joins.get(state).copied().flatten();
                    let branches = targets.into_iter().map(|target| self.sequence(target, join, depth + 1));
                    (branches.collect::<Result<_, _>>()?, join)
                }
                Some(StateTransition::To(target)) => (Vec::new(), target),
                Some(StateTransition::Stop) | None => (Vec::new(), None),
            };
            blocks.push(Block { state, branches });
            current = following;
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(blocks: &[Block]) -> String {
        let one = |block: &Block| match block.branches.as_slice() {
            [] => block.state.to_string(),
            branches => {
                let inner: Vec<String> = branches.iter().map(|each| shown(each)).collect();
                format!("{}({})", block.state, inner.join("|"))
            }
        };
        blocks.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn branches_end_where_they_meet() {
        let to = |state: usize| StateTransition::To(Some(state));
        let choice = |states: &[usize]| StateTransition::Choice(states.iter().copied().map(Some).collect());
        let end = || StateTransition::To(None);
        for (next, expected) in [
            (vec![to(1), choice(&[2, 3]), to(4), to(4), end()], "0 1(2|3) 4"),
            (vec![choice(&[1, 2]), end(), to(3), end()], "0(1|2 3)"),
            (vec![choice(&[1, 2, 3]), to(4), to(4), end(), end()], "0(1 4|2 4|3)"),
            (vec![choice(&[1, 2]), to(2), end()], "0(1|) 2"),
            (vec![to(1), choice(&[0, 2]), end()], "0 1(|2)"),
            (vec![choice(&[1, 2]), StateTransition::Stop, to(3), end()], "0(1|) 2 3"),
        ] {
            assert_eq!(shown(&structure(next, 0).unwrap().blocks), expected);
        }
    }

    #[test]
    fn many_nested_alternatives_are_refused() {
        let next = (0..60).map(|at| StateTransition::Choice(vec![Some(at + 1), None])).collect();
        assert!(structure(next, 0).is_err());
    }
}
