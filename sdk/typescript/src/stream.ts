import { hostname } from "node:os";

import { type ClientDuplexStream, connectivityState, status } from "@grpc/grpc-js";

import { Attempt } from "./attempt.js";
import { metadataWithin } from "./calls.js";
import { DrainProgress } from "./drain.js";
import { channelOptions, maxMessageBytes, parseEndpoint } from "./endpoint.js";
import {
  type ActionError, asActionError, AttemptCancelled, DeadlineExceeded, isException, messageOf, Retryable, StreamLost, Unknown,
} from "./errors.js";
import {
  type ConnectRequest, type ConnectResponse, type Failure, Operation, type Task, type TaskResult, WorkerServiceClient,
} from "./generated/goconductor/v1/worker.js";
import { encodeJson } from "./json.js";
import { type Logger, withFields } from "./logger.js";
import type { Service } from "./service.js";
import type { Settings } from "./settings.js";
import type { StallDetector } from "./stall.js";
import { fromServiceError, isServiceError } from "./status.js";
import { after, fromDuration, fromTimestamp, now, onAbort, toDuration, within } from "./time.js";
import { channelCredentials } from "./tls.js";

/** The timeout for connecting to an executor. */
const executorTimeoutMs = 2000;
/** The interval of pings. */
const keepAliveMs = 10_000;
/** The timeout for the executor's welcome. It is also the lease if the welcome has none. */
const welcomeTimeoutMs = 5000;
/** The maximum size of an output in bytes, for an executor that does not state it. */
const defaultMaxOutput = 512 << 10;
/** The maximum size of a code and of a message in bytes. */
const maxText = 16 << 10;
/** The maximum delay before the next attempt. A message with a longer one, such as `Infinity`, could not be sent. */
const maxRetryAfterMs = 365 * 24 * 3_600_000;
/** The number of messages to the executor that may be buffered before heartbeats are left out. */
const requestBuffer = 256;
/** The number of heartbeats within a lease, so that two may be lost. */
const heartbeatsPerLease = 3;
/** How long a lost stream waits for its tasks, which are cancelled. */
const cancelTimeoutMs = 5000;

/** The parts of a worker that its streams use. */
export interface StreamOwner {
  readonly service: Service;
  readonly settings: Settings;
  readonly stalls: StallDetector;
  /** Aborted when the worker accepts no more tasks. */
  readonly draining: AbortSignal;
  /** Aborted when the worker ends its streams at once. */
  readonly closed: AbortSignal;
}

/** The end of a stream: whether the executor accepted the worker, and the reason of the end. */
export interface StreamEnd {
  opened: boolean;
  reason: Error;
}

class Drained extends Error {}

type Wire = ClientDuplexStream<ConnectRequest, ConnectResponse>;

interface RunningTask {
  controller: AbortController;
  ended: Promise<void>;
}

/** A stream to one executor. */
export class Stream {
  readonly #owner: StreamOwner;
  readonly #address: string;
  readonly #capacity: number;
  readonly #onOpen: () => void;
  readonly #logger: Logger;
  readonly #tasks = new Map<bigint, RunningTask>();

  #wire!: Wire;
  #opened = false;
  #ended = false;
  readonly #drain = new DrainProgress();
  #leaseMs = welcomeTimeoutMs;
  #maxOutput = defaultMaxOutput;
  #helloSent = now();
  #lastReceived = this.#helloSent;
  #stopExpiry: () => void = () => undefined;
  readonly #cleanUp: (() => void)[] = [];
  #finish: (reason: Error) => void = () => undefined;

  constructor(owner: StreamOwner, address: string, capacity: number, onOpen: () => void) {
    this.#owner = owner;
    this.#address = address;
    this.#capacity = Math.max(1, capacity);
    this.#onOpen = onOpen;
    this.#logger = owner.settings.logger;
  }

