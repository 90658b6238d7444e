import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

import { Client, type ClientOptions } from "../client.js";
import { messageOf } from "../errors.js";
import { sleep } from "../time.js";

/** How long a server may take to start. */
const startTimeoutMs = 30_000;
/** How long a server may take to end before it is killed. */
const stopTimeoutMs = 10_000;
/** The number of lines of the log that an error shows. */
const logLines = 20;
const readyLine = /^GoConductor .* is ready$/m;

/** The options of {@link startServer}. */
export interface ServerOptions {
  /** Keeps the data in a directory, so that it survives {@link Server.kill} and {@link Server.restart} (default: in memory). */
  dataDir?: string;
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
    const parameters = ["dev", "--listen", this.#listen, "--log-level", "warn", ...data, ...this.#options.arguments ?? []];
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
