// Differences between two versions of a definition: of the text, line by line, and of the graph.
import type { WorkflowGraph } from "../../api/insight";

export interface DiffLine {
  kind: "same" | "removed" | "added";
  text: string;
  /** Line numbers from 1. */
  before?: number;
  after?: number;
}

/** Above this many pairs of lines, the part that differs is shown as replaced. */
const MAX_PAIRS = 16_000_000;

/** The shortest list of removed and added lines (a longest common subsequence). */
export function diffLines(before: string, after: string): DiffLine[] {
  const a = before.replace(/\n$/, "").split("\n");
  const b = after.replace(/\n$/, "").split("\n");
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const middle = changed(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const kinds = [...Array<"same">(start).fill("same"), ...middle, ...Array<"same">(end).fill("same")];
  let [i, j] = [0, 0];
  return kinds.map((kind): DiffLine => {
    if (kind === "removed") return { kind, text: a[i] ?? "", before: ++i };
    if (kind === "added") return { kind, text: b[j] ?? "", after: ++j };
    return { kind, text: a[i] ?? "", before: ++i, after: ++j };
  });
}

function changed(a: readonly string[], b: readonly string[]): DiffLine["kind"][] {
  const width = b.length + 1;
  if (a.length * b.length > MAX_PAIRS) return [...a.map(() => "removed" as const), ...b.map(() => "added" as const)];
  // length[i * width + j] is the length of the longest common subsequence of a[i..] and b[j..].
  const length = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => length[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) length[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  }
  const kinds: DiffLine["kind"][] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      kinds.push("same");
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && at(i + 1, j) >= at(i, j + 1))) {
      kinds.push("removed");
      i += 1;
    } else {
      kinds.push("added");
      j += 1;
    }
  }
  return kinds;
}

/** A part of a diff: changed lines with their context, or lines that are folded. */
export interface Hunk {
  folded: boolean;
  lines: DiffLine[];
}

export function hunks(lines: readonly DiffLine[], context = 3): Hunk[] {
  const near = lines.map((_, index) => lines.slice(Math.max(0, index - context), index + context + 1).some((line) => line.kind !== "same"));
  const result: Hunk[] = [];
  lines.forEach((line, index) => {
    const folded = !near[index];
    const last = result.at(-1);
    if (last && last.folded === folded) last.lines.push(line);
    else result.push({ folded, lines: [line] });
  });
  return result.map((hunk) => (hunk.folded && hunk.lines.length < 3 ? { ...hunk, folded: false } : hunk));
}

export interface StepChange {
  step: string;
  kind: "added" | "removed" | "changed";
  fields: readonly { name: string; before: string; after: string }[];
}

export interface GraphChanges {
  steps: StepChange[];
  /** Dependencies as `from → to`. */
  addedEdges: string[];
  removedEdges: string[];
}

const FIELDS = ["title", "kind", "action", "compensate", "join", "when", "blocks", "for_each"] as const;

function fieldText(value: unknown): string {
  if (value === undefined || value === null || value === false) return "";
  if (Array.isArray(value)) return value.map((each) => fieldText(each)).join(", ");
  if (typeof value === "object") {
    const condition = value as { expression?: string; holds?: boolean };
    return condition.holds === false ? `!(${condition.expression ?? ""})` : condition.expression ?? "";
  }
  return String(value);
}

export function diffGraphs(before: WorkflowGraph, after: WorkflowGraph): GraphChanges {
  const old = new Map(before.nodes.map((node) => [node.name, node]));
  const next = new Map(after.nodes.map((node) => [node.name, node]));
  const steps: StepChange[] = [];
  for (const node of after.nodes) {
    const previous = old.get(node.name);
    if (!previous) steps.push({ step: node.name, kind: "added", fields: [] });
    else {
      const fields = FIELDS.map((name) => ({ name, before: fieldText(previous[name]), after: fieldText(node[name]) })).filter((field) => field.before !== field.after);
      if (fields.length > 0) steps.push({ step: node.name, kind: "changed", fields });
    }
  }
  for (const node of before.nodes) if (!next.has(node.name)) steps.push({ step: node.name, kind: "removed", fields: [] });
  const edges = (graph: WorkflowGraph) => new Set(graph.edges.map((edge) => `${edge.from} → ${edge.to}`));
  const [oldEdges, newEdges] = [edges(before), edges(after)];
  return {
    steps,
    addedEdges: [...newEdges].filter((edge) => !oldEdges.has(edge)),
    removedEdges: [...oldEdges].filter((edge) => !newEdges.has(edge)),
  };
}
