/**
 * The outcome that the error of an action reports. It determines how the saga proceeds.
 *
 * - `retryable`: nothing happened, and a retry may succeed.
 * - `refused`: nothing happened, and a retry would not help.
 * - `unknown`: the action may have taken effect.
 */
export type Outcome = "retryable" | "refused" | "unknown";

/** Marks the errors of actions, also those of another copy of this package. */
const actionMark = Symbol.for("goconductor.ActionError");

/** The options of an {@link ActionError}. */
export interface ActionErrorOptions {
  /** The cause. */
  cause?: unknown;
  /** Further details, which are converted to JSON. Only refusals have them. */
  detail?: unknown;
  /** The minimum delay before the next attempt. Only retryable errors have it. */
  afterMs?: number;
}

/** The error of an action, with the outcome that it reports. Throw {@link Retryable}, {@link Refused} or {@link Unknown}. */
export class ActionError extends Error {
  /** The outcome. */
  readonly outcome: Outcome;
  /** A stable code for programs, which `retry.on` of a definition can name. */
  readonly code: string;
  /** The text for people, without the code. */
  readonly text: string;
  /** Further details, which are converted to JSON. */
  readonly detail: unknown;
  /** The minimum delay before the next attempt. */
  readonly afterMs: number;
  /** @internal */
  readonly [actionMark] = true;

  /** Use one of the subclasses instead. */
  constructor(outcome: Outcome, code: string, text: string, options: ActionErrorOptions = {}) {
    super(text === "" ? code : `${code}: ${text}`, options.cause === undefined ? {} : { cause: options.cause });
    this.name = new.target.name;
    this.outcome = outcome;
    this.code = code;
    this.text = text;
    this.detail = options.detail;
    this.afterMs = options.afterMs ?? 0;
  }
}

/** The action had no effect and may succeed later. The step is retried by its retry policy. */
export class Retryable extends ActionError {
  constructor(code: string, text: string, options: Pick<ActionErrorOptions, "cause" | "afterMs"> = {}) {
    super("retryable", code, text, options);
  }
}

/** The action had no effect and cannot succeed. The saga rolls back. */
export class Refused extends ActionError {
  constructor(code: string, text: string, options: Pick<ActionErrorOptions, "cause" | "detail"> = {}) {
    super("refused", code, text, options);
  }
}

/**
 * The action may have taken effect. The step is retried with the same idempotency key, and compensated if the saga rolls
 * back.
 */
export class Unknown extends ActionError {
  constructor(code: string, text: string, options: Pick<ActionErrorOptions, "cause"> = {}) {
    super("unknown", code, text, options);
  }
}

/**
 * The reason of an aborted attempt: its result is no longer needed, because it timed out or the saga rolls back. An effect
 * of the attempt is compensated.
 */
export class AttemptCancelled extends Error {
  override readonly name = "AttemptCancelled";
}

/**
 * The reason of an aborted attempt: the connection to the executor was lost, or the worker was closed. The attempt is
 * repeated.
 */
export class StreamLost extends Error {
  override readonly name = "StreamLost";
}

/** The reason of an aborted attempt: its deadline has passed. The outcome of the attempt is unknown. */
export class DeadlineExceeded extends Error {
  override readonly name = "DeadlineExceeded";
}

/** Errors of the runtime that a program throws by mistake. */
const exceptions = [TypeError, RangeError, ReferenceError, SyntaxError, EvalError, URIError];

/**
 * Returns the outcome that a thrown value reports. An {@link ActionError} is found among the causes of an error. All other
 * values report an unknown outcome. The code is
 *
 * - `CANCELLED` for an {@link AttemptCancelled}, a {@link StreamLost} and an `AbortError`,
 * - `DEADLINE_EXCEEDED` for a {@link DeadlineExceeded} and a `TimeoutError`,
 * - `PANICKED` for an exception of the program: a `TypeError`, `RangeError`, `ReferenceError` or `SyntaxError` without a
 *   cause, and a value that is not an `Error`,
 * - `ERROR` for every other error.
 */
