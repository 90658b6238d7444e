import { Graph, layout as dagreLayout } from "@dagrejs/dagre";
import { GAP, levels, NODE, type SagaGraph } from "./model";

export interface Place {
  x: number;
  y: number;
}

/** Above this number of steps and edges, dagre takes too long. */
const MANY = 350;

/** Places the steps by their forward edges. Returns the upper left corner of each. */
export function layout(graph: SagaGraph, horizontal: boolean): Map<string, Place> {
  if (graph.nodes.length + graph.edges.filter((edge) => edge.kind === "forward").length > MANY) return layered(graph, horizontal);
  const drawn = new Graph({ directed: true });
  drawn.setGraph({
    rankdir: horizontal ? "LR" : "TB", ranksep: GAP.rank, nodesep: GAP.node, edgesep: 12, marginx: 0, marginy: 0,
  });
  drawn.setDefaultEdgeLabel(() => ({}));
  for (const { name } of graph.nodes) drawn.setNode(name, { ...NODE });
  for (const { from, to, kind } of graph.edges) if (kind === "forward") drawn.setEdge(from, to);
  dagreLayout(drawn);
  return new Map(graph.nodes.map(({ name }) => {
    const at = drawn.node(name) as { x?: number; y?: number };
    return [name, { x: (at.x ?? 0) - NODE.width / 2, y: (at.y ?? 0) - NODE.height / 2 }];
  }));
}

/** Places large graphs: each step at the length of its longest path, and next to the steps that it follows. */
function layered(graph: SagaGraph, horizontal: boolean): Map<string, Place> {
  const level = levels(graph);
  const above = new Map<string, string[]>();
  for (const { from, to, kind } of graph.edges) {
    if (kind !== "forward") continue;
    const known = above.get(to);
    if (known) known.push(from);
    else above.set(to, [from]);
  }
  const rows: string[][] = [];
  for (const { name } of graph.nodes) (rows[level.get(name) ?? 0] ??= []).push(name);
  const lane = new Map<string, number>();
  for (const row of rows) {
    const wanted = new Map(row.map((name) => [name, mean((above.get(name) ?? []).map((each) => lane.get(each) ?? 0))]));
    // The order of the definition decides between steps that follow the same ones.
    [...row].sort((a, b) => (wanted.get(a) ?? 0) - (wanted.get(b) ?? 0)).forEach((name, index) => lane.set(name, index - (row.length - 1) / 2));
  }
  const [along, across] = horizontal ? [NODE.width, NODE.height] : [NODE.height, NODE.width];
  return new Map(graph.nodes.map(({ name }) => {
    const [far, side] = [(level.get(name) ?? 0) * (along + GAP.rank), (lane.get(name) ?? 0) * (across + GAP.node)];
    return [name, horizontal ? { x: far, y: side } : { x: side, y: far }];
  }));
}

const mean = (values: readonly number[]) => (values.length === 0 ? 0 : values.reduce((sum, each) => sum + each, 0) / values.length);
