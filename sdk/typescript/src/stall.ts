import { now } from "./time.js";

/** The interval at which the detector compares clocks. */
const intervalMs = 100;
/** The shortest time without progress that counts as a stall. */
const minStallMs = 300;
/** How long after a stall a message may be one that arrived during the stall. */
const backlogMs = 1000;

/**
 * Notices that the process made no progress: it was suspended, such as by SIGSTOP or by the freeze of a virtual machine, or
 * a function kept the event loop busy. A task that waited in the socket meanwhile seems to have arrived later than it did,
 * so that the deadline by the monotonic clock would be too late.
 */
export class StallDetector {
  #lastTick: number;
  #length = 0;
  #ended = 0;

  constructor(start = now()) {
    this.#lastTick = start;
  }

  /** Compares clocks until the returned function is called. */
  run(): () => void {
    const timer = setInterval(() => { this.tick(now()); }, intervalMs);
    return () => { clearInterval(timer); };
  }

  tick(time: number): void {
    const gap = time - this.#lastTick;
    if (gap >= minStallMs) {
      this.#length = gap;
      this.#ended = time;
    }
    this.#lastTick = time;
  }

  /** Returns how long ago a message that is received now may have arrived, in milliseconds. */
  delay(time: number): number {
    const gap = time - this.#lastTick;
    if (gap >= minStallMs) {
      return gap;
    }
    if (this.#length > 0 && time - this.#ended < backlogMs) {
      return this.#length + time - this.#ended;
    }
    return 0;
  }
}
