import { type CallOptions, type Calls, metadataWithin, unary } from "./calls.js";
import { GoConductorError, messageOf, misuse } from "./errors.js";
import type { Event as WireEvent, Workflow as WireWorkflow, WorkflowServiceClient } from "./generated/goconductor/v1/workflow.js";
import { encodeJson } from "./json.js";
import { fromServiceError } from "./status.js";
import { jitter, now, onAbort, sleep, toDuration } from "./time.js";
import { type Description, descriptionOf, type Event, eventOf, isFinal, type Result, resultOf } from "./view.js";

/** The duration of one long poll. */
const pollTimeoutMs = 30_000;
/** The time after the end of a poll within which its response must arrive. */
const pollMarginMs = 10_000;
/** The time after which an unavailable gateway is given up. */
const retryTimeoutMs = 60_000;
/** A duration after which a stream was not refused. An attempt to connect is shorter. */
const standingMs = 30_000;
/** The number of events that one call returns. */
const eventPage = 1000;
/** The delays between retries while the gateway is unavailable. */
const minRetryDelayMs = 100;
const maxRetryDelayMs = 2000;

/** The options of a wait that only its signal limits. */
export interface SignalOption {
  /** Ends the wait. The promise rejects with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

/** The parts of a client that its handles use. */
export interface HandleOwner {
  readonly calls: Calls;
  readonly workflows: WorkflowServiceClient;
}

/** The options of {@link Handle.signal}. */
export interface SignalOptions extends CallOptions {
  /** A key by which a repeat of the same signal is recognised. */
  key?: string;
}

/** Retries of a read while the gateway is unavailable. */
class Retries {
  /** The first failure sets the deadline. A stream can stand for hours before it fails. */
  #deadline: number | undefined;
  #delay = minRetryDelayMs;

  reset(): void {
    this.#deadline = undefined;
    this.#delay = minRetryDelayMs;
  }

  /** Waits before the next retry. Returns false if the read must not be retried. */
  async wait(error: unknown, signal: AbortSignal | undefined): Promise<boolean> {
    if (!(error instanceof GoConductorError) || (!error.retryable && error.kind !== "overloaded")) {
      return false;
    }
    this.#deadline ??= now() + retryTimeoutMs;
    if (now() > this.#deadline || !await sleep(jitter(this.#delay), signal)) {
      return false;
    }
    this.#delay = Math.min(2 * this.#delay, maxRetryDelayMs);
    return true;
  }
}

/** A handle to a workflow. */
export class Handle {
  /** The id of the workflow. */
  readonly id: string;
  /** Whether an earlier start with the same key started the workflow. */
  readonly replayed: boolean;

  readonly #owner: HandleOwner;

  /** @internal */
  constructor(owner: HandleOwner, id: string, replayed = false) {
    this.#owner = owner;
    this.id = id;
    this.replayed = replayed;
  }

