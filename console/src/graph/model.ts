// A saga as a graph, without drawing: what each step and each edge shows.
import type { Edge, WorkflowGraph } from "../api/insight";
import type { WorkflowStep } from "../api/types";

export type Way = "forward" | "undo" | "both";

export interface Counts {
  total: number;
  ended: number;
}

export interface StepNode {
  name: string;
  title: string;
  kind: string;
  action: string;
  compensate: string | null;
  forEach: boolean;
  blocks: readonly string[];
  conditions: readonly string[];
  join: string;
  /** Absent in the graph of a definition. */
  status?: string;
  attempts: number;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
  /** The elements of a step with `for_each`, by their workflows. */
  elements?: Counts;
  /** The place of the compensation in the order of the rollback, from 1. Equal places run at the same time. */
  undoPlace?: number;
  /** Whether the compensation was issued, and not only planned. */
  undoIssued: boolean;
  undoEndedAt?: string | undefined;
  undoStartedAt?: string | undefined;
}

export interface StepEdge extends Edge {
  kind: "forward" | "undo";
  state: "taken" | "running" | "planned" | "skipped";
}

export interface SagaGraph {
  nodes: readonly StepNode[];
  edges: readonly StepEdge[];
  /** Whether the steps have statuses: the graph is that of a workflow. */
  live: boolean;
}

const NOT_RUN = new Set(["PENDING", "SKIPPED"]);
const UNDONE = "COMPENSATED";

/** The edges between compensations: each follows the nearest ones downstream. */
export function undoEdges(graph: WorkflowGraph): Edge[] {
  const compensated = new Set(graph.nodes.filter((node) => node.compensate).map((node) => node.name));
  const above = new Map<string, string[]>();
  for (const { from, to } of graph.edges) above.set(to, [...(above.get(to) ?? []), from]);
  return graph.nodes.filter((node) => compensated.has(node.name)).flatMap(({ name }) => {
    const found: Edge[] = [];
    const seen = new Set<string>();
    const next = [...(above.get(name) ?? [])];
    for (let at = next.pop(); at !== undefined; at = next.pop()) {
      if (seen.has(at)) continue;
      seen.add(at);
      if (compensated.has(at)) found.push({ from: name, to: at });
      else next.push(...(above.get(at) ?? []));
    }
    return found;
  });
}

/** The place of each compensation, from 1: first those that were issued, by time, then the planned ones. */
export function undoPlaces(undo: readonly Edge[], candidates: ReadonlySet<string>, issuedAt: ReadonlyMap<string, number>): Map<string, number> {
  const times = [...new Set(issuedAt.values())].sort((a, b) => a - b);
  const places = new Map([...issuedAt].map(([name, time]) => [name, times.indexOf(time) + 1]));
  const before = new Map<string, string[]>();
  for (const { from, to } of undo) before.set(to, [...(before.get(to) ?? []), from]);
  const visiting = new Set<string>();
  const place = (name: string): number => {
    const known = places.get(name);
    if (known !== undefined) return known;
    if (visiting.has(name)) return times.length;
    visiting.add(name);
    const previous = Math.max(times.length, ...(before.get(name) ?? []).map(place));
    visiting.delete(name);
    // A step that is not undone passes the order on.
    if (!candidates.has(name)) return previous;
    places.set(name, previous + 1);
    return previous + 1;
  };
  for (const name of candidates) place(name);
  return places;
}

/** Joins the graph of a definition with the steps of a workflow. `elements` counts the workflows of each `for_each`. */
export function sagaGraph(graph: WorkflowGraph, steps?: readonly WorkflowStep[], elements?: ReadonlyMap<string, Counts>): SagaGraph {
  const byName = new Map(steps?.map((step) => [step.name, step]));
  const issued = new Map<string, number>();
  const candidates = new Set<string>();
  for (const node of graph.nodes) {
    const step = byName.get(node.name);
    if (step?.compensation) issued.set(node.name, Date.parse(step.compensation.queued_at ?? step.compensation.started_at ?? "") || 0);
    if (node.compensate && (!step || !["FAILED", "SKIPPED"].includes(step.status))) candidates.add(node.name);
  }
  // Where a rollback has begun, only effects are undone: a step that never ran is not part of the plan.
  if (issued.size > 0) for (const name of candidates) if (byName.get(name)?.status === "PENDING") candidates.delete(name);
  const without = graph.nodes.map((node) => node.name).filter((name) => {
    const status = byName.get(name)?.status;
    return status === "SKIPPED" || (issued.size > 0 && status === "PENDING");
  });
  const undo = passOver(graph.undo_edges ?? undoEdges(graph), new Set(without));
  const order = graph.rollback_order === "parallel" ? [] : undo;
  const places = undoPlaces(order, candidates, issued);
  const nodes = graph.nodes.map((node): StepNode => {
    const step = byName.get(node.name);
    const counts = elements?.get(node.name);
    const place = places.get(node.name);
    return {
      name: node.name, title: node.title || node.name, kind: node.kind, action: node.action, compensate: node.compensate ?? null,
      forEach: node.for_each === true, blocks: node.blocks, join: node.join,
      conditions: node.when.map((each) => (each.holds ? each.expression : `!(${each.expression})`)),
      attempts: step?.attempts ?? 0, startedAt: step?.started_at ?? step?.queued_at ?? undefined, endedAt: step?.ended_at ?? undefined,
      undoIssued: issued.has(node.name), undoEndedAt: step?.compensation?.ended_at ?? undefined,
      undoStartedAt: step?.compensation?.started_at ?? step?.compensation?.queued_at ?? undefined,
      ...(step && { status: step.status }), ...(counts && { elements: counts }), ...(place !== undefined && { undoPlace: place }),
    };
  });
  const edges = [
    ...graph.edges.map((edge): StepEdge => ({ ...edge, kind: "forward", state: forwardState(byName.get(edge.from), byName.get(edge.to)) })),
    ...[...undo, ...triggers(graph, byName, undo, issued)].map((edge): StepEdge => ({ ...edge, kind: "undo", state: undoState(byName.get(edge.from), byName.get(edge.to)) })),
  ];
  return { nodes, edges, live: steps !== undefined };
}

