import { GoConductorError, messageOf } from "./errors.js";
import type { ServiceServiceClient } from "./generated/goconductor/v1/service.js";
import { type Calls, unary } from "./calls.js";
import type { Service } from "./service.js";
import type { Settings } from "./settings.js";
import { StallDetector } from "./stall.js";
import { Stream } from "./stream.js";
import { jitter, onAbort, sleep } from "./time.js";

/** The maximum number of streams. More would not improve availability. */
const maxStreams = 4;
/** The interval at which new executors are discovered. */
const pollIntervalMs = 2000;
/** The timeout of one discovery. */
const discoverTimeoutMs = 5000;
/** How long a shutdown waits for tasks in flight, unless another timeout is given. */
const drainTimeoutMs = 30_000;
/** How long {@link Worker.connected} waits for the first stream, unless another timeout is given. */
const connectTimeoutMs = 30_000;
/** The delays before a stream is opened again. They double with each refusal in a row. */
const minReconnectDelayMs = 100;
const maxReconnectDelayMs = 5000;

/** The limits of a wait. */
export interface WaitOptions {
  /** The timeout (default: 30 seconds). */
  timeoutMs?: number;
  /** Ends the wait. */
  signal?: AbortSignal;
}

/** The parts of a client that its workers use. */
export interface WorkerOwner {
  readonly settings: Settings;
  readonly calls: Calls;
  readonly services: ServiceServiceClient;
  readonly scheme: string;
}

/** A service that is connected to executors. {@link Client.serve} starts one. */
export class Worker {
  /** The service of the worker. */
  readonly service: Service;

  readonly #owner: WorkerOwner;
  readonly #stalls = new StallDetector();
  readonly #draining = new AbortController();
  readonly #closed = new AbortController();
  readonly #done: Promise<void>;
  readonly #watchers = new Set<() => void>();
  readonly #connected = new Set<string>();
  readonly #refusals = new Map<string, number>();
  #open = 0;
  #ended = false;
  #lastRefusal = "no executor was asked yet";
  #wake: AbortController = new AbortController();

  /** @internal */
  constructor(owner: WorkerOwner, service: Service) {
    service.check();
    this.#owner = owner;
    this.service = service;
    this.#done = this.#run();
  }

