import { expect, test } from "vitest";
import type { WorkflowGraph } from "../../api/insight";
import { completions, placeAt, type DefinitionSchema } from "./complete";
import { diffGraphs, diffLines, hunks } from "./diff";
import { courseOf, leavesEffects, parseFail, stepOrder, stepsAfter, undoOrder, type Course, type Line } from "./simulation";

const schema: DefinitionSchema = {
  properties: {
    workflow: { type: "string" },
    compensation: { properties: { order: { enum: ["reverse", "parallel"], default: "reverse" }, required: { type: "boolean" } } },
    steps: { $ref: "#/definitions/steps" },
  },
  definitions: {
    steps: { items: { $ref: "#/definitions/step" } },
    step: {
      required: ["name"],
      properties: {
        name: { type: "string" }, kind: { enum: ["pivot", "retriable"] }, depends_on: { items: { type: "string" } },
        retry: { oneOf: [{ const: "forever" }, { properties: { max_attempts: { type: "integer" }, backoff: { enum: ["linear"] } } }] },
        parallel: { additionalProperties: { $ref: "#/definitions/steps" } },
      },
    },
  },
};

/** Completes at the bar. */
function at(text: string): string[] {
  const position = text.indexOf("|");
  return completions(schema, text.replace("|", ""), position).map((each) => each.label);
}

test("keys of a mapping are completed without those that it has", () => {
  expect(at("workflow: a\n|")).toEqual(["compensation", "steps"]);
  expect(at("steps:\n  - name: a\n    |")).toEqual(["kind", "depends_on", "retry", "parallel"]);
  expect(at("steps:\n- name: a\n- |\n")).toEqual(["name", "kind", "depends_on", "retry", "parallel"]);
  expect(at("steps:\n  - name: a\n    retry:\n      max|")).toEqual(["max_attempts", "backoff"]);
  expect(at("steps:\n  - name: a\n    retry: { backoff: linear, |")).toEqual(["max_attempts"]);
  expect(at("steps:\n  - name: p\n    parallel:\n      left:\n        - name: l\n          k|")).toContain("kind");
});

test("values are completed from the schema, dependencies from the steps", () => {
  expect(at("compensation:\n  order: |")).toEqual(["reverse", "parallel"]);
  expect(at("compensation:\n  required: t|")).toEqual(["true", "false"]);
  expect(at("steps:\n  - name: a\n    kind: p|")).toEqual(["pivot", "retriable"]);
  expect(at("steps:\n  - name: a\n  - name: b\n    depends_on: [|")).toEqual(["a", "b"]);
});

test("a place after a nested mapping is outside of it", () => {
  expect(placeAt("steps:\n  - name: a\n    retry:\n      max_attempts: 3\n    ", 58).path).toEqual(["steps", "[]"]);
});

test("lines that differ are the fewest", () => {
  const lines = diffLines("a\nb\nc\nd\n", "a\nc\nx\nd\n");
  expect(lines.map((line) => `${line.kind[0]}${line.text}`)).toEqual(["sa", "rb", "sc", "ax", "sd"]);
  expect(lines.at(-1)).toMatchObject({ before: 4, after: 4 });
  expect(diffLines("", "")).toEqual([{ kind: "same", text: "", before: 1, after: 1 }]);
});

test("unchanged lines far from a change are folded", () => {
  const text = Array.from({ length: 20 }, (_, index) => `line ${index}`);
  const parts = hunks(diffLines(text.join("\n"), [...text.slice(0, 19), "changed"].join("\n")));
  expect(parts.map((part) => [part.folded, part.lines.length])).toEqual([[true, 16], [false, 5]]);
});

test("graphs are compared by steps and dependencies", () => {
  const node = (name: string, action: string) => ({ name, action, kind: "compensatable", join: "all", when: [], blocks: [] });
  const before: WorkflowGraph = { name: "d", version: 1, nodes: [node("a", "s/a"), node("b", "s/b")], edges: [{ from: "a", to: "b" }] };
  const after: WorkflowGraph = { name: "d", version: 2, nodes: [node("a", "s/other"), node("c", "s/c")], edges: [{ from: "a", to: "c" }] };
  const changes = diffGraphs(before, after);
  expect(changes.steps.map((each) => [each.step, each.kind])).toEqual([["a", "changed"], ["c", "added"], ["b", "removed"]]);
  expect(changes.steps[0]?.fields).toEqual([{ name: "action", before: "s/a", after: "s/other" }]);
  expect([changes.addedEdges, changes.removedEdges]).toEqual([["a → c"], ["a → b"]]);
  expect(diffGraphs(before, before)).toEqual({ steps: [], addedEdges: [], removedEdges: [] });
});

const lines: Line[] = [
  { seq: 1, at_ms: 0, type: "WORKFLOW_STARTED", detail: "" },
  { seq: 2, at_ms: 0, type: "STEP_QUEUED", step: "pay", detail: "" },
  { seq: 3, at_ms: 10, type: "STEP_COMPLETED", step: "pay", detail: "attempt 1" },
  { seq: 4, at_ms: 10, type: "STEP_QUEUED", step: "ship", detail: "" },
  { seq: 5, at_ms: 20, type: "STEP_FAILED", step: "ship", detail: "attempt 1, REFUSED: no" },
  { seq: 6, at_ms: 20, type: "ROLLBACK_STARTED", step: "ship", detail: "STEP_FAILED" },
  { seq: 7, at_ms: 20, type: "COMPENSATION_QUEUED", step: "pay", detail: "" },
  { seq: 8, at_ms: 25, type: "ATTEMPT_FAILED", step: "pay", detail: "compensation attempt 1, DOWN: away" },
  { seq: 9, at_ms: 30, type: "STEP_COMPENSATED", step: "pay", detail: "compensation attempt 2" },
];

test("steps of a course have the states of a workflow", () => {
  const nodes = [{ name: "pay" }, { name: "ship" }];
  const statuses = (count: number) => stepsAfter(nodes, lines, count).map((step) => step.status);
  expect(statuses(0)).toEqual(["PENDING", "PENDING"]);
  expect(statuses(4)).toEqual(["COMPLETED", "QUEUED"]);
  expect(statuses(7)).toEqual(["COMPENSATION_QUEUED", "FAILED"]);
  expect(statuses(8)).toEqual(["COMPENSATION_RETRYING", "FAILED"]);
  expect(statuses(9)).toEqual(["COMPENSATED", "FAILED"]);
  expect(stepsAfter(nodes, lines, 9)[0]).toMatchObject({ attempts: 1, compensation_attempts: 2 });
  expect(undoOrder(lines, 9)).toEqual(["pay"]);
});

test("courses are found by step and fault", () => {
  const course = (step: string | null, fault: string | null, standing: string[] = []): Course => ({
    step, fault, standing, end: "ROLLED_BACK", forward: step ? [{ step, status: "FAILED", attempts: 1 }] : [{ step: "pay", status: "COMPLETED", attempts: 1 }],
    undo: [], contradicts: false, events: 1, duration_ms: 1,
  });
  const courses = [course(null, null), course("ship", "refused", ["pay"])];
  expect(stepOrder(courses)).toEqual(["pay", "ship"]);
  expect(courseOf(courses, parseFail("ship=refused"))).toBe(courses[1]);
  expect(courseOf(courses, undefined)).toBe(courses[0]);
  expect(courses.map(leavesEffects)).toEqual([false, true]);
  expect(parseFail("ship=nonsense")).toBeUndefined();
});
