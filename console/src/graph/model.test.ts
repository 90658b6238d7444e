import { expect, test } from "vitest";
import type { GraphNode, WorkflowGraph } from "../api/insight";
import type { WorkflowStep } from "../api/types";
import { layout } from "./layout";
import { isHorizontal, levels, sagaGraph, undoEdges, undoPlaces } from "./model";

const node = (name: string, compensate: string | null = `undo/${name}`): GraphNode => ({ name, title: null, kind: "compensatable", action: `do/${name}`, compensate, join: "all", when: [], blocks: [] });
const step = (name: string, status: string, more: Partial<WorkflowStep> = {}): WorkflowStep => ({
  name, title: null, kind: "compensatable", action: "", compensate: null, status, attempts: 1, compensation_attempts: 0, output: null, error: null, ...more,
} as WorkflowStep);
const at = (second: number) => `2026-01-01T00:00:0${second}Z`;
const diamond: WorkflowGraph = {
  name: "d", version: 1, nodes: [node("a"), node("b"), node("c", null), node("d")],
  edges: [{ from: "a", to: "b" }, { from: "a", to: "c" }, { from: "b", to: "d" }, { from: "c", to: "d" }],
};

test("compensations follow the nearest ones downstream", () => {
  expect(undoEdges(diamond)).toEqual([{ from: "b", to: "a" }, { from: "d", to: "a" }, { from: "d", to: "b" }]);
});

test("places follow the order of the rollback, and issued compensations come first", () => {
  const undo = undoEdges(diamond);
  const all = new Set(["a", "b", "d"]);
  expect(Object.fromEntries(undoPlaces(undo, all, new Map()))).toEqual({ d: 1, b: 2, a: 3 });
  expect(Object.fromEntries(undoPlaces(undo, all, new Map([["d", 5], ["b", 5]])))).toEqual({ d: 1, b: 1, a: 2 });
  // Steps without a completed effect pass the order on.
  expect(undoPlaces(undo, new Set(["a", "b"]), new Map()).get("a")).toBe(2);
});

test("edges and nodes show what happened", () => {
  const graph = sagaGraph(diamond, [
    step("a", "COMPENSATED", { compensation: { queued_at: at(5), started_at: at(5), ended_at: at(6) } }),
    step("b", "COMPENSATED", { compensation: { queued_at: at(4), started_at: at(4), ended_at: at(5) } }),
    step("c", "SKIPPED"), step("d", "FAILED"),
  ]);
  const state = (from: string, to: string, kind: string) => graph.edges.find((edge) => edge.from === from && edge.to === to && edge.kind === kind)?.state;
  expect(state("a", "b", "forward")).toBe("taken");
  expect(state("a", "c", "forward")).toBe("skipped");
  expect(state("b", "a", "undo")).toBe("taken");
  expect(graph.nodes.map((each) => each.undoPlace)).toEqual([2, 1, undefined, undefined]);
  expect(graph.nodes[0]).toMatchObject({ undoIssued: true, title: "a" });
});

test("the failed step leads to the first compensations where no undo edge does", () => {
  const graph: WorkflowGraph = { name: "g", version: 1, nodes: [node("a"), node("b", null)], edges: [{ from: "a", to: "b" }] };
  const edges = sagaGraph(graph, [step("a", "COMPENSATING", { compensation: { queued_at: at(1) } }), step("b", "FAILED")]).edges;
  expect(edges.filter((edge) => edge.kind === "undo")).toEqual([{ from: "b", to: "a", kind: "undo", state: "running" }]);
});

test("undo edges pass over steps without an effect", () => {
  const graph: WorkflowGraph = {
    name: "g", version: 1, nodes: [node("a"), node("b"), node("c"), node("d")],
    edges: [{ from: "a", to: "b" }, { from: "b", to: "c" }, { from: "c", to: "d" }],
  };
  const undo = (steps?: WorkflowStep[]) => sagaGraph(graph, steps).edges.filter((edge) => edge.kind === "undo").map(({ from, to, state }) => `${from} ${to} ${state}`);
  const done = { compensation: { queued_at: at(1), started_at: at(1), ended_at: at(2) } };
  expect(undo([step("a", "COMPENSATED", done), step("b", "SKIPPED"), step("c", "FAILED"), step("d", "PENDING")])).toEqual(["c a taken"]);
  expect(undo([step("a", "COMPLETED"), step("b", "SKIPPED"), step("c", "IN_PROGRESS"), step("d", "PENDING")])).toEqual(["c a planned", "d c planned"]);
});

test("a parallel rollback has one place", () => {
  const graph = sagaGraph({ ...diamond, rollback_order: "parallel" });
  expect(graph.nodes.map((each) => each.undoPlace)).toEqual([1, 1, undefined, 1]);
});

test("a large graph is placed level by level", () => {
  const names = Array.from({ length: 400 }, (_, index) => `s${index}`);
  const graph: WorkflowGraph = { name: "g", version: 1, nodes: names.map((name) => node(name, null)), edges: names.slice(2).map((to, index) => ({ from: `s${index}`, to })) };
  const places = layout(sagaGraph(graph), true);
  expect(places.size).toBe(400);
  expect(new Set([...places.values()].map(({ x, y }) => `${x},${y}`)).size).toBe(400);
  expect(places.get("s2")?.x).toBeGreaterThan(places.get("s0")?.x ?? 0);
  // Each chain stays in its lane.
  expect(places.get("s398")?.y).toBe(places.get("s0")?.y);
});

test("layout places each step once, along its direction", () => {
  const graph = sagaGraph(diamond);
  expect(Object.fromEntries(levels(graph))).toEqual({ a: 0, b: 1, c: 1, d: 2 });
  expect(isHorizontal(graph, 1200, 500)).toBe(true);
  expect(isHorizontal(graph, 300, 1200)).toBe(false);
  const places = layout(graph, true);
  const x = (name: string) => places.get(name)?.x ?? 0;
  expect(x("a")).toBeLessThan(x("b"));
  expect(x("b")).toBe(x("c"));
  expect(places.get("b")?.y).not.toBe(places.get("c")?.y);
});
