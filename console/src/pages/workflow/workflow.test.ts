import { expect, test } from "vitest";
import type { Workflow, WorkflowEvent, WorkflowStep } from "../../api/types";
import { explain, failedStep, signalOf, stepVerbs, waits, workflowVerbs } from "./explain";
import { entryOf, filterEntries, summaryOf } from "./history";
import { foldTime, lanesOf, marksOf, placeOf, type Lane } from "./timeline";
import { stepTree } from "./tree";
import type { StepNode } from "../../graph/model";

const step = (name: string, status: string, more: Partial<WorkflowStep> = {}) => ({ name, title: null, kind: "compensatable", action: "s/a", compensate: "s/u", status, attempts: 1, error: null, ...more }) as WorkflowStep;
const workflow = (status: string, steps: WorkflowStep[], more: Partial<Workflow> = {}) => ({ id: "x", status, cause: null, error: null, steps, waiting_on: [], labels: {}, ...more }) as unknown as Workflow;
const refused = { code: "OUT_OF_STOCK", message: "not in stock" };
const undone = { compensation: { queued_at: "2026-01-01T00:00:00Z" } };

test("a rollback names the step that failed, and counts the effects", () => {
  const rolled = workflow("ROLLED_BACK", [step("pay", "COMPENSATED", undone), step("reserve", "FAILED", { title: "Reserve", error: refused })], { cause: "STEP_FAILED", error: refused });
  expect(explain(rolled)).toMatchObject({ tone: "undo", title: "Rolled back because “Reserve” failed", failure: refused, note: "1 effect was undone.", step: "reserve" });
  expect(explain({ ...rolled, cause: "CANCELLED", error: null })?.title).toBe("Rolled back because it was cancelled");
  expect(explain(workflow("COMPLETED", []))).toBeUndefined();
});

test("the step with the error of the workflow is the cause", () => {
  const other = { code: "OTHER", message: "" };
  expect(failedStep(workflow("ROLLED_BACK", [step("a", "FAILED", { error: other }), step("b", "FAILED", { error: refused })], { error: refused }))?.name).toBe("b");
});

test("a failed compensation needs an operator", () => {
  const stuck = workflow("ERROR", [step("pay", "COMPENSATION_FAILED", { ...undone, error: refused })], { cause: "STEP_FAILED" });
  expect(explain(stuck)?.title).toBe("The compensation of “pay” failed");
  expect(stepVerbs(stuck, stuck.steps[0] as WorkflowStep)).toEqual(["retry", "skip", "complete"]);
  expect(workflowVerbs(stuck)).not.toContain("cancel");
});

test("verbs follow the status of the step", () => {
  const verbs = (status: string, more: Partial<WorkflowStep> = {}, of = "IN_PROGRESS") => stepVerbs(workflow(of, []), step("a", status, more));
  expect(verbs("RETRYING")).toContain("retry");
  expect(verbs("COMPLETED")).toEqual([]);
  expect(verbs("IN_PROGRESS", { action: "signal ok" })).toEqual(["skip", "complete"]);
  expect(verbs("FAILED", {}, "ROLLED_BACK")).toEqual([]);
  expect(verbs("FAILED", {}, "ROLLING_BACK")).toEqual([]);
  expect(workflowVerbs(workflow("IN_PROGRESS", [step("p", "COMPLETED", { kind: "pivot" })]))).not.toContain("cancel");
  expect(signalOf("signal ok")).toBe("ok");
  expect(signalOf("payments/charge")).toBeUndefined();
});

test("what is said already is not waited for", () => {
  const waiting = (kind: string) => ({ kind, detail: "" });
  expect(waits(workflow("ERROR", [], { waiting_on: [waiting("OPERATOR"), waiting("IN_FLIGHT"), waiting("SIGNAL")] })).map((each) => each.kind)).toEqual(["SIGNAL", "IN_FLIGHT"]);
  expect(waits(workflow("ERROR", [], { waiting_on: [waiting("IN_FLIGHT"), waiting("OPERATOR"), waiting("OPERATOR")] }))[0]?.kind).toBe("OPERATOR");
});