/** The edges between the compensations that are left: those before and after a step of `without` follow one another. */
function passOver(edges: readonly Edge[], without: ReadonlySet<string>): readonly Edge[] {
  if (without.size === 0) return edges;
  const after = new Map<string, string[]>();
  for (const { from, to } of edges) after.set(from, [...(after.get(from) ?? []), to]);
  return [...after.keys()].filter((from) => !without.has(from)).flatMap((from) => {
    const found: Edge[] = [];
    const seen = new Set<string>();
    const next = [...(after.get(from) ?? [])];
    for (let to = next.pop(); to !== undefined; to = next.pop()) {
      if (seen.has(to)) continue;
      seen.add(to);
      if (without.has(to)) next.push(...(after.get(to) ?? []));
      else found.push({ from, to });
    }
    return found;
  });
}

/** Edges from the step that failed to the compensations that run first, where no other edge leads to them. */
function triggers(graph: WorkflowGraph, steps: ReadonlyMap<string, WorkflowStep>, undo: readonly Edge[], issued: ReadonlyMap<string, number>): Edge[] {
  const failed = graph.nodes.filter((node) => ["FAILED", "UNKNOWN"].includes(steps.get(node.name)?.status ?? ""));
  const origin = failed[0];
  if (!origin || issued.size === 0) return [];
  const led = new Set(undo.filter(({ from }) => issued.has(from) || from === origin.name).map(({ to }) => to));
  return [...issued.keys()].filter((name) => !led.has(name) && name !== origin.name).map((to) => ({ from: origin.name, to }));
}

function forwardState(from: WorkflowStep | undefined, to: WorkflowStep | undefined): StepEdge["state"] {
  if (!from || !to) return "taken";
  if (from.status === "SKIPPED" || to.status === "SKIPPED") return "skipped";
  if (NOT_RUN.has(from.status) || NOT_RUN.has(to.status)) return "planned";
  return ["QUEUED", "IN_PROGRESS", "RETRYING"].includes(to.status) ? "running" : "taken";
}

function undoState(from: WorkflowStep | undefined, to: WorkflowStep | undefined): StepEdge["state"] {
  if (!from || !to) return "planned";
  if (to.status === UNDONE || to.status === "COMPENSATION_FAILED") return "taken";
  return to.compensation ? "running" : "planned";
}

/** Whether a graph of this shape is drawn from left to right. It is, if it is larger on the screen then. */
export function isHorizontal(graph: SagaGraph, width: number, height: number): boolean {
  const level = levels(graph);
  const count = new Map<number, number>();
  for (const value of level.values()) count.set(value, (count.get(value) ?? 0) + 1);
  const [long, wide] = [count.size, Math.max(1, ...count.values())];
  const zoom = (across: number, down: number) => Math.min(1, width / across, height / down);
  const [w, h] = [NODE.width, NODE.height];
  return zoom(long * (w + GAP.rank), wide * (h + GAP.node)) >= zoom(wide * (w + GAP.node), long * (h + GAP.rank)) * 0.9;
}

export const NODE = { width: 240, height: 84 } as const;
export const GAP = { rank: 60, node: 40 } as const;

/** The length of the longest path to each step. */
export function levels(graph: SagaGraph): Map<string, number> {
  const above = new Map<string, string[]>();
  for (const { from, to, kind } of graph.edges) if (kind === "forward") above.set(to, [...(above.get(to) ?? []), from]);
  const known = new Map<string, number>();
  // The steps are in topological order.
  for (const { name } of graph.nodes) known.set(name, 1 + Math.max(-1, ...(above.get(name) ?? []).map((each) => known.get(each) ?? 0)));
  return known;
}
