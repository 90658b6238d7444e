import { expect, test } from "vitest";
import { attention, type Facts } from "./attention";

const lane = (waiting: number) => ({ waiting, oldest_waiting_at: null });
const calm: Facts = {
  errors: 0, stuck: 0, namespace: "default", deadLetters: { count: 0, more: false },
  leaders: [{ name: "duties/0-of-1", candidate: "a", fencing_token: 1, since: "" }],
  services: [{ name: "payments", served: false, workers: 0, backlog: 0 }],
  backlogs: [{ namespace: "other", service: "x", served: false, execute: lane(3), compensate: lane(0) }],
};
const ids = (facts: Partial<Facts>) => attention({ ...calm, ...facts }).map((each) => each.id);

test("nothing needs a person when nothing waits here", () => expect(ids({})).toEqual([]));
test("facts that are not known raise nothing", () =>
  expect(ids({ leaders: undefined, services: undefined, backlogs: undefined, deadLetters: undefined })).toEqual([]));
test("errors come first", () =>
  expect(ids({ errors: 2, leaders: [], stuck: 1, deadLetters: { count: 1, more: true } })).toEqual(["error", "leader", "dead", "stuck"]));
test("unserved service with waiting commands needs a worker", () =>
  expect(ids({ backlogs: [{ namespace: "default", service: "ship", served: false, execute: lane(1), compensate: lane(2) }] }))
    .toEqual(["service-ship"]));
