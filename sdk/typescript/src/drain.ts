/**
 * How long tasks are accepted after the drain of either side, if the executor is of a release that does not acknowledge
 * drains. Such tasks were sent before the drain was received.
 */
export const drainGraceMs = 200;

/**
 * Whether tasks can still arrive on a stream. A task that arrives after the worker has closed the stream has an unknown
 * outcome, so that the worker closes it only when no task is on the way. All times are in milliseconds of the monotonic clock.
 */
export class DrainProgress {
  /** Whether the executor acknowledges the drain of the worker, and sends no task after its own. */
  acknowledges = false;
  #begun = false;
  #endsAt: number | undefined;

  /** The time from which no task arrives, if it is known. */
  get endsAt(): number | undefined {
    return this.#endsAt;
  }

  /** Records that the worker has sent its drain. */
  workerDrains(time: number): void {
    this.#begun = true;
    if (!this.acknowledges) {
      this.#endsAt ??= time + drainGraceMs;
    }
  }

  /** Records the drain of the executor. */
  executorDrains(time: number): void {
    this.#begun = true;
    this.#endsAt ??= this.acknowledges ? time : time + drainGraceMs;
  }

  /** Records that the executor has acknowledged the drain of the worker. */
  acknowledged(time: number): void {
    if (this.#begun) {
      this.#endsAt = time;
    }
  }

  /** Returns whether no task arrives any more. */
  complete(time: number): boolean {
    return this.#endsAt !== undefined && time >= this.#endsAt;
  }
}
