import { now } from "./time.js";

/** The interval at which the detector compares clocks. */
const intervalMs = 100;
/** The shortest time without progress that counts as a stall. */
const minStallMs = 300;
/** How long after a stall a message may be one that the flow control of the stream held back during the stall. */
const heldBackMs = 100;

/**
 * Notices that the process made no progress: it was suspended, such as by SIGSTOP or by the freeze of a virtual machine, or
 * a function kept the event loop busy. A task that waited in the socket meanwhile seems to have arrived later than it did,
 * so that the deadline by the monotonic clock would be too late. A task that was sent after the stall keeps all of its time.
 *
 * The SDKs of all languages have the same rule, and their tests the same cases.
 *
 * During each tick the event loop reads its sockets. A message that is received after a tick therefore arrived after the begin
 * of that tick.
 */
export class StallDetector {
  /** The begin of the last tick. */
  #lastTick: number;
  /** The last stall. */
  #stall: { began: number; ended: number } | undefined;

  constructor(start = now()) {
    this.#lastTick = start;
  }

  /** Compares clocks until the returned function is called. */
  run(): () => void {
    let immediate: NodeJS.Immediate | undefined;
    const timer = setInterval(() => {
      const began = now();
      // The event loop reads its sockets between timers and immediates.
      immediate = setImmediate(() => { this.tick(began, now()); });
    }, intervalMs);
    return () => {
      clearInterval(timer);
      clearImmediate(immediate);
    };
  }

  tick(began: number, ended: number): void {
    if (began - this.#lastTick >= minStallMs) {
      this.#stall = { began: this.#lastTick, ended };
    }
    this.#lastTick = began;
  }

  /** Returns how long ago a message that is received now may have arrived, in milliseconds. */
  delay(time: number): number {
    // A message that is received later was sent after the stall, unless another one has begun.
    const since = this.#stall !== undefined && time - this.#stall.ended < heldBackMs ? this.#stall.began : this.#lastTick;
    const age = time - since;
    return age >= minStallMs ? age : 0;
  }
}
