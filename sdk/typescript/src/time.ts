import { performance } from "node:perf_hooks";

import type { Duration } from "./generated/google/protobuf/duration.js";
import type { Timestamp } from "./generated/google/protobuf/timestamp.js";

/** The longest delay of a timer of Node. */
const maxTimerMs = 2 ** 31 - 1;

/** Returns the time of the monotonic clock in milliseconds. */
export function now(): number {
  return performance.now();
}

/** Calls a function after a delay. Returns a function that stops the timer. */
export function after(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, Math.min(Math.max(0, ms), maxTimerMs));
  return () => { clearTimeout(timer); };
}

/** Waits for a duration or until a signal is aborted. Returns whether the whole duration has passed. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<boolean> {
  if (signal?.aborted === true) {
    return false;
  }
  return await new Promise((resolve) => {
    const aborted = (): void => {
      stop();
      resolve(false);
    };
    const stop = after(ms, () => {
      signal?.removeEventListener("abort", aborted);
      resolve(true);
    });
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** Calls a function when a signal is aborted, at once if it is. Returns a function that stops this. */
export function onAbort(signal: AbortSignal | undefined, run: () => void): () => void {
  if (signal === undefined) {
    return () => undefined;
  }
  if (signal.aborted) {
    run();
    return () => undefined;
  }
  signal.addEventListener("abort", run, { once: true });
  return () => { signal.removeEventListener("abort", run); };
}

/** Waits for a promise for a limited time, or until a signal is aborted. Returns undefined if it was not fulfilled by then. */
export async function within<T>(ms: number, promise: Promise<T>, signal?: AbortSignal): Promise<{ value: T } | undefined> {
  const timer = new AbortController();
  const stop = onAbort(signal, () => { timer.abort(); });
  try {
    return await Promise.race([promise.then((value) => ({ value })), sleep(ms, timer.signal).then(() => undefined)]);
  } finally {
    stop();
    timer.abort();
  }
}

/** Returns a duration between half of `ms` and `ms`. */
export function jitter(ms: number): number {
  return ms / 2 + Math.random() * (ms / 2);
}

export function toDuration(ms: number): Duration {
  // A fraction must not be rounded to a whole second of nanoseconds.
  const micros = Math.round(ms * 1000);
  const seconds = Math.trunc(micros / 1e6);
  return { seconds: BigInt(seconds), nanos: (micros - seconds * 1e6) * 1000 };
}

export function fromDuration(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

export function toTimestamp(time: Date): Timestamp {
  const seconds = Math.floor(time.getTime() / 1000);
  return { seconds: BigInt(seconds), nanos: (time.getTime() - seconds * 1000) * 1e6 };
}

export function fromTimestamp(time: Timestamp | undefined): Date | undefined {
  return time === undefined ? undefined : new Date(Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6));
}
