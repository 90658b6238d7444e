// Live updates: one watch stream for the whole page, shared by all components.
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useMemo, useRef, useSyncExternalStore, type ReactNode } from "react";
import { keys } from "./keys";
import { onSignedInAgain } from "./sign-in";
import { openStream } from "./sse";
import type { WorkflowSummary } from "./types";

export type Connection =
  | { state: "connecting" }
  | { state: "live" }
  /** The stream is interrupted since `since` (milliseconds). After a while the page is stale. */
  | { state: "reconnecting"; since: number }
  | { state: "stale"; since: number };

type Listener = (change: WorkflowSummary) => void;

/** Data that is not confirmed for this long is shown as stale. */
const STALE_AFTER_MS = 8_000;
/** A hidden page closes its stream after this time, so that many open tabs do not hold all connections of the browser. */
const HIDDEN_CLOSE_MS = 60_000;

class Live {
  private connection: Connection = { state: "connecting" };
  private readonly stores = new Set<() => void>();
  private readonly changes = new Set<Listener>();
  private readonly resyncs = new Set<() => void>();
  private close: (() => void) | undefined;
  private staleTimer: ReturnType<typeof setTimeout> | undefined;
  private hiddenTimer: ReturnType<typeof setTimeout> | undefined;

  readonly subscribe = (listener: () => void) => {
    this.stores.add(listener);
    return () => this.stores.delete(listener);
  };
  readonly snapshot = () => this.connection;

  onChange(listener: Listener): () => void {
    this.changes.add(listener);
    return () => this.changes.delete(listener);
  }
  onResync(listener: () => void): () => void {
    this.resyncs.add(listener);
    return () => this.resyncs.delete(listener);
  }

  start(): () => void {
    this.open(false);
    const visibility = () => {
      clearTimeout(this.hiddenTimer);
      if (document.hidden) this.hiddenTimer = setTimeout(() => this.stop(), HIDDEN_CLOSE_MS);
      else if (!this.close) this.open(true);
    };
    document.addEventListener("visibilitychange", visibility);
    return () => {
      document.removeEventListener("visibilitychange", visibility);
      clearTimeout(this.hiddenTimer);
      this.stop();
    };
  }

  private open(again: boolean): void {
    this.close = openStream({
      path: "/api/v1/watch",
      onOpen: (reopened) => {
        clearTimeout(this.staleTimer);
        this.set({ state: "live" });
        // The watch has no positions: changes during an interruption are read again from the lists.
        if (again || reopened) this.resync();
      },
      onMessage: (message) => {
        if (message.event === "workflow") for (const listener of this.changes) listener(message.data as WorkflowSummary);
        else if (message.event === "lagged") this.resync();
      },
      onInterrupted: () => this.interrupted(),
    });
  }

  /** Opens the stream again, after it was refused. */
  restart(): void {
    this.stop();
    this.open(true);
  }

  private stop(): void {
    this.close?.();
    this.close = undefined;
    clearTimeout(this.staleTimer);
  }

  private interrupted(): void {
    if (this.connection.state === "reconnecting" || this.connection.state === "stale") return;
    const since = Date.now();
    this.set({ state: "reconnecting", since });
    this.staleTimer = setTimeout(() => this.set({ state: "stale", since }), STALE_AFTER_MS);
  }

  private resync(): void {
    for (const listener of this.resyncs) listener();
  }

  private set(connection: Connection): void {
    this.connection = connection;
    for (const listener of this.stores) listener();
  }
}

const LiveContext = createContext<Live | undefined>(undefined);

/** Opens the watch stream of the namespace. Mount it with the namespace as `key`. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const live = useMemo(() => new Live(), []);
  const client = useQueryClient();
  useEffect(() => live.start(), [live]);
  useEffect(() => onSignedInAgain(() => live.restart()), [live]);
  useEffect(() => live.onResync(() => void client.invalidateQueries()), [live, client]);
  useEffect(() => refreshCounts(live, client), [live, client]);
  return <LiveContext value={live}>{children}</LiveContext>;
}

/** Counts change with every transition: refresh them at most every two seconds. */
function refreshCounts(live: Live, client: QueryClient): () => void {
  const refresh = throttle(() => {
    void client.invalidateQueries({ queryKey: [...keys.workflows(), "counts"] });
  }, 2_000);
  const stop = live.onChange(refresh.call);
  return () => {
    refresh.cancel();
    stop();
  };
}

function useLive(): Live {
  const live = useContext(LiveContext);
  if (!live) throw new Error("useLive is used outside LiveProvider");
  return live;
}

export function useConnection(): Connection {
  const live = useLive();
  return useSyncExternalStore(live.subscribe, live.snapshot);
}

/** Calls `listener` for every changed workflow of the namespace. */
export function useWorkflowChanges(listener: Listener): void {
  const live = useLive();
  const latest = useRef(listener);
  useEffect(() => {
    latest.current = listener;
  });
  useEffect(() => live.onChange((change) => latest.current(change)), [live]);
}

/** Refreshes a workflow's queries, at most every `ms`, when that workflow changes. */
export function useLiveWorkflow(id: string, ms = 250): void {
  const client = useQueryClient();
  const refresh = useMemo(
    () => throttle(() => void client.invalidateQueries({ queryKey: keys.workflow(id), exact: true }), ms),
    [client, id, ms],
  );
  useEffect(() => refresh.cancel, [refresh]);
  useWorkflowChanges((change) => {
    if (change.id === id) refresh.call();
  });
}

/** Calls `run` at once, then at most every `ms`. The last call is never lost. */
export function throttle(run: () => void, ms: number): { call: () => void; cancel: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let again = false;
  const tick = () => {
    timer = undefined;
    if (!again) return;
    again = false;
    fire();
  };
  const fire = () => {
    timer = setTimeout(tick, ms);
    run();
  };
  return {
    call: () => {
      if (timer === undefined) fire();
      else again = true;
    },
    cancel: () => {
      clearTimeout(timer);
      timer = undefined;
      again = false;
    },
  };
}
