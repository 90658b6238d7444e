//! An upper bound of the work of a validation, from the schema alone.
//!
//! A validator may evaluate a schema once for each way that leads to it. The bound follows every way: it adds the
//! schemas that apply to the same value, and takes the largest sum over the children that a value can have. It is
//! computed for each depth of the input, because a recursive schema can multiply the ways at each level.

use super::graph::{SchemaGraph, SchemaVertex};
use super::rates::WorkRates;
use goconductor_saga::Json;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The deepest input. A request with a deeper one is refused before.
const MAX_INPUT_DEPTH: usize = 128;
/// Maximum steps to compute a bound. A schema with 1,000 properties and 100 references takes less than a tenth.
const MAX_BOUND_STEPS: usize = 4_000_000;

/// The work that each value of an input causes at most, by its depth in the input.
#[derive(Debug)]
pub(super) struct WorkBound {
    /// Index 0 is the root. A value below the last entry causes no work.
    by_depth: Vec<WorkRates>,
}

/// A schema without a bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoBound {
    /// The schema applies to the same value as itself.
    Endless,
    /// The bound takes too long to compute.
    TooLarge,
}

/// The schemas that apply to a child, with the number of times.
type ChildSchemas = Vec<(usize, u64)>;

/// A schema with everything that applies to the same value.
#[derive(Debug, Default)]
struct AppliedSchemas {
    rates: WorkRates,
    /// For each kind of child, such as the property `a` or any other item.
    children: BTreeSet<ChildSchemas>,
}

impl WorkBound {
    /// Computes the bound of a schema.
    pub(super) fn new(graph: &SchemaGraph) -> Result<Self, NoBound> {
        let order = SameOrder::new(graph)?;
        let mut steps = MAX_BOUND_STEPS;
        let mut heads: Vec<AppliedSchemas> = Vec::new();
        let mut known = HashMap::from([(0, 0)]);
        let mut pending = vec![0];
        while let Some(vertex) = pending.pop() {
            let head = order.head(graph, vertex, &mut steps)?;
            for (child, _) in head.children.iter().flatten() {
                let next = known.len();
                if *known.entry(*child).or_insert(next) == next {
                    pending.push(*child);
                }
            }
            let index = known.get(&vertex).copied().unwrap_or_default();
            if heads.len() <= index {
                heads.resize_with(index + 1, AppliedSchemas::default);
            }
            if let Some(place) = heads.get_mut(index) {
                *place = head;
            }
        }
        let mut by_depth = Vec::new();
        let mut rates: Vec<WorkRates> = heads.iter().map(|head| head.rates).collect();
        for _ in 0..MAX_INPUT_DEPTH {
            by_depth.push(rates.first().copied().unwrap_or_default());
            let cost: usize = heads.iter().flat_map(|head| &head.children).map(Vec::len).sum();
            steps = steps.checked_sub(cost).ok_or(NoBound::TooLarge)?;
            rates = heads.iter().map(|head| head.below(&rates, &known)).collect();
            if rates.iter().all(|rates| rates.checks == 0) {
                break;
            }
        }
        Ok(Self { by_depth })
    }

    /// Returns the largest amounts of any depth.
    pub(super) fn largest(&self) -> WorkRates {
        self.by_depth.iter().fold(WorkRates::default(), |mut largest, rates| {
            largest.raise_to(*rates);
            largest
        })
    }

    /// Returns the work of an input, and the number of nested calls.
    pub(super) fn of(&self, input: &Json) -> (u64, u64) {
        let mut profile = Vec::new();
        measure(input, 0, &mut profile);
        let (mut work, mut frames, mut below) = (0_u64, 0, 0_u64);
        for (depth, level) in profile.iter().enumerate().rev() {
            below = below.saturating_add(level.values).saturating_add(level.text / 64);
            let Some(rates) = self.by_depth.get(depth) else { continue };
            frames = frames.max(rates.frames);
            for (rate, amount) in
                [(rates.checks, level.values), (rates.text, level.text / 64 + 1), (rates.below, below)]
            {
                work = work.saturating_add(rate.saturating_mul(amount));
            }
        }
        (work, frames)
    }
}

