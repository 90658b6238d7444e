// The attempts of a workflow on a time axis, from its history.
import type { Workflow, WorkflowEvent } from "../../api/types";

export type SegmentKind = "queue" | "attempt" | "backoff" | "wait" | "lock";

export interface Segment {
  kind: SegmentKind;
  from: number;
  /** Undefined while it continues. */
  to?: number;
  attempt: number;
  outcome?: "COMPLETED" | "FAILED" | "UNKNOWN" | "RETRYING";
  /** The failure, or the reason of an operator. */
  note?: string;
}

export interface Lane {
  step: string;
  side: "execute" | "compensate";
  segments: Segment[];
}

const time = (value: unknown): number | undefined => (typeof value === "string" ? Date.parse(value) : undefined);

/** The lanes of the forward part and of the undo, each in the order in which they began. */
export function lanesOf(events: readonly WorkflowEvent[]): { forward: Lane[]; undo: Lane[] } {
  const lanes = new Map<string, Lane>();
  const lane = (step: string, side: Lane["side"]) => {
    const key = `${side}:${step}`;
    const known = lanes.get(key);
    if (known) return known;
    const made: Lane = { step, side, segments: [] };
    lanes.set(key, made);
    return made;
  };
  for (const event of events) if (event.step) apply(event, event.step, lane);
  const sorted = (side: Lane["side"]) => [...lanes.values()].filter((each) => each.side === side && each.segments.length > 0)
    .sort((a, b) => (a.segments[0]?.from ?? 0) - (b.segments[0]?.from ?? 0));
  return { forward: sorted("execute"), undo: sorted("compensate") };
}

function apply(event: WorkflowEvent, step: string, lane: (step: string, side: Lane["side"]) => Lane): void {
  const detail = (event.detail ?? {}) as Record<string, unknown>;
  const at = Date.parse(event.time);
  const side = detail["side"] === "compensate" || /COMPENSAT/.test(event.type) ? "compensate" : "execute";
  const to = lane(step, side);
  const number = event.attempt ?? 0;
  switch (event.type) {
    case "STEP_QUEUED":
    case "STEP_RETRIED":
      return begin(to, "queue", at, 0);
    case "COMPENSATION_QUEUED":
      return begin(to, (time(detail["due_at"]) ?? at) > at ? "wait" : "queue", at, 0);
    case "LOCKS_REQUESTED":
      return begin(to, "lock", at, 0);
    case "LOCKS_ACQUIRED":
      return close(to, at);
    case "STEP_WAITING":
      return begin(to, "wait", at, 0);
    case "ATTEMPT_STARTED":
      return begin(to, "attempt", time(detail["started_at"]) ?? at, number);
    case "CHILD_STARTED":
      return begin(to, "attempt", at, number);
    case "ATTEMPT_FAILED":
      finish(to, event, detail, at, "RETRYING");
      return begin(to, "backoff", at, 0);
    case "STEP_COMPLETED":
    case "STEP_COMPENSATED":
      return finish(to, event, detail, at, "COMPLETED");
    case "STEP_FAILED":
    case "COMPENSATION_FAILED":
      return finish(to, event, detail, at, "FAILED");
    case "STEP_UNKNOWN":
      return finish(to, event, detail, at, "UNKNOWN");
    case "STEP_PROBING":
      finish(to, event, detail, at, "UNKNOWN");
      return begin(to, "wait", at, 0);
    case "STEP_SKIPPED":
    case "STEP_WITHDRAWN":
    case "COMPENSATION_SKIPPED":
      return close(to, at);
    default:
  }
}

function begin(lane: Lane, kind: SegmentKind, at: number, attempt: number): void {
  close(lane, at);
  lane.segments.push({ kind, from: at, attempt });
}

function close(lane: Lane, at: number): void {
  const last = lane.segments.at(-1);
  if (last && last.to === undefined) last.to = Math.max(last.from, at);
}

/** Ends an attempt. Its start may be known only now: a quick attempt has one event. */
function finish(lane: Lane, event: WorkflowEvent, detail: Record<string, unknown>, at: number, outcome: NonNullable<Segment["outcome"]>): void {
  const last = lane.segments.at(-1);
  const failure = detail["failure"] as { code?: string; message?: string } | undefined;
  const note = failure ? `${failure.code ?? ""}: ${failure.message ?? ""}` : typeof detail["reason"] === "string" ? detail["reason"] : undefined;
  const facts = { outcome, ...(note !== undefined && { note }) };
  if (last?.kind === "attempt" && last.to === undefined) {
    Object.assign(last, { to: Math.max(last.from, at), ...facts });
    return;
  }
  // A step that waited for a time or a signal has no attempt: the wait itself ends.
  if (last?.kind === "wait" && last.to === undefined && detail["started_at"] === undefined) {
    Object.assign(last, { to: at, ...facts });
    return;
  }
  const from = time(detail["started_at"]) ?? last?.from ?? at;
  close(lane, from);
  lane.segments.push({ kind: "attempt", from, to: Math.max(from, at), attempt: event.attempt ?? 0, ...facts });
}

