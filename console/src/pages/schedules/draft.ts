import { formatJson, parseExact } from "../../api/json";
import type { Schedule } from "../../api/types";
import { s } from "../../strings";
import { formatPairs, parsePairs } from "../services/pairs";

export interface ScheduleDraft {
  name: string;
  definition: string;
  kind: "cron" | "every";
  cron: string;
  every: string;
  timezone: string;
  overlap: string;
  catchUp: string;
  input: string;
  labels: string;
}

export function draftOf(schedule: Schedule | undefined): ScheduleDraft {
  return {
    name: schedule?.name ?? "", definition: schedule?.definition ?? "",
    kind: schedule?.every ? "every" : "cron", cron: schedule?.cron ?? "", every: schedule?.every ?? "",
    timezone: schedule?.timezone ?? "", overlap: schedule?.overlap ?? "skip", catchUp: schedule?.catch_up ?? "1h",
    input: schedule ? formatJson(schedule.input) : "{}", labels: formatPairs(schedule?.labels),
  };
}

/** The body of a schedule, or the first problem of the draft. Fields that the form does not show are kept. */
export function scheduleBody(draft: ScheduleDraft, old: Schedule | undefined): { body: Record<string, unknown>; problem?: string } {
  const text = s.schedules;
  const labels = parsePairs(draft.labels);
  let problem = labels.problem;
  let input: unknown;
  try {
    input = parseExact(draft.input.trim() === "" ? "null" : draft.input);
  } catch (error) {
    problem = text.badInput(error instanceof Error ? error.message : String(error));
  }
  const when = draft.kind === "cron" ? draft.cron.trim() : draft.every.trim();
  if (when === "") problem = text.badWhen;
  if (draft.definition.trim() === "") problem = text.badDefinition;
  if (draft.name.trim() === "") problem = text.badName;
  const timezone = draft.timezone.trim();
  return {
    body: {
      definition: draft.definition.trim(),
      ...(old?.version != null && { version: old.version }),
      [draft.kind]: when,
      ...(draft.kind === "cron" && timezone !== "" && { timezone }),
      ...(draft.kind === "every" && old?.anchor && { anchor: old.anchor }),
      overlap: draft.overlap,
      ...(draft.catchUp.trim() !== "" && { catch_up: draft.catchUp.trim() }),
      ...(input !== undefined && input !== null && { input }),
      labels: labels.pairs,
    },
    ...(problem !== undefined && { problem }),
  };
}

/** Converts the value of a `datetime-local` field to UTC. Undefined if it is not a time. */
export function toUtc(local: string): string | undefined {
  const time = new Date(local);
  return local === "" || Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}