  /**
   * Waits until the workflow ends. Rejects with an error of the kind `not_found` if the workflow does not exist, and of the
   * kind `unreachable` if the gateway cannot be reached for a minute.
   */
  async result<Output = unknown>(options: SignalOption = {}): Promise<Result<Output>> {
    const retries = new Retries();
    for (;;) {
      try {
        const request = { id: this.id, wait: toDuration(pollTimeoutMs) };
        const { workflow, ended } = await this.#call(this.#owner.workflows.getResult.bind(this.#owner.workflows), request, {
          timeoutMs: pollTimeoutMs + pollMarginMs, signal: options.signal,
        });
        if (ended && workflow !== undefined) {
          return resultOf<Output>(workflow);
        }
        retries.reset();
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!await retries.wait(error, options.signal)) {
          options.signal?.throwIfAborted();
          throw error;
        }
      }
    }
  }

  /** Returns the current state of the workflow. */
  async describe(options: CallOptions = {}): Promise<Description> {
    const workflows = this.#owner.workflows;
    const { workflow } = await this.#call(workflows.getWorkflow.bind(workflows), { id: this.id }, options);
    return descriptionOf(present(workflow));
  }

  /** Requests a rollback. Rejects with an error of the kind `conflict` if the workflow has ended or its pivot has completed. */
  async cancel(reason: string, options: CallOptions = {}): Promise<void> {
    const workflows = this.#owner.workflows;
    await this.#call(workflows.cancelWorkflow.bind(workflows), { id: this.id, reason }, options);
  }

  /** Sends a signal to the workflow. A signal that arrives early is kept until a step waits for it. */
  async signal(name: string, payload?: unknown, options: SignalOptions = {}): Promise<void> {
    const workflows = this.#owner.workflows;
    const request = { id: this.id, name, payloadJson: toJson("payload", payload), idempotencyKey: options.key ?? "" };
    await this.#call(workflows.signalWorkflow.bind(workflows), request, options);
  }

  /**
   * Yields the events of the workflow as they happen: in order, each once, until the last. After a broken connection it
   * resumes after the last event.
   */
  async *watch(options: SignalOption = {}): AsyncGenerator<Event, void, undefined> {
    const retries = new Retries();
    let last = 0n;
    for (;;) {
      const began = now();
      let failure: unknown;
      try {
        for await (const event of this.#follow(last, options.signal)) {
          if (event.seq > last) {
            last = event.seq;
            retries.reset();
            yield eventOf(event);
          }
        }
        // The stream ends with the last event, or with the gateway.
        const described = await this.describe({ signal: options.signal });
        if (isFinal(described.status) && described.seq <= last) {
          return;
        }
        failure = new GoConductorError("unreachable", "the stream of events ended", { retryable: true });
      } catch (error) {
        failure = error;
      }
      options.signal?.throwIfAborted();
      if (now() - began > standingMs) {
        retries.reset();
      }
      if (!await retries.wait(failure, options.signal)) {
        options.signal?.throwIfAborted();
        throw failure;
      }
    }
  }

  async *#follow(afterSeq: bigint, signal: AbortSignal | undefined): AsyncGenerator<WireEvent, void, undefined> {
    const { calls } = this.#owner;
    const metadata = await metadataWithin(calls.callTimeoutMs, calls, signal);
    const call = this.#owner.workflows.followEvents({ id: this.id, afterSeq }, metadata);
    const stop = onAbort(signal, () => { call.cancel(); });
    try {
      for await (const response of call as AsyncIterable<{ event: WireEvent | undefined }>) {
        if (response.event !== undefined) {
          yield response.event;
        }
      }
    } catch (error) {
      throw fromServiceError(error);
    } finally {
      stop();
      // A consumer that stops early leaves the call open. Its cancellation is reported as an error.
      call.on("error", () => undefined);
      call.cancel();
    }
  }

  /** Returns all events after a number, in order. It calls the gateway once for each 1000 events. */
  async events(after = 0n, options: CallOptions = {}): Promise<Event[]> {
    const workflows = this.#owner.workflows;
    const all: Event[] = [];
    for (let afterSeq = after;;) {
      const request = { id: this.id, afterSeq, pageSize: eventPage };
      const { events } = await this.#call(workflows.listEvents.bind(workflows), request, options);
      all.push(...events.map(eventOf));
      afterSeq = events.at(-1)?.seq ?? afterSeq;
      if (events.length < eventPage) {
        return all;
      }
    }
  }

  #call<Request, Response>(
    method: Parameters<typeof unary<Request, Response>>[1], request: Request, options: CallOptions,
  ): Promise<Response> {
    return unary(this.#owner.calls, method, request, options);
  }
}

/** Returns the workflow of a response, which every gateway sends. */
export function present(workflow: WireWorkflow | undefined): WireWorkflow {
  if (workflow === undefined) {
    throw new GoConductorError("other", "the response of the gateway has no workflow");
  }
  return workflow;
}

/** Converts a value of a request to JSON. */
export function toJson(name: string, value: unknown): string {
  try {
    return encodeJson(value);
  } catch (cause) {
    throw misuse(`the ${name} cannot be converted to JSON: ${messageOf(cause)}`, cause);
  }
}
