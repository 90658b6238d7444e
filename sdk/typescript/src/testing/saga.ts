import { randomUUID } from "node:crypto";

import type { Client } from "../client.js";
import { messageOf } from "../errors.js";
import type { Handle } from "../handle.js";
import type { Interceptor, Service } from "../service.js";
import { sleep } from "../time.js";
import { type Description, isFinal } from "../view.js";
import type { Worker } from "../worker.js";
import { definitionName, definitionOf, serviceOf, type Workflow } from "../workflow.js";
import { type Attempts, type Fault, faults, inject } from "./fault.js";
import { Run } from "./run.js";
import type { Server } from "./server.js";

/** The time limit of a run, unless {@link Saga.timeout} sets another. */
const runTimeoutMs = 60_000;
/** The interval at which a run checks whether its saga waits for an operator. */
const pollIntervalMs = 250;
/** The interval at which a run checks again whether time may pass. */
const waitIntervalMs = 5;

interface SagaFields {
  server: Server;
  name: string;
  definition: string;
  services: readonly Service[];
  injections: readonly { at: Attempts; fault: Fault }[];
  signals: readonly { name: string; payload: unknown }[];
  cancelAfter: string | undefined;
  timeoutMs: number;
}

/** A saga with its services and the faults to inject. Each run has a namespace of its own. */
export class Saga {
  readonly #fields: SagaFields;

  private constructor(fields: SagaFields) {
    this.#fields = fields;
  }

  /** Returns a saga of a workflow whose steps are functions. */
  static of<Input>(server: Server, workflow: Workflow<Input>): Saga {
    return Saga.ofDefinition(server, definitionName(workflow), definitionOf(workflow), serviceOf(workflow));
  }

  /** Returns a saga of a definition in YAML or JSON, with the services that it names. */
  static ofDefinition(server: Server, name: string, definition: string, ...services: Service[]): Saga {
    return new Saga({
      server, name, definition, services, injections: [], signals: [], cancelAfter: undefined, timeoutMs: runTimeoutMs,
    });
  }

