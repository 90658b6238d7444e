import { now } from "./time.js";

/** The interval at which the detector compares clocks. */
const intervalMs = 100;
/** The shortest time without progress that counts as a stall. */
const minStallMs = 300;

/**
 * Notices that the process made no progress: it was suspended, such as by SIGSTOP or by the freeze of a virtual machine, or
 * a function kept the event loop busy. A task that waited in the socket meanwhile seems to have arrived later than it did,
 * so that the deadline by the monotonic clock would be too late.
 *
 * Between two ticks the event loop reads its sockets. A message that is received after a tick therefore arrived after the tick
 * before it. Without a stall between these ticks, it arrived after the last one: a task that was sent after a stall keeps all
 * of its time.
 */
export class StallDetector {
  #lastTick: number;
  /** The tick before the last one, if they had a stall between them. */
  #beforeStall: number | undefined;

  constructor(start = now()) {
    this.#lastTick = start;
  }

  /** Compares clocks until the returned function is called. */
  run(): () => void {
    let immediate: NodeJS.Immediate | undefined;
    const timer = setInterval(() => {
      // An immediate runs after the event loop has read its sockets. A timer may run before.
      immediate = setImmediate(() => { this.tick(now()); });
    }, intervalMs);
    return () => {
      clearInterval(timer);
      clearImmediate(immediate);
    };
  }

  tick(time: number): void {
    this.#beforeStall = time - this.#lastTick >= minStallMs ? this.#lastTick : undefined;
    this.#lastTick = time;
  }

  /** Returns how long ago a message that is received now may have arrived, in milliseconds. */
  delay(time: number): number {
    const age = time - (this.#beforeStall ?? this.#lastTick);
    return age >= minStallMs ? age : 0;
  }
}
