import type { Attempt } from "./attempt.js";
import { asActionError, messageOf, misuse, Refused, Retryable, Unknown } from "./errors.js";
import { decodeJson, encodeJson } from "./json.js";
import { onAbort } from "./time.js";

/** The number of attempts of each side in flight. */
const defaultCapacity = 64;
/** The greatest capacity that an executor accepts. */
const maxCapacity = 100_000;
const maxServiceName = 63;
const maxActionName = 128;
const serviceName = /^[a-z0-9](?:[a-z0-9]|-+[a-z0-9])*$/;
const actionName = /^\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*$/;

/** Runs an action: it converts the JSON of the input to the JSON of the output. */
export type Handler = (inputJson: string, attempt: Attempt) => Promise<string>;

/** Wraps the handlers of actions, for example to log, to measure or to authorise. */
export type Interceptor = (next: Handler) => Handler;

/** The function of an action. */
export type ActionFunction<I, O> = (input: I, attempt: Attempt) => O | Promise<O>;

/** The input of a compensation, unless the definition sets another. */
export interface CompensationInput<I, O> {
  /** The input of the step. */
  input: I;
  /** The output of the step. It is null if it is unknown whether the step took effect, or if the output is null. */
  output: O | null;
}

/** The function of a compensation. It must succeed if there is nothing to undo. */
export type CompensationFunction<I, O> = (undo: CompensationInput<I, O>, attempt: Attempt) => void | Promise<void>;

/** The options of a {@link Service}. */
export interface ServiceOptions {
  /** How many attempts of each side may be in flight (default: 64). */
  capacity?: number;
  /** The version of the microservice, which executors log. */
  version?: string;
  /** Interceptors around all actions. The first one is the outermost. */
  interceptors?: readonly Interceptor[];
}

/** The options of an action that receives JSON. */
export interface HandlerOptions {
  /**
   * Limits the attempts of the action in flight in this worker. An attempt that waits for its turn beyond its deadline is not
   * started and is retried.
   */
  maxInFlight?: number;
}

/** The options of a typed action. */
export interface ActionOptions<I> extends HandlerOptions {
  /**
   * Checks the input of the step and returns it, such as `schema.parse` of a validation library. An input for which it throws
   * is refused with the code BAD_INPUT. Without it, the type of the input is a promise of the definition.
   */
  parse?: (input: unknown) => I;
}

/** The answer to a probe: whether the operation of a step happened. */
export type ProbeAnswer<O> =
  | { outcome: "done"; output: O }
  | { outcome: "not_done" }
  | { outcome: "unknown" };

/** Limits the attempts of an action in flight. */
class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(limit: number) {
    this.#free = Math.max(1, limit);
  }

  /** Waits for a slot. Returns false if the signal is aborted first. */
  async acquire(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) {
      return false;
    }
    if (this.#free > 0) {
      this.#free -= 1;
      return true;
    }
    return await new Promise((resolve) => {
      const enter = (): void => {
        stop();
        resolve(true);
      };
      this.#waiting.add(enter);
      const stop = onAbort(signal, () => {
        this.#waiting.delete(enter);
        resolve(false);
      });
    });
  }

  release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}

interface Entry {
  handler: Handler;
  slots: Slots | undefined;
}

/** A microservice: its name and its actions. Add actions before it is served. */
export class Service {
  /** The name, the first half of `run: service/action`. */
  readonly name: string;
  /** How many attempts of each side may be in flight. */
  readonly capacity: number;
  /** The version of the microservice. */
  readonly version: string;

  readonly #interceptors: readonly Interceptor[];
  readonly #actions = new Map<string, Entry>();
  #invalid: string | undefined;

  constructor(name: string, options: ServiceOptions = {}) {
    this.name = name;
    this.capacity = Math.max(1, Math.trunc(options.capacity ?? defaultCapacity));
    this.version = options.version ?? "";
    this.#interceptors = [...options.interceptors ?? []];
  }