  /** Opens the stream and serves it until it ends. */
  async run(): Promise<StreamEnd> {
    let client: WorkerServiceClient | undefined;
    try {
      client = await this.#connect();
      const metadata = await metadataWithin(welcomeTimeoutMs, this.#owner.settings, this.#owner.closed);
      const served = new Promise<Error>((resolve) => { this.#finish = resolve; });
      this.#wire = client.connect(metadata);
      this.#listen();
      const reason = await served;
      this.#stopTimers();
      if (reason instanceof Drained) {
        // The executor ends the stream when it has read the last result. An earlier end of the connection would lose
        // results that are still in its buffers.
        await this.#awaitEnd();
      } else {
        await this.#abandon();
      }
      return { opened: this.#opened, reason };
    } catch (thrown) {
      return { opened: this.#opened, reason: fromServiceError(thrown) };
    } finally {
      client?.close();
    }
  }

  async #connect(): Promise<WorkerServiceClient> {
    const endpoint = parseEndpoint(this.#address);
    const credentials = channelCredentials(endpoint, this.#owner.settings.tls, "saga-executor");
    const options = channelOptions(endpoint, keepAliveMs, executorTimeoutMs);
    const client = new WorkerServiceClient(endpoint.target, credentials, options);
    try {
      await new Promise<void>((resolve, reject) => {
        const stop = onAbort(this.#owner.closed, () => { reject(new StreamLost("the worker was closed")); });
        client.waitForReady(Date.now() + executorTimeoutMs, (error) => {
          stop();
          const refused = client.getChannel().getConnectivityState(false) === connectivityState.TRANSIENT_FAILURE;
          if (error === undefined || refused) {
            resolve(); // the call of a refused connection fails at once, with the reason
          } else {
            reject(new Error(`failed to connect within ${executorTimeoutMs} ms`));
          }
        });
      });
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Sends the hello, and handles messages from now on. */
  #listen(): void {
    this.#wire.on("data", (message: ConnectResponse) => { this.#receive(message); });
    this.#wire.on("error", (error) => { this.#end(reasonOf(error, this.#opened)); });
    this.#wire.on("end", () => { this.#end(new Error("the executor closed the stream")); });
    this.#expireAfter(welcomeTimeoutMs, `no welcome within ${welcomeTimeoutMs} ms`);
    this.#cleanUp.push(
      onAbort(this.#owner.closed, () => { this.#end(new StreamLost("the worker was closed")); }),
      () => { this.#stopExpiry(); },
    );
    const service = this.#owner.service;
    // The token of the metadata may have taken long. It is not part of the lease.
    this.#helloSent = now();
    this.#lastReceived = this.#helloSent;
    this.#post({
      $case: "hello",
      value: {
        service: service.name, actions: service.actions, capacity: this.#capacity, version: service.version, identity,
      },
    });
  }

  #end(reason: Error): void {
    if (!this.#ended) {
      this.#ended = true;
      this.#finish(reason);
    }
  }

  #stopTimers(): void {
    for (const stop of this.#cleanUp.splice(0)) {
      stop();
    }
  }

  #expireAfter(ms: number, reason: string): void {
    this.#stopExpiry();
    this.#stopExpiry = after(ms, () => { this.#end(new Error(reason)); });
  }

  #receive(response: ConnectResponse): void {
    if (this.#ended) {
      return;
    }
    const time = now();
    if (time - this.#lastReceived > this.#leaseMs) {
      // The process was suspended. The executor has given up the stream and its tasks.
      this.#end(new Error("the executor sent nothing within the lease"));
      return;
    }
    this.#lastReceived = time;
    if (!this.#opened) {
      this.#welcome(response);
      return;
    }
    this.#expireAfter(this.#leaseMs, "the executor sent nothing within the lease");
    const message = response.message;
    switch (message?.$case) {
      case "task":
        this.#start(message.value, time);
        break;
      case "cancel": {
        const reason = new AttemptCancelled(`the attempt was cancelled by the executor: ${message.value.reason}`);
        this.#tasks.get(message.value.taskId)?.controller.abort(reason);
        break;
      }
      case "drain":
        this.#drain.executorDrains(time);
        this.#endIfDrained();
        break;
      case "drainAck":
        this.#drain.acknowledged(time);
        this.#endIfDrained();
        break;
      case "welcome":
      case "heartbeat":
      case undefined: // a message of a later version of the protocol
        break;
    }
  }

  #welcome(response: ConnectResponse): void {
    if (response.message?.$case !== "welcome") {
      this.#end(new Error("the executor's first message was not a welcome message"));
      return;
    }
    const { lease, maxOutputBytes, acknowledgesDrain } = response.message.value;
    this.#leaseMs = fromDuration(lease) || welcomeTimeoutMs;
    if (maxOutputBytes > 0n) {
      this.#maxOutput = Number(maxOutputBytes < maxMessageBytes ? maxOutputBytes : maxMessageBytes);
    }
    this.#drain.acknowledges = acknowledgesDrain;
    this.#opened = true;
    this.#expireAfter(this.#leaseMs, "the executor sent nothing within the lease");
    const heartbeats = setInterval(() => {
      this.#offer({ $case: "heartbeat", value: {} });
    }, this.#leaseMs / heartbeatsPerLease);
    this.#cleanUp.push(() => { clearInterval(heartbeats); });
    this.#onOpen();
    this.#cleanUp.push(onAbort(this.#owner.draining, () => {
      this.#post({ $case: "drain", value: {} });
      this.#drain.workerDrains(now());
      this.#endIfDrained();
    }));
  }

