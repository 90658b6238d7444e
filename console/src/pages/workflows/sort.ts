import type { WorkflowSummary } from "../../api/types";
import type { Sort } from "../../ui";

/** Reads `created` and `-created` (descending). */
export function parseSort(text: string): Sort | undefined {
  if (text === "") return undefined;
  return text.startsWith("-") ? { column: text.slice(1), descending: true } : { column: text, descending: false };
}

export function formatSort(sort: Sort): string {
  return `${sort.descending ? "-" : ""}${sort.column}`;
}

function value(row: WorkflowSummary, column: string): string | number {
  if (column.startsWith("labels.")) return row.labels[column.slice("labels.".length)] ?? "";
  switch (column) {
    case "status": return row.status;
    case "definition": return `${row.definition} ${String(row.version).padStart(10, "0")}`;
    case "key": return row.idempotency_key ?? "";
    case "created": return row.created_at;
    case "ended": return row.ended_at ?? "";
    case "duration": return row.ended_at ? Date.parse(row.ended_at) - Date.parse(row.created_at) : Number.MAX_SAFE_INTEGER - Date.parse(row.created_at);
    default: return row.id;
  }
}

/** The ids in the order of a column. Rows with equal values keep their order. */
export function sortedIds(rows: readonly WorkflowSummary[], sort: Sort): string[] {
  const direction = sort.descending ? -1 : 1;
  const keyed = rows.map((row) => ({ id: row.id, key: value(row, sort.column) }));
  keyed.sort((a, b) => (a.key < b.key ? -direction : a.key > b.key ? direction : 0));
  return keyed.map((each) => each.id);
}