/// The values of one depth of an input.
#[derive(Debug, Clone, Copy, Default)]
struct InputLevel {
    values: u64,
    /// Bytes of texts and of property names.
    text: u64,
}

fn measure(value: &Json, depth: usize, profile: &mut Vec<InputLevel>) {
    let mut add = |depth: usize, values, text: &str| {
        if profile.len() <= depth {
            profile.resize(depth + 1, InputLevel::default());
        }
        if let Some(level) = profile.get_mut(depth) {
            level.values += values;
            level.text += u64::try_from(text.len()).unwrap_or(u64::MAX);
        }
    };
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => add(depth, 1, ""),
        Json::String(text) => add(depth, 1, text),
        Json::Array(items) => {
            add(depth, 1, "");
            items.iter().for_each(|item| measure(item, depth + 1, profile));
        }
        Json::Object(entries) => {
            add(depth, 1, "");
            for (name, _) in entries {
                add(depth + 1, 0, name);
            }
            entries.values().for_each(|value| measure(value, depth + 1, profile));
        }
    }
}

impl AppliedSchemas {
    /// Returns the work one level below what `rates` has.
    fn below(&self, rates: &[WorkRates], known: &HashMap<usize, usize>) -> WorkRates {
        let mut largest = WorkRates::default();
        for schemas in &self.children {
            let mut sum = WorkRates::default();
            for (child, times) in schemas {
                let index = known.get(child).copied().unwrap_or_default();
                sum.add(rates.get(index).copied().unwrap_or_default(), *times);
            }
            largest.raise_to(sum);
        }
        if largest.checks > 0 {
            largest.frames = largest.frames.saturating_add(self.rates.frames);
        }
        largest
    }
}

/// The order in which schemas apply to the same value.
struct SameOrder {
    /// The position of each vertex: a schema is before those that it applies to the same value.
    position: Vec<usize>,
    /// The longest chain of schemas that starts at each vertex.
    chain: Vec<u64>,
}

impl SameOrder {
    fn new(graph: &SchemaGraph) -> Result<Self, NoBound> {
        let mut order =
            Self { position: vec![usize::MAX; graph.vertices.len()], chain: vec![0; graph.vertices.len()] };
        let mut open = vec![false; graph.vertices.len()];
        let mut last = graph.vertices.len();
        for root in 0..graph.vertices.len() {
            // A vertex is on the stack twice: to enter it, and to leave it after everything that it leads to.
            let mut stack = vec![(root, false)];
            while let Some((vertex, leaves)) = stack.pop() {
                let same = graph.vertices.get(vertex).map_or(&[][..], |vertex| vertex.same.as_slice());
                if leaves {
                    last -= 1;
                    set(&mut order.position, vertex, last);
                    set(&mut open, vertex, false);
                    let longest = same.iter().map(|next| get(&order.chain, *next)).max();
                    set(&mut order.chain, vertex, longest.unwrap_or(0) + 1);
                } else if get(&open, vertex) {
                    return Err(NoBound::Endless);
                } else if get(&order.position, vertex) == usize::MAX {
                    set(&mut open, vertex, true);
                    stack.push((vertex, true));
                    stack.extend(same.iter().map(|next| (*next, false)));
                }
            }
        }
        Ok(order)
    }

    /// Returns a schema with everything that applies to the same value.
    fn head(&self, graph: &SchemaGraph, vertex: usize, steps: &mut usize) -> Result<AppliedSchemas, NoBound> {
        let mut head = AppliedSchemas::default();
        let mut applied: Vec<(&SchemaVertex, u64)> = Vec::new();
        let mut times = BTreeMap::from([((get(&self.position, vertex), vertex), 1_u64)]);
        while let Some(((_, vertex), count)) = times.pop_first() {
            let Some(schema) = graph.vertices.get(vertex) else { continue };
            *steps = steps.checked_sub(1 + schema.same.len()).ok_or(NoBound::TooLarge)?;
            let chain = get(&self.chain, vertex);
            head.rates.add(WorkRates { frames: chain, ..schema.rates }, count);
            // Each level of the chain can evaluate the levels below it again.
            let again = if schema.evaluates_again { count.saturating_mul(chain) } else { count };
            for next in &schema.same {
                let total = times.entry((get(&self.position, *next), *next)).or_default();
                *total = total.saturating_add(again);
            }
            applied.push((schema, count));
        }
        head.add_properties(&applied, steps)?;
        head.add_items(&applied, steps)?;
        Ok(head)
    }
}

