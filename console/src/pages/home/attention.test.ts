import { expect, test } from "vitest";
import type { Overview } from "../../api/overview";
import { attention, percent } from "./attention";

const calm: Overview = {
  namespace: "default", at: "", workflows: [],
  recent: {
    window_seconds: 3600, sampled: 0, is_complete: true, ended: 0, completed: 0, rolled_back: 0, errors: 0, starts_per_minute: 0,
    failure_ratio: null, undo_ratio: null, duration_p50_ms: null, duration_p99_ms: null,
  },
  errors: { count: 0, workflows: [] }, stuck: { workflows: [] }, paused: 0, backlog: 3,
  services: [
    { service: "payments", backlog: 3, executors: 1, workers: 0, is_served: true },
    { service: "idle", backlog: 0, executors: 0, workers: 0, is_served: false },
  ],
  dead_letters: { count: 0, is_more: false }, elections: { leaders: 4, without_leader: [] }, namespaces: ["default"], queue_switch: null,
};
const ids = (part: Partial<Overview>) => attention({ ...calm, ...part }).map((each) => each.id);

test("nothing needs a person when everything is served", () => expect(ids({})).toEqual([]));
test("parts that the caller may not read raise nothing", () => expect(ids({ dead_letters: null, elections: null })).toEqual([]));
test("errors come first, a switch last", () =>
  expect(ids({
    errors: { count: 2, workflows: [] }, elections: { leaders: 3, without_leader: ["duties/0-of-4"] }, dead_letters: { count: 1, is_more: true },
    queue_switch: { to: "nats", phase: "DRAINING", behind: 1 },
  })).toEqual(["error", "leader", "dead", "switch"]));
test("unserved service with waiting commands needs a worker", () =>
  expect(ids({ services: [{ service: "ship", backlog: 1, executors: 0, workers: 0, is_served: false }] })).toEqual(["service-ship"]));
test("ratios keep a digit while they are small", () => {
  expect(percent(null)).toBe("–");
  expect(percent(0)).toBe("0 %");
  expect(percent(0.004)).toBe("0.4 %");
  expect(percent(0.25)).toBe("25 %");
});