const event = (seq: number, ms: number, type: string, detail: unknown = {}, more: Partial<WorkflowEvent> = {}): WorkflowEvent => ({ seq, time: new Date(ms).toISOString(), type, step: "a", attempt: 1, detail, actor: null, ...more }) as WorkflowEvent;
const iso = (ms: number) => new Date(ms).toISOString();

test("attempts become segments, with the delay between them", () => {
  const { forward, undo } = lanesOf([
    event(1, 0, "STEP_QUEUED"), event(2, 100, "ATTEMPT_FAILED", { side: "execute", started_at: iso(50), failure: refused, retry_at: iso(300) }),
    event(3, 400, "STEP_COMPLETED", { started_at: iso(300) }, { attempt: 2 }), event(4, 500, "COMPENSATION_QUEUED", { due_at: iso(500) }), event(5, 600, "STEP_COMPENSATED", { started_at: iso(550) }),
  ]);
  expect(forward[0]?.segments.map((each) => [each.kind, each.from, each.to, each.outcome])).toEqual([
    ["queue", 0, 50, undefined], ["attempt", 50, 100, "RETRYING"], ["backoff", 100, 300, undefined], ["attempt", 300, 400, "COMPLETED"],
  ]);
  expect(undo[0]?.segments.map((each) => each.kind)).toEqual(["queue", "attempt"]);
});

test("a running attempt has no end, and a wait ends with its step", () => {
  expect(lanesOf([event(1, 0, "STEP_QUEUED"), event(2, 10, "ATTEMPT_STARTED", { side: "execute", started_at: iso(5) })]).forward[0]?.segments.at(-1)).toEqual({ kind: "attempt", from: 5, attempt: 1 });
  expect(lanesOf([event(1, 0, "STEP_WAITING"), event(2, 10, "STEP_COMPLETED")]).forward[0]?.segments).toMatchObject([{ kind: "wait", from: 0, to: 10, outcome: "COMPLETED" }]);
});

test("long idle time is folded, and places keep their order", () => {
  const lane: Lane = { step: "a", side: "execute", segments: [{ kind: "attempt", from: 0, to: 100, attempt: 1 }, { kind: "backoff", from: 100, to: 3_600_000, attempt: 0 }, { kind: "attempt", from: 3_600_000, to: 3_600_100, attempt: 2 }] };
  const parts = foldTime([lane], 0, 3_600_100);
  expect(parts.map((part) => part.folded)).toEqual([false, true, false]);
  expect(parts.reduce((sum, part) => sum + part.share, 0)).toBeCloseTo(1);
  expect(placeOf(parts, 100)).toBeGreaterThan(0.3);
  expect(placeOf(parts, 3_600_100)).toBeCloseTo(1);
  const marks = marksOf(parts, 0, 6);
  expect(marks.length).toBeGreaterThan(1);
  expect([...marks].sort((a, b) => a.at - b.at)).toEqual(marks);
  expect(foldTime([], 0, 0)).toHaveLength(1);
});

test("events are searched by all words, in both orders", () => {
  const entries = [event(1, 0, "STEP_QUEUED"), event(2, 1, "STEP_FAILED", { failure: refused })].map(entryOf);
  expect(filterEntries(entries, "stock failed", false, false).map((each) => each.event.seq)).toEqual([2]);
  expect(filterEntries(entries, "", true, false).map((each) => each.event.seq)).toEqual([2]);
  expect(filterEntries(entries, "", false, true).map((each) => each.event.seq)).toEqual([2, 1]);
  expect(summaryOf(event(3, 0, "STEP_FAILED", { failure: refused }))).toBe("OUT_OF_STOCK: not in stock");
});

test("steps are nested in their blocks", () => {
  const node = (name: string, blocks: string[]) => ({ name, blocks }) as unknown as StepNode;
  const tree = stepTree([node("a", []), node("b", ["p"]), node("c", ["p", "q"]), node("d", ["p"]), node("e", [])]);
  expect(tree).toHaveLength(3);
  expect(tree[1]).toMatchObject({ block: "p", items: [{ step: { name: "b" } }, { block: "q", items: [{ step: { name: "c" } }] }, { step: { name: "d" } }] });
});