  /** Ends the stream if no task runs and no task is on the way. Looks again when none can be on the way any more. */
  #endIfDrained(): void {
    if (this.#ended || this.#tasks.size > 0) {
      return;
    }
    const time = now();
    if (this.#drain.complete(time)) {
      this.#end(new Drained("the worker drained"));
    } else if (this.#drain.endsAt !== undefined) {
      this.#cleanUp.push(after(this.#drain.endsAt - time, () => { this.#endIfDrained(); }));
    }
  }

  /** Sends a request unless the buffer is full. The next heartbeat replaces one that was not sent. */
  #offer(message: NonNullable<ConnectRequest["message"]>): void {
    if (this.#wire.writableLength < requestBuffer) {
      this.#post(message);
    }
  }

  /** Sends a request. If the stream is lost, the task is retried with the same key. */
  #post(message: NonNullable<ConnectRequest["message"]>): void {
    if (!this.#ended && this.#wire.writable) {
      this.#wire.write({ message });
    }
  }

  #start(task: Task, time: number): void {
    if (this.#tasks.has(task.taskId)) {
      return; // an executor sends a task once in a stream
    }
    const controller = new AbortController();
    // No executor sends a task before the hello, so that a stall before it does not count.
    const delay = Math.min(this.#owner.stalls.delay(time), time - this.#helloSent);
    const deadline = time + timeoutOf(task) - delay;
    const stopTimer = after(deadline - now(), () => {
      controller.abort(new DeadlineExceeded("the deadline of the attempt has passed"));
    });
    const run = async (): Promise<void> => {
      const result = await this.#execute(task, deadline, controller.signal).catch((thrown: unknown) => {
        // A task without a result would never end. Accessors of the error of an action, and a logger, can throw.
        const text = `the error of the action cannot be reported: ${messageOf(thrown)}`;
        return failed(task.taskId, new Unknown("PANICKED", text), this.#maxOutput);
      });
      stopTimer();
      this.#post({ $case: "result", value: result });
      this.#tasks.delete(task.taskId);
      this.#endIfDrained();
    };
    // The entry exists before the task can end.
    const entry: RunningTask = { controller, ended: Promise.resolve() };
    this.#tasks.set(task.taskId, entry);
    entry.ended = run();
  }

  async #execute(task: Task, deadline: number, signal: AbortSignal): Promise<TaskResult> {
    const attempt = this.#attempt(task, deadline, signal);
    try {
      try {
        JSON.parse(attempt.inputJson);
      } catch (cause) {
        throw new Retryable("BAD_TASK", "the input of the task is not valid JSON", { cause });
      }
      const output = await this.#owner.service.run(attempt, this.#owner.settings.interceptors);
      return this.#done(task.taskId, output);
    } catch (thrown) {
      const error = asActionError(thrown);
      if (error.code === "PANICKED" && isException(error.cause)) {
        const stack = error.cause instanceof Error ? error.cause.stack : undefined;
        attempt.logger.error("action threw an exception", { error: error.text, stack });
      } else {
        attempt.logger.debug("action failed", { error: error.message });
      }
      return failed(task.taskId, error, this.#maxOutput);
    }
  }

  /** A message that the executor does not accept would end the stream with all its tasks. */
  #done(taskId: bigint, output: string): TaskResult {
    if (typeof output !== "string") {
      throw new Unknown("BAD_OUTPUT", "the handler did not return a text; return JSON, or use Service.action");
    }
    const size = Buffer.byteLength(output);
    if (size > this.#maxOutput) {
      throw new Unknown("OUTPUT_TOO_LARGE", `the output has ${size} bytes; the limit is ${this.#maxOutput}`);
    }
    if (!output.isWellFormed()) {
      throw new Unknown("BAD_OUTPUT", "the output has a lone surrogate, which UTF-8 cannot express");
    }
    return { taskId, outcome: { $case: "done", value: { outputJson: output } } };
  }

  #attempt(task: Task, deadline: number, signal: AbortSignal): Attempt {
    const service = this.#owner.service.name;
    return new Attempt({
      key: task.idempotencyKey,
      workflowId: task.workflowId,
      service,
      action: task.action,
      step: task.step,
      operation: task.operation === Operation.OPERATION_COMPENSATE ? "compensate" : "execute",
      number: task.attempt,
      deadline,
      traceparent: task.traceparent,
      tracestate: task.tracestate,
      lockTokens: new Map(Object.entries(task.lockTokens)),
      heartbeatTimeoutMs: fromDuration(task.heartbeatTimeout),
      inputJson: task.inputJson === "" ? "null" : task.inputJson,
      signal,
      logger: withFields(this.#logger, {
        workflow: task.workflowId, step: task.step, service, action: task.action, attempt: task.attempt,
      }),
      beat: () => { this.#offer({ $case: "taskHeartbeat", value: { taskId: task.taskId } }); },
    });
  }

  async #awaitEnd(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      this.#wire.once("end", resolve);
      this.#wire.once("error", () => { resolve(); });
    });
    this.#wire.end();
    await within(this.#leaseMs, ended, this.#owner.closed);
    this.#wire.cancel();
  }

  /** Cancels the tasks of a lost stream. A task that ignores its signal does not keep the worker from connecting again. */
  async #abandon(): Promise<void> {
    this.#wire.cancel();
    const tasks = [...this.#tasks.values()];
    for (const task of tasks) {
      task.controller.abort(new StreamLost("the connection to the executor was lost"));
    }
    const ended = Promise.all(tasks.map(async (task) => { await task.ended; }));
    if (await within(cancelTimeoutMs, ended) === undefined) {
      this.#logger.warn("tasks ignored their cancellation", { service: this.#owner.service.name });
    }
  }
}

