import { expect, test } from "vitest";
import { formatFilter, parseFilter, withValues } from "./filter";

test.each([
  ["", []],
  ["status = ERROR", [{ field: "status", operator: "=", values: ["ERROR"] }]],
  ['(status = ERROR OR status = PAUSED) AND labels.team = "a b"', [
    { field: "status", operator: "=", values: ["ERROR", "PAUSED"] },
    { field: "labels.team", operator: "=", values: ["a b"] },
  ]],
  ['created_at > "-24h"', [{ field: "created_at", operator: ">", values: ["-24h"] }]],
  ['labels.x = "say \\"hi\\""', [{ field: "labels.x", operator: "=", values: ['say "hi"'] }]],
])("builder shows %s", (text, conditions) => {
  const parsed = parseFilter(text);
  expect(parsed).toEqual(conditions);
  expect(parseFilter(formatFilter(parsed ?? []))).toEqual(conditions);
});

test.each(["NOT status = ERROR", "-status = ERROR", "status = A OR cause = B", "status =", "(status = A", 'x = "', "a = b c = d"])(
  "builder refuses %s", (text) => {
    expect(parseFilter(text)).toBeUndefined();
  });

test("withValues replaces one condition and keeps the others", () => {
  expect(withValues("status = ERROR AND version > 2", "status", ["PAUSED", "QUEUED"]))
    .toBe("version > 2 AND (status = PAUSED OR status = QUEUED)");
  expect(withValues("status = ERROR", "status", [])).toBe("");
});
