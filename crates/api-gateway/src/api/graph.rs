//! Definitions and workflows as graphs.

use super::workflow_id::parse_id;
use super::{Api, CallContext};
use crate::error::ApiResult;
use crate::view::{action_name, kind_name};
use goconductor_saga::{Definition, Join, RollbackOrder, Side, Step, StepIndex};
use serde::Serialize;
use utoipa::ToSchema;

/// A definition as a graph, with its blocks and defaults expanded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Graph {
    name: String,
    version: u32,
    nodes: Vec<GraphNode>,
    edges: Vec<GraphEdge>,
    /// Order of the compensations: that of `to` follows that of `from`. Steps without a compensation are passed over.
    undo_edges: Vec<GraphEdge>,
    /// `reverse`, or `parallel` if the compensations do not wait for one another
    rollback_order: &'static str,
}

/// A step in a graph.
#[derive(Debug, Serialize, ToSchema)]
struct GraphNode {
    name: String,
    title: Option<String>,
    /// `compensatable`, `pivot`, `retriable`
    kind: &'static str,
    action: String,
    compensate: Option<String>,
    /// `all`, `any`, `settled`
    join: &'static str,
    /// Conditions of the step and of its blocks. The step is skipped unless each of them evaluates to its `holds`.
    when: Vec<GraphCondition>,
    /// Names of the blocks that contain the step, outermost first.
    blocks: Vec<String>,
    /// Whether the step runs for each element of a list.
    for_each: bool,
}

/// A condition of a step.
#[derive(Debug, Serialize, ToSchema)]
struct GraphCondition {
    expression: String,
    holds: bool,
}

/// A dependency between two steps.
#[derive(Debug, Serialize, ToSchema)]
struct GraphEdge {
    from: String,
    to: String,
}

impl Api {
    /// Returns the graph of the definition that a workflow follows.
    pub(crate) async fn workflow_graph(&self, context: &CallContext, id: &str) -> ApiResult<Graph> {
        let loaded = self.load(context, parse_id(id)?).await?;
        let plan = self.engine.plan_of(&loaded.state).await?;
        Ok(graph(plan.definition(), plan.version()))
    }
}

/// Returns the graph of a version of a definition.
pub(super) fn graph(definition: &Definition, version: u32) -> Graph {
    let Definition { name, steps, rollback, .. } = definition;
    let edge = |(from, to): (StepIndex, StepIndex)| {
        let name = |index: StepIndex| steps.get(index.at()).map(|step| step.name.clone());
        Some(GraphEdge { from: name(from)?, to: name(to)? })
    };
    let edges = (0u32..).map(StepIndex).zip(steps).flat_map(|(to, step)| {
        let from = step.depends_on.iter().copied();
        from.map(move |from| (from, to))
    });
    Graph {
        name: name.clone(),
        version,
        nodes: steps.iter().map(node).collect(),
        edges: edges.filter_map(edge).collect(),
        undo_edges: definition.undo_edges().into_iter().filter_map(edge).collect(),
        rollback_order: match rollback.order {
            RollbackOrder::Reverse => "reverse",
            RollbackOrder::Parallel => "parallel",
        },
    }
}

fn node(step: &Step) -> GraphNode {
    let conditions = step
        .when
        .iter()
        .map(|condition| GraphCondition { expression: condition.expression.clone(), holds: condition.holds });
    GraphNode {
        name: step.name.clone(),
        title: step.title.clone(),
        kind: kind_name(step.kind),
        action: action_name(step.performed_action(Side::Execute).unwrap_or(&step.action)),
        compensate: step.performed_action(Side::Compensate).map(action_name),
        join: match step.join {
            Join::All => "all",
            Join::Any => "any",
            Join::Settled => "settled",
        },
        when: conditions.collect(),
        blocks: step.blocks.clone(),
        for_each: step.for_each.is_some(),
    }
}