  /**
   * Waits until the worker is connected to at least one executor. Rejects with an error of the kind `no_executor`, with the
   * reason of the last refusal, if no executor accepts the worker in time.
   */
  async connected(options: WaitOptions = {}): Promise<void> {
    if (this.#open > 0) {
      return;
    }
    let stopSignal = (): void => undefined;
    const failure = await new Promise<string | undefined>((resolve) => {
      const stop = new AbortController();
      const end = (reason: string | undefined): void => {
        stop.abort();
        this.#watchers.delete(changed);
        resolve(reason);
      };
      const changed = (): void => {
        if (this.#open > 0) {
          end(undefined);
        } else if (this.#ended) {
          end("the worker was shut down");
        }
      };
      this.#watchers.add(changed);
      stopSignal = onAbort(options.signal, () => { end(`the wait was aborted: ${this.#lastRefusal}`); });
      void sleep(options.timeoutMs ?? connectTimeoutMs, stop.signal).then((passed) => {
        if (passed) {
          end(this.#lastRefusal);
        }
      });
      changed();
    });
    stopSignal();
    options.signal?.throwIfAborted();
    if (failure !== undefined) {
      throw new GoConductorError("no_executor", `no executor accepted a worker of ${this.service.name}: ${failure}`);
    }
  }

  /**
   * Stops accepting tasks, and waits for the tasks in flight. Tasks that are left at the timeout are cancelled and retried
   * elsewhere, and the promise rejects without waiting for their actions.
   */
  async shutdown(options: WaitOptions = {}): Promise<void> {
    this.#draining.abort();
    const stop = new AbortController();
    const stopSignal = onAbort(options.signal, () => { stop.abort(); });
    const ended = await Promise.race([
      this.#done.then(() => true),
      sleep(options.timeoutMs ?? drainTimeoutMs, stop.signal).then(() => false),
    ]);
    stopSignal();
    stop.abort();
    if (!ended) {
      this.#owner.settings.logger.warn("worker gave up tasks at the drain timeout", { service: this.service.name });
      this.#closed.abort();
      throw new GoConductorError("timeout", `the worker of ${this.service.name} gave up tasks in flight`);
    }
  }

  /**
   * Disconnects the worker at once. Its tasks in flight are cancelled and retried elsewhere. Waits for their actions, up to
   * 5 seconds.
   */
  async close(): Promise<void> {
    this.#draining.abort();
    this.#closed.abort();
    await this.#done;
  }

  /** Keeps streams to executors open. */
  async #run(): Promise<void> {
    const stopStalls = this.#stalls.run();
    const draining = this.#draining.signal;
    onAbort(draining, () => { this.#wake.abort(); });
    const running = new Set<Promise<void>>();
    while (!draining.aborted) {
      const executors = await this.#discover();
      if (this.#draining.signal.aborted) {
        break;
      }
      this.#wake = new AbortController();
      const streams = Math.min(Math.max(1, executors.length), maxStreams);
      for (const address of this.#refusals.keys()) {
        if (!executors.includes(address)) {
          this.#refusals.delete(address);
        }
      }
      for (const address of executors) {
        if (this.#connected.has(address) || this.#connected.size >= maxStreams) {
          continue;
        }
        const serving = this.#connectTo(address, Math.ceil(this.service.capacity / streams));
        running.add(serving);
        void serving.then(() => {
          running.delete(serving);
          this.#wake.abort();
        });
      }
      await sleep(jitter(pollIntervalMs), this.#wake.signal);
    }
    await Promise.all(running);
    stopStalls();
    this.#ended = true;
    this.#notify();
  }

  /** Opens a stream to an executor, serves it until it ends, and waits before the next attempt. */
  async #connectTo(address: string, capacity: number): Promise<void> {
    const fields = { executor: address, service: this.service.name };
    const logger = this.#owner.settings.logger;
    this.#connected.add(address);
    const stream = new Stream(
      {
        service: this.service, settings: this.#owner.settings, stalls: this.#stalls,
        draining: this.#draining.signal, closed: this.#closed.signal,
      },
      address, capacity, () => { this.#count(1); },
    );
    const { opened, reason } = await stream.run();
    let delay = minReconnectDelayMs;
    if (opened) {
      this.#count(-1);
      this.#refusals.delete(address);
      logger.info("worker disconnected", { ...fields, reason: reason.message });
    } else {
      const refusals = this.#refusals.get(address) ?? 0;
      this.#refusals.set(address, refusals + 1);
      logger.debug("executor refused the worker", { ...fields, error: reason.message });
      this.#lastRefusal = `${address}: ${reason.message}`;
      delay = Math.min(minReconnectDelayMs * 2 ** Math.min(refusals + 2, 10), maxReconnectDelayMs);
    }
    await sleep(jitter(delay), this.#draining.signal);
    this.#connected.delete(address);
  }

  #count(change: number): void {
    this.#open += change;
    this.#notify();
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) {
      watcher();
    }
  }

  /** Returns the addresses of the executors that may accept the worker, in random order. */
  async #discover(): Promise<string[]> {
    const { settings, calls, services, scheme } = this.#owner;
    if (settings.executors.length > 0) {
      return shuffled([...settings.executors]);
    }
    try {
      const options = { timeoutMs: discoverTimeoutMs, signal: this.#closed.signal };
      const response = await unary(calls, services.listProcesses.bind(services), {}, options);
      const found = response.processes
        .filter((process) => process.kind === "saga-executor" && accepts(process.aboutJson, this.service.name))
        .map((process) => `${scheme}//${process.address}`);
      if (found.length === 0) {
        this.#lastRefusal = "the gateway lists no executor that serves it";
      }
      return shuffled(found);
    } catch (thrown) {
      this.#lastRefusal = messageOf(thrown);
      return [];
    }
  }
}

function shuffled(addresses: string[]): string[] {
  for (let last = addresses.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    const [a, b] = [addresses[last], addresses[other]];
    if (a !== undefined && b !== undefined) {
      addresses[last] = b;
      addresses[other] = a;
    }
  }
  return addresses;
}

/** Returns whether an executor accepts workers of a service, by what it announces. */
function accepts(about: string, service: string): boolean {
  try {
    const info = JSON.parse(about) as { only?: string[] | null } | null;
    return !info?.only?.length || info.only.includes(service);
  } catch {
    return true;
  }
}
