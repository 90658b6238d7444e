// The history of a workflow: read once, then followed.
import { useEffect, useMemo, useSyncExternalStore } from "react";
import { openStream } from "../../api/sse";
import type { ApiError } from "../../api/client";
import type { WorkflowEvent } from "../../api/types";

export interface Entry {
  event: WorkflowEvent;
  /** The text that the search compares, in lower case. */
  text: string;
}

export interface History {
  entries: readonly Entry[];
  /** `live`: everything is here, and new events follow. `ended`: there are no more. */
  state: "loading" | "live" | "ended" | "interrupted";
  refusal?: ApiError | undefined;
}

const FLUSH_MS = 100;
/** Without an event for this long, everything that exists was read. */
const QUIET_MS = 400;

export function entryOf(event: WorkflowEvent): Entry {
  return { event, text: `${event.type} ${event.step ?? ""} ${event.actor ?? ""} ${JSON.stringify(event.detail)}`.toLowerCase() };
}

class HistoryStore {
  private value: History = { entries: [], state: "loading" };
  private pending: Entry[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private quiet: ReturnType<typeof setTimeout> | undefined;
  private readonly listeners = new Set<() => void>();
  constructor(private readonly id: string) {}

  readonly snapshot = () => this.value;
  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  start(): () => void {
    const last = this.value.entries.at(-1)?.event.seq;
    const close = openStream({
      path: `/api/v1/workflows/${encodeURIComponent(this.id)}/events`,
      ...(last !== undefined && { lastEventId: String(last) }),
      onOpen: () => this.waitForQuiet(),
      onMessage: (message) => {
        this.pending.push(entryOf(message.data as WorkflowEvent));
        this.timer ??= setTimeout(() => this.flush(), FLUSH_MS);
      },
      onInterrupted: (refusal) => this.set({ ...this.value, state: "interrupted", refusal }),
      onEnd: () => {
        this.flush();
        clearTimeout(this.quiet);
        this.set({ ...this.value, state: "ended" });
        return false;
      },
    });
    return () => {
      close();
      this.flush();
      clearTimeout(this.quiet);
    };
  }

  private waitForQuiet(): void {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.set({ ...this.value, state: "live", refusal: undefined }), QUIET_MS);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.pending.length === 0) return;
    // A reopened stream may repeat the last event.
    const last = this.value.entries.at(-1)?.event.seq ?? 0;
    const entries = this.value.entries.concat(this.pending.filter((entry) => entry.event.seq > last));
    this.pending = [];
    if (this.value.state !== "live") this.waitForQuiet();
    this.set({ ...this.value, entries });
  }

  private set(value: History): void {
    this.value = value;
    for (const listener of this.listeners) listener();
  }
}

/** The history of a workflow, followed while a component uses it. A re-run continues a history that has ended. */
export function useHistory(id: string, isOpen: boolean): History {
  const store = useMemo(() => new HistoryStore(id), [id]);
  useEffect(() => store.start(), [store, isOpen]);
  return useSyncExternalStore(store.subscribe, store.snapshot);
}

/** The entries that the search and the switches let through. */
export function filterEntries(entries: readonly Entry[], search: string, failures: boolean, newestFirst: boolean): readonly Entry[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const kept = words.length === 0 && !failures ? entries
    : entries.filter((entry) => (!failures || isFailure(entry.event)) && words.every((word) => entry.text.includes(word)));
  return newestFirst ? [...kept].reverse() : kept;
}

export const isFailure = (event: WorkflowEvent) => /FAILED|UNKNOWN|PROBING/.test(event.type);

/** A short text of an event's detail: what a person looks for. */
export function summaryOf(event: WorkflowEvent): string {
  const detail = (event.detail ?? {}) as Record<string, unknown>;
  const failure = detail["failure"] as { code?: string; message?: string } | undefined;
  const parts: string[] = [];
  if (failure) parts.push(`${failure.code ?? ""}: ${failure.message ?? ""}`);
  for (const name of ["cause", "reason", "why", "name", "executor", "child", "retry_at", "until"] as const) {
    const value = detail[name];
    if (typeof value === "string") parts.push(name === "reason" ? `“${value}”` : name === "cause" || name === "why" || name === "name" || name === "executor" ? value : `${name} ${value}`);
  }
  if (parts.length > 0) return parts.join(" · ");
  const shown = detail["output"] ?? detail["input"] ?? detail["payload"];
  return shown === undefined || shown === null ? "" : JSON.stringify(shown).slice(0, 200);
}
