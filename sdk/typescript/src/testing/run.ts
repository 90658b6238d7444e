import { AssertionError } from "node:assert";

import type { Attempt, Operation } from "../attempt.js";
import type { Description, Event, Status } from "../view.js";

/** A call of an action. */
export interface Call {
  step: string;
  operation: Operation;
  /** The number of the attempt, from 1. */
  attempt: number;
  /** The idempotency key. */
  key: string;
  /** The JSON that the action received. */
  inputJson: string;
}

/** A saga that was run. Its assertions throw an `AssertionError` with the history of the saga. */
export class Run {
  /** The calls of actions, in order. */
  readonly calls: Call[] = [];
  /** The history. */
  readonly events: Event[] = [];
  /** The state of the saga at the end. */
  description!: Description;

  /** @internal */
  record(attempt: Attempt): void {
    this.calls.push({
      step: attempt.step, operation: attempt.operation, attempt: attempt.number, key: attempt.key,
      inputJson: attempt.inputJson,
    });
  }

  /** The steps that completed, in order. */
  get executed(): string[] {
    return this.#steps("STEP_COMPLETED");
  }

  /** The steps that were compensated, in order. */
  get compensated(): string[] {
    return this.#steps("STEP_COMPENSATED");
  }

  #steps(type: string): string[] {
    return this.events.filter((event) => event.type === type).map((event) => event.step);
  }

  /**
   * The steps that may have had an effect which remains, although the saga did not complete. A step without a compensation
   * has nothing to undo.
   */
  get standing(): string[] {
    if (this.description.status === "COMPLETED") {
      return [];
    }
    // FAILED and UNKNOWN differ: a failed step had no effect.
    return this.description.steps
      .filter((step) => ["COMPLETED", "UNKNOWN", "COMPENSATION_FAILED"].includes(step.status) && step.compensate !== "")
      .map((step) => step.name);
  }

  /** The history as text, one event per line. */
  get timeline(): string {
    const began = this.events[0]?.time?.getTime() ?? 0;
    return this.events
      .map((event) => {
        const passed = (event.time?.getTime() ?? began) - began;
        return `${String(event.seq).padStart(4)} +${passed}ms ${event.type} ${event.step} ${event.detailJson}\n`;
      })
      .join("");
  }

  /** Asserts the status at the end. */
  assertStatus(expected: Status): void {
    this.#assertEqual("the saga ended", this.description.status, expected);
  }

  /** Asserts which steps completed, in order. */
  assertExecuted(...expected: string[]): void {
    this.#assertEqual("the saga executed", this.executed, expected);
  }

  /** Asserts which steps were compensated, in order. */
  assertCompensated(...expected: string[]): void {
    this.#assertEqual("the saga compensated", this.compensated, expected);
  }

  /** Asserts that the saga completed, or that every step that may have had an effect was compensated. */
  assertNothingStands(): void {
    this.#assertEqual("the steps with effects that remain are", this.standing, []);
  }

  /** Asserts that the attempts of each side of each step had one idempotency key. */
  assertSameKeys(): void {
    const keys = new Map<string, string>();
    for (const call of this.calls) {
      const side = `${call.step}/${call.operation}`;
      this.#assertEqual(`the key of attempt ${call.attempt} of ${side} is`, call.key, keys.get(side) ?? call.key);
      keys.set(side, call.key);
    }
  }

  #assertEqual(subject: string, actual: unknown, expected: unknown): void {
    const [shown, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
    if (shown !== wanted) {
      const message = `${subject} ${shown}, and ${wanted} was expected\n${this.timeline}`;
      throw new AssertionError({ message, actual, expected, operator: "deepStrictEqual" });
    }
  }
}