export function asActionError(thrown: unknown): ActionError {
  const seen = new Set<unknown>();
  for (let error = thrown; error instanceof Error && !seen.has(error); error = error.cause) {
    if (actionMark in error) {
      return error as ActionError;
    }
    seen.add(error);
  }
  return new Unknown(codeOf(thrown), messageOf(thrown), { cause: thrown });
}

function codeOf(thrown: unknown): string {
  // A DOMException is an Error in Node, and has its kind in its name.
  const name = thrown instanceof Error ? thrown.name : "";
  if (["AttemptCancelled", "StreamLost", "AbortError"].includes(name)) {
    return "CANCELLED";
  }
  if (["DeadlineExceeded", "TimeoutError"].includes(name)) {
    return "DEADLINE_EXCEEDED";
  }
  return isException(thrown) ? "PANICKED" : "ERROR";
}

/** Returns whether a thrown value is a mistake of the program. fetch reports an unreachable server by a TypeError with a cause. */
export function isException(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) {
    return true;
  }
  return thrown.cause === undefined && exceptions.some((kind) => thrown instanceof kind);
}

/** Returns the message of a thrown value. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown);
  } catch {
    return "a value that cannot be converted to a text"; // such as an object without a prototype
  }
}

/**
 * The kind of the error of a call.
 *
 * - `not_found`: the resource does not exist.
 * - `conflict`: the current state does not allow the call.
 * - `invalid`: the request is invalid.
 * - `not_allowed`: the credentials do not allow the call, or are missing.
 * - `overloaded`: the call was refused because of overload and had no effect.
 * - `unreachable`: the gateway cannot be reached. A write may have taken effect.
 * - `timeout`: no response arrived in time. A write may have taken effect.
 * - `misuse`: a workflow, a service or an address is invalid. Correct the program.
 * - `no_executor`: no executor accepted a worker of the service.
 * - `other`: any other error.
 */
export type ErrorKind =
  | "not_found"
  | "conflict"
  | "invalid"
  | "not_allowed"
  | "overloaded"
  | "unreachable"
  | "timeout"
  | "misuse"
  | "no_executor"
  | "other";

/** The location of an error in a request. */
export interface ErrorLocation {
  /** A JSON pointer into the request, or the name of a field. */
  pointer: string;
  /** The description, with its code, and the line and the column if they are known. */
  detail: string;
}

/** The options of a {@link GoConductorError}. */
export interface GoConductorErrorOptions {
  code?: string;
  locations?: readonly ErrorLocation[];
  retryable?: boolean;
  retryDelayMs?: number;
  traceId?: string;
  cause?: unknown;
}

/** The error of a call to GoConductor. */
export class GoConductorError extends Error {
  override readonly name = "GoConductorError";
  /** The kind of the error. */
  readonly kind: ErrorKind;
  /**
   * The stable code, such as GC2010. Each code has a page in the documentation. It is empty if the gateway did not describe
   * the error.
   */
  readonly code: string;
  /** The errors in the request, such as the problems of a definition. */
  readonly locations: readonly ErrorLocation[];
  /** Whether the same call may succeed later. A write must have an idempotency key to be retried. */
  readonly retryable: boolean;
  /** The delay that the gateway requests before a retry. It is 0 if it requests none. */
  readonly retryDelayMs: number;
  /** Identifies the response in the log of the gateway. */
  readonly traceId: string;

  constructor(kind: ErrorKind, text: string, options: GoConductorErrorOptions = {}) {
    const code = options.code ?? "";
    const locations = options.locations ?? [];
    const message = [code === "" ? text : `${code}: ${text}`, ...locations.map((at) => `${at.pointer}: ${at.detail}`)];
    super(message.join("; "), options.cause === undefined ? {} : { cause: options.cause });
    this.kind = kind;
    this.code = code;
    this.locations = locations;
    this.retryable = options.retryable ?? false;
    this.retryDelayMs = options.retryDelayMs ?? 0;
    this.traceId = options.traceId ?? "";
  }
}

/** Returns the error of an invalid workflow, service, address or option. */
export function misuse(text: string, cause?: unknown): GoConductorError {
  return new GoConductorError("misuse", text, { cause });
}
