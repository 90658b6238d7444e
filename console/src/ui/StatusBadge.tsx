import { s } from "../strings";
import { Icon, type IconName } from "./Icon";

export type Tone = "good" | "bad" | "forward" | "undo" | "idle" | "hold";

const LOOK: Record<string, [Tone, IconName]> = {
  QUEUED: ["idle", "clock"],
  IN_PROGRESS: ["forward", "play"],
  COMPLETED: ["good", "check"],
  ROLLING_BACK: ["undo", "undo"],
  ROLLED_BACK: ["undo", "undone"],
  PAUSED: ["hold", "pause"],
  ERROR: ["bad", "alert"],
  TERMINATED: ["idle", "stop"],
  PENDING: ["idle", "ring"],
  FAILED: ["bad", "cross"],
  UNKNOWN: ["bad", "question"],
  RETRYING: ["forward", "retry"],
  SKIPPED: ["idle", "skip"],
  COMPENSATION_QUEUED: ["undo", "clock"],
  COMPENSATING: ["undo", "undo"],
  COMPENSATION_RETRYING: ["undo", "retry"],
  COMPENSATED: ["undo", "undone"],
  COMPENSATION_FAILED: ["bad", "alert"],
  RUNNING: ["forward", "play"],
  CANCELLED: ["idle", "stop"],
  SUCCEEDED: ["good", "check"],
};

/** The tone of a status, for graphs and timelines. */
export function statusTone(status: string): Tone {
  return LOOK[status]?.[0] ?? "idle";
}
export function statusIcon(status: string): IconName {
  return LOOK[status]?.[1] ?? "dot";
}
export function statusLabel(status: string): string {
  return s.statuses[status]?.label ?? status;
}

/** A status of a workflow, a step or a batch, as icon and text. An unknown status is shown as it is. */
export function StatusBadge({ status, bare }: { status: string; bare?: boolean }) {
  return (
    <span className={`badge tone-${statusTone(status)}${bare ? " bare" : ""}`} title={s.statuses[status]?.meaning}>
      <Icon name={statusIcon(status)} />
      {statusLabel(status)}
    </span>
  );
}

/** A short text in a tone of the statuses. */
export function Badge({ tone, icon, children }: { tone: Tone; icon: IconName; children: string }) {
  return (
    <span className={`badge tone-${tone}`}>
      <Icon name={icon} />
      {children}
    </span>
  );
}