/** A part of the time axis. A folded part is drawn with a fixed width. */
export interface Part {
  from: number;
  to: number;
  folded: boolean;
  /** Place and width on the axis, as shares of 1. */
  at: number;
  share: number;
}

const FOLD_SHARE = 0.05;
const MIN_FOLD_MS = 1_000;

/** Divides the time between `from` and `to`. Time in which no attempt runs is folded where it would crush the rest. */
export function foldTime(lanes: readonly Lane[], from: number, to: number): Part[] {
  const busy = lanes.flatMap((lane) => lane.segments.filter((segment) => segment.kind === "attempt" || segment.kind === "queue"))
    .map((segment) => [segment.from, segment.to ?? to] as const).sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [start, end] of [[from, from] as const, ...busy, [to, to] as const]) {
    const last = merged.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  const total = merged.reduce((sum, [start, end]) => sum + end - start, 0);
  const parts: Omit<Part, "at" | "share">[] = [];
  let begin = from;
  for (let i = 1; i < merged.length; i += 1) {
    const [end, next] = [merged[i - 1]?.[1] ?? from, merged[i]?.[0] ?? to];
    const gap = next - end;
    if (gap < MIN_FOLD_MS || gap < total * 2) continue;
    // A little of the idle time stays on both sides, so that a bar does not touch the fold.
    const margin = Math.min(gap / 4, Math.max(total * 0.05, 20));
    if (end + margin > begin) parts.push({ from: begin, to: end + margin, folded: false });
    parts.push({ from: end + margin, to: next - margin, folded: true });
    begin = next - margin;
  }
  if (to > begin || parts.length === 0) parts.push({ from: begin, to: Math.max(to, begin + 1), folded: false });
  const folds = parts.filter((part) => part.folded).length;
  const fold = folds === 0 ? 0 : Math.min(FOLD_SHARE, 0.4 / folds);
  const open = parts.filter((part) => !part.folded).reduce((sum, part) => sum + part.to - part.from, 0);
  let at = 0;
  return parts.map((part) => {
    const share = part.folded ? fold : ((part.to - part.from) / open) * (1 - fold * folds);
    const placed = { ...part, at, share };
    at += share;
    return placed;
  });
}

/** The place of a time on the axis, as a share of 1. */
export function placeOf(parts: readonly Part[], value: number): number {
  const part = parts.find((each) => value <= each.to) ?? parts.at(-1);
  if (!part) return 0;
  const inside = part.to === part.from ? 0 : (value - part.from) / (part.to - part.from);
  return part.at + Math.min(1, Math.max(0, inside)) * part.share;
}

const STEPS = [1, 2, 5];
/** The times of the marks on the axis: round numbers after the start, far enough apart to be read. */
export function marksOf(parts: readonly Part[], start: number, count: number): { after: number; at: number }[] {
  const open = parts.filter((part) => !part.folded);
  const total = open.reduce((sum, part) => sum + part.to - part.from, 0);
  const raw = total / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  const step = Math.max(1, (STEPS.find((each) => each * power >= raw) ?? 10) * power);
  const marks: { after: number; at: number }[] = [];
  for (const part of open) {
    const first = Math.ceil((part.from - start) / step) * step;
    for (let after = first; after <= part.to - start; after += step) {
      const at = placeOf([part], start + after);
      const nearFold = parts.some((each) => each.folded && Math.abs(each.at + each.share / 2 - at) < 0.4 / count);
      if (!nearFold && at - (marks.at(-1)?.at ?? -1) >= 0.5 / count) marks.push({ after, at });
    }
  }
  return marks;
}

/** The range of the axis. */
export function rangeOf(workflow: Workflow, lanes: readonly Lane[], now: number): [number, number] {
  const from = Date.parse(workflow.created_at);
  const ends = lanes.flatMap((lane) => lane.segments.map((segment) => segment.to ?? now));
  const to = workflow.ended_at ? Math.max(Date.parse(workflow.ended_at), ...ends) : Math.max(now, ...ends);
  return [from, Math.max(to, from + 1)];
}
