import {
  asActionError, type Attempt, encodeJson, type Handler, RawJson, Refused, Retryable, Unknown,
} from "@goconductor/sdk";

import type { Box, InboxStep } from "./box.js";

interface Failure {
  code: string;
  message: string;
  after_ms?: number;
  detail?: unknown;
}

/** One step of a script. One of its fields is set. */
interface Instruction {
  done?: unknown;
  echo?: boolean;
  output_bytes?: number;
  retry?: Failure;
  refuse?: Failure;
  unknown?: Failure;
  error?: string;
  panic?: string;
  inbox?: InboxStep;
  sleep_ms?: number;
  heartbeat_ms?: number;
  await_cancel?: boolean;
  gate?: string;
  detached?: boolean;
  die?: boolean;
}

/** The instructions of an action for one attempt. */
export type Script = Instruction[];

/** Ends the process as a crash of the machine would. */
export function die(): never {
  process.kill(process.pid, "SIGKILL");
  for (;;) {
    // The signal arrives during this loop.
  }
}

/** A gate that is opened for good. */
class Gate {
  open!: () => void;
  readonly opened = new Promise<void>((resolve) => { this.open = resolve; });
}

/** The actions of a scenario, which run scripts. */
export class Actions {
  broken = "";
  /** Set if attempts are not reported. */
  quiet = false;
  box: Box | undefined;

  readonly #gates = new Map<string, Gate>();
  readonly #write: (event: unknown) => void;

  constructor(write: (event: unknown) => void) {
    this.#write = write;
  }

  gate(name: string): Gate {
    let gate = this.#gates.get(name);
    if (gate === undefined) {
      gate = new Gate();
      this.#gates.set(name, gate);
    }
    return gate;
  }

  /** Returns the handler of an action. It reports each call before and after the script, unless quiet. */
  handler(scripts: Script[]): Handler {
    return async (inputJson, attempt) => {
      const script = scripts[Math.min(attempt.number, scripts.length) - 1] ?? [];
      if (this.quiet) {
        return await this.#run(script, inputJson, attempt);
      }
      this.#write({
        event: "call", action: attempt.action, step: attempt.step, workflow_id: attempt.workflowId,
        operation: attempt.operation, attempt: attempt.number, key: this.#key(attempt), input: new RawJson(inputJson),
        time_left_ms: Math.trunc(attempt.timeLeftMs()), traceparent: attempt.traceparent,
        heartbeat_timeout_ms: attempt.heartbeatTimeoutMs, lock_tokens: Object.fromEntries(attempt.lockTokens),
      });
      const returned = { event: "returned", action: attempt.action, attempt: attempt.number };
      try {
        const output = await this.#run(script, inputJson, attempt);
        this.#write({ ...returned, outcome: "done" });
        return output;
      } catch (thrown) {
        const { outcome, code } = asActionError(thrown);
        this.#write({ ...returned, outcome, code });
        throw thrown;
      }
    };
  }

  /** Returns the idempotency key. The driver that is broken in this way has a new one for each attempt. */
  #key(attempt: Attempt): string {
    if (this.broken !== "new-key-on-retry" || attempt.number === 1) {
      return attempt.key;
    }
    const [workflow, ...rest] = attempt.key.split("/");
    return [`${workflow}x${process.hrtime.bigint()}`, ...rest].join("/");
  }

  async #run(script: Script, inputJson: string, attempt: Attempt): Promise<string> {
    let signal = attempt.signal;
    for (const step of script) {
      if (step.detached === true) {
        signal = new AbortController().signal;
      } else if (step.sleep_ms !== undefined) {
        await this.#sleep(step, signal, attempt);
      } else if (step.gate !== undefined) {
        await Promise.race([this.gate(step.gate).opened, aborted(signal)]);
      } else if (step.await_cancel === true) {
        const began = performance.now();
        await aborted(signal);
        this.#write({
          event: "cancelled", action: attempt.action, attempt: attempt.number,
          after_ms: Math.trunc(performance.now() - began), time_left_ms: Math.trunc(attempt.timeLeftMs()),
        });
      } else if (step.die === true) {
        die();
      } else {
        return await this.#end(step, inputJson, attempt);
      }
    }
    throw new Error("the script has no end");
  }

  /** Runs the last instruction of a script. */
  async #end(step: Instruction, inputJson: string, attempt: Attempt): Promise<string> {
    if (step.echo === true) {
      return inputJson;
    }
    if (step.output_bytes !== undefined) {
      return `"${"x".repeat(step.output_bytes - 2)}"`;
    }
    if (step.retry !== undefined) {
      throw new Retryable(step.retry.code, step.retry.message, { afterMs: step.retry.after_ms ?? 0 });
    }
    if (step.refuse !== undefined) {
      throw new Refused(step.refuse.code, step.refuse.message, { detail: step.refuse.detail });
    }
    if (step.unknown !== undefined) {
      throw new Unknown(step.unknown.code, step.unknown.message);
    }
    if (step.error !== undefined) {
      throw new Error(step.error);
    }
    if (step.panic !== undefined) {
      throw new TypeError(step.panic);
    }
    if (step.inbox !== undefined && this.box !== undefined) {
      return await this.box.run(this.#key(attempt), attempt, step.inbox);
    }
    return encodeJson(step.done);
  }

  /** Waits, and sends heartbeats unless the driver is broken in this way. */
  async #sleep(step: Instruction, signal: AbortSignal, attempt: Attempt): Promise<void> {
    const beats = step.heartbeat_ms !== undefined && this.broken !== "no-heartbeat";
    const timer = beats ? setInterval(() => { attempt.heartbeat(); }, step.heartbeat_ms) : undefined;
    let end: NodeJS.Timeout | undefined;
    const slept = new Promise<void>((resolve) => { end = setTimeout(resolve, step.sleep_ms); });
    await Promise.race([slept, aborted(signal)]);
    clearTimeout(end);
    clearInterval(timer);
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) {
    await new Promise((resolve) => { signal.addEventListener("abort", resolve, { once: true }); });
  }
}