function reasonOf(error: unknown, opened: boolean): Error {
  if (isServiceError(error) && [status.UNAVAILABLE, status.CANCELLED, status.INTERNAL].includes(error.code)) {
    return new Error(`${opened ? "the connection was lost" : "failed to connect"}: ${error.details}`, { cause: error });
  }
  return fromServiceError(error);
}

/** Returns the time until the deadline of a task. The clock of the executor counts only if it does not state it. */
function timeoutOf(task: Task): number {
  if (task.timeout === undefined && task.deadline !== undefined) {
    return (fromTimestamp(task.deadline)?.getTime() ?? 0) - Date.now();
  }
  return fromDuration(task.timeout);
}

/** Converts the error of an action. */
function failed(taskId: bigint, error: ActionError, maxDetail: number): TaskResult {
  const failure: Failure = { code: sendable(error.code), message: sendable(error.text), detailJson: "" };
  switch (error.outcome) {
    case "retryable": {
      const retryAfter = error.afterMs > 0 ? toDuration(Math.min(error.afterMs, maxRetryAfterMs)) : undefined;
      return { taskId, outcome: { $case: "retryable", value: { failure, retryAfter } } };
    }
    case "refused": {
      failure.detailJson = detailJson(error.detail);
      const size = Buffer.byteLength(failure.detailJson);
      if (size > maxDetail) {
        failure.message += ` [cut: details of ${size} bytes]`;
        failure.detailJson = "";
      }
      return { taskId, outcome: { $case: "refused", value: { failure } } };
    }
    case "unknown":
      return { taskId, outcome: { $case: "unknown", value: { failure } } };
  }
}

/** Converts details to JSON. Details that cannot be converted are kept as text. */
function detailJson(detail: unknown): string {
  if (detail === undefined || detail === null) {
    return "";
  }
  try {
    return encodeJson(detail).toWellFormed();
  } catch (error) {
    return JSON.stringify(`the details cannot be converted to JSON: ${messageOf(error)}`);
  }
}

/** Returns a text of a limited length. An executor keeps even less. Without types, an action can pass any value. */
function sendable(value: unknown): string {
  const text = typeof value === "string" ? value : messageOf(value ?? "");
  const bytes = Buffer.from(text.slice(0, maxText));
  return bytes.length <= maxText ? text.slice(0, maxText) : bytes.subarray(0, maxText).toString();
}

const identity = `${process.pid}@${hostname()}`;
