import { s } from "../../strings";
import type { Backlog, Leader, Service } from "../../api/types";
import type { IconName } from "../../ui";

export interface Attention {
  id: string;
  tone: "bad" | "undo";
  icon: IconName;
  title: string;
  hint: string;
  /** The path of the page where a person acts. */
  page: string;
  to: string;
}

export interface Facts {
  errors: number;
  stuck: number;
  services: readonly Service[] | undefined;
  backlogs: readonly Backlog[] | undefined;
  namespace: string;
  leaders: readonly Leader[] | undefined;
  deadLetters: { count: number; more: boolean } | undefined;
}

export const STUCK_FILTER = 'status = IN_PROGRESS OR status = ROLLING_BACK OR status = QUEUED AND created_at < "-1h"';
const text = s.home;

/** What needs a person, the most urgent first. Facts that are not known yet raise nothing. */
export function attention(facts: Facts): Attention[] {
  const found: Attention[] = [];
  if (facts.errors > 0) {
    found.push({ id: "error", tone: "bad", icon: "alert", title: text.error(facts.errors), hint: text.errorHint, page: "/workflows", to: workflowsWith("status = ERROR") });
  }
  if (facts.leaders?.length === 0) {
    found.push({ id: "leader", tone: "bad", icon: "crown", title: text.noLeader, hint: text.noLeaderHint, page: "/elections", to: "/elections" });
  }
  for (const each of unserved(facts)) {
    found.push({ id: `service-${each.name}`, tone: "bad", icon: "service", title: text.unserved(each.name), hint: text.unservedHint(each.backlog), page: "/services", to: "/services" });
  }
  if (facts.deadLetters && facts.deadLetters.count > 0) {
    const count = `${facts.deadLetters.count}${facts.deadLetters.more ? "+" : ""}`;
    found.push({ id: "dead", tone: "undo", icon: "mail", title: text.deadLetters(count), hint: text.deadLettersHint, page: "/dead-letters", to: "/dead-letters" });
  }
  if (facts.stuck > 0) {
    found.push({ id: "stuck", tone: "undo", icon: "clock", title: text.stuck(facts.stuck), hint: text.stuckHint, page: "/workflows", to: workflowsWith(STUCK_FILTER) });
  }
  return found;
}

export function workflowsWith(filter: string): string {
  return `/workflows?filter=${encodeURIComponent(filter)}`;
}

/** Services that nothing serves although commands wait: with settings, or only with a backlog. */
function unserved({ services, backlogs, namespace }: Facts): { name: string; backlog: number }[] {
  const waiting = new Map<string, number>();
  for (const each of services ?? []) if (!each.served) waiting.set(each.name, each.backlog);
  for (const each of backlogs ?? []) {
    if (each.served || each.namespace !== namespace) continue;
    waiting.set(each.service, Math.max(waiting.get(each.service) ?? 0, (each.execute.waiting ?? 0) + (each.compensate.waiting ?? 0)));
  }
  return [...waiting].filter(([, backlog]) => backlog > 0).map(([name, backlog]) => ({ name, backlog }));
}
