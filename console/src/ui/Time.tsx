import { useSyncExternalStore } from "react";
import { formatDuration, formatLocal, formatRelative } from "./time";

// One timer for all relative times of the page.
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 1_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The current time in milliseconds, rounded by `step`. Components render again only when the rounded time changes. */
export function useNow(step = 1_000): number {
  return useSyncExternalStore(subscribe, () => Math.floor(now / step) * step);
}

/** A time: relative or local, with the local time and the exact UTC time on hover and for assistive technology. */
export function Time({ at, mode = "relative" }: { at: string | null | undefined; mode?: "relative" | "local" }) {
  const current = useNow(mode === "local" ? 60_000 : 1_000);
  if (!at) return <span className="muted">–</span>;
  const time = Date.parse(at);
  const text = mode === "local" ? formatLocal(time, current) : formatRelative(time, Math.max(current, Date.now() - 2_000));
  return (
    <time dateTime={at} title={`${formatLocal(time, 0)} · ${at}`} className="num">
      {text}
    </time>
  );
}

/** The duration between two times. Without `to`, it runs. */
export function Duration({ from, to }: { from: string | null | undefined; to?: string | null | undefined }) {
  if (!from) return <span className="muted">–</span>;
  if (to) return <span className="num">{formatDuration(Date.parse(to) - Date.parse(from))}</span>;
  return <RunningDuration from={Date.parse(from)} />;
}

function RunningDuration({ from }: { from: number }) {
  const current = useNow();
  return <span className="num">{formatDuration(Math.floor((current - from) / 1_000) * 1_000)}</span>;
}
