import { expect, test, vi } from "vitest";
import { problemOf, toApiError } from "./problem";
import { permissionsOf, type Session } from "./access";
import { throttle } from "./live";
import { baseOf, namespaceOf } from "./session";
import { backoff, SseParser } from "./sse";

test("SSE messages are parsed across chunks", () => {
  const parser = new SseParser();
  expect(parser.push("event: workflow\nda")).toEqual([]);
  expect(parser.push('ta: {"id":"a"}\n\n: comment\n\nid: 7\nevent: x\ndata: 1\n\n')).toEqual([
    { id: "", event: "workflow", data: { id: "a" } },
    { id: "7", event: "x", data: 1 },
  ]);
});

test("backoff grows to its limit and keeps half of the delay", () => {
  expect(backoff(0, 0)).toBe(250);
  expect(backoff(3, 1)).toBe(4_000);
  expect(backoff(50, 1)).toBe(15_000);
});

test("throttled_call_is_never_lost", () => {
  vi.useFakeTimers();
  const run = vi.fn();
  const throttled = throttle(run, 100);
  throttled.call();
  throttled.call();
  throttled.call();
  expect(run).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(100);
  expect(run).toHaveBeenCalledTimes(2);
  vi.advanceTimersByTime(1_000);
  expect(run).toHaveBeenCalledTimes(2);
  vi.useRealTimers();
});

test("problem body keeps code, detail and places", () => {
  const problem = problemOf(422, { title: "t", detail: "d", code: "GC1004", retryable: false, trace_id: "x", errors: [{ pointer: "/a", code: "GC1", detail: "e", line: 2 }] });
  expect(problem).toMatchObject({ status: 422, code: "GC1004", detail: "d", traceId: "x" });
  expect(problem.errors[0]?.line).toBe(2);
  expect(problemOf(502, "<html>").code).toBe("");
  expect(toApiError(new TypeError("failed to fetch")).retryable).toBe(true);
});

test("namespace is the prefix of the path", () => {
  expect(namespaceOf("/ui/workflows")).toBe("default");
  expect(namespaceOf("/ui/ns/team-a/workflows")).toBe("team-a");
  expect(baseOf("team-a")).toBe("/ui/ns/team-a");
  expect(baseOf("default")).toBe("/ui");
});

test("actions need the permission, unless access control is off", () => {
  const session = { access_control: true, permissions: ["workflows.read"] } as unknown as Session;
  expect(permissionsOf(session).can("workflows.read")).toBe(true);
  expect(permissionsOf(session).can("workflows.operate")).toBe(false);
  expect(permissionsOf({ ...session, access_control: false }).can("workflows.operate")).toBe(true);
  expect(permissionsOf(null).can("workflows.operate")).toBe(true);
  expect(permissionsOf(undefined)).toMatchObject({ known: false });
});