  /** Returns the saga with a fault. Of several faults for one attempt, the one that was added last applies. */
  inject(at: Attempts, fault: Fault): Saga {
    return new Saga({ ...this.#fields, injections: [...this.#fields.injections, { at, fault }] });
  }

  /** Returns the saga with a signal that is sent at the start. A signal that arrives before its step is kept. */
  signal(name: string, payload?: unknown): Saga {
    return new Saga({ ...this.#fields, signals: [...this.#fields.signals, { name, payload }] });
  }

  /** Returns the saga with a cancel as soon as a step has completed. */
  cancelAfter(step: string): Saga {
    return new Saga({ ...this.#fields, cancelAfter: step });
  }

  /** Returns the saga with another time limit of a run (default: one minute). */
  timeout(timeoutMs: number): Saga {
    return new Saga({ ...this.#fields, timeoutMs });
  }

  /** Runs the saga to its end, or until it waits for an operator. Rejects if it does not end in time. */
  async run(input?: unknown): Promise<Run> {
    const run = new Run();
    const limit = AbortSignal.timeout(this.#fields.timeoutMs);
    const session = new Session(this.#fields, run);
    try {
      await session.open(limit);
      const handle = await session.client.start(this.#fields.name, { input, signal: limit });
      for (const { name, payload } of this.#fields.signals) {
        await handle.signal(name, payload, { signal: limit });
      }
      try {
        await this.#follow(handle, run, limit);
      } catch (cause) {
        throw new Error(`the saga did not end: ${messageOf(cause)}\n${run.timeline}`, { cause });
      }
      run.description = await handle.describe();
      return run;
    } finally {
      await session.close();
    }
  }

  /** Runs the saga once for each fault at the first attempt to execute each step, and passes each run to a function. */
  async everywhere(
    input: unknown, steps: readonly Attempts[], check: (run: Run, fault: Fault) => unknown,
    injected: readonly Fault[] = faults,
  ): Promise<void> {
    for (const at of steps) {
      for (const fault of injected) {
        await check(await this.inject(at, fault).run(input), fault);
      }
    }
  }

  /** Waits for the end of the saga, and cancels it if it is to be cancelled. */
  async #follow(handle: Handle, run: Run, limit: AbortSignal): Promise<void> {
    const end = new AbortController();
    const signal = AbortSignal.any([limit, end.signal]);
    const operator = awaitOperator(handle, signal).then((needed) => {
      end.abort();
      return needed;
    });
    let cancelled = false;
    const time = this.#fields.server.virtualTime
      ? this.#passTime(handle, signal, () => cancelled).catch((error: unknown) => {
        end.abort(error);
        throw error;
      })
      : Promise.resolve();
    // It is awaited at the end.
    time.catch(() => undefined);
    try {
      for await (const event of handle.watch({ signal })) {
        run.events.push(event);
        if (event.type === "STEP_COMPLETED" && event.step === this.#fields.cancelAfter) {
          await handle.cancel(`the test cancels after ${event.step}`, { signal });
          cancelled = true;
        }
      }
    } catch (error) {
      if (limit.aborted || !end.signal.aborted || !await operator) {
        throw error;
      }
    } finally {
      end.abort();
      await operator;
      await time;
    }
  }

  /**
   * Moves the clock while the saga runs. The clock stands still from the end of the step after which the test cancels the
   * saga until it has.
   */
  async #passTime(handle: Handle, signal: AbortSignal, isCancelled: () => boolean): Promise<void> {
    const { server } = this.#fields;
    while (!signal.aborted) {
      const settled = await server.toNextDue(0);
      const described = await handle.describe();
      const mayPass = settled.result !== "busy" && this.#mayPass(described, isCancelled()) && !signal.aborted;
      if (!mayPass || (await server.toNextDue()).result !== "advanced") {
        await sleep(waitIntervalMs, signal);
      }
    }
  }

  #mayPass(described: Description, isCancelled: boolean): boolean {
    if (isFinal(described.status) || described.status === "ERROR") {
      return false;
    }
    const step = described.steps.find(({ name }) => name === this.#fields.cancelAfter);
    return isCancelled || step?.status !== "COMPLETED";
  }
}

/** Waits until a saga waits for an operator, which is not an event. Returns false if the signal is aborted first. */
async function awaitOperator(handle: Handle, signal: AbortSignal): Promise<boolean> {
  while (await sleep(pollIntervalMs, signal)) {
    const described = await handle.describe().catch(() => undefined);
    if (described?.status === "ERROR") {
      return true;
    }
  }
  return false;
}

/** The client and the workers of a run. */
class Session {
  readonly client: Client;
  readonly #fields: SagaFields;
  readonly #run: Run;
  readonly #workers = new Map<string, Worker>();
  #closed = false;

  constructor(fields: SagaFields, run: Run) {
    this.#fields = fields;
    this.#run = run;
    this.client = fields.server.client({ namespace: `test-${randomUUID()}`, interceptors: [this.#intercept()] });
  }

  async open(signal: AbortSignal): Promise<void> {
    await this.client.apply(this.#fields.name, this.#fields.definition, { signal });
    for (const service of this.#fields.services) {
      await this.#serve(service);
    }
  }

  async #serve(service: Service): Promise<void> {
    if (!this.#closed) {
      const worker = this.client.serve(service);
      this.#workers.set(service.name, worker);
      await worker.connected();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#workers.values()].map((worker) => worker.close()));
    await this.client.close();
  }

  /** Records calls and injects faults. */
  #intercept(): Interceptor {
    return (next) => async (inputJson, attempt) => {
      const record = async (text: string, current: typeof attempt): Promise<string> => {
        this.#run.record(current);
        return await next(text, current);
      };
      const injected = this.#fields.injections.findLast(({ at }) => at.includes(attempt));
      return injected === undefined
        ? await record(inputJson, attempt)
        : await inject(injected.fault, record, inputJson, attempt, () => { void this.#crash(attempt.service); });
    };
  }

  /** Disconnects the worker of a service, and starts it again. A run that ends meanwhile has no use for it. */
  async #crash(name: string): Promise<void> {
    const worker = this.#workers.get(name);
    if (worker !== undefined) {
      await worker.close();
      await this.#serve(worker.service).catch(() => undefined);
    }
  }
}
