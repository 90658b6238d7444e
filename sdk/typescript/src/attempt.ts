import type { Logger } from "./logger.js";
import { now } from "./time.js";

/** The side of a step. */
export type Operation = "execute" | "compensate";

/** The fields of an {@link Attempt}. */
export interface AttemptFields {
  key: string;
  workflowId: string;
  service: string;
  action: string;
  step: string;
  operation: Operation;
  number: number;
  deadline: number;
  traceparent: string;
  tracestate: string;
  lockTokens: ReadonlyMap<string, bigint>;
  heartbeatTimeoutMs: number;
  inputJson: string;
  signal: AbortSignal;
  logger: Logger;
  beat: () => void;
}

/** One attempt of one side of one step. */
export class Attempt {
  /** The idempotency key: the same for every attempt of this side of this step, and different from all other keys. */
  readonly key: string;
  /** The id of the workflow. */
  readonly workflowId: string;
  /** The name of the service. */
  readonly service: string;
  /** The name of the action. */
  readonly action: string;
  /** The name of the step in the definition. */
  readonly step: string;
  /** The side of the step. */
  readonly operation: Operation;
  /** The number of the attempt, from 1. */
  readonly number: number;
  /** The W3C trace context of the attempt, the parent of spans. */
  readonly traceparent: string;
  /** The W3C tracestate that belongs to {@link traceparent}. It is empty if there is none. */
  readonly tracestate: string;
  /** The fencing tokens of the locks that the workflow holds, by key. */
  readonly lockTokens: ReadonlyMap<string, bigint>;
  /** The maximum time between two heartbeats. It is 0 if the step has no heartbeat timeout. */
  readonly heartbeatTimeoutMs: number;
  /** The JSON that the action received. That of a compensation has `input` and `output`, unless the definition sets another. */
  readonly inputJson: string;
  /**
   * Aborted when the attempt times out, when the saga rolls back, or when the connection to the executor is lost. Its reason
   * is a {@link DeadlineExceeded}, an {@link AttemptCancelled} or a {@link StreamLost}.
   */
  readonly signal: AbortSignal;
  /** The logger of the worker, with the workflow, the step, the action and the attempt. */
  readonly logger: Logger;

  readonly #deadline: number;
  readonly #beat: () => void;

  constructor(fields: AttemptFields) {
    this.key = fields.key;
    this.workflowId = fields.workflowId;
    this.service = fields.service;
    this.action = fields.action;
    this.step = fields.step;
    this.operation = fields.operation;
    this.number = fields.number;
    this.traceparent = fields.traceparent;
    this.tracestate = fields.tracestate;
    this.lockTokens = fields.lockTokens;
    this.heartbeatTimeoutMs = fields.heartbeatTimeoutMs;
    this.inputJson = fields.inputJson;
    this.signal = fields.signal;
    this.logger = fields.logger;
    this.#deadline = fields.deadline;
    this.#beat = fields.beat;
  }

  /** Returns the time until the deadline in milliseconds, by the monotonic clock. It is 0 after the deadline. */
  timeLeftMs(): number {
    return Math.max(0, this.#deadline - now());
  }

  /**
   * Sends a heartbeat. If the step has a `timeout.heartbeat`, an attempt without a heartbeat for that time ends before its
   * deadline, with an unknown outcome. A function that does not yield to the event loop sends none.
   */
  heartbeat(): void {
    if (this.heartbeatTimeoutMs > 0) {
      this.#beat();
    }
  }
}
