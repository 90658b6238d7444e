import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

import { Client, type ClientOptions } from "../client.js";
import { messageOf } from "../errors.js";
import type { Handle } from "../handle.js";
import { sleep } from "../time.js";
import { type Description, isFinal } from "../view.js";
import { busy, type Move, toNextDue } from "./clock.js";

/** How long a server may take to start. */
const startTimeoutMs = 30_000;
/** How long a server may take to end before it is killed. */
const stopTimeoutMs = 10_000;
/** How long the work at a due time may take while the clock is moved. */
const advanceTimeoutMs = 60_000;
/** The number of lines of the log that an error shows. */
const logLines = 20;
const readyLine = /^GoConductor .* is ready$/m;

/** The options of {@link startServer}. */
export interface ServerOptions {
  /** Keeps the data in a directory, so that it survives {@link Server.kill} and {@link Server.restart} (default: in memory). */
  dataDir?: string;
  /**
   * Makes the clock virtual (default: false). Timers, retries, schedules and the deadlines of workflows then follow
   * {@link Server.advance} and the runs of sagas, and attempts keep their timeouts in real time. All tests of a server share
   * its clock, so that a test with a virtual clock needs a server of its own.
   */
  virtualTime?: boolean;
  /** Further arguments of the command, such as `["--set", "executor.worker_lease=2s"]`. */
  arguments?: readonly string[];
}

/** A child process `goconductor dev`. */
export class Server {
  /** The address of the gateway. */
  readonly url: string;

  readonly #listen: string;
  readonly #options: ServerOptions;
  #process: ChildProcess | undefined;
  #log = "";

  private constructor(listen: string, options: ServerOptions) {
    this.#listen = listen;
    this.#options = options;
    this.url = `http://${listen}`;
  }

  /** @internal */
  static async start(options: ServerOptions): Promise<Server> {
    const server = new Server(`127.0.0.1:${await freePort()}`, options);
    await server.#start();
    return server;
  }

  /** Returns a client. Close it at the end of the test. */
  client(options: ClientOptions = {}): Client {
    return new Client(this.url, options);
  }

  /** Tells whether the clock is virtual. */
  get virtualTime(): boolean {
    return this.#options.virtualTime === true;
  }

  /**
   * Moves the virtual clock forward. It stops at each time that is due on the way, and waits there until nothing is in
   * flight, so that everything happens at its time and in its order.
   */
  async advance(byMs: number): Promise<void> {
    let left = byMs;
    let began = performance.now();
    for (;;) {
      const moved = await this.toNextDue(left);
      if (moved.result !== "busy") {
        // The last request only waits until nothing is in flight.
        if (left === 0) {
          return;
        }
        left = Math.max(0, left - moved.advancedMs);
        began = performance.now();
      } else if (performance.now() - began > advanceTimeoutMs) {
        throw busy(moved);
      }
    }
  }

  /**
   * Moves the virtual clock until a saga has ended, or waits for an operator. Rejects if the saga waits for something else
   * than a time, such as a signal.
   */
  async runToEnd(saga: Handle): Promise<Description> {
    for (;;) {
      const settled = await this.toNextDue(0);
      const described = await saga.describe();
      if (isFinal(described.status) || described.status === "ERROR") {
        return described;
      }
      if (settled.result === "busy") {
        throw busy(settled);
      }
      if ((await this.toNextDue()).result === "nothing_due") {
        throw new Error(`the saga is ${described.status}, and no time is due that it could wait for`);
      }
    }
  }

  /**
   * Moves the virtual clock to the next time that is due, by at most a duration. The clock is not moved while work is due or
   * in flight.
   */
  async toNextDue(atMostMs?: number): Promise<Move> {
    if (!this.virtualTime) {
      throw new Error("the clock of the server is real: start it with the option virtualTime");
    }
    return await toNextDue(this.url, atMostMs);
  }

  /** The last lines of the log. */
  get log(): string {
    return this.#log;
  }

  /** Ends the server. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends the server by SIGKILL, as a crash of the machine would. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Starts the server again at the same address. */
  async restart(): Promise<void> {
    await this.stop();
    await this.#start();
  }

  async #start(): Promise<void> {
    const binary = process.env["GOCONDUCTOR_BINARY"] ?? "goconductor";
    const data = this.#options.dataDir === undefined ? ["--ephemeral"] : ["--data-dir", this.#options.dataDir];
    const clock = this.virtualTime ? ["--virtual-time"] : [];
    const further = this.#options.arguments ?? [];
    const parameters = ["dev", "--listen", this.#listen, "--log-level", "warn", ...data, ...clock, ...further];
    // Variables of the environment are settings of the server.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GOCONDUCTOR_")));
    const child = spawn(binary, parameters, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    this.#log = "";
    const kill = (): void => { child.kill("SIGKILL"); };
    // The server does not outlive this process.
    process.on("exit", kill);
    child.once("exit", () => { process.off("exit", kill); });
    await new Promise<void>((resolve, reject) => {
      let announced = false;
      const timeout = setTimeout(() => {
        kill();
        reject(new Error(`${binary} was not ready within ${startTimeoutMs} ms:\n${this.#log}`));
      }, startTimeoutMs);
      const read = (text: string): void => {
        this.#log += text;
        if (!announced && readyLine.test(this.#log)) {
          announced = true;
          clearTimeout(timeout);
          resolve();
        }
        this.#log = this.#log.split(/(?<=\n)/).slice(-logLines).join("");
      };
      child.stdout.setEncoding("utf8").on("data", read);
      child.stderr.setEncoding("utf8").on("data", read);
      child.once("error", (cause) => {
        clearTimeout(timeout);
        const advice = "set GOCONDUCTOR_BINARY to the path of the program goconductor";
        reject(new Error(`failed to start ${binary}: ${messageOf(cause)}; ${advice}`, { cause }));
      });
      child.once("exit", () => {
        clearTimeout(timeout);
        reject(new Error(`${binary} ended before it was ready:\n${this.#log}`));
      });
    });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child?.exitCode !== null || child.signalCode !== null) {
      return;
    }
    const exited = once(child, "exit");
    child.kill(signal);
    const timer = new AbortController();
    void sleep(stopTimeoutMs, timer.signal).then((passed) => {
      if (passed) {
        child.kill("SIGKILL");
      }
    });
    await exited;
    timer.abort();
  }
}

/**
 * Starts a server, whose program is that of the environment variable GOCONDUCTOR_BINARY, or the one in the PATH. Call
 * {@link Server.stop} at the end.
 */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  return await Server.start(options);
}

/**
 * Returns a port that no process listens on. A restart needs the same port again, so that it is below those that the system
 * gives to outgoing connections.
 */
async function freePort(): Promise<number> {
  for (let attempt = 1; attempt <= 100; attempt++) {
    const port = 10_000 + Math.floor(Math.random() * 10_000);
    const listener = createServer();
    try {
      listener.listen(port, "127.0.0.1");
      await once(listener, "listening");
      return port;
    } catch {
      // Another process listens on the port.
    } finally {
      listener.close();
    }
  }
  throw new Error("found no free port in 100 attempts");
}
