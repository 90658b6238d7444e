// The workflows of a batch: some workflows by their ids, or all workflows that match a filter, as it was when the person
// looked at it.
import { isProtected } from "../../api/protection";
import type { components } from "../../api/schema";

export type Operation = components["schemas"]["BatchBody"]["operation"];
export const OPERATIONS = ["retry", "cancel", "pause", "resume", "skip", "terminate"] as const;

export type Target = { kind: "some"; ids: readonly string[] } | { kind: "all"; filter: string };

/** The server accepts 64 comparisons in a filter. */
const IDS_PER_FILTER = 60;
const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const RELATIVE = /\b(created_at|ended_at)(\s*(?:<=|>=|!=|=|<|>)\s*)("?)-(\d{1,9})(ms|s|m|h|d)\3(?=[\s)]|$)/g;

/** Replaces times that are relative to now. Quoted texts of other fields stay as they are. */
export function freezeTimes(filter: string, now: number): string {
  return filter.replace(RELATIVE, (_all, field: string, operator: string, _quote: string, amount: string, unit: string) =>
    `${field}${operator}"${new Date(now - Number(amount) * (UNITS[unit] ?? 0)).toISOString()}"`);
}

/** The filters of the batches for a target. More ids than one filter can hold need several batches. */
export function targetFilters(target: Target, now: number): string[] {
  if (target.kind === "some") {
    const filters: string[] = [];
    for (let at = 0; at < target.ids.length; at += IDS_PER_FILTER) {
      filters.push(target.ids.slice(at, at + IDS_PER_FILTER).map((id) => `id = "${id}"`).join(" OR "));
    }
    return filters;
  }
  const until = `created_at <= "${new Date(now).toISOString()}"`;
  const frozen = freezeTimes(target.filter.trim(), now);
  return [frozen === "" ? until : `(${frozen}) AND ${until}`];
}

/** The text to type before an operation that loses something. In a protected namespace, it is the namespace's name. */
export function textToType(operation: Operation, namespace: string): string | undefined {
  const loses = operation === "terminate" || operation === "skip";
  if (isProtected(namespace) && (loses || operation === "cancel")) return namespace;
  return loses ? operation : undefined;
}
