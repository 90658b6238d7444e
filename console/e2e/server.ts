// The server under test: its API for the tests, and `goconductor dev --demo`, which serves the console as well.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Participant } from "./participant";

const READY_WITHIN_MS = 120_000;
export const ROOT = new URL("../../", import.meta.url).pathname;

export interface Options {
  /** Settings, as of `--set`. `{url}` is the address of the server. */
  settings?: Readonly<Record<string, string>>;
  /** The access key of `call`. */
  token?: string;
  /** Further queues that the processes can switch to. `goconductor dev` has only its own. */
  moreQueues?: readonly Queue[];
}

export type Queue = "nats" | "kafka";

/** A message that could not be read. */
export interface StoredLetter {
  id: string;
  topic: string;
  key: string;
  payload: string;
  reason: string;
}

export function cacheFolder(): string {
  return process.env["GOCONDUCTOR_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(process.env["HOME"] ?? "/tmp", ".cache"), "goconductor");
}

export function binary(): string {
  const path = process.env["GOCONDUCTOR_BINARY"] ?? join(process.env["CARGO_TARGET_DIR"] ?? join(cacheFolder(), "target"), "debug", "goconductor");
  if (!existsSync(path)) throw new Error(`${path} not found; build it with cargo build -p goconductor-cli, or set GOCONDUCTOR_BINARY`);
  return path;
}

/** The environment without the settings of a server. */
export function cleanEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter(([name, value]) => !name.startsWith("GOCONDUCTOR_") && value !== undefined)) as Record<string, string>;
}

/** A port below the ephemeral range, which no outgoing connection takes while a killed server is away. */
export function freePort(): number {
  return Number(execFileSync("bash", ["-c", '. "$0"; free_port', join(ROOT, "scripts/lib.sh")], { encoding: "utf8" }));
}

export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), "gc-e2e-"));
}

/** Starts a server and waits until it is ready. */
export async function launch(command: string, args: readonly string[], port: number): Promise<ChildProcess> {
  const child = spawn(command, args, { env: cleanEnvironment(), stdio: process.env["CONSOLE_E2E_LOGS"] ? "inherit" : "ignore" });
  const end = Date.now() + READY_WITHIN_MS;
  while (!(await fetch(`http://127.0.0.1:${port}/readyz`).then((response) => response.ok, () => false))) {
    if (Date.now() > end || child.exitCode !== null) throw new Error(`${command} did not become ready; CONSOLE_E2E_LOGS=1 shows its log`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return child;
}

export async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await ended;
}

/** The server under test. `kill` and `start` again simulate an outage: port and data stay. */
export abstract class Conductor {
  token: string;
  protected constructor(readonly port: number, readonly dir: string, protected readonly options: Options) {
    this.token = options.token ?? "";
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }
  /** The address of the API that `call` uses. */
  get api(): string {
    return this.url;
  }
  /** Whether the API responds and workflows go on while the server of the page is killed. */
  abstract readonly survives: boolean;

  abstract start(): Promise<void>;
  abstract kill(): Promise<void>;
  abstract stop(): Promise<void>;
  abstract store(letters: readonly StoredLetter[]): void;

  protected get flags(): readonly string[] {
    return Object.entries(this.options.settings ?? {}).flatMap(([name, value]) => ["--set", `${name}=${value.replaceAll("{url}", this.url)}`]);
  }

  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    return this.send(method, path, "application/json", body === undefined ? undefined : JSON.stringify(body));
  }
  /** Applies a definition in YAML. */
  async apply(name: string, source: string): Promise<void> {
    await this.send("PUT", `/definitions/${name}`, "application/yaml", source);
  }
  private async send<T>(method: string, path: string, type: string, body: string | undefined): Promise<T> {
    const response = await fetch(`${this.api}/api/v1${path}`, {
      method, headers: { "content-type": type, ...(this.token !== "" && { authorization: `Bearer ${this.token}` }) }, ...(body !== undefined && { body }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  /** Starts an order of the demo and returns its id. The SKU `sold-out` makes it roll back. */
  async order(orderId: string, sku = "book", labels: Record<string, string> = {}): Promise<string> {
    const input = { order_id: orderId, amount: 42, items: [{ sku, quantity: 1 }] };
    return (await this.call<{ id: string }>("POST", "/workflows", { definition: "order-processing", input, labels })).id;
  }
  async serve(service: string, participant: Participant): Promise<void> {
    await this.call("PUT", `/services/${service}`, { http: { url: participant.url } });
  }
}

// Node 20 has no SQLite.
const STORE = `
import json, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=10)
for i, each in enumerate(json.load(sys.stdin)):
    database.execute("INSERT INTO dead_letters (id, topic, message_key, payload, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        (each["id"], each["topic"], each["key"], each["payload"].encode(), each["reason"], int(time.time() * 1e6) - i))
database.commit()`;

/** `goconductor dev --demo`: everything in one process. */
export class Dev extends Conductor {
  readonly survives = false;
  private process: ChildProcess | undefined;

  static async start(options: Options = {}): Promise<Dev> {
    const dev = new Dev(freePort(), newFolder(), options);
    await dev.start();
    return dev;
  }
  async start(): Promise<void> {
    this.process = await launch(binary(), ["dev", "--demo", ...this.flags, "--listen", `127.0.0.1:${this.port}`, "--data-dir", this.dir], this.port);
  }
  async kill(): Promise<void> {
    await end(this.process, "SIGKILL");
  }
  async stop(): Promise<void> {
    await end(this.process, "SIGTERM");
    rmSync(this.dir, { recursive: true, force: true });
  }
  store(letters: readonly StoredLetter[]): void {
    execFileSync("python3", ["-c", STORE, join(this.dir, "goconductor.db")], { input: JSON.stringify(letters) });
  }
}
