import { beforeEach, expect, test } from "vitest";
import type { WorkflowSummary } from "../../api/types";
import { freezeTimes, targetFilters, textToType } from "./selection";
import { formatSort, parseSort, sortedIds } from "./sort";
import { columnsOf, DEFAULT_COLUMNS } from "./columns";
import { removeView, savedViews, saveView } from "./views";

const NOW = Date.parse("2026-01-31T12:00:00Z");

test.each([
  ['created_at > "-24h"', 'created_at > "2026-01-30T12:00:00.000Z"'],
  ["status = ERROR AND ended_at<-5m", 'status = ERROR AND ended_at<"2026-01-31T11:55:00.000Z"'],
  ['labels.note = "created at -24h"', 'labels.note = "created at -24h"'],
  ['(created_at >= "-1500ms")', '(created_at >= "2026-01-31T11:59:58.500Z")'],
])("relative times of %s are frozen", (filter, frozen) => expect(freezeTimes(filter, NOW)).toBe(frozen));

test("all that match are those that existed then", () => {
  const until = 'created_at <= "2026-01-31T12:00:00.000Z"';
  expect(targetFilters({ kind: "all", filter: "" }, NOW)).toEqual([until]);
  expect(targetFilters({ kind: "all", filter: "status = ERROR OR status = PAUSED" }, NOW)).toEqual([`(status = ERROR OR status = PAUSED) AND ${until}`]);
});

test("ids are divided into filters that the server accepts", () => {
  const ids = Array.from({ length: 125 }, (_, index) => `w${index}`);
  const filters = targetFilters({ kind: "some", ids }, NOW);
  expect(filters).toHaveLength(3);
  expect(filters[2]).toBe('id = "w120" OR id = "w121" OR id = "w122" OR id = "w123" OR id = "w124"');
  for (const filter of filters) expect(filter.split(" OR ").length).toBeLessThanOrEqual(64);
});

test("operations that lose something are confirmed by typing, in a protected namespace its name", () => {
  expect([textToType("terminate", "shop"), textToType("cancel", "shop"), textToType("retry", "prod")]).toEqual(["terminate", undefined, undefined]);
  expect([textToType("terminate", "prod"), textToType("skip", "prod-eu"), textToType("cancel", "prod")]).toEqual(["prod", "prod-eu", "prod"]);
});

const row = (id: string, fields: Partial<WorkflowSummary> = {}): WorkflowSummary => ({
  id, definition: "d", version: 1, status: "COMPLETED", labels: {}, seq: 1, created_at: `2026-01-31T12:00:0${id.at(-1)}Z`, ...fields,
});

test("rows are sorted by a column, equal rows keep their order", () => {
  const rows = [row("w2", { labels: { team: "b" } }), row("w1"), row("w3", { labels: { team: "a" }, version: 10 })];
  expect(sortedIds(rows, { column: "created", descending: true })).toEqual(["w3", "w2", "w1"]);
  expect(sortedIds(rows, { column: "status", descending: false })).toEqual(["w2", "w1", "w3"]);
  expect(sortedIds(rows, { column: "labels.team", descending: true })).toEqual(["w2", "w3", "w1"]);
  expect(sortedIds(rows, { column: "definition", descending: true })).toEqual(["w3", "w2", "w1"]);
  expect(parseSort(formatSort({ column: "created", descending: true }))).toEqual({ column: "created", descending: true });
  expect(parseSort("")).toBeUndefined();
});

test("chosen columns keep the order of the table, labels before the end", () => {
  expect(columnsOf(DEFAULT_COLUMNS).map((column) => column.id)).toEqual([...DEFAULT_COLUMNS]);
  expect(columnsOf(["created", "labels.team", "status"]).map((column) => column.id)).toEqual(["status", "labels.team", "created"]);
  expect(columnsOf([]).map((column) => column.id)).toEqual(["status"]);
});

beforeEach(() => localStorage.clear());
test("views are kept, replaced and removed", () => {
  saveView({ name: "mine", filter: "status = ERROR" });
  saveView({ name: "mine", filter: "status = PAUSED", sort: "-created" });
  expect(savedViews()).toEqual([{ name: "mine", filter: "status = PAUSED", sort: "-created" }]);
  expect(removeView("mine")).toEqual([]);
  localStorage.setItem("goconductor.views.default", '[{"name": 1}, "x"]');
  expect(savedViews()).toEqual([]);
});
