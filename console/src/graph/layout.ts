import { Graph, layout as dagreLayout } from "@dagrejs/dagre";
import { GAP, NODE, type SagaGraph } from "./model";

export interface Place {
  x: number;
  y: number;
}

/** Above this number of steps, ranks are computed by the faster algorithm. */
const MANY = 120;

/** Places the steps by their forward edges. Returns the upper left corner of each. */
export function layout(graph: SagaGraph, horizontal: boolean): Map<string, Place> {
  const drawn = new Graph({ directed: true });
  drawn.setGraph({
    rankdir: horizontal ? "LR" : "TB", ranksep: GAP.rank, nodesep: GAP.node, edgesep: 12, marginx: 0, marginy: 0,
    ranker: graph.nodes.length > MANY ? "tight-tree" : "network-simplex",
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
