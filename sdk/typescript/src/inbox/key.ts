import type { Operation } from "../attempt.js";

/** A text is not an idempotency key of the operation. */
export class InvalidKey extends Error {
  override readonly name = "InvalidKey";
}

/**
 * Returns the workflow and the step of a key `<workflow>/<step>/<execute or compensate>`, the common part of both operations.
 * Throws an {@link InvalidKey} if the text is not a key of the operation.
 */
export function stepOf(key: string, operation: Operation): string {
  const [workflow, step, side, ...rest] = key.split("/");
  if (!workflow || !step || side !== operation || rest.length > 0) {
    throw new InvalidKey(`invalid idempotency key ${JSON.stringify(key)}: expected <workflow>/<step>/${operation}`);
  }
  return `${workflow}/${step}`;
}
