import type { Attempt, Operation } from "../attempt.js";
import { Refused, Retryable, Unknown } from "../errors.js";
import type { Handler } from "../service.js";

/** The attempts of one side of a step at which a fault is injected. */
export class Attempts {
  readonly #step: string;
  readonly #operation: Operation;
  readonly #first: number;
  readonly #last: number;

  /** @internal */
  constructor(step: string, operation: Operation, first = 1, last = 1) {
    this.#step = step;
    this.#operation = operation;
    this.#first = first;
    this.#last = last;
  }

  /** Returns other attempts of the same side, counted from 1. */
  numbers(first: number, last: number): Attempts {
    return new Attempts(this.#step, this.#operation, first, last);
  }

  /** Returns every attempt of the same side. */
  every(): Attempts {
    return this.numbers(1, Number.MAX_SAFE_INTEGER);
  }

  /** Returns whether an attempt is one of them. */
  includes(attempt: Attempt): boolean {
    return this.#step === attempt.step && this.#operation === attempt.operation &&
      this.#first <= attempt.number && attempt.number <= this.#last;
  }
}

/** Returns the first attempt to execute a step. */
export function onExecute(step: string): Attempts {
  return new Attempts(step, "execute");
}

/** Returns the first attempt to compensate a step. */
export function onCompensate(step: string): Attempts {
  return new Attempts(step, "compensate");
}

/**
 * A fault of a participant.
 *
 * - `refuse`: the participant refuses. The action is not called.
 * - `fail`: the participant reports a retryable failure. The action is not called.
 * - `unknown`: the action is called, and the participant does not know its outcome.
 * - `crash`: the action is called, and the worker crashes before its outcome is sent.
 * - `duplicate`: the action is called twice with the same idempotency key.
 * - `timeout`: the action is called, and its outcome is not sent before the deadline.
 */
export type Fault = "refuse" | "fail" | "unknown" | "crash" | "duplicate" | "timeout";

/** All faults. */
export const faults: readonly Fault[] = ["refuse", "fail", "unknown", "crash", "duplicate", "timeout"];

/** The code of injected failures. */
const code = "INJECTED";

/** Runs an attempt with a fault. */
export async function inject(
  fault: Fault, run: Handler, inputJson: string, attempt: Attempt, crash: () => void,
): Promise<string> {
  const text = `${fault} at attempt ${attempt.number} of ${attempt.step}`;
  if (fault === "refuse") {
    throw new Refused(code, text);
  }
  if (fault === "fail") {
    throw new Retryable(code, text);
  }
  await run(inputJson, attempt);
  switch (fault) {
    case "unknown":
      throw new Unknown(code, text);
    case "duplicate":
      return await run(inputJson, attempt);
    case "crash":
      crash();
      break;
    case "timeout":
      break;
  }
  await new Promise<void>((resolve) => {
    if (attempt.signal.aborted) {
      resolve();
    }
    attempt.signal.addEventListener("abort", () => { resolve(); }, { once: true });
  });
  throw attempt.signal.reason;
}