  /** The names of the actions, sorted. */
  get actions(): string[] {
    return [...this.#actions.keys()].sort();
  }

  /** Adds an action that receives and returns JSON. */
  handle(name: string, handler: Handler, options: HandlerOptions = {}): this {
    if (this.#actions.has(name)) {
      this.#invalid ??= `the service ${this.name} has the action ${name} twice`;
    }
    if (Number.isNaN(options.maxInFlight)) {
      this.#invalid ??= `the limit maxInFlight of the action ${name} is not a number`;
    }
    const slots = options.maxInFlight === undefined ? undefined : new Slots(Math.trunc(options.maxInFlight));
    this.#actions.set(name, { handler, slots });
    return this;
  }

  /** Adds the action of `run: service/action`. An output that cannot be converted to JSON has an unknown outcome. */
  action<I, O>(name: string, execute: ActionFunction<I, O>, options: ActionOptions<I> = {}): this {
    return this.handle(name, typed(execute, options.parse), options);
  }

  /** Adds the action of `compensate: service/action`. `I` and `O` are the types of the action that it compensates. */
  compensation<I, O>(name: string, compensate: CompensationFunction<I, O>, options: ActionOptions<I> = {}): this {
    return this.handle(name, typed(compensate, parseUndo<I, O>(options.parse)), options);
  }

  /**
   * Adds an action and its compensation, which receives the input and the output of the action. The compiler checks that
   * their types match.
   */
  pair<I, O>(
    action: string,
    execute: ActionFunction<I, O>,
    compensation: string,
    compensate: CompensationFunction<I, O>,
    options: ActionOptions<I> = {},
  ): this {
    return this.action(action, execute, options).compensation<I, O>(compensation, compensate, options);
  }

  /**
   * Adds the action of `probe: service/action`. It has the input and the idempotency key of the step, and answers whether the
   * operation of the step happened. It must have no effect. The answer `unknown` repeats the probe.
   */
  probe<I, O>(name: string, probe: ActionFunction<I, ProbeAnswer<O>>, options: ActionOptions<I> = {}): this {
    return this.action(name, probe, options);
  }

  /** Checks the limits, and the names, which definitions must be able to refer to. Throws an error of the kind `misuse`. */
  check(): void {
    if (this.#invalid !== undefined) {
      throw misuse(this.#invalid);
    }
    if (!(this.capacity <= maxCapacity)) {
      throw misuse(`the capacity of the service ${this.name} is ${this.capacity}; use a number from 1 to ${maxCapacity}`);
    }
    if (this.name.length > maxServiceName || !serviceName.test(this.name)) {
      throw misuse(`${JSON.stringify(this.name)} is not a name of a service: use up to ${maxServiceName} lower-case letters, ` +
        "digits and hyphens, without a hyphen at the beginning and the end");
    }
    if (this.#actions.size === 0) {
      throw misuse(`the service ${this.name} must have at least one action`);
    }
    for (const name of this.#actions.keys()) {
      if (name.length > maxActionName || !actionName.test(name)) {
        throw misuse(`${JSON.stringify(name)} is not a name of an action: use up to ${maxActionName} letters, digits, dots, ` +
          "hyphens and underscores");
      }
    }
  }

  /** Runs the action of an attempt. Rejects with an {@link ActionError}. @internal */
  async run(attempt: Attempt, outer: readonly Interceptor[]): Promise<string> {
    const entry = this.#actions.get(attempt.action);
    if (entry === undefined) {
      throw new Retryable("NO_SUCH_ACTION", `the service has no action ${attempt.action}`);
    }
    if (entry.slots !== undefined && !await entry.slots.acquire(attempt.signal)) {
      const text = `the attempt ended before the action ${attempt.action} had a free slot`;
      throw new Retryable("NOT_STARTED", text);
    }
    try {
      if (attempt.timeLeftMs() === 0) {
        throw new Retryable("NOT_STARTED", "the deadline of the attempt passed before the action began");
      }
      let handler = entry.handler;
      for (const interceptor of [...outer, ...this.#interceptors].reverse()) {
        handler = interceptor(handler);
      }
      return await handler(attempt.inputJson, attempt);
    } catch (thrown) {
      throw asActionError(thrown);
    } finally {
      entry.slots?.release();
    }
  }
}

function typed<I, O>(run: ActionFunction<I, O>, parse: ((input: unknown) => I) | undefined): Handler {
  return async (inputJson, attempt) => {
    let input: I;
    try {
      const value = decodeJson(inputJson);
      input = parse === undefined ? value as I : parse(value);
    } catch (cause) {
      throw new Refused("BAD_INPUT", messageOf(cause), { cause });
    }
    const output = await run(input, attempt);
    try {
      return encodeJson(output);
    } catch (cause) {
      throw new Unknown("BAD_OUTPUT", messageOf(cause), { cause });
    }
  };
}

/** Returns a function that checks the input of a compensation. A step in doubt has no output. */
function parseUndo<I, O>(parse: ((input: unknown) => I) | undefined) {
  return (value: unknown): CompensationInput<I, O> => {
    if (typeof value !== "object" || value === null) {
      throw new TypeError("the input of a compensation must be an object with the fields input and output");
    }
    const { input, output = null } = value as { input?: unknown; output?: O | null };
    return { input: parse === undefined ? input as I : parse(input), output };
  };
}
