import type { Overview } from "../../api/overview";
import type { WorkflowSummary } from "../../api/types";
import { STUCK_FILTER } from "../../filter/filter";
import { s } from "../../strings";
import type { IconName } from "../../ui";

export interface Attention {
  id: string;
  tone: "bad" | "undo" | "forward";
  icon: IconName;
  title: string;
  hint: string;
  /** The path of the page where a person acts. */
  page: string;
  to: string;
  /** The newest of these workflows. */
  workflows?: readonly WorkflowSummary[];
}

/** The overview names this many stuck workflows at most. */
const MAX_NAMED = 10;
const text = s.home;

/** The matters that need a person, the most urgent first. Parts that the caller may not read raise nothing. */
export function attention(overview: Overview): Attention[] {
  const { errors, stuck, services, dead_letters: letters, elections, queue_switch: change } = overview;
  const found: Attention[] = [];
  if (errors.count > 0) {
    found.push({ id: "error", tone: "bad", icon: "alert", title: text.error(errors.count), hint: text.errorHint, page: "/workflows", to: workflowsWith("status = ERROR"), workflows: errors.workflows });
  }
  const without = elections?.without_leader ?? [];
  if (without.length > 0) {
    found.push({ id: "leader", tone: "bad", icon: "crown", title: text.noLeader(without.length), hint: text.noLeaderHint(without.join(", ")), page: "/elections", to: "/elections" });
  }
  for (const each of services.filter((service) => !service.is_served && service.backlog > 0)) {
    found.push({
      id: `service-${each.service}`, tone: "bad", icon: "service", title: text.unserved(each.service), hint: text.unservedHint(each.backlog),
      page: "/services", to: `/services?service=${encodeURIComponent(each.service)}`,
    });
  }
  if (letters && letters.count > 0) {
    found.push({ id: "dead", tone: "undo", icon: "mail", title: text.deadLetters(`${letters.count}${letters.is_more ? "+" : ""}`), hint: text.deadLettersHint, page: "/dead-letters", to: "/dead-letters" });
  }
  if (stuck.workflows.length > 0) {
    const count = `${stuck.workflows.length}${stuck.workflows.length >= MAX_NAMED ? "+" : ""}`;
    found.push({ id: "stuck", tone: "undo", icon: "clock", title: text.stuck(count), hint: text.stuckHint, page: "/workflows", to: workflowsWith(STUCK_FILTER), workflows: stuck.workflows });
  }
  if (change) {
    found.push({ id: "switch", tone: "forward", icon: "queue", title: text.switching(s.queues.names[change.to] ?? change.to), hint: text.switchingHint(change.phase ?? "", change.behind), page: "/queues", to: "/queues" });
  }
  return found;
}

export function workflowsWith(filter: string): string {
  return `/workflows?filter=${encodeURIComponent(filter)}`;
}

/** A ratio as a percentage: `0.4 %`, `12 %`. */
export function percent(ratio: number | null): string {
  if (ratio === null) return text.noFigure;
  const value = ratio * 100;
  return `${value === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} %`;
}