impl AppliedSchemas {
    fn add_properties(&mut self, applied: &[(&SchemaVertex, u64)], steps: &mut usize) -> Result<(), NoBound> {
        let names: BTreeSet<&String> =
            applied.iter().flat_map(|(schema, _)| schema.properties.keys()).collect();
        // The last one stands for every name that no schema has.
        for name in names.into_iter().map(Some).chain([None]) {
            self.add_child(applied, steps, |schema| {
                let named = name.and_then(|name| schema.properties.get(name)).copied();
                (named.or(schema.other_properties), &schema.each_property)
            })?;
        }
        Ok(())
    }

    fn add_items(&mut self, applied: &[(&SchemaVertex, u64)], steps: &mut usize) -> Result<(), NoBound> {
        let positions = applied.iter().map(|(schema, _)| schema.positions.len()).max().unwrap_or(0);
        // The last one stands for every item after the positions.
        for position in 0..=positions {
            self.add_child(applied, steps, |schema| {
                (schema.positions.get(position).copied().or(schema.other_items), &schema.each_item)
            })?;
        }
        Ok(())
    }

    fn add_child<'v>(
        &mut self,
        applied: &[(&'v SchemaVertex, u64)],
        steps: &mut usize,
        schemas: impl Fn(&'v SchemaVertex) -> (Option<usize>, &'v [usize]),
    ) -> Result<(), NoBound> {
        let mut child: BTreeMap<usize, u64> = BTreeMap::new();
        for (schema, count) in applied {
            let (one, each) = schemas(schema);
            *steps = steps.checked_sub(1 + each.len()).ok_or(NoBound::TooLarge)?;
            for index in one.iter().chain(each) {
                let total = child.entry(*index).or_default();
                *total = total.saturating_add(*count);
            }
        }
        if !child.is_empty() {
            self.children.insert(child.into_iter().collect());
        }
        Ok(())
    }
}

/// Returns the length of the longest path through the schemas, which bounds the recursion of the compiler. Schemas on
/// and above a cycle count as one path.
pub(super) fn longest_path(graph: &SchemaGraph) -> usize {
    let next = |vertex: &SchemaVertex| -> Vec<usize> {
        let lists = [&vertex.same, &vertex.each_property, &vertex.positions, &vertex.each_item];
        let single = [vertex.other_properties, vertex.other_items];
        let named = vertex.properties.values().copied();
        lists.into_iter().flatten().copied().chain(single.into_iter().flatten()).chain(named).collect()
    };
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); graph.vertices.len()];
    let mut open: Vec<usize> = Vec::new();
    for (index, vertex) in graph.vertices.iter().enumerate() {
        let next = next(vertex);
        open.push(next.len());
        for used in next {
            if let Some(users) = users.get_mut(used) {
                users.push(index);
            }
        }
    }
    let mut lengths = vec![0_usize; graph.vertices.len()];
    let mut ready: Vec<usize> = (0..open.len()).filter(|index| get(&open, *index) == 0).collect();
    let (mut done, mut longest) = (0, 0);
    while let Some(index) = ready.pop() {
        done += 1;
        let length = get(&lengths, index) + 1;
        longest = longest.max(length);
        for user in users.get(index).into_iter().flatten() {
            let left = get(&open, *user) - 1;
            set(&mut open, *user, left);
            let known = get(&lengths, *user);
            set(&mut lengths, *user, known.max(length));
            if left == 0 {
                ready.push(*user);
            }
        }
    }
    longest + (graph.vertices.len() - done)
}

fn get<T: Copy + Default>(list: &[T], index: usize) -> T {
    list.get(index).copied().unwrap_or_default()
}

fn set<T>(list: &mut [T], index: usize, value: T) {
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
}
